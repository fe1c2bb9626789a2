"""Arguments and options that several commands share, declared once, and parsers of their values.

A type such as ``Technology`` declares one option with its help text. A dataclass such as
:class:`Pricing` declares a group of them; ``@expand_options()`` gives a command one option for
each of its fields.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.markup import escape

from analyzer.errors import AnalyzerError
from analyzer.terminal import Shown

__all__ = [
    "AnyProfileToWrite",
    "AnyProfiles",
    "Convention",
    "FigureFolder",
    "Format",
    "InputShape",
    "Inputs",
    "Layout",
    "Model",
    "Precision",
    "Pricing",
    "ProfileToWrite",
    "Profiles",
    "Progress",
    "Samples",
    "SavedProfile",
    "SubjectOptions",
    "Technology",
    "Timesteps",
    "examples",
    "expand_options",
    "figures_of",
    "files_of",
    "groups_of",
    "inputs_of",
    "layouts_of",
    "needing_extra",
    "options_of",
    "shape_of",
]


class Format(StrEnum):
    """The formats that `compare` prints its table in."""

    table = "table"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"
    json = "json"


_PROFILES = typer.Argument(
    metavar="PROFILE...", help="Files that `analyzer profile` wrote, or folders of them."
)
Profiles = Annotated[list[Path], _PROFILES]
AnyProfiles = Annotated[list[Path] | None, _PROFILES]
_SAVED = typer.Option("--output", "-o", help="Profile to write (.json or .json.gz).")
ProfileToWrite = Annotated[Path, _SAVED]
AnyProfileToWrite = Annotated[Path | None, _SAVED]
SavedProfile = Annotated[Path, typer.Argument(metavar="PROFILE", help="A saved profile.")]
FigureFolder = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder for the figure and the table.")
]
Technology = Annotated[str, typer.Option(help="Constants to price with; see `technologies`.")]
Precision = Annotated[str, typer.Option(help="Number format that is priced, such as int8.")]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="M",
        help="Memory model to price with, such as 'spyx(weight_bits=4)'; "
        "see `memory-models`. Arithmetic alone by default.",
    ),
]
Convention = Annotated[str, typer.Option(help="Reading of the facts; see `conventions`.")]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name from `analyzer models`, package.module:factory or path/to/file.py:factory, "
        "with arguments such as 'file.py:factory(num_classes=10)' if it needs any.",
    ),
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Weights: .safetensors, or .pth of plain tensors.")
]
Data = Annotated[
    str,
    typer.Option(
        metavar="digits|fashion-mnist|random|F.npz|F.npy|DIR",
        help="What to measure on. Arrays hold the samples on their first axis.",
    ),
]
InputShape = Annotated[
    str, typer.Option("--input", metavar="C,H,W", help="Shape of one sample.", show_default=False)
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=][DTYPE:]SHAPE",
        help="Shape of one sample, such as 3,224,224. Or, for each argument of the model, its "
        "dtype and shape with the batch axis, such as input_ids=int64:1,2048.",
        show_default=False,
    ),
]
Timesteps = Annotated[int | None, typer.Option(min=1, help="Timesteps of a pass.")]
Samples = Annotated[
    int | None, typer.Option(min=1, help="Samples to take; all of them by default.")
]
Layout = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[MODULE=]AXES",
        help="Axes of the model's input, such as 'T B C H W', or of the input of modules, such as "
        "'blocks.*=T B N D'; may be repeated.",
        show_default=False,
    ),
]
Groups = Annotated[
    str,
    typer.Option(
        metavar="AXIS=N,...",
        help="Groups to count spikes by, such as temporal=2,spatial=4,structural=8.",
        show_default=False,
    ),
]
Loop = Annotated[
    bool, typer.Option("--loop", help="Run the model once a timestep: it computes one a call.")
]
Predict = Annotated[
    str,
    typer.Option(
        metavar="FUNCTION",
        help="From an output to class numbers: package.module:function, path/to/file.py:function, "
        "or a name in the file of the model.",
        show_default=False,
    ),
]
Mean = Annotated[
    str, typer.Option(metavar="M,M,M", help="Subtracted from the channels.", show_default=False)
]
Std = Annotated[
    str, typer.Option(metavar="S,S,S", help="Divides the channels.", show_default=False)
]
Scale = Annotated[
    bool,
    typer.Option(
        help="Whether arrays of pixels, integers of 0 to 255, are scaled to [0, 1] as images are."
    ),
]
Progress = Annotated[
    Shown,
    typer.Option(
        help="Where it is shown how far the work has come: a bar, a line every ten seconds as logs "
        "need it, or nothing; auto is a bar on a terminal and nothing in a pipe."
    ),
]
Seed = Annotated[int, typer.Option(help="Of random data and untrained weights.")]


@dataclass(frozen=True)
class Pricing:
    """The options that say how a saved profile is priced."""

    technology: Technology = "45nm"
    convention: Convention = "exact"
    precision: Precision = "fp32"
    memory: Memory = None


@dataclass(frozen=True)
class SubjectOptions:
    """The options that say which weights a model gets and which data it runs on."""

    checkpoint: Checkpoint = None
    data: Data = ""
    input_shape: InputShape = ""
    timesteps: Timesteps = None
    batch_size: Annotated[int, typer.Option(min=1, help="Samples a batch.")] = 32
    samples: Samples = None
    layout: Layout = None
    groups: Groups = ""
    loop: Loop = False
    predict: Predict = ""
    scale: Scale = True
    mean: Mean = ""
    std: Std = ""
    seed: Seed = 0

    def refuse_missing(self, model: str) -> None:
        """Names a file that is not there at once, not when PyTorch is loaded some seconds later."""
        place = model.partition(":")[0]
        for path, named, what in (
            (place, place.endswith(".py"), f"file {place} to take a model from"),
            (self.checkpoint or "", self.checkpoint, f"checkpoint {self.checkpoint}"),
            (self.data, self.data.endswith((".npz", ".npy")), f"file {self.data} to measure on"),
        ):
            if named and not Path(path).exists():
                raise AnalyzerError(f"there is no {what}.")


def examples(*texts: str) -> str:
    """Worked examples below the help of a command: in turn what one does, and what to type."""
    # An empty line between two, as older versions of Typer join all other lines.
    shown = (f"{what}\n  {line}" for what, line in zip(texts[::2], texts[1::2], strict=True))
    return escape("\n\n".join(["Examples", *shown]))


def expand_options(
    without: Collection[str] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command one option for each field of the dataclasses among its parameters.

    Typer reads the options of a command from its signature and knows no groups. The decorated
    function has a flat signature, in the same order, and builds the dataclasses when it is called.

    Args:
        without: Fields that are not offered as options; they keep their defaults.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        flat: list[Parameter] = []
        groups: dict[str, tuple[type, list[str]]] = {}
        for parameter in signature(command).parameters.values():
            kind = hints[parameter.name]
            if not (isinstance(kind, type) and is_dataclass(kind)):
                flat.append(parameter.replace(annotation=kind, kind=Parameter.KEYWORD_ONLY))
                continue
            options = get_type_hints(kind, include_extras=True)
            offered = [field for field in fields(kind) if field.name not in without]
            groups[parameter.name] = (kind, [field.name for field in offered])
            for field in offered:
                default = Parameter.empty if field.default is MISSING else field.default
                option = Parameter(field.name, Parameter.KEYWORD_ONLY, default=default)
                flat.append(option.replace(annotation=options[field.name]))

        @wraps(command)
        def grouped(**given: Any) -> None:
            built = {
                name: kind(**{field: given.pop(field) for field in names})
                for name, (kind, names) in groups.items()
            }
            command(**given, **built)

        grouped.__signature__ = Signature(flat)  # type: ignore[attr-defined]
        grouped.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
        return grouped

    return decorate


def options_of(settings: Iterable[str]) -> dict[str, Any]:
    """Parses settings ``key=value``, whose values are plain Python literals, into a dict.

    Raises:
        AnalyzerError: If a setting is not of that form.
    """
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        try:
            if not (equals and key.isidentifier()):
                raise ValueError
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise AnalyzerError(
                f"--set {setting!r} is not understood: write key=value, such as groups=4."
            ) from None
    return found


def shape_of(text: str) -> tuple[int, ...] | None:
    """Parses a shape such as ``3,224,224``; empty text gives None."""
    if not text:
        return None
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise typer.BadParameter(f"{text!r} is no shape: write it like 3,224,224.")
    return shape


def layouts_of(options: Iterable[str] | None) -> dict[str, str]:
    """Parses layouts ``MODULE=AXES`` or, for the model's own input, ``AXES`` alone."""
    pairs = (option.rpartition("=") for option in options or ())
    return {pattern.strip("'\""): axes for pattern, _, axes in pairs}


