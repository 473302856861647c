"""Combinations of paradigms and models in a study, and the messages about invalid ones."""

import json

import pytest
from pydantic import JsonValue

from nllgen.errors import ConfigError
from nllgen.planning.plan import make_plan
from nllgen.storage.states import ResultState, TaskFiles
from nllgen.study.allowed_keys import PARADIGMS
from nllgen.study.config import Cell, DataConfig, DCGANConfig, FlowConfig, ImportedConfig, Study
from nllgen.study.load import parse_study
from nllgen.study.manifest import header_text, manifest_text, parse_frozen

TRUTH = "name: a\nplugins: [a]\ntruth: {data: {image_size: 14}, flow: {width: 8}}\n"
DATA = {"mnist": "{source: mnist, image_size: 14}", "synthetic": "{source: synthetic, num_train: 100}"}


def parse(block: str, head: str = TRUTH) -> Study:
    return parse_study(f"{head}cells:\n  - {block}", "g.yaml", precision="fp32")


def refusal(block: str, head: str = TRUTH) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(block, head)
    return str(caught.value)


def block(model: str = "degree: W", paradigm: str = "name: nll", source: str = "mnist", more: str = "") -> str:
    return f"{{data: {DATA[source]}, {model}, paradigm: {{{paradigm}}}{more}}}"


def options_of(cell: Cell) -> dict[str, JsonValue]:
    assert cell.model is not None
    return cell.model.options


MODEL = "model: {factory: 'a.b:C', options: {bins: 4, hidden: [8, 8]}}"


@pytest.mark.parametrize("name", PARADIGMS)
def test_every_paradigm_is_chosen_by_its_name(name: str) -> None:
    source = "synthetic" if name == "nsgan_oracle" else "mnist"
    (cell,) = parse(block(paradigm=f"name: {name}", source=source)).cells
    assert type(cell.paradigm) is PARADIGMS[name]


def test_a_dcgan_takes_its_shape_from_the_data() -> None:
    (cell,) = parse(block("dcgan: {width: 8}", "name: nsgan")).cells
    assert cell.dcgan == DCGANConfig(shape=(1, 14, 14), width=8)
    assert (cell.flow, cell.kind, cell.architecture) == (None, "dcgan", cell.dcgan)


def test_an_empty_dcgan_has_its_defaults() -> None:
    assert parse(block("dcgan: {}", "name: wgan_gp")).cells[0].dcgan == DCGANConfig(shape=(1, 14, 14))


def test_a_dcgans_width_can_be_an_axis() -> None:
    cells = parse(block("dcgan: {width: [4, 8]}", "name: nsgan")).cells
    assert [cell.dcgan for cell in cells] == [DCGANConfig(shape=(1, 14, 14), width=width) for width in (4, 8)]


def test_a_model_by_import_path_has_its_options_whole() -> None:
    (cell,) = parse(block(MODEL)).cells
    assert options_of(cell) == {"bins": 4, "hidden": [8, 8]}
    assert cell.label.startswith("C nll")


def test_several_options_are_an_axis() -> None:
    cells = parse(block("model: {factory: 'a.b:C', options: [{bins: 4}, {bins: 8}, {}]}")).cells
    assert [options_of(cell) for cell in cells] == [{"bins": 4}, {"bins": 8}, {}]
    assert len({cell.id for cell in cells}) == 3


def test_options_are_part_of_the_id_whatever_their_order() -> None:
    ids = {
        parse(block(f"model: {{factory: 'a.b:C', options: {text}}}")).cells[0].id
        for text in ("{a: 1, b: 2}", "{b: 2, a: 1}")
    }
    assert len(ids) == 1


def test_every_kind_of_model_survives_freezing() -> None:
    study = parse(block(MODEL, more="") + "\n  - " + block("dcgan: {}", "name: nsgan") + "\n  - " + block())
    back = parse_frozen(header_text(study), manifest_text(study), "here")
    assert [cell.id for cell in back.cells] == [cell.id for cell in study.cells]
    assert json.loads(manifest_text(study).splitlines()[0])["cell"]["model"]["options"]["hidden"] == [8, 8]


