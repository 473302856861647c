"""The sentences at the head of a report agree with the tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from nllgen_analysis.claims import judge
from nllgen_analysis.figures.capacity import final_kl
from nllgen_analysis.findings import findings
from nllgen_analysis.frames import Frames, load
from nllgen_analysis.tables import warnings_of
from nllgen_analysis.text import number
from scipy.stats import gmean

from nllgen.errors import CorruptFileError

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture(scope="module")
def frames() -> Frames:
    return load(RESULTS / "laptop" / "study.h5")


@pytest.fixture(scope="module")
def sentences(frames: Frames) -> list[str]:
    return findings(frames, judge(frames))


def test_decided_claims_are_counted_and_named_with_their_verdicts(frames: Frames, sentences: list[str]) -> None:
    verdicts = {verdict.id: verdict.finding.verdict for verdict in judge(frames).verdicts}
    decided = {name: outcome for name, outcome in verdicts.items() if outcome != "undecided"}
    assert sentences[0].startswith(f"{len(decided)} of {len(verdicts)} claims are decided: ")
    for name, outcome in decided.items():
        assert f"{name} is {outcome}" in sentences[0]


def test_the_student_nearest_to_the_truth_is_the_one_with_the_smallest_mean(
    frames: Frames, sentences: list[str]
) -> None:
    rows = final_kl(frames)
    rows = rows[(rows["weights"] == "last") & (rows["num_train"] == "500")]
    means = rows.groupby("student")["kl_nats"].agg(gmean)
    assert f"N = 500, {means.idxmin()} (" in sentences[1]
    assert f"KL(p‖q) {number(float(means.min()))} (" in sentences[1]
    for student in means.index:
        assert f"{student} " in sentences[1]


def test_adversarial_cells_are_compared_with_their_control(frames: Frames, sentences: list[str]) -> None:
    eval_ = frames.eval
    last = eval_[(eval_["start"] == "truth") & (eval_["weights"] == "raw") & (eval_["paradigm"] == "nll")]
    last = last.sort_values("step").groupby("cell").tail(1)
    steps = frames.cells.loc[last["cell"], "steps"].to_numpy() > 0
    control = float(gmean(last.loc[steps, "kl_nats"]))
    assert "NSGAN disc_start=pretrained is " in sentences[2]
    assert f"where NLL is {number(control)}" in sentences[2]
    assert "5 seeds" in sentences[2]


def test_without_data_the_only_finding_is_that_no_claim_is_decided(frames: Frames) -> None:
    empty = Frames(
        **{
            **vars(frames),
            "eval": frames.eval.iloc[:0],
            "final": frames.final.iloc[:0],
            "history": frames.history.iloc[:0],
        }
    )
    assert findings(empty, judge(empty)) == ["None of 9 claims is decided: each verdict says what it lacks."]


def test_a_pretrained_truth_is_read_from_the_header(frames: Frames) -> None:
    truth = next(cell for cell, role in zip(frames.configs, frames.cells["role"], strict=True) if role == "truth")
    named = replace(frames, study={"pretrained": "known-mnist-14", "truth": truth.model_dump(mode="json")})
    assert frames.pretrained_truth is None
    assert named.pretrained_truth == truth
    with pytest.raises(CorruptFileError, match="does not contain it"):
        _ = replace(frames, study={"pretrained": "known-mnist-14"}).pretrained_truth


def test_data_that_were_left_out_are_named_with_a_hint(frames: Frames) -> None:
    told = " ".join(warnings_of(replace(frames, study={"left_out": ["mnist"]})))
    assert "Cells on MNIST were left out" in told
    assert "nllgen assets fetch mnist" in told
