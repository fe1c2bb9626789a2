"""Whether what is installed here counts as the committed profiles say; nox runs it in every row."""

import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import analyzer

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "numpy", "pandas", "numba", "scipy", "typer", "rich", "pillow", "matplotlib")


def run(*words: object) -> str:
    """A command of the package in a fresh process."""
    command = [sys.executable, "-m", "analyzer", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[2:])} fails:\n{done.stderr[-3000:]}")
    return done.stdout


def main() -> None:
    """Measures, verifies, reports, and says what differs."""
    print(f"Python {platform.python_version()}", *(f"{p} {metadata.version(p)}" for p in PACKAGES))
    different = []
    with tempfile.TemporaryDirectory() as place:
        paths = []
        for committed in sorted((ROOT / "profiles").glob("*.json.gz")):
            name = committed.name.partition(".")[0]
            paths.append(Path(place) / committed.name)
            run("profile", name, "--data", "digits", "-o", paths[-1])
            if analyzer.load(paths[-1]) != analyzer.load(committed):
                different.append(name)
        found = run("verify", "spikformer-tiny")
        run("compare", *paths)
        run("report", *paths, "-o", Path(place) / "report")
    print(found.strip().splitlines()[-1])
    if different:
        sys.exit(f"other counts than profiles/ has: {', '.join(different)}")
    print("the counts are those of profiles/")


if __name__ == "__main__":
    main()