def test_a_student_t_flow_is_a_flow() -> None:
    (cell,) = parse(block("flow: {base: student_t, dof: [20.0]}")).cells
    assert (cell.real_nvp.base, cell.real_nvp.dof) == ("student_t", 20.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            block("dcgan: {}"),
            "paradigm.name: dcgan has no density, and paradigm nll needs one; allowed: nsgan, r3gan, wgan_gp, noise",
        ),
        (block("dcgan: {}", "name: hybrid"), "dcgan has no density, and paradigm hybrid needs one"),
        (block("dcgan: {}", "name: nsgan_oracle", "synthetic"), "dcgan has no density, and paradigm nsgan_oracle"),
        (block(paradigm="name: nsgan_oracle"), "nsgan_oracle needs the data's density: source: synthetic, not mnist"),
        (block("dcgan: {}", "name: nsgan", "synthetic", ", start: truth"), "which fit only a flow"),
        (block("dcgan: {widht: 3}", "name: nsgan"), "did you mean width?"),
        (block("dcgan: {}, flow: {}", "name: nsgan"), "give either flow or dcgan"),
        (block("dcgan: {}, degree: W", "name: nsgan"), "give either dcgan or degree"),
        (block("model: {factory: 'a.b'}"), "cells[0].model.factory"),
        (block("model: {factory: 'a/b:c'}"), "cells[0].model.factory"),
        (
            block("model: {factory: 'numpy:memmap'}"),
            "numpy is not declared (plugins: a); to allow it, add plugins:",
        ),
        (block("model: {factory: 'ab.c:D'}"), "ab.c is not declared"),
        (block("model: {options: {a: 1}}"), "cells[0].model.factory: is required"),
        (block("model: {factory: 'a:b', options: 3}"), "3 is not a mapping of names to values"),
        (block("model: {factory: 'a:b', options: {shape: 3}}"), "options has 'shape'"),
        (block("model: {factory: 'a:b', options: {a-b: 3}}"), "options has 'a-b'"),
        (block("flow: {base: student_t}"), "base: student_t needs dof"),
        (block("flow: {dof: 3.0}"), "which needs base: student_t"),
        (block(paradigm="name: nsgan, updates: simultaneous, disc_steps: 2"), "simultaneous needs disc_steps 1"),
        (block(paradigm="name: wgan_gp, r1_gamma: 1.0"), 'unknown key "r1_gamma"'),
        (block(paradigm="name: hybrid, nll_weight: -1.0"), "nll_weight"),
        (block(paradigm="name: nsgan, disc_start: frehs"), "did you mean fresh?"),
    ],
)
def test_an_invalid_combination_is_refused(text: str, says: str) -> None:
    assert says in refusal(text)


def test_options_are_finite() -> None:
    with pytest.raises(ValueError, match="a number that is not finite"):
        ImportedConfig(factory="a:b", options={"a": [float("nan")]})


@pytest.mark.parametrize("model", ["dcgan: {}", "model: {factory: 'a:b'}"])
def test_a_truth_is_a_flow(model: str) -> None:
    assert "unknown key" in refusal(block(), f"name: a\ntruth: {{{model}}}\n")


def test_a_cell_has_one_model() -> None:
    with pytest.raises(ValueError, match="exactly one of flow, dcgan and model is needed, not 0"):
        Cell(data=DataConfig())
    with pytest.raises(ValueError, match="is needed, not 2"):
        Cell(data=DataConfig(), flow=FlowConfig(), model=ImportedConfig(factory="a:b"))


@pytest.mark.parametrize("num_train", [1_000, 10_000, "fresh"])
def test_every_size_of_training_set_is_planned(num_train: int | str) -> None:
    head = TRUTH + "dataset: {num_train: 10_000}\n"
    text = f"{{data: {{source: synthetic, num_train: {num_train}}}, degree: W, paradigm: {{name: nll, steps: 10}}}}"
    (row,) = [row for row in make_plan(parse(text, head), {}).rows if row.kind == "cell"]
    assert (row.action, row.estimate) == ("run", "analytic")
    assert str(num_train) in row.label


def test_the_cost_of_a_users_own_model_is_unknown_until_it_was_measured() -> None:
    study = parse(block(MODEL + ", seed: [0, 1]", "name: nll, steps: 100"))
    assert [row.estimate for row in make_plan(study, {}).rows if row.kind == "cell"] == ["none", "none"]
    measured = make_plan(study, {study.cells[0].id: TaskFiles(ResultState.COMPLETE, seconds_per_step=2.0)}).rows[-1]
    assert measured.estimate == "measured"
    assert measured.seconds == pytest.approx(200, rel=0.2)


def test_speeds_are_not_carried_over_from_a_run_without_a_penalty() -> None:
    study = parse(block(paradigm="name: nsgan, r1_gamma: [0.0, 1.0], steps: 10"))
    rows = make_plan(study, {study.cells[0].id: TaskFiles(ResultState.COMPLETE, seconds_per_step=2.0)}).rows
    assert [row.estimate for row in rows if row.kind == "cell"] == ["none", "analytic"]


def test_pretraining_is_counted_once() -> None:
    study = parse(block(paradigm="name: nsgan, disc_start: pretrained, disc_pretrain_steps: 5_000, steps: 10"))
    (cell,) = study.cells
    fresh, going_on = (
        make_plan(study, files).rows[-1].seconds for files in ({}, {cell.id: TaskFiles(ResultState.PARTIAL, step=1)})
    )
    assert fresh > 2 * going_on
