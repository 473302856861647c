"""The head of the page: what it says of the study agrees with its cells."""

from __future__ import annotations

import pytest
from nllgen_analysis.claims import Finding, Judged, Verdict
from nllgen_analysis.figures.style import degree_colour
from nllgen_analysis.frames import Frames, to_frames
from nllgen_analysis.opening import degree_keys, key_colours, key_numbers, paradigm_keys, what_lacks
from nllgen_analysis.page_verdicts import Standing, unit_meaning, verdict_rows
from nllgen_analysis.text import lead
from scipy.stats import gmean

from nllgen.storage.study_file import StudyFile
from nllgen.study.paradigms import NSGANConfig
from tests.analysis.conftest import MISSING, STEPS, build_study, kl, make_cell


@pytest.fixture(scope="module")
def frames(spoilt: StudyFile) -> Frames:
    return to_frames(spoilt)


def test_missing_cells_are_named_by_their_group(frames: Frames) -> None:
    group = frames.cells["group"][MISSING]
    assert what_lacks(frames) == f"Missing: 1 cell of {group}."


def test_a_complete_study_lacks_nothing(study: StudyFile) -> None:
    assert what_lacks(to_frames(study)) == ""


def test_key_numbers_are_ordered_by_kl_and_groups_without_follow(frames: Frames) -> None:
    table = key_numbers(frames)
    place = table.columns.index("KL(p‖q) (nats)")
    keys = [row[place].key for row in table.rows]
    known = [key for key in keys if key is not None]
    assert known == sorted(known)
    assert keys == [*known, *[None] * (len(keys) - len(known))]
    assert len(known) == 8
    assert len(keys) == 10


def test_a_key_number_is_the_mean_over_the_seeds_of_its_group(frames: Frames) -> None:
    table = key_numbers(frames)
    row = next(row for row in table.rows if [value.text for value in row[:2]] == ["O1", "nsgan"])
    value = row[table.columns.index("KL(p‖q) (nats)")]
    cells = [make_cell("O1", "nsgan", seed=seed) for seed in range(3)]
    assert value.key == pytest.approx(gmean([kl(cell, STEPS) for cell in cells]))
    assert set(value.cells) == {cell.id for cell in cells}
    assert "…" in value.text


def test_the_interval_of_values_that_span_powers_of_ten_stays_positive() -> None:
    """An arithmetic one was −676,172 … 1,889,404 nats."""
    cells = [make_cell("W", seed=seed) for seed in range(3)]
    table = key_numbers(
        to_frames(build_study(cells, override=lambda cell, _: {"kl_nats": 10.0 ** (2 * cell.seed + 1)}))
    )
    (row,) = table.rows
    value = row[table.columns.index("KL(p‖q) (nats)")]
    assert value.key == pytest.approx(1000)
    assert "−" not in value.text


def test_a_group_with_a_value_below_0_has_its_arithmetic_mean() -> None:
    cells = [make_cell("W", seed=seed) for seed in range(3)]
    table = key_numbers(to_frames(build_study(cells, override=lambda cell, _: {"kl_nats": cell.seed - 0.5})))
    (row,) = table.rows
    assert row[table.columns.index("KL(p‖q) (nats)")].key == pytest.approx(0.5)


def test_columns_without_a_value_are_not_in_the_key_numbers(frames: Frames) -> None:
    columns = key_numbers(frames).columns
    assert "Fréchet (LeNet)" in columns
    assert "Fréchet (Inception)" not in columns
    assert "variant" not in columns


def test_cells_that_were_not_trained_have_no_key_numbers() -> None:
    untrained = make_cell("W*").model_copy(
        update={"paradigm": make_cell("W*").paradigm.model_copy(update={"steps": 0})}
    )
    table = key_numbers(to_frames(build_study([make_cell("W"), untrained])))
    assert [row[0].text for row in table.rows] == ["W"]


def test_every_degree_has_its_meaning_and_colour(frames: Frames) -> None:
    keys = {key.name: key for key in degree_keys(frames)}
    assert list(keys) == ["U2", "W", "W from truth", "O1"]
    assert all(key.meaning for key in keys.values())
    assert keys["W from truth"].meaning == f"{keys['W'].meaning}; starts at the truth's weights"
    assert degree_colour("U2").lower() in keys["U2"].colour


def test_a_start_near_the_truth_is_said_beside_the_degree() -> None:
    near = make_cell("W", start="truth").model_copy(update={"start_noise": 0.1})
    keys = {key.name: key for key in degree_keys(to_frames(build_study([make_cell("W"), near])))}
    assert keys["W near truth"].meaning == (f"{keys['W'].meaning}; starts at the truth's weights with noise on them")


def test_every_paradigm_has_the_first_sentence_of_its_description(frames: Frames) -> None:
    keys = {key.name: key for key in paradigm_keys(frames)}
    assert keys["nsgan"].meaning == NSGANConfig.purpose() == "Non-saturating GAN (Goodfellow et al. 2014, §3)."
    assert keys["nll"].symbol != keys["nsgan"].symbol


def test_a_name_has_one_colour_and_symbol_in_every_report(frames: Frames) -> None:
    alone = to_frames(build_study([make_cell("W", "nsgan")]))
    assert paradigm_keys(alone)[0] in paradigm_keys(frames)
    assert degree_keys(alone)[0] in degree_keys(frames)
    assert key_colours(alone) < key_colours(frames)


def judged_of(**findings: Finding) -> Judged:
    verdicts = tuple(Verdict(name, "a statement", "a rule", finding) for name, finding in findings.items())
    return Judged(verdicts, "1f", "1f", 2)


def test_claims_without_numbers_are_apart_from_undecided_ones() -> None:
    part = Finding("a part", "undecided", "why", effect=0.1)
    rows = verdict_rows(
        judged_of(
            C1=Finding("", "refuted", "why", effect=1.0),
            C2=Finding("", "undecided", "why", effect=0.1),
            C3=Finding("", "undecided", "why", parts=(part,)),
            C4=Finding("", "undecided", "why"),
        )
    )
    assert {standing: [row["id"] for row in part] for standing, part in rows.items()} == {
        Standing.DECIDED: ["C1"],
        Standing.UNDECIDED: ["C2", "C3"],
        Standing.UNJUDGED: ["C4"],
    }


def test_a_claim_with_a_decided_part_is_decided() -> None:
    part = Verdict("C7a", "a statement", "a rule", Finding("", "supported", "why", effect=1.0))
    claim = Verdict("C7", "a statement", "a rule", Finding("", "undecided", "why"), (part,))
    assert len(verdict_rows(Judged((claim,), "1f", "1f", 2))[Standing.DECIDED]) == 2


@pytest.mark.parametrize("unit", ["floors", "ln of the ratio of KLs", "signed ln of nats", "share diverged"])
def test_a_unit_of_our_own_is_explained(unit: str) -> None:
    assert unit_meaning(unit)


@pytest.mark.parametrize("unit", ["nats", "1"])
def test_a_unit_of_the_field_is_not(unit: str) -> None:
    assert unit_meaning(unit) == ""


@pytest.mark.parametrize(
    ("caption", "most", "shown"),
    [
        ("One. Two. Three.", 10, "One. Two."),
        ("One. ⟦2|a⟧ cells. Three.", 100, "One."),
        ("One of 95 % is here. Two.", 20, "One of 95 % is here."),
        ("A long one; with a mark, and more than fits here.", 30, "A long one; with a mark …"),
    ],
)
def test_the_lead_of_a_caption_is_its_first_sentences_without_numbers(caption: str, most: int, shown: str) -> None:
    assert lead(caption, most) == shown
