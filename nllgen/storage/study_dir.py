"""The directory of a study: the names of its files, its permissions, the frozen study."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nllgen.errors import CorruptFileError, MachineError, reading
from nllgen.storage.atomic import identity_of, make_folder, part_file, raise_os_error, replace, write_part
from nllgen.storage.ownership import Opening, find_links, find_openings, folder_opening
from nllgen.storage.untrusted import HEADER_BYTES, STUDY_BYTES
from nllgen.study.config import Study
from nllgen.study.manifest import header_text, manifest_text, parse_frozen
from nllgen.study.path_kinds import COLLECTED, HEADER, MANIFEST, is_study, not_a_study, studies_in
from nllgen.study.untrusted_files import read_regular

_MAX_NAMED = 5
_DIGITS = 16  # of a digest, in a file name
_EXTRA_METRICS = re.compile(r"metrics\.[a-z0-9_]+\.h5")
_CHECKPOINT = re.compile(r"checkpoint\..*\.pt")
_LEFTOVER = re.compile(rf"checkpoint\..*|progress\.json|.*\.part|model\.[0-9a-f]{{{_DIGITS}}}\.pt")


@dataclass(frozen=True)
class TaskDir:
    """The directory of one training run: a cell's or the truth's."""

    path: Path

    @property
    def result(self) -> Path:
        """Return result.h5, which exists when the run is complete."""
        return self.path / "result.h5"

    def model(self, model_sha256: str) -> Path:
        """Return model.<digest>.pt: the last weights, the best and their moving average, under their digest.

        result.h5 names the digest, so that the weights of two attempts are two files and a result never stands beside
        another attempt's weights.
        """
        return self.path / f"model.{model_sha256[:_DIGITS]}.pt"

    @property
    def weights(self) -> Path:
        """Return truth.pt: the frozen weights, in the truth's folder alone."""
        return self.path / "truth.pt"

    @property
    def dataset(self) -> Path:
        """Return dataset.h5, in the truth's folder alone."""
        return self.path / "dataset.h5"

    def extra_metrics(self, group: str) -> Path:
        """Return metrics.<group>.h5: metrics measured after the run."""
        return self.path / f"metrics.{group}.h5"

    def all_extra_metrics(self) -> list[Path]:
        """Return the metrics.<group>.h5 that exist, sorted; copies that other programs name after them do not count.

        Raises:
            MachineError: the directory cannot be read now.
        """
        return self._files(_EXTRA_METRICS)

    @property
    def log(self) -> Path:
        """Return log.txt: the output of the worker in all attempts."""
        return self.path / "log.txt"

    @property
    def lease(self) -> Path:
        """Return lease: the file of who works on the task."""
        return self.path / "lease"

    @property
    def attempts(self) -> Path:
        """Return attempts.jsonl: a line for each start and end of an attempt."""
        return self.path / "attempts.jsonl"

    @property
    def progress(self) -> Path:
        """Return progress.json: the steps that are done, while the run is under way."""
        return self.path / "progress.json"

    @property
    def stop(self) -> Path:
        """Return stop: a file that asks the worker of this task to stop, and others not to begin it."""
        return self.path / "stop"

    def checkpoint(self, attempt: str) -> Path:
        """Return checkpoint.<attempt>.pt."""
        return self.path / f"checkpoint.{attempt}.pt"

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints of all attempts, the newest first.

        Raises:
            MachineError: the directory cannot be read now: whoever took it for empty would lose what they hold.
        """
        checkpoints = []
        for path in self._files(_CHECKPOINT):
            with contextlib.suppress(FileNotFoundError), reading(path):  # another attempt has just removed them
                checkpoints.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(checkpoints, reverse=True)]

    def _files(self, pattern: re.Pattern[str]) -> list[Path]:
        """Return the files of such a name, sorted; unlike a glob, which passes over what it cannot list."""
        try:
            with reading(self.path), os.scandir(self.path) as entries:
                names = sorted(entry.name for entry in entries if pattern.fullmatch(entry.name))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self.path / name for name in names]

    def remove_checkpoints(self, keep: Path) -> None:
        """Remove the checkpoints of earlier attempts, after a newer state was saved."""
        for path in self.path.glob("checkpoint.*.pt"):
            if path != keep:
                path.unlink(missing_ok=True)

    def remove_leftovers(self, model: Path) -> None:
        """Remove what no attempt needs after the result was published: checkpoints, partial files, other weights.

        Copies of weights under names of the user's own stay.

        Args:
            model: the weights that the published result was measured on, which stay.

        Raises:
            MachineError: the directory cannot be read now.
        """
        for path in self._files(_LEFTOVER):
            if path != model and not path.is_dir():
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class StudyDir:
    """``<root>/<study>``."""

    path: Path

    @property
    def header(self) -> Path:
        """Return study.yaml: the resolved study without its cells."""
        return self.path / HEADER

    @property
    def manifest(self) -> Path:
        """Return manifest.jsonl: one cell a line."""
        return self.path / MANIFEST

    @property
    def collected(self) -> Path:
        """Return study.h5: all results in one file, once they were collected."""
        return self.path / COLLECTED

    @property
    def events(self) -> Path:
        """Return the directory of event files, for ``tensorboard --logdir``; one directory in it is one run."""
        return self.path / "tensorboard"

    @property
    def submitit(self) -> Path:
        """Return the directory of submitit's pickles and logs."""
        return self.path / "submitit"

    @property
    def code(self) -> Path:
        """Return the directory with copies of the program as it was submitted."""
        return self.path / "code"

    @property
    def stop(self) -> Path:
        """Return the file that asks every supervisor of this study to stop."""
        return self.path / "stop"

    def cell(self, cell_id: str) -> TaskDir:
        """Return the directory of a cell."""
        return TaskDir(self.path.joinpath("cells", cell_id))

    def truth(self, truth_id: str) -> TaskDir:
        """Return the directory of the truth, with its training run, truth.pt and dataset.h5."""
        return TaskDir(self.path / "truths" / truth_id)

    def truth_weights(self, truth_id: str) -> Path:
        """Return truth.pt: the frozen weights of the truth."""
        return self.truth(truth_id).weights

    def dataset(self, truth_id: str) -> Path:
        """Return dataset.h5: the synthetic data set."""
        return self.truth(truth_id).dataset

    def images(self, sha256: str) -> Path:
        """Return images/<digest>.npz: a copy of the user's own images, under the digest of their content."""
        return self.path / "images" / f"{sha256[:_DIGITS]}.npz"

    @property
    def is_frozen(self) -> bool:
        """Return whether a study was submitted here."""
        return is_study(self.path)

    def guard(self) -> None:
        """Refuse a directory that somebody else could write to: workers load its files.

        Raises:
            MachineError: it names the owner, or what others may write, and the command that repairs it.
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
            openings = list(itertools.islice(self.find_openings(), _MAX_NAMED + 1))
        except OSError as error:
            raise_os_error("read the study folder", self.path, error)
        if openings:
            shown = [f"{opening.path} ({opening.reason})" for opening in openings[:_MAX_NAMED]]
            more = ["…"] * (len(openings) > _MAX_NAMED)
            raise MachineError(
                "\n  ".join([f"others may write what lies in the study folder {self.path}:", *shown, *more]),
                f"nllgen check {self.path} --repair",
            )

    def find_openings(self, *, everything: bool = False) -> Iterator[Opening]:
        """Find permissions that let others change the files that are executed here, or all files.

        Copies of the program and submitit's pickles are executed; the frozen study decides what they do. Results and
        weights are data, which their checksums prove.
        """
        executed = [self.header, self.manifest, self.code, self.submitit]
        yield from find_links(executed)
        if everything:
            yield from find_openings([self.path])
            return
        top = [path for path in (self.path, self.path / "cells", self.path / "truths") if path.exists()]
        for directory in top:
            yield from folder_opening(directory)
        yield from find_openings(executed)

    def read_study(self) -> Study:
        """Return the frozen study.

        Raises:
            ConfigError: nothing was submitted here.
            CorruptFileError, SchemaError: it cannot be read.
        """
        if not self.is_frozen:
            raise not_a_study(self.path, self.path.parent)
        try:
            return _read_frozen(self, identity_of(self.header.stat()), identity_of(self.manifest.stat()))
        except UnicodeDecodeError as error:
            raise CorruptFileError(
                f"{self.path}: the frozen study is not text ({error})", "restore a backup"
            ) from error
        except OSError as error:
            raise_os_error("read", self.path, error)

    def freeze(self, study: Study) -> None:
        """Write study.yaml and manifest.jsonl; both are on the disk before either is renamed."""
        make_folder(self.path)
        self.guard()
        with part_file(self.manifest) as manifest, part_file(self.header) as header:
            write_part(manifest, manifest_text(study).encode())
            write_part(header, header_text(study).encode())
            replace(manifest, self.manifest)
            replace(header, self.header)


@lru_cache(maxsize=4)
def _read_frozen(study_dir: StudyDir, *_identities: tuple[int, ...]) -> Study:
    """Read and parse a frozen study, once for each content of its files."""
    header = read_regular(study_dir.header, HEADER_BYTES).decode()
    manifest = read_regular(study_dir.manifest, STUDY_BYTES).decode()
    return parse_frozen(header, manifest, str(study_dir.path))


def studies(root: Path) -> Iterator[StudyDir]:
    """Yield the studies under a root, by name."""
    yield from map(StudyDir, studies_in(root))
