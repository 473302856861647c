"""Verification of a container on a machine without Apptainer."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import pytest

from nllgen.container import verify_container
from nllgen.container.sif import check_signed_digests, read_sif
from nllgen.errors import EXIT_ENVIRONMENT, ContainerError
from nllgen.study.config import SCHEMA
from tests.container.sif_maker import LABELS, SYSTEM, parts_of, signature_of, write_sif

OTHER = {"x86_64": "aarch64", "aarch64": "x86_64"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Apptainer, and a cache of the test's own."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("NLLGEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def sif(tmp_path: Path) -> Path:
    return write_sif(tmp_path / "good.sif")


def test_a_good_container_opens_with_its_digest_and_labels(sif: Path) -> None:
    container = verify_container(sif)
    assert container.path == sif
    assert container.sha256 == hashlib.sha256(sif.read_bytes()).hexdigest()
    assert container.labels == LABELS


def test_a_relative_path_becomes_absolute(sif: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sif.parent)
    assert verify_container(Path("good.sif")).path == sif


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ContainerError) as caught:
        verify_container(path)
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    assert caught.value.hint
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(4096), b"#!/usr/bin/env run-singularity\n"])
def test_a_file_that_is_no_sif_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "no.sif").write_bytes(content)
    refused(tmp_path / "no.sif", "not an Apptainer container")


def test_a_missing_file_or_a_directory_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "missing.sif", "No such file")
    (tmp_path / "folder.sif").mkdir()
    refused(tmp_path / "folder.sif", "is a folder")


@pytest.mark.parametrize("left", [200, 5000, -1])
def test_a_truncated_container_is_refused(sif: Path, left: int) -> None:
    whole = sif.read_bytes()
    sif.write_bytes(whole[:left])
    refused(sif, "truncated")


def test_a_container_for_other_processors_is_refused(tmp_path: Path) -> None:
    other = OTHER[platform.machine()]
    refused(write_sif(tmp_path / "a.sif", machine=other), other, platform.machine())


def test_a_container_without_nllgen_is_refused(tmp_path: Path) -> None:
    refused(write_sif(tmp_path / "a.sif", parts_of({"maintainer": "x"})), "holds no nllgen")
    refused(write_sif(tmp_path / "b.sif", parts_of(None)), "holds no nllgen")
    refused(write_sif(tmp_path / "c.sif", parts_of(LABELS)[:2]), "no file system")


def test_a_container_of_another_schema_is_refused(tmp_path: Path) -> None:
    refused(write_sif(tmp_path / "a.sif", parts_of(LABELS | {"nllgen.schema": "99"})), "schema 99", f"has {SCHEMA}")


def test_labels_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    broken = parts_of(LABELS)
    broken[1] = (*broken[1][:3], b"{", broken[1][4])
    refused(write_sif(tmp_path / "a.sif", broken), "labels cannot be read")


@pytest.mark.parametrize("form", ["pgp", "dsse"])
def test_a_signed_container_opens_until_a_byte_of_it_changes(tmp_path: Path, form: str) -> None:
    parts = parts_of(LABELS)
    path = write_sif(tmp_path / "a.sif", [*parts, signature_of(parts, form)])
    assert len(read_sif(path).signatures) == 1
    verify_container(path)
    content = bytearray(path.read_bytes())
    content[content.index(SYSTEM) + 1000] ^= 1
    path.write_bytes(content)
    refused(path, "changed after it was signed", "rootfs.squashfs")


def test_data_added_after_signing_are_found(tmp_path: Path) -> None:
    parts = parts_of(LABELS)
    overlay = (0x4004, 0, 0, b"another file system", "overlay")
    path = write_sif(tmp_path / "a.sif", [*parts, signature_of(parts, "dsse"), overlay])
    refused(path, "changed after it was signed", "overlay")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"payload": "x"}', b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n"]
)
def test_a_signature_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    parts = parts_of(LABELS)
    signature = (*signature_of(parts, "dsse")[:3], content, "")
    with pytest.raises(ContainerError, match="signature cannot be read"):
        check_signed_digests(read_sif(write_sif(tmp_path / "a.sif", [*parts, signature])))


def test_a_digest_is_remembered_until_the_file_changes(sif: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = verify_container(sif).sha256
    with monkeypatch.context() as patch:
        patch.setattr("nllgen.container.verify.hash_range", lambda path: pytest.fail("read again"))
        assert verify_container(sif).sha256 == first
    content = bytearray(sif.read_bytes())
    content[-1] ^= 1
    sif.write_bytes(content)
    assert verify_container(sif).sha256 != first


def test_a_cache_that_cannot_be_used_does_no_harm(sif: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert verify_container(sif).sha256 == verify_container(sif).sha256


@pytest.mark.parametrize("note", ["", "{", "[]", '{"state": 1}'])
def test_a_damaged_note_is_made_anew(sif: Path, tmp_path: Path, note: str) -> None:
    whole = verify_container(sif)
    (path,) = (tmp_path / "cache" / "opened").iterdir()
    path.write_text(note)
    assert verify_container(sif) == whole
    assert os.path.getsize(path) > len(note)  # noqa: PTH202
