"""The folder of a study: where everything lies, who may write there, and what has been found so far."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nllgen.errors import ConfigError, CorruptFileError, MachineError
from nllgen.storage.atomic import make_folder, part_file, raise_os_error, replace, write_part
from nllgen.storage.ownership import Opening, find_openings, folder_opening
from nllgen.storage.untrusted import STUDY_BYTES, read_regular
from nllgen.study.config import Study
from nllgen.study.manifest import header_text, manifest_text, parse_frozen

_MAX_NAMED = 5


@dataclass(frozen=True)
class TaskDir:
    """The folder of one training run: a cell's or the truth's."""

    path: Path

    @property
    def result(self) -> Path:
        """result.h5: there when the run is complete."""
        return self.path / "result.h5"

    @property
    def model(self) -> Path:
        """model.pt: weights last, best and EMA."""
        return self.path / "model.pt"

    @property
    def weights(self) -> Path:
        """Return truth.pt: the frozen weights, in the truth's folder alone."""
        return self.path / "truth.pt"

    @property
    def dataset(self) -> Path:
        """Return dataset.h5, in the truth's folder alone."""
        return self.path / "dataset.h5"

    def extra_metrics(self, group: str) -> Path:
        """metrics.<group>.h5: metrics measured after the run."""
        return self.path / f"metrics.{group}.h5"

    def all_extra_metrics(self) -> list[Path]:
        """Those that are there."""
        return sorted(self.path.glob("metrics.*.h5"))

    @property
    def log(self) -> Path:
        """log.txt: what the worker printed, attempt after attempt."""
        return self.path / "log.txt"

    @property
    def lease(self) -> Path:
        """lease: who works on it."""
        return self.path / "lease"

    @property
    def attempts(self) -> Path:
        """attempts.jsonl: one line an attempt."""
        return self.path / "attempts.jsonl"

    @property
    def progress(self) -> Path:
        """progress.json: how far the run is, while it is under way."""
        return self.path / "progress.json"

    @property
    def stop(self) -> Path:
        """stop: asks whoever runs this task to stop, and others not to begin it."""
        return self.path / "stop"

    def checkpoint(self, attempt: str) -> Path:
        """checkpoint.<attempt>.pt."""
        return self.path / f"checkpoint.{attempt}.pt"

    def checkpoints(self) -> list[Path]:
        """Every attempt's checkpoint, newest first."""
        found = []
        for path in self.path.glob("checkpoint.*.pt"):
            with contextlib.suppress(FileNotFoundError):  # another attempt has just published and cleared up
                found.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found, reverse=True)]

    def remove_checkpoints(self, keep: Path) -> None:
        """A newer state is saved: those of earlier attempts are not needed."""
        for path in self.path.glob("checkpoint.*.pt"):
            if path != keep:
                path.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """A published result needs no checkpoints, nor what killed attempts left half written."""
        for pattern in ("checkpoint.*", "progress.json", "*.part"):
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class StudyDir:
    """``<root>/<study>``."""

    path: Path

    @property
    def header(self) -> Path:
        """study.yaml."""
        return self.path / "study.yaml"

    @property
    def manifest(self) -> Path:
        """manifest.jsonl."""
        return self.path / "manifest.jsonl"

    @property
    def submitit(self) -> Path:
        """Where submitit keeps its pickles and logs."""
        return self.path / "submitit"

    @property
    def code(self) -> Path:
        """Copies of the program as it was when the study was submitted."""
        return self.path / "code"

    @property
    def stop(self) -> Path:
        """A file that asks every supervisor of this study to stop."""
        return self.path / "stop"

    def cell(self, cell_id: str) -> TaskDir:
        """A cell's folder."""
        return TaskDir(self.path / "cells" / cell_id)

    def truth(self, truth_id: str) -> TaskDir:
        """The folder of the truth: its training run, truth.pt and dataset.h5."""
        return TaskDir(self.path / "truths" / truth_id)

    def truth_weights(self, truth_id: str) -> Path:
        """truth.pt."""
        return self.truth(truth_id).weights

    def dataset(self, truth_id: str) -> Path:
        """dataset.h5."""
        return self.truth(truth_id).dataset

    @property
    def is_frozen(self) -> bool:
        """Whether a study was submitted here."""
        return self.manifest.exists() and self.header.exists()

    def guard(self) -> None:
        """Refuse a folder that somebody else could write to: workers load what lies in it.

        Raises:
            MachineError: naming the owner, or what others may write, and the command that mends it.
        """
        try:
            info = self.path.stat()
        except OSError as error:
            raise_os_error("read the study folder", self.path, error)
        if not stat.S_ISDIR(info.st_mode):
            raise MachineError(f"{self.path} is a file, not a study folder", "choose another --root or study name")
        if info.st_uid not in (os.geteuid(), 0):
            raise MachineError(
                f"the study folder {self.path} is another user's", "submit the grid under your own --root"
            )
        try:
            found = list(itertools.islice(self.find_openings(), _MAX_NAMED + 1))
        except OSError as error:
            raise_os_error("read the study folder", self.path, error)
        if found:
            shown = [f"{opening.path} ({opening.reason})" for opening in found[:_MAX_NAMED]]
            more = ["…"] * (len(found) > _MAX_NAMED)
            raise MachineError(
                "\n  ".join([f"others may write what lies in the study folder {self.path}:", *shown, *more]),
                f"nllgen check {self.path} --repair",
            )

    def find_openings(self, *, everything: bool = False) -> Iterator[Opening]:
        """Find what others could change of what is executed here, or of everything.

        Executed are the copies of the program and submitit's pickles; the study and the names of its folders decide
        what they do. Results and weights are data, which their checksums prove.
        """
        if everything:
            yield from find_openings([self.path])
            return
        top = [path for path in (self.path, self.path / "cells", self.path / "truths") if path.exists()]
        for folder in top:
            yield from (found for found in folder_opening(folder))
        yield from find_openings([self.header, self.manifest, self.code, self.submitit])

    def read_study(self) -> Study:
        """The frozen study.

        Raises:
            ConfigError: nothing was submitted here.
            CorruptFileError, SchemaError: it cannot be read.
        """
        if not self.is_frozen:
            raise ConfigError(
                f"{self.path} is not a study folder: it has no study.yaml and manifest.jsonl",
                "give the folder that `nllgen submit` named, <root>/<study>",
            )
        try:
            header, manifest = (read_regular(path, STUDY_BYTES).decode() for path in (self.header, self.manifest))
        except UnicodeDecodeError as error:
            raise CorruptFileError(
                f"{self.path}: the frozen study is not text ({error})", "restore a backup"
            ) from error
        except OSError as error:
            raise_os_error("read", self.path, error)
        return parse_frozen(header, manifest, str(self.path))

    def freeze(self, study: Study) -> None:
        """Write study.yaml and manifest.jsonl: both are on the disk before either gets its name."""
        make_folder(self.path)
        self.guard()
        with part_file(self.manifest) as manifest, part_file(self.header) as header:
            write_part(manifest, manifest_text(study).encode())
            write_part(header, header_text(study).encode())
            replace(manifest, self.manifest)
            replace(header, self.header)


def _names(folder: Path) -> set[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return {entry.name for entry in entries}
    return set()


def studies(root: Path) -> Iterator[StudyDir]:
    """The studies under a root."""
    for name in sorted(_names(root)):
        if (study := StudyDir(root / name)).is_frozen:
            yield study
