"""One task of a study, from its configuration to its files: the truth, its data set, or a cell."""

from nllgen.worker.run_task import run_task
from nllgen.worker.settings import Settings

__all__ = ["Settings", "run_task"]
