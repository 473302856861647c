"""Is this file a container that can run this nllgen's cells? Asked before anything is submitted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from nllgen.container.exec import Container, container_python, exec_command
from nllgen.container.sif import check_signed_digests, hash_range, labels_of, read_sif, require_architecture
from nllgen.errors import ContainerError, MachineError
from nllgen.storage.atomic import make_folder, write_bytes
from nllgen.study.config import SCHEMA

_PROBE_S = 120


def cache_folder() -> Path:
    """``$NLLGEN_CACHE``, else ``nllgen`` in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    if chosen := os.environ.get("NLLGEN_CACHE"):
        return Path(chosen).absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "nllgen"


def verify_container(path: Path) -> Container:
    """A container that is whole, for this kind of machine, and holds a nllgen of this one's schema.

    Read once: what was found is remembered by path, size and time of change in the user's cache folder. Where Apptainer
    is installed, the nllgen inside is asked for its schema; elsewhere the label is believed.

    Raises:
        ContainerError: it is not; with what to do.
    """
    path = path.absolute()
    sif = read_sif(path)
    require_architecture(sif)
    labels = labels_of(sif)
    if "nllgen.version" not in labels:
        raise ContainerError(
            f"{path} holds no nllgen: it has no label nllgen.version", "nllgen build -o SIF makes one that does"
        )
    require_schema(path, labels.get("nllgen.schema", ""))
    found = _recall(path)
    if found is None:
        check_signed_digests(sif)
        found = {"sha256": hash_range(path)}
        if shutil.which("apptainer"):
            found["schema"] = ask_schema(Container(path, found["sha256"], labels))
        _remember(path, found)
    require_schema(path, found.get("schema", labels["nllgen.schema"]))
    return Container(path, found["sha256"], labels)


def require_schema(path: Path, schema: str) -> None:
    """Raises.

    Raises:
        ContainerError: the nllgen in the container reads and writes other files than this one.
    """
    if schema != str(SCHEMA):
        raise ContainerError(
            f"the nllgen in {path} has schema {schema or 'unknown'}, this one has {SCHEMA}",
            "build a container of this version: nllgen build; or submit with the version that the container holds",
        )


def ask_schema(container: Container) -> str:
    """What the nllgen inside says its schema is.

    Raises:
        ContainerError: it does not run.
    """
    code = "from nllgen.study.config import SCHEMA; print(SCHEMA)"
    words, variables = exec_command(container, [*container_python()[:2], "-c", code], binds=(), environment={})
    try:
        done = subprocess.run(
            words,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ContainerError(
            f"{container.path} did not start within {_PROBE_S} s", "look into it: nllgen shell"
        ) from error
    if done.returncode != 0:
        last = "\n    ".join(done.stderr.strip().splitlines()[-5:])
        raise ContainerError(
            f"nllgen does not run in {container.path}:\n    {last}", "nllgen build -o SIF makes a container anew"
        )
    return done.stdout.strip()


def _note(path: Path) -> Path:
    return cache_folder() / "opened" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"


def _state(path: Path) -> list[int]:
    """What changes when the file does."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _recall(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
        return dict(note["found"]) if note["state"] == _state(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(path: Path, found: dict[str, Any]) -> None:
    """A cache folder that cannot be written costs a second look the next time, nothing else."""
    try:
        make_folder(_note(path).parent)
        write_bytes(_note(path), json.dumps({"state": _state(path), "found": found}).encode())
    except (OSError, MachineError):
        return
