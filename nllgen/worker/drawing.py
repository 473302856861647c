"""A data set while it is drawn, chunk by chunk; what is drawn is kept when the work is stopped."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch

from nllgen.data.synthetic import CHUNK, draw_split, entropy_log_probs
from nllgen.data.truth import Truth
from nllgen.errors import CorruptFileError, SchemaError, StoppedError
from nllgen.storage.dataset import Dataset, PartialDataset, read_partial, write_partial
from nllgen.storage.hdf5_data import Array
from nllgen.storage.schema import SPLITS
from nllgen.storage.visibility import is_there
from nllgen.train.streams import generator
from nllgen.worker.progress import TaskProgress
from nllgen.worker.settings import Stop

_CPU = torch.device("cpu")
_SAVE_EVERY_S = 120.0
ENTROPY = "entropy"  # draws whose densities alone are kept


def partial_path(path: Path) -> Path:
    """Return the file of what is drawn of a data set, until it is complete."""
    return path.with_name("dataset.partial.h5")


class Drawing:
    """The images and densities that are drawn so far.

    Args:
        truth: draws them, on the CPU.
        wanted: number of images by split, and of draws for the entropy; 0 where it is known.
        path: dataset.h5, beside which what is drawn is kept.
        old: a smaller data set, which the new one begins with.
    """

    def __init__(self, truth: Truth, wanted: dict[str, int], path: Path, old: Dataset | None):
        self._truth, self._wanted, self._partial = truth, wanted, partial_path(path)
        shape = truth.cell.data.shape
        self._x = {split: [np.empty((0, *shape), np.float32)] for split in SPLITS}
        self._log_prob = {name: [np.empty(0)] for name in wanted}
        self._done = dict.fromkeys(wanted, 0)
        self._worst = old.numbers["forward_inverse_nats"] if old else 0.0
        self._saved_at = time.monotonic()
        if old:
            self._take(old.x, old.log_prob)
        if (partial := _read(self._partial, truth.sha256)) is not None:
            self._take(partial.x, partial.log_prob)
            self._worst = max(self._worst, partial.forward_inverse_nats)

    def _take(self, x: dict[str, Array], log_prob: dict[str, Array]) -> None:
        """Take whole chunks of an older drawing where they are more than what is there."""
        for name, wanted in self._wanted.items():
            there = len(log_prob.get(name, ()))
            num = wanted if there >= wanted else there // CHUNK * CHUNK
            if num > self._done[name]:
                self._done[name], self._log_prob[name] = num, [log_prob[name][:num]]
                if name in self._x:
                    self._x[name] = [x[name][:num]]

    def run(self, progress: TaskProgress, stop: Stop) -> None:
        """Draw what is missing.

        Raises:
            StoppedError: a stop was asked for; what is drawn is kept for the next time.
        """
        progress.add(sum(self._done.values()))
        for name, wanted in self._wanted.items():
            while self._done[name] < wanted:
                if stop():
                    self._save()
                    num = f"{sum(self._done.values()):,} of {sum(self._wanted.values()):,}"
                    raise StoppedError(f"stopped after {num} draws, which are kept", "run it again: it goes on there")
                if time.monotonic() - self._saved_at > _SAVE_EVERY_S:
                    self._save()
                self._draw_chunk(name, min(self._done[name] + CHUNK, wanted), progress)

    def _draw_chunk(self, name: str, last: int, progress: TaskProgress) -> None:
        first = self._done[name]
        if name == ENTROPY:
            densities = entropy_log_probs(self._truth, first, last, self._generator, progress.add)
        else:
            images, densities, error = draw_split(self._truth, name, first, last, self._generator, progress.add)
            self._x[name].append(images.numpy())
            self._worst = max(self._worst, error)
        self._log_prob[name].append(densities.numpy())
        self._done[name] = last

    def _generator(self, split: str, chunk: int) -> torch.Generator:
        return generator(_CPU, self._truth.cell.seed, "dataset", split, chunk)

    def _save(self) -> None:
        write_partial(self._partial, PartialDataset(self._truth.sha256, self.images(), self.densities(), self._worst))
        self._saved_at = time.monotonic()

    def images(self) -> dict[str, Array]:
        """Return split → (N, C, H, W) logits."""
        return {split: np.concatenate(parts) for split, parts in self._x.items()}

    def densities(self) -> dict[str, Array]:
        """Return split, or the entropy's draws → (N,) nats."""
        return {name: np.concatenate(parts) for name, parts in self._log_prob.items()}

    @property
    def forward_inverse_nats(self) -> float:
        """Return the largest difference of a density between the two directions, in nats."""
        return self._worst

    def entropy(self) -> tuple[float, float]:
        """Return the entropy of the truth in nats, with its standard error."""
        values = np.concatenate(self._log_prob[ENTROPY])
        return -float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))


def _read(path: Path, truth_sha256: str) -> PartialDataset | None:
    """Return what was drawn from this truth before; None where there is nothing, or something else."""
    if not is_there(path):
        return None
    try:
        partial = read_partial(path)
    except (CorruptFileError, SchemaError):  # it is drawn again
        return None
    return partial if partial.truth_sha256 == truth_sha256 else None
