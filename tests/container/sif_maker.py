"""SIFs written byte by byte after the format's description, with the faults of a test."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import struct
from pathlib import Path

from nllgen.study.config import SCHEMA

CODES = {"x86_64": b"02", "aarch64": b"04"}
LABELS = {"nllgen.version": "0.1.0", "nllgen.commit": "abc", "nllgen.lock": "def", "nllgen.schema": str(SCHEMA)}
SYSTEM = b"hsqs" + bytes(range(256)) * 64
GROUP = 0xF0000000

Part = tuple[int, int, int, bytes, str]  # kind, group, link, content, name


def parts_of(labels: dict[str, str] | None) -> list[Part]:
    """A definition, labels and a file system, in one group."""
    metadata = json.dumps({"data": {"attributes": {"labels": labels}}, "type": "container"}).encode()
    return [
        (0x4001, GROUP | 1, 0, b"Bootstrap: localimage\n", ""),
        (0x4006, GROUP | 1, 0, metadata, "inspect-metadata.json"),
        (0x4004, GROUP | 1, 0, SYSTEM, "rootfs.squashfs"),
    ]


def signature_of(parts: list[Part], form: str) -> Part:
    """A signature of all parts; the signing itself is left out."""
    objects = [
        {"relativeId": i, "objectDigest": f"sha256:{hashlib.sha256(part[3]).hexdigest()}"}
        for i, part in enumerate(parts)
    ]
    message = json.dumps({"version": 1, "objects": objects})
    if form == "pgp":
        text = f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{message}\n-----BEGIN PGP SIGNATURE-----\n\nxyz\n"
    else:
        text = json.dumps({"payload": base64.b64encode(message.encode()).decode(), "signatures": []})
    return (0x4005, GROUP, GROUP | 1, text.encode(), "signature")


def write_sif(path: Path, parts: list[Part] | None = None, machine: str = "") -> Path:
    """Header, table and data."""
    parts = parts_of(LABELS) if parts is None else parts
    start, data = 4096, 4096 + 48 * 585
    table, contents, at = b"", b"", data
    for number, (kind, group, link, content, name) in enumerate(parts, 1):
        fields = (kind, True, number, group, link, at, len(content), len(content), 0, 0, 0, 0, name.encode(), b"")
        table += struct.pack("<i?III3q2q2q128s384s", *fields)
        contents += content
        at += len(content)
    code = CODES[machine or platform.machine()]
    counts = (0, 0, 48 - len(parts), len(parts), start, 48 * 585, data, len(contents))
    head = struct.pack("<32s10s3s3s16s8q", b"#!/usr/bin/env run-singularity\n", b"SIF_MAGIC", b"01", code, b"", *counts)
    path.write_bytes(head.ljust(start, b"\0") + table.ljust(48 * 585, b"\0") + contents)
    return path