def groups_of(text: str) -> dict[str, int]:
    """Parses groups such as ``temporal=2,spatial=4``; empty text gives none."""
    found = {}
    for part in text.split(",") if text else ():
        axis, _, number = part.partition("=")
        if not number.strip().isdigit():
            raise typer.BadParameter(f"{part!r} is no number of groups: write temporal=2.")
        found[axis.strip()] = int(number)
    return found


def inputs_of(texts: Iterable[str]) -> Any:
    """Parses inputs such as ``input_ids=int64:1,2048`` into what :func:`analyzer.count` takes.

    Returns:
        The shape of one sample where one shape is all there is, arguments by name or by position
        where there are more, None where there is nothing.
    """
    parsed = [_input_of(text) for text in texts]
    names = [name for name, _, _ in parsed]
    if [(name, dtype) for name, dtype, _ in parsed] == [("", "")]:
        return parsed[0][2]
    described = [(dtype, shape) if dtype else shape for _, dtype, shape in parsed]
    if not any(names):
        return tuple(described) or None
    if not all(names) or len(set(names)) != len(names):
        raise typer.BadParameter("give each --input a name of its own, or none of them a name.")
    return dict(zip(names, described, strict=True))


def _input_of(text: str) -> tuple[str, str, tuple[int, ...]]:
    """The name, the dtype and the shape of one input; what is not given is empty."""
    name, equals, rest = text.rpartition("=")
    dtype, colon, sizes = rest.rpartition(":")
    shape = shape_of(sizes)
    unnamed = equals and not name.isidentifier()
    if shape is None or unnamed or (colon and not dtype):
        raise typer.BadParameter(
            f"{text!r} is no input: write 3,224,224 or input_ids=int64:1,2048."
        )
    return name, dtype, shape


