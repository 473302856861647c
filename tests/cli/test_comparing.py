"""nllgen compare: the command line of comparisons; tests/analysis/test_compare.py has their numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nllgen.storage.study_dir import StudyDir
from tests.cli.process import USAGE, Run, refused


def groups(study: StudyDir) -> tuple[str, str]:
    return f"{study.path}:paradigm=nll,start=random", f"{study.path}:paradigm=nsgan"


def test_two_groups_of_a_study_are_compared(nllgen_process: Run, mixed_study: StudyDir) -> None:
    done = nllgen_process("compare", *groups(mixed_study), "--metric", "kl_nats")
    assert done.returncode == 0, done.stderr
    assert "W · synthetic, N = 120" in done.stdout
    assert "one seed" in done.stdout


def test_json_has_every_number_and_what_differs(nllgen: Run, mixed_study: StudyDir) -> None:
    done = nllgen("compare", *groups(mixed_study), "--json")
    read = json.loads(done.stdout)
    assert {row["metric"] for row in read["comparisons"]} >= {"kl_nats", "test_nll_nats"}
    assert read["comparisons"][0]["low"] is None  # of one seed
    assert "paradigm" in read["differing"]


def test_a_name_and_a_selection_are_told_apart(nllgen: Run, mixed_study: StudyDir) -> None:
    names = ("tiny:paradigm=nll,degree=W,source=synthetic", "tiny:paradigm=nsgan")
    done = nllgen("compare", *names, "--root", mixed_study.path.parent)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_a_figure_is_drawn_and_not_replaced(nllgen: Run, mixed_study: StudyDir, tmp_path: Path, kind: str) -> None:
    command = ("compare", *groups(mixed_study), "--figure", f"new/pair.{kind}")
    assert f"drawn: new/pair.{kind}" in nllgen(*command).stdout
    assert (tmp_path / f"new/pair.{kind}").read_bytes()[:4] in (b"\x89PNG", b"%PDF")
    refused(nllgen(*command), USAGE, "not replaced")
    assert nllgen(*command, "--force").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tiny", "tiny"), "the same cells"),
        (("tiny:paradigm=nll", "tiny:paradigm=gan"), "no cell has paradigm=gan"),
        (("tiny:paradigm=nll", "tiny:paradigm="), "not KEY=VALUE"),
        (("tiny:paradigm=nll", "tiny:paradigm=nsgan", "--metric", "frechet"), "no metric 'frechet'"),
        (("tiny:paradigm=nll", "tiny:paradigm=nsgan", "--metric", "fid"), "did you mean frechet_lenet?"),
        (("tiny:paradigm=nll", "tiny:paradigm=nsgan", "--metric", "KL"), "did you mean kl_nats?"),
        (("tiny:paradigm=nll", "tiny:paradigm=nsgan", "--metric", "nll"), "did you mean test_nll_nats?"),
        (("tiny:paradigm=nll", "tiny:paradigm=nsgan", "--figure", "pair.svg"), "neither a .png nor a .pdf"),
        (("tiny", "tinny"), "no study tinny"),
    ],
)
def test_what_cannot_be_compared_is_named(
    nllgen: Run, mixed_study: StudyDir, arguments: tuple[str, ...], words: str
) -> None:
    refused(nllgen("compare", *arguments, "--root", mixed_study.path.parent), USAGE, words)
