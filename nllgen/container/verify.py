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
from nllgen.container.bill import BILL, packages_of
from nllgen.container.exec import PREFIX, Container, exec_command, require_apptainer
from nllgen.container.sif import check_signed_digests, hash_range, labels_of, read_sif, require_system
from nllgen.container.wheels import normalised
from nllgen.errors import ContainerError, MachineError
from nllgen.storage.atomic import make_folder, write_bytes
from nllgen.study.config import SCHEMA
from nllgen.study.user_directories import expand_home, plain_path, user_directory

_QUERY_S = 120
_ANEW = "nllgen build -o SIF makes a container anew"


def cache_folder() -> Path:
    """Return ``$NLLGEN_CACHE``, else ``nllgen`` in the user's cache (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    if chosen := os.environ.get("NLLGEN_CACHE"):
        return plain_path(expand_home(chosen))
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
    return _run(container, f"{PREFIX}/bin/python", "-I", "-c", code).strip()


def _run(container: Container, *command: str) -> str:
    """Return what a command prints in the container."""
    words, variables = exec_command(container, command, binds=(), environment={})
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
        raise ContainerError(reason, _ANEW)
    return done.stdout


def bill_path(container: Path) -> Path:
    """Return the path of the bill of materials beside a SIF."""
    return container.with_name(f"{container.name.removesuffix('.sif')}.{BILL}")


def read_bill(container: Container) -> bytes:
    """Read the bill of materials in a container.

    Raises:
        ContainerError: it has none.
    """
    try:
        return _run(container, "cat", f"{PREFIX}/{BILL}").encode()
    except ContainerError as error:
        raise ContainerError(f"{container.path} holds no bill of materials, {PREFIX}/{BILL}", _ANEW) from error


def _require_bill(container: Container) -> dict[str, int]:
    """Compare the bill with what pip and dpkg list in the container, and with the copy beside it.

    Returns:
        The number of packages by type.

    Raises:
        ContainerError: there is no bill, or it differs.
    """
    content = read_bill(container)
    beside = bill_path(container.path)
    if beside.exists() and beside.read_bytes() != content:
        raise ContainerError(
            f"{beside} is not the bill of materials of {container.path}",
            "build it anew; a bill that was written by hand: give it another name",
        )
    python = [f"{PREFIX}/bin/python", "-I"]
    pip = json.loads(_run(container, *python, "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"))
    code = "import json; from nllgen.container.bill import installed_debs; print(json.dumps(installed_debs()))"
    debs = json.loads(_run(container, *python, "-c", code))
    installed = {
        "pypi": {normalised(package["name"]): package["version"] for package in pip},
        "deb": {name: version for name, version, _ in debs},
    }
    try:
        listed = {kind: packages_of(json.loads(content), kind) for kind in installed}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ContainerError(f"the bill of materials of {container.path} cannot be read: {error}", _ANEW) from error
    for kind, packages in installed.items():
        if differing := sorted(name for name, _ in packages.items() ^ listed[kind].items()):
            reason = f"{container.path} holds other packages than its bill of materials: {', '.join(differing[:5])}"
            raise ContainerError(reason, _ANEW)
    return {kind: len(packages) for kind, packages in installed.items()}


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
    """Verify a container without the cache, its signature's owner, its bill of materials, and that nllgen runs in it.

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
    num = _require_bill(container)
    echo(f"its bill of materials has the {num['pypi']} packages of Python and the {num['deb']} of Debian that it holds")
    apptainer.test(container.path)
    echo("nllgen runs in it, imports, samples and scores")
    echo(f"sha256 {container.sha256}")
    return container