def figures_of(text: str) -> tuple[float, ...]:
    """Parses numbers such as ``0.5,0.5``; empty text gives an empty tuple."""
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise typer.BadParameter(f"{text!r} are no figures: write 0.5 or 0.5,0.5,0.5.") from None


def files_of(paths: Sequence[Path], output: Path | None = None) -> list[Path]:
    """The files of profiles that are named, and those in the folders that are named.

    Hidden files of a folder are left out: a sweep keeps its notes in one.

    Args:
        paths: Files and folders.
        output: A file that is to be written, and is left out of a folder that holds it.

    Raises:
        AnalyzerError: If a folder holds none.
    """
    found: list[Path] = []
    for path in paths:
        inside = [path]
        if path.is_dir():
            known = sorted([*path.glob("*.json"), *path.glob("*.json.gz")])
            written = output and output.resolve()
            inside = [p for p in known if p.name[0] != "." and p.resolve() != written]
        if not inside:
            raise AnalyzerError(f"{path} holds no profiles: a folder of .json or .json.gz files.")
        found += inside
    return found


@contextmanager
def needing_extra(what: str, extra: str = "report") -> Iterator[None]:
    """Turns a missing optional package into an error that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise AnalyzerError(
            f"{what} needs {error.name}: install it with pip install 'snn-analyzer[{extra}]'."
        ) from error
