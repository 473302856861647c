import pytest

from nllgen.errors import ConflictError
from nllgen.study.claims import claims_sha256
from nllgen.study.config import Precision, Study
from nllgen.study.extend import extend_study, rules_note
from nllgen.study.load import parse_study

GRID = """
name: small
truth: {flow: {width: 8}, paradigm: {steps: 400}}
dataset: {num_train: 300}
cells:
  - {data: {source: synthetic, num_train: 100}, degree: W, paradigm: {name: nll}, seed: {range: [0, 2]}}
"""


def study(*changes: tuple[str, str], precision: Precision = "fp32") -> Study:
    text = GRID
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_study(text, "g.yaml", precision=precision)


def conflict(*changes: tuple[str, str], precision: Precision = "fp32") -> ConflictError:
    with pytest.raises(ConflictError) as caught:
        extend_study(study(), study(*changes, precision=precision))
    return caught.value


def test_the_same_study_stays_as_it_is() -> None:
    assert extend_study(study(), study()) == study()


def test_new_cells_follow_the_frozen_ones() -> None:
    grown = study(("[0, 2]", "[2, -1, -1]"))
    merged = extend_study(study(), grown)
    assert [cell.seed for cell in merged.cells] == [0, 1, 2]


def differences(*changes: tuple[str, str]) -> list[str]:
    return [line.strip() for line in conflict(*changes).message.splitlines()[1:]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("[0, 2]", "[1, 3]"), "seed: was 0, is 2 (1 cell)"),
        (("[0, 2]", "[0, 1]"), "seed: was 1, is gone (1 cell)"),
        (("degree: W", "degree: U1"), 'degree: was "W", is "U1" (2 cells)'),
        (("{name: nll}", "{name: nll, steps: 9}"), "paradigm.steps: was 20000, is 9 (2 cells)"),
        (("{name: nll}", "{name: nsgan}"), 'paradigm.name: was "nll", is "nsgan" (2 cells)'),
        (
            ("degree: W, paradigm: {name: nll}", "dcgan: {}, paradigm: {name: nsgan}"),
            "flow: was given, is not given; dcgan: was not given, is given",
        ),
        (("num_train: 100", "num_train: fresh"), 'data.num_train: was 100, is "fresh" (2 cells)'),
    ],
)
def test_cells_that_are_gone_are_described_by_what_distinguishes_them(change: tuple[str, str], says: str) -> None:
    assert says in "\n".join(differences(change))


def test_several_seeds_that_are_gone_are_one_difference() -> None:
    frozen = study(("[0, 2]", "[0, 9]"), ("num_train: 300", "num_train: 900"))
    with pytest.raises(ConflictError, match=r"seed: was 1, 2, 3, 4, 5, …, is gone \(8 cells\)"):
        extend_study(frozen, study(("[0, 2]", "[0, 1]")))


def test_two_keys_that_change_together_are_one_line() -> None:
    assert differences(("degree: W, paradigm: {name: nll}", "degree: U1, paradigm: {name: nll, steps: 9}")) == [
        'degree: was "W", is "U1"; paradigm.steps: was 20000, is 9 (2 cells)'
    ]


@pytest.mark.parametrize(
    "change",
    [("width: 8", "width: 9"), ("num_train: 300", "num_train: 300, num_val: 9"), ("truth: {", "truth: {seed: 4, ")],
)
def test_what_follows_from_a_difference_is_not_another_one(change: tuple[str, str]) -> None:
    assert len(differences(change)) == 1


def test_a_truth_that_is_gone_is_one_difference() -> None:
    frozen = parse_study("name: a\ntruth: {}\ncells: [{flow: {}, paradigm: {name: nll}}]", "g.yaml", precision="fp32")
    with pytest.raises(ConflictError) as caught:
        extend_study(frozen, frozen.model_copy(update={"truth": None}))
    assert caught.value.message.splitlines()[1:] == ["  truth: was given, is not given"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("width: 8", "width: 9"), "truth.flow.width: was 8, is 9"),
        (("name: small", "name: other"), 'name: was "small", is "other"'),
        (("num_train: 300", "num_train: 300, num_val: 9"), "dataset.num_val: was 10000, is 9"),
        (("cells:", "metrics: {num_samples: 9}\ncells:"), "metrics.num_samples: was 2000, is 9"),
    ],
)
def test_a_conflict_names_key_and_both_values(change: tuple[str, str], says: str) -> None:
    assert says in conflict(change).message


def test_long_values_that_begin_alike_are_a_conflict() -> None:
    groups = list(study().metrics.final)
    message = conflict(("cells:", f"metrics: {{final: [{', '.join(groups[:-1])}]}}\ncells:")).message
    assert message.count(f'"{groups[-1]}"') == 1


def test_a_conflict_has_a_hint() -> None:
    assert "--root" in conflict(("width: 8", "width: 9")).hint


def test_a_long_conflict_is_reported_in_short() -> None:
    keys = ("num_samples", "num_train_eval", "num_kept", "num_equilibrium", "num_samples_every")
    metrics = ", ".join(f"{key}: 7" for key in keys)
    message = conflict(("cells:", f"metrics: {{{metrics}}}\ncells:"), ("[0, 2]", "[1, 2]")).message
    assert message.splitlines()[-1] == "  … and 1 more"


def test_a_study_of_real_data_does_not_conflict_with_itself() -> None:
    real = parse_study("name: a\ncells: [{flow: {}, paradigm: {name: nll}}]", "g.yaml", precision="fp32")
    assert extend_study(real, real) == real


@pytest.mark.parametrize(("before", "after"), [(300, 900), (900, 300)])
def test_the_larger_pool_is_kept(before: int, after: int) -> None:
    frozen, new = (study(("num_train: 300", f"num_train: {n}")) for n in (before, after))
    assert extend_study(frozen, new).dataset.num_train == 900


def test_resources_may_change() -> None:
    new = study(("cells:", "resources: {time_min: 7}\ncells:"))
    assert extend_study(study(), new).resources.time_min == 7


def test_another_precision_is_a_conflict() -> None:
    assert 'truth.precision: was "fp32", is "bf16"' in conflict(precision="bf16").message


@pytest.mark.parametrize("first", ["a" * 64, ""])
def test_the_rules_of_the_claims_stay_the_first_registered_ones(first: str) -> None:
    frozen = study().model_copy(update={"claims_sha256": first})
    grown = extend_study(frozen, study(("[0, 2]", "[0, 3]")))
    assert (grown.claims_sha256, len(grown.cells)) == (first, 3)


def test_changed_rules_are_reported() -> None:
    frozen = study().model_copy(update={"claims_sha256": "a" * 64})
    assert "a" * 64 in str(rules_note(frozen, study()))
    assert "(none;" in str(rules_note(frozen.model_copy(update={"claims_sha256": ""}), study()))
    assert rules_note(study(), study()) is None


def test_a_study_of_an_earlier_version_of_the_rules_keeps_it() -> None:
    frozen = study().model_copy(update={"claims_sha256": claims_sha256(1)})
    assert "judges by version 1" in str(rules_note(frozen, study()))
