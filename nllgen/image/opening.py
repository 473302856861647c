"""Is this file an image that can run this nllgen's cells? Asked before anything is submitted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from nllgen.errors import ImageError, MachineError
from nllgen.image.running import Image, exec_command, image_python
from nllgen.image.sif import check_signed_digests, hash_range, labels_of, read_sif, require_architecture
from nllgen.store.atomic import make_folder, write_bytes
from nllgen.study.config import SCHEMA

_PROBE_S = 120


def cache_folder() -> Path:
    """``$NLLGEN_CACHE``, else ``nllgen`` in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    if chosen := os.environ.get("NLLGEN_CACHE"):
        return Path(chosen).absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "nllgen"


def open_image(path: Path) -> Image:
    """An image that is whole, for this kind of machine, and holds a nllgen of this one's schema.

    Read once: what was found is remembered by path, size and time of change in the user's cache folder. Where Apptainer
    is installed, the nllgen inside is asked for its schema; elsewhere the label is believed.

    Raises:
        ImageError: it is not; with what to do.
    """
    path = path.absolute()
    sif = read_sif(path)
    require_architecture(sif)
    labels = labels_of(sif)
    if "nllgen.version" not in labels:
        raise ImageError(
            f"{path} holds no nllgen: it has no label nllgen.version", "nllgen build -o SIF makes one that does"
        )
    require_schema(path, labels.get("nllgen.schema", ""))
    found = _recall(path)
    if found is None:
        check_signed_digests(sif)
        found = {"sha256": hash_range(path)}
        if shutil.which("apptainer"):
            found["schema"] = ask_schema(Image(path, found["sha256"], labels))
        _remember(path, found)
    require_schema(path, found.get("schema", labels["nllgen.schema"]))
    return Image(path, found["sha256"], labels)


def require_schema(path: Path, schema: str) -> None:
    """Raises.

    Raises:
        ImageError: the nllgen in the image reads and writes other files than this one.
    """
    if schema != str(SCHEMA):
        raise ImageError(
            f"the nllgen in {path} has schema {schema or 'unknown'}, this one has {SCHEMA}",
            "build an image of this version: nllgen build; or submit with the version that the image holds",
        )


def ask_schema(image: Image) -> str:
    """What the nllgen inside says its schema is.

    Raises:
        ImageError: it does not run.
    """
    code = "from nllgen.study.config import SCHEMA; print(SCHEMA)"
    words, variables = exec_command(image, [*image_python()[:2], "-c", code], binds=(), environment={})
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
        raise ImageError(f"{image.path} did not start within {_PROBE_S} s", "look into it: nllgen shell") from error
    if done.returncode != 0:
        last = "\n    ".join(done.stderr.strip().splitlines()[-5:])
        raise ImageError(f"nllgen does not run in {image.path}:\n    {last}", "nllgen build -o SIF makes an image anew")
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
