"""Built-in studies: each loads, states its cost, and has the cells that it describes."""

import re

import pytest

from nllgen.planning.plan import Plan, make_plan
from nllgen.study.builtin import builtin_names, builtin_path
from nllgen.study.config import Study
from nllgen.study.load import load_study

COSTED = [name for name in builtin_names("jobs") if name != "smoke"]


def planned(name: str) -> Plan:
    return make_plan(load_study(name, precision="bf16"), {}, cores=2)


def stated(name: str, then: str = "") -> float:
    """Read a number in the comment on a study's costs: its core-hours, or the number before ``then``."""
    (precision,) = {cell.precision for cell in load_study(name, precision="bf16").cells}
    path = builtin_path("jobs", name)
    assert path is not None
    header = path.read_text().split("\nname:")[0]
    costs = rf"Cost by `plan`: ([\d,.]+) core-hours in {precision}"
    match = re.search(rf"{costs}, ([\d.]+){then}" if then else costs, header)
    assert match is not None
    return float(match[match.lastindex or 0].replace(",", ""))


def test_the_studies_of_the_science_ship() -> None:
    names = ("equilibrium", "hybrid", "known-mnist", "laptop", "misspec", "mnist", "nash", "sample-size", "smoke")
    assert {*names, "demo", "fashion", "known-mnist-14", "thesis", "thesis-tuning", "tuning"} == set(
        builtin_names("jobs")
    )


@pytest.mark.parametrize("name", COSTED)
def test_a_study_states_its_cost(name: str) -> None:
    assert stated(name) == pytest.approx(planned(name).core_hours, rel=0.1)


@pytest.mark.parametrize(
    "name", sorted(set(COSTED) - {"laptop", "demo", "thesis"})
)  # whose runs are short beside what they are asked
def test_evaluations_are_a_small_part_of_a_study(name: str) -> None:
    study = load_study(name, precision="bf16")
    if name == "mnist":  # its images are measured on a GPU: on a processor Inception alone is more than all else
        assert "inception" in study.metrics.frechet
        study = study.model_copy(update={"metrics": study.metrics.model_copy(update={"frechet": ("lenet",)})})
    assert 0.01 < make_plan(study, {}).evaluation_share <= 0.15


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("laptop", 2),
        ("equilibrium", 1),
        ("known-mnist", 2),
        ("known-mnist-14", 1),
        ("demo", 0.1),
        ("fashion", 1),
        ("thesis", 8),
        ("thesis-tuning", 2),
    ],
)
def test_a_study_for_a_laptop_takes_no_longer_than_stated(name: str, most: float) -> None:
    hours = planned(name).wall_seconds / 3600
    assert hours <= most
    assert stated(name, then=" h on 2 cores") == pytest.approx(hours, rel=0.1)


@pytest.mark.parametrize("name", COSTED)
def test_every_arm_of_a_study_has_five_seeds(name: str) -> None:
    study: Study = load_study(name, precision="bf16")
    seeds: dict[str, set[int]] = {}
    for cell in study.cells:
        seeds.setdefault(cell.model_dump_json(exclude={"seed"}), set()).add(cell.seed)
    # tuning studies have trials instead of arms
    # on a laptop: O2 is too dear, W* and the control need no interval; and no seed moves the oracle at the truth
    few = [key for key, values in seeds.items() if len(values) < 5]
    assert len(few) == {
        "laptop": 3,
        "thesis": 1,
        "equilibrium": 1,
        "known-mnist": 1,
        "known-mnist-14": 1,
        "demo": 5,
        "tuning": 12,
        "thesis-tuning": 16,
    }.get(name, 0)


@pytest.mark.parametrize("name", ["mnist", "nash", "sample-size", "hybrid", "laptop"])
def test_seeds_of_a_study_train_on_disjoint_blocks(name: str) -> None:
    study = load_study(name, precision="bf16")
    for cell in study.cells:
        if cell.data.source == "synthetic" and isinstance(cell.data.num_train, int):
            assert (cell.seed + 1) * cell.data.num_train <= study.dataset.num_train
