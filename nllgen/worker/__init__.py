"""One task of a study, from its configuration to its files: the truth, its data set, or a cell."""

from nllgen.worker.run import Settings
from nllgen.worker.task import run_task

__all__ = ["Settings", "run_task"]
