"""The Singularity Container Format, read without Apptainer, which login nodes may lack.

A SIF is a header of 128 bytes, a table of descriptors and the data objects that they describe (the definition, the
labels, one squashfs, signatures): https://github.com/apptainer/sif. All numbers are little-endian.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nllgen.errors import ContainerError
from nllgen.study.path_kinds import PathKind, not_a_container, path_kind
from nllgen.study.untrusted_files import open_regular

_HEADER = struct.Struct("<32s10s3s3s16s8q")
_DESCRIPTOR = struct.Struct("<i?III3q2q2q128s384s")
_MAGIC = b"SIF_MAGIC\0"
_MAX_DESCRIPTORS = 4096
_GROUP_MASK = 0xF0000000
_PARTITION, _SIGNATURE, _JSON = 0x4004, 0x4005, 0x4006
_LABELS = "inspect-metadata.json"
_ARCHITECTURES = {"01": "i386", "02": "x86_64", "03": "arm", "04": "aarch64", "06": "ppc64le", "11": "s390x"}
_ALGORITHMS = ("sha256", "sha384", "sha512")
_BLOCK = 1 << 20

REBUILD = "copy it again from where it was built, or build it anew: nllgen build"


@dataclass(frozen=True)
class Part:
    """A data object: ``size`` bytes at ``offset``."""

    kind: int
    number: int
    group: int
    link: int
    offset: int
    size: int
    name: str

    @property
    def label(self) -> str:
        """Return the name, or the number of an object without one."""
        return self.name or str(self.number)


@dataclass(frozen=True)
class Sif:
    """A SIF that is not truncated; ``architecture`` is named as by ``uname -m``."""

    path: Path
    architecture: str
    parts: tuple[Part, ...]

    @property
    def signatures(self) -> tuple[Part, ...]:
        """Return the data objects that are signatures of others."""
        return tuple(part for part in self.parts if part.kind == _SIGNATURE)

    def read(self, part: Part) -> bytes:
        """Read the content of a data object."""
        with self.path.open("rb") as file:
            file.seek(part.offset)
            return file.read(part.size)


def read_sif(path: Path) -> Sif:
    """Read the table of data objects.

    Raises:
        ConfigError: it is a file of another kind.
        ContainerError: there is no such file, it is no SIF, or it is truncated.
    """
    if path_kind(path) not in (PathKind.CONTAINER, PathKind.FILE, PathKind.DIRECTORY, PathKind.MISSING):
        raise not_a_container(path)
    if path.is_dir():
        raise ContainerError(f"{path} is a folder, not a container file", "a sandbox is for `nllgen shell` alone")
    try:
        with open_regular(path) as file:
            return _read(path, file)
    except OSError as error:
        reason = f"cannot read the container {path}: {error.strerror or error}"
        raise ContainerError(reason, "nllgen build -o SIF") from error


def _read(path: Path, file: BinaryIO) -> Sif:
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size or head[32:42] != _MAGIC:
        raise ContainerError(f"{path} is not an Apptainer container (SIF)", "nllgen build -o SIF makes one")
    _, _, _, arch, _, _, _, _, total, start, _, _, _ = _HEADER.unpack(head)
    end = file.seek(0, 2)
    truncated = ContainerError(f"{path} is truncated or damaged: it is shorter than its header says", REBUILD)
    if not (0 <= total <= _MAX_DESCRIPTORS and 0 < start <= end - total * _DESCRIPTOR.size):
        raise truncated
    file.seek(start)
    parts = []
    for _ in range(total):
        kind, used, number, group, link, offset, size, *_, name, _ = _DESCRIPTOR.unpack(file.read(_DESCRIPTOR.size))
        if used:
            parts.append(Part(kind, number, group, link, offset, size, name.split(b"\0")[0].decode("utf-8", "replace")))
    if any(part.offset < 0 or part.size < 0 or part.offset + part.size > end for part in parts):
        raise truncated
    code = arch.split(b"\0")[0].decode("ascii", "replace")
    return Sif(path, _ARCHITECTURES.get(code, f"unknown (code {code})"), tuple(parts))


def require_system(sif: Sif) -> None:
    """Require a file system for this machine's processors.

    Raises:
        ContainerError: the container is for other processors, or holds no file system.
    """
    here = platform.machine()
    if sif.architecture != here:
        raise ContainerError(
            f"{sif.path} is for {sif.architecture} processors, this machine has {here}",
            "build the container on a machine like the cluster's nodes: nllgen build",
        )
    if not any(part.kind == _PARTITION for part in sif.parts):
        raise ContainerError(f"{sif.path} holds no file system", REBUILD)


def labels_of(sif: Sif) -> Mapping[str, str]:
    """Read the labels of the container; empty where it has none.

    Raises:
        ContainerError: they cannot be read.
    """
    part = next((part for part in sif.parts if part.kind == _JSON and part.name == _LABELS), None)
    if part is None:
        return {}
    try:
        labels = json.loads(sif.read(part))["data"]["attributes"].get("labels") or {}
        return {str(name): str(value) for name, value in labels.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContainerError(f"{sif.path}: its labels cannot be read: {error}", REBUILD) from error


def check_signed_digests(sif: Sif) -> None:
    """Compare a signed container with the digests in its signatures; unlike ``apptainer verify``, without a key.

    Raises:
        ContainerError: a data object differs from what was signed or was not signed, or a signature cannot be read.
    """
    parts = {part.number: part for part in sif.parts}
    unsigned = {part.number: part.label for part in sif.parts if part.kind != _SIGNATURE}
    for signature in sif.signatures:
        for number, algorithm, digest in _signed_objects(sif, signature):
            part = parts.get(number)
            if part is None or hash_range(sif.path, part.offset, part.size, algorithm) != digest:
                raise _changed(sif.path, part.label if part else str(number))
            unsigned.pop(number, None)
    if sif.signatures and unsigned:
        raise _changed(sif.path, ", ".join(unsigned.values()))


def _changed(path: Path, parts: str) -> ContainerError:
    return ContainerError(f"{path} was changed after it was signed: {parts} differs from what was signed", REBUILD)


def _signed_objects(sif: Sif, signature: Part) -> Iterator[tuple[int, str, str]]:
    """Iterate over the number, hash algorithm and hexadecimal digest of every data object that was signed."""
    group = signature.link & ~_GROUP_MASK
    numbers = [part.number for part in sif.parts if part.group & ~_GROUP_MASK == group and part.kind != _SIGNATURE]
    first = min(numbers, default=group) if signature.link & _GROUP_MASK else signature.link
    try:
        text = sif.read(signature)
        if text.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):  # clear-signed (RFC 9580, section 7)
            message = json.loads(text.split(b"\n\n", 1)[1].split(b"\n-----BEGIN PGP SIGNATURE-----")[0])
        else:  # DSSE, https://github.com/secure-systems-lab/dsse
            message = json.loads(base64.b64decode(json.loads(text)["payload"], validate=True))
        for entry in message["objects"]:
            algorithm, _, digest = str(entry["objectDigest"]).partition(":")
            if algorithm not in _ALGORITHMS:
                raise ValueError(f"hash algorithm {algorithm!r}")
            yield first + int(entry["relativeId"]), algorithm, digest
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ContainerError(f"{sif.path}: its signature cannot be read: {error}", REBUILD) from error


def hash_range(path: Path, offset: int = 0, size: int | None = None, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of ``size`` bytes from ``offset`` on; of all that follow without a size."""
    digest = hashlib.new(algorithm)
    left = path.stat().st_size - offset if size is None else size
    with path.open("rb") as file:
        file.seek(offset)
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()
