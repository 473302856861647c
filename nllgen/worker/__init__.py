"""One task of a study, from its configuration to its files: the truth, its data set, or a cell."""

from nllgen.worker.task import run_task
from nllgen.worker.run import Settings

__all__ = ["Settings", "run_task"]
