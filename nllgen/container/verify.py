"""Verification that a file is a container which can run this nllgen's cells, before anything is submitted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from nllgen.container.exec import Container, container_python, exec_command
from nllgen.container.sif import check_signed_digests, hash_range, labels_of, read_sif, require_system
from nllgen.errors import ContainerError, MachineError
from nllgen.storage.atomic import make_folder, write_bytes
from nllgen.study.config import SCHEMA
from nllgen.study.user_directories import expand_home, user_directory

_QUERY_S = 120


def cache_folder() -> Path:
    """Return ``$NLLGEN_CACHE``, else ``nllgen`` in the user's cache (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    if chosen := os.environ.get("NLLGEN_CACHE"):
        return expand_home(chosen).absolute()
    return user_directory("CACHE")


def verify_container(path: Path, *, use_cache: bool = True) -> Container:
    """Verify that a container is whole, fits this machine, and holds a nllgen of this one's schema.

    The digest of the whole file is remembered by path, size and time of change in the user's cache. Where Apptainer is
    installed, the nllgen inside is asked for its schema; elsewhere its label counts.

    Args:
        path: the SIF.
        use_cache: whether a remembered digest counts.

    Raises:
        ContainerError: it is not; with what to do.
    """
    path = path.absolute()
    sif = read_sif(path)
    require_system(sif)
    labels = labels_of(sif)
    if "nllgen.version" not in labels:
        raise ContainerError(
            f"{path} holds no nllgen: it has no label nllgen.version", "nllgen build -o SIF makes one that does"
        )
    require_schema(path, labels.get("nllgen.schema", ""))
    content = _recall(path) if use_cache else None
    if content is None:
        check_signed_digests(sif)
        content = {"sha256": hash_range(path)}
        if shutil.which("apptainer"):
            content["schema"] = query_schema(Container(path, content["sha256"], labels))
        _remember(path, content)
    require_schema(path, content.get("schema", labels["nllgen.schema"]))
    return Container(path, content["sha256"], labels)


def require_schema(path: Path, schema: str) -> None:
    """Require that the nllgen in a container reads and writes the same files as this one.

    Raises:
        ContainerError: its schema is another.
    """
    if schema != str(SCHEMA):
        raise ContainerError(
            f"the nllgen in {path} has schema {schema or 'unknown'}, this one has {SCHEMA}",
            "build a container of this version: nllgen build; or submit with the version that the container holds",
        )


def query_schema(container: Container) -> str:
    """Ask the nllgen inside for its schema.

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
            timeout=_QUERY_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ContainerError(
            f"{container.path} did not start within {_QUERY_S} s", "try it in a shell: nllgen shell"
        ) from error
    if done.returncode != 0:
        last = "\n    ".join(done.stderr.strip().splitlines()[-5:])
        raise ContainerError(
            f"nllgen does not run in {container.path}:\n    {last}", "nllgen build -o SIF makes a container anew"
        )
    return done.stdout.strip()


def _note(path: Path) -> Path:
    return cache_folder() / "opened" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"


def _identity(path: Path) -> list[int]:
    """Return numbers that change when the file does."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _recall(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
        return dict(note["content"]) if note["identity"] == _identity(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(path: Path, content: dict[str, Any]) -> None:
    """Write a note; where the cache cannot be written, the container is only verified again the next time."""
    try:
        make_folder(_note(path).parent)
        write_bytes(_note(path), json.dumps({"identity": _identity(path), "content": content}).encode())
    except (OSError, MachineError):
        return
