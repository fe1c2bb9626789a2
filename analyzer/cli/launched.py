"""Which of several workers this process is, as launchers say it in the environment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from analyzer.errors import AnalyzerError

__all__ = ["Launched", "launched", "without_launcher"]

_LAUNCHERS = (
    (  # torchrun and most others
        "RANK", "WORLD_SIZE",
        ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT"),
    ),
    # srun; a batch script by itself has a rank too, and is the only one of its kind
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", ("SLURM_JOB_ID", "SLURM_STEP_ID")),
    (  # mpirun of Open MPI
        "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", ("OMPI_MCA_ess_base_jobid",),
    ),
    ("PMI_RANK", "PMI_SIZE", ("PMI_ID_JOB",)),  # mpiexec of MPICH and Intel MPI
)  # fmt: skip
"""The variables of launchers: the rank from 0, the number of workers, and those that are the same
for all workers of a run, and mostly others in another run. One launcher may start the nodes of
another, each with variables of its own, so only those of one are read."""


class Launched(NamedTuple):
    """This process among several workers.

    Attributes:
        rank: Which it is, from 0.
        size: How many there are.
        run: A short text that tells runs apart.
    """

    rank: int
    size: int
    run: str

    def __str__(self) -> str:
        return f"worker {self.rank} of {self.size}"


def launched(environment: Mapping[str, str]) -> Launched | None:
    """What a launcher says in the environment; None where there is one worker.

    Raises:
        AnalyzerError: Where what it says can not be.
    """
    for rank_name, size_name, names in _LAUNCHERS:
        rank_text, size_text = environment.get(rank_name, ""), environment.get(size_name, "")
        if not rank_text or not size_text:
            continue
        whole = rank_text.isdecimal() and size_text.isdecimal()
        if not whole or int(rank_text) >= int(size_text):
            raise AnalyzerError(
                f"the environment says {rank_name}={rank_text} and {size_name}={size_text}, which "
                "names no worker: ranks count from 0 to one below the number of workers."
            )
        if int(size_text) == 1:
            return None
        told = "\n".join(environment.get(name, "") for name in names)
        run = hashlib.sha256(told.encode()).hexdigest()[:8]
        return Launched(int(rank_text), int(size_text), run)
    return None


def without_launcher(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which a process is one worker."""
    ranks = {name for name, *_ in _LAUNCHERS}
    return {name: value for name, value in environment.items() if name not in ranks}
