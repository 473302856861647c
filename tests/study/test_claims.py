"""The rules of the claims as a file of the package, and their digest in a study."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from nllgen.errors import CorruptFileError
from nllgen.study import claims
from nllgen.study.claims import claims_rules, claims_sha256, claims_text, version_of
from nllgen.study.load import parse_study
from nllgen.study.manifest import header_text, manifest_text, parse_frozen

GRID = "name: a\ncells: [{flow: {}, paradigm: {name: nll}}]"


def test_the_digest_is_that_of_the_file() -> None:
    assert claims_sha256() == hashlib.sha256(claims.PATHS[claims.VERSION].read_bytes()).hexdigest()


VERSION_1 = "c1b66f6c65a05bbcbd1ece3abd8bcc717a5db49141e3b1d83b583bad0a156388"  # in published studies


def test_the_rules_that_published_studies_registered_do_not_change() -> None:
    assert claims_sha256(1) == VERSION_1
    assert (version_of(VERSION_1), version_of(claims_sha256()), version_of("0" * 64), version_of("")) == (
        1,
        2,
        None,
        None,
    )


@pytest.mark.parametrize("version", [1, 2])
def test_every_claim_has_a_statement_and_a_rule(version: int) -> None:
    rules = claims_rules(version)
    for id in (f"C{i}" for i in range(9)):
        assert rules[id]["statement"]
        assert rules[id]["rule"]


def test_a_submitted_study_carries_the_digest() -> None:
    study = parse_study(GRID, "g.yaml", precision="fp32")
    assert study.claims_sha256 == claims_sha256()
    assert f"claims_sha256: {claims_sha256()}" in header_text(study)
    assert parse_frozen(header_text(study), manifest_text(study), "x") == study


def test_a_study_frozen_with_other_rules_is_read() -> None:
    study = parse_study(GRID, "g.yaml", precision="fp32")
    other = header_text(study).replace(claims_sha256(), "b" * 64)
    assert parse_frozen(other, manifest_text(study), "x").claims_sha256 == "b" * 64


def test_a_study_frozen_before_there_were_rules_is_read() -> None:
    study = parse_study(GRID, "g.yaml", precision="fp32")
    lines = [line for line in header_text(study).splitlines(keepends=True) if "claims_sha256" not in line]
    assert parse_frozen("".join(lines), manifest_text(study), "x").claims_sha256 == ""


def test_a_digest_that_was_edited_is_damage() -> None:
    study = parse_study(GRID, "g.yaml", precision="fp32")
    edited = header_text(study).replace(claims_sha256(), "mine")
    with pytest.raises(CorruptFileError, match="claims_sha256"):
        parse_frozen(edited, manifest_text(study), "x")


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the path of a file of rules, which is missing."""
    path = tmp_path / "claims.toml"
    monkeypatch.setattr(claims, "PATHS", {claims.VERSION: path})
    claims_text.cache_clear()
    yield path
    claims_text.cache_clear()


def test_rules_that_are_missing_are_a_typed_error(rules: Path) -> None:
    with pytest.raises(CorruptFileError, match="install nllgen again"):
        claims_text()


def test_rules_that_are_no_toml_are_a_typed_error(rules: Path) -> None:
    rules.write_text("= 1")
    with pytest.raises(CorruptFileError, match="is not TOML"):
        claims_rules()
