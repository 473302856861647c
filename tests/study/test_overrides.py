"""Values that the command line sets: which sweeps a key reaches, what the study then is, and what is refused."""

from __future__ import annotations

import pytest

from nllgen.errors import ConfigError, ConflictError
from nllgen.study.config import Cell, Study
from nllgen.study.extend import extend_study
from nllgen.study.load import parse_study
from nllgen.study.manifest import header_text, manifest_text, parse_frozen

GRID = """
name: small
truth: {flow: {width: 8}, paradigm: {steps: 400}}
dataset: {num_train: 900}
cells:
  - data: {source: synthetic, num_train: 100}
    degree: [U1, W]
    paradigm: {name: nll, steps: 300}
    seed: {range: [0, 3]}
    exclude: [{degree: U1, seed: 2}]
    include: [{degree: O1, seed: 7}]
  - data: {source: mnist}
    flow: {width: 4}
    paradigm: {name: nsgan}
    zip: {paradigm.lr: [1e-4, 1e-3], paradigm.disc_lr: [1e-4, 1e-3]}
  - data: {source: mnist}
    dcgan: {}
    paradigm: {name: [wgan_gp, nsgan], disc_steps: 1}
"""


def load(*overrides: str, echo: list[str] | None = None) -> Study:
    lines = [] if echo is None else echo
    return parse_study(GRID, "g.yaml", precision="fp32", overrides=overrides, echo=lines.append)


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*overrides)
    return str(caught.value)


def flows(study: Study) -> list[Cell]:
    return [cell for cell in study.cells if cell.flow is not None and cell.data.source == "mnist"]


@pytest.mark.parametrize(
    ("override", "written"),
    [
        ("paradigm.steps=7", GRID.replace("steps: 300", "steps: 7").replace("nsgan}", "nsgan, steps: 7}").replace(
            "disc_steps: 1}", "disc_steps: 1, steps: 7}")),
        ("cells.0.paradigm.steps=7", GRID.replace("steps: 300", "steps: 7")),
        ("cells[1].paradigm.steps=7", GRID.replace("nsgan}", "nsgan, steps: 7}")),
        ("flow.width=6", GRID.replace("width: 4", "width: 6")),
        ("degree=[U2, U3]", GRID.replace("[U1, W]", "[U2, U3]").replace("degree: O1", "degree: [U2, U3]").replace(
            "    exclude: [{degree: U1, seed: 2}]\n", "")),
        ("paradigm.lr=[0.1, 0.2]", GRID.replace("paradigm.lr: [1e-4, 1e-3]", "paradigm.lr: [0.1, 0.2]").replace(
            "steps: 300", "steps: 300, lr: [0.1, 0.2]").replace("disc_steps: 1}", "disc_steps: 1, lr: [0.1, 0.2]}")),
        ("paradigm.disc_lr=0.5", GRID.replace(", paradigm.disc_lr: [1e-4, 1e-3]", "").replace(
            "nsgan}", "nsgan, disc_lr: 0.5}").replace("disc_steps: 1}", "disc_steps: 1, disc_lr: 0.5}")),
        ("truth.flow.width=9", GRID.replace("width: 8", "width: 9")),
        ("truth={pretrained: known-mnist}", GRID.replace(
            "truth: {flow: {width: 8}, paradigm: {steps: 400}}", "truth: {pretrained: known-mnist}")),
        ("dataset.num_val=50", GRID.replace("num_train: 900", "num_train: 900, num_val: 50")),
        ("metrics.every=[kid]", GRID + "metrics: {every: [kid]}\n"),
        ("name=other", GRID.replace("name: small", "name: other")),
    ],
    ids=lambda text: text if "\n" not in text else "",
)  # fmt: skip
def test_a_study_is_the_one_with_the_value_written_out(override: str, written: str) -> None:
    expected = parse_study(written, "g.yaml", precision="fp32")
    assert load(override) == expected.model_copy(update={"overrides": (override,)})


def test_a_seed_reaches_an_include_and_an_exclude_that_is_over() -> None:
    assert {cell.seed for cell in load("cells.0.seed=5", "dataset.num_train=9000").cells[:3]} == {5}


