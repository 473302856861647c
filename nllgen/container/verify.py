"""Verification that a file is a container which can run this nllgen's cells, before anything is submitted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from nllgen.container import apptainer
from nllgen.container.exec import Container, container_python, exec_command, require_apptainer
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

    Raises:
        ContainerError: it is not; with what to do.
    """
    path = path.absolute()
    sif = read_sif(path)
    require_system(sif)
    labels = labels_of(sif)
    if "nllgen.version" not in labels:
        reason = f"{path} holds no nllgen: it has no label nllgen.version"
        raise ContainerError(reason, "nllgen build -o SIF makes one that does")
    _require_schema(path, labels.get("nllgen.schema", ""))
    note = _note(path)
    content = _recall(note) if use_cache else None
    if content is None:
        check_signed_digests(sif)
        content = {"sha256": hash_range(path)}
        if shutil.which("apptainer"):
            content["schema"] = _query_schema(Container(path, content["sha256"], labels))
        with contextlib.suppress(OSError, MachineError):  # without a cache, it is only verified again the next time
            make_folder(note.parent)
            write_bytes(note, json.dumps(content).encode())
    _require_schema(path, content.get("schema", labels["nllgen.schema"]))
    return Container(path, content["sha256"], labels)


def _require_schema(path: Path, schema: str) -> None:
    """Require that the nllgen in a container reads and writes the same files as this one."""
    if schema != str(SCHEMA):
        raise ContainerError(
            f"the nllgen in {path} has schema {schema or 'unknown'}, this one has {SCHEMA}",
            "build a container of this version: nllgen build; or submit with the version that the container holds",
        )


def _query_schema(container: Container) -> str:
    """Ask the nllgen inside for its schema."""
    code = "from nllgen.study.config import SCHEMA; print(SCHEMA)"
    words, variables = exec_command(container, [*container_python()[:2], "-c", code], binds=(), environment={})
    try:
        done = subprocess.run(
            words, env=os.environ | variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_QUERY_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        reason = f"{container.path} did not start within {_QUERY_S} s"
        raise ContainerError(reason, "try it in a shell: nllgen shell") from error
    if done.returncode != 0:
        last = "\n    ".join(done.stderr.strip().splitlines()[-5:])
        reason = f"nllgen does not run in {container.path}:\n    {last}"
        raise ContainerError(reason, "nllgen build -o SIF makes a container anew")
    return done.stdout.strip()


def _note(path: Path) -> Path:
    """Return the path of the cached digest, whose name changes when the file does."""
    stat = path.stat()
    identity = f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
    return cache_folder() / "opened" / f"{hashlib.sha256(os.fsencode(identity)).hexdigest()[:32]}.json"


def _recall(note: Path) -> dict[str, str] | None:
    try:
        content = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "sha256" in content else None


def check(path: Path, public_key: Path | None, echo: Callable[[str], None]) -> Container:
    """Verify a container without the cache, its signature's owner, and that nllgen runs in it.

    Args:
        path: the SIF.
        public_key: of the signer, as PEM; without it the keys of Apptainer's keyring are tried.
        echo: prints a line after each step.

    Raises:
        ContainerError: one step failed.
        MachineError: Apptainer is not installed.
    """
    require_apptainer()
    container = verify_container(path, use_cache=False)
    labels = container.labels
    echo(f"a whole SIF for this machine; nllgen {labels['nllgen.version']}, schema {labels['nllgen.schema']}")
    if read_sif(container.path).signatures:
        apptainer.verify(container.path, public_key)
        echo("its signature is good")
    else:
        echo("not signed")
    apptainer.test(container.path)
    echo("nllgen runs in it, imports, samples and scores")
    echo(f"sha256 {container.sha256}")
    return container