def test_of_two_values_the_last_counts() -> None:
    assert flows(load("flow.width=5", "flow.width=6"))[0].real_nvp.width == 6


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("paradigm.steps=7", "reaches all sweeps: cells[0], cells[1], cells[2]"),
        ("paradigm.disc_steps=1", "reaches 2 of 3 sweeps: cells[1], cells[2]"),
        ("dcgan.width=8", "reaches 1 of 3 sweeps: cells[2]"),
        ("degree=W", "reaches 1 of 3 sweeps: cells[0]"),
        ("cells.2.seed=4", "reaches 1 of 3 sweeps: cells[2]"),
        ("resources.cpus=2", "sets resources.cpus of the study"),
    ],
)
def test_it_is_said_what_a_key_reaches(override: str, says: str) -> None:
    lines: list[str] = []
    load(override, echo=lines)
    assert lines == [f"--set {override}: {says}"]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("paradigm.stesp=7", "no study has the key paradigm.stesp; keys are dotted as in the YAML"),
        ("paradigm.stesp=7", "did you mean paradigm.steps?"),
        ("cells.0.stesp=7", "no sweep has the key stesp"),
        ("cells=[]", "cells cannot be set as a whole; name a key in it, for example cells.0.paradigm.steps=100"),
        ("cells.0={}", "cells.0 cannot be set as a whole"),
        ("cells[1]=3", "cells[1] cannot be set as a whole"),
        ("cells.2.paradigm={steps: 3}", ": name: is required; allowed: nll, nsgan"),
        ("metrics={num_kept: x}", ': num_kept: "x" is not allowed; allowed: a whole number'),
        ("paradigm.nll_weight=7", "none of the 3 sweeps has a place for paradigm.nll_weight"),
        ("model.factory=a:b", "none of the 3 sweeps has a place for model.factory"),
        ("cells.9.seed=7", "the study has no sweep 9; its sweeps: 0 to 2"),
        ("paradigm.steps", "is not KEY=VALUE"),
        ("=3", "is not KEY=VALUE"),
        ("seed=[1", "not YAML"),
        ("seed=", "has no value"),
        ("seed=-1", "-1 is not allowed; allowed: at least 0"),
        ("paradigm.steps=1.5", "1.5 is not allowed; allowed: a whole number"),
        ("cells.0.paradigm.disc_lr=1.0", 'unknown key "disc_lr" of paradigm nll'),
        ("truth.paradigm.name=nsgan", "allowed: nll"),
    ],
)
def test_an_error_names_the_option(override: str, says: str) -> None:
    assert says in refusal(override)
    assert refusal(override).startswith(f"--set {override}: ")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("dataset.num_train=100", "g.yaml:6: cells[0].data.num_train: seed 7 trains on block 7"),
        ("paradigm.lr=[1, 2, 3]", "g.yaml:15: cells[1].zip: lists that vary together need equal lengths"),
    ],
)
def test_an_error_of_what_the_file_gives_names_its_line(override: str, says: str) -> None:
    assert says in refusal(override)


def test_an_error_of_a_section_that_an_option_makes_names_it() -> None:
    text = GRID.replace("truth: {flow: {width: 8}, paradigm: {steps: 400}}", "truth: {pretrained: known-mnist}")
    with pytest.raises(ConfigError) as caught:
        parse_study(text, "g.yaml", precision="fp32", overrides=["truth.paradigm.steps=9"])
    assert str(caught.value).startswith("--set truth.paradigm.steps=9: goes with a truth that is trained")


def test_an_error_of_several_sweeps_is_one() -> None:
    assert refusal("seed=-1").count("\n") == 0


def test_errors_of_options_and_of_the_file_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_study(GRID.replace("width: 4", "width: 0"), "g.yaml", precision="fp32", overrides=["foo", "seed=-1"])
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()[1:]] == [
        "--set foo",
        "--set seed=-1",
        "g.yaml:13",
    ]


def test_a_frozen_study_has_what_was_set() -> None:
    study = load("paradigm.steps=7")
    assert "overrides:\n- paradigm.steps=7\n" in header_text(study)
    assert parse_frozen(header_text(study), manifest_text(study), "here") == study


def test_the_same_options_go_on() -> None:
    assert extend_study(load("paradigm.steps=7"), load("paradigm.steps=7")) == load("paradigm.steps=7")


def test_a_study_that_was_frozen_otherwise_is_refused_with_the_difference() -> None:
    with pytest.raises(ConflictError) as caught:
        extend_study(load("flow.width=5"), load())
    assert "flow.width: was 5, is 4 (2 cells)" in caught.value.message
    assert caught.value.hint.startswith("the frozen study was made with --set flow.width=5; give the same")


def test_more_seeds_that_were_set_extend_a_study() -> None:
    grown = extend_study(load("cells.2.seed=0"), load("cells.2.seed=[0, 1]"))
    assert (len(grown.cells), grown.overrides) == (len(load().cells) + 2, ("cells.2.seed=0", "cells.2.seed=[0, 1]"))


def test_an_option_of_a_model_is_not_set_in_a_list_of_options() -> None:
    text = GRID.replace("name: ", "plugins: [own]\nname: ", 1) + (
        '  - data: {image_size: 14}\n    model: {factory: "own:f", options: [{width: 3}, {width: 5}]}\n'
        "    paradigm: {name: nll}\n    seed: 0\n"
    )
    with pytest.raises(ConfigError, match=r"model\.options has no keys here; set model\.options as a whole"):
        parse_study(text, "g.yaml", precision="fp32", overrides=["model.options.width=9"])


def test_the_scale_of_a_shipped_truth_is_set() -> None:
    text = "name: s\ntruth: {pretrained: known-mnist}\ncells:\n  - {degree: W, paradigm: {name: nll}, seed: 0, " \
        "data: {source: synthetic, num_train: 100}}\n"  # fmt: skip
    study = parse_study(text, "g.yaml", precision="fp32", overrides=["truth.base_scale=0.9"])
    assert study.truth is not None
    assert study.truth.real_nvp.base_scale == 0.9
