import time
from collections import Counter
from pathlib import Path

import pytest

from nllgen.study.config import Cell, Degree, NLLConfig, NSGANConfig, Precision, Study
from nllgen.study.degrees import student
from nllgen.study.load import load_study, parse_study

TRUTH = """
name: small
truth:
  flow: {width: 16, blocks: 2}
  paradigm: {steps: 400}
dataset: {num_train: 8000, num_val: 1000, num_test: 900, num_entropy: 20000}
"""
BLOCK = """
cells:
  - data: {source: synthetic, num_train: [1000, fresh]}
    degree: [U2, W, O1]
    paradigm: {name: nll, steps: 300}
    seed: {range: [0, 5]}
"""


def parse(text: str, precision: Precision = "fp32") -> Study:
    return parse_study(text, "g.yaml", precision=precision)


def cells(block: str, head: str = TRUTH) -> tuple[Cell, ...]:
    return parse(f"{head}\ncells:\n{block}").cells


def nll(rest: str, data: str = "{source: synthetic, num_train: 100}") -> tuple[Cell, ...]:
    return cells(f"  - {{data: {data}, paradigm: {{name: nll}}, {rest}}}")


def truth_of(study: Study) -> Cell:
    assert study.truth is not None
    return study.truth


def test_a_sweep_is_the_product_of_its_lists() -> None:
    assert len(parse(TRUTH + BLOCK).cells) == 2 * 3 * 5


def test_no_two_cells_of_a_product_are_equal() -> None:
    assert len({cell.id for cell in parse(TRUTH + BLOCK).cells}) == 30


def test_a_cell_id_is_stable() -> None:
    # results are found by it: if this fails, SCHEMA has to change
    assert parse(TRUTH + BLOCK).cells[0].id == "7e616f69e5e34873"


def test_a_truth_id_is_stable() -> None:
    assert truth_of(parse(TRUTH + BLOCK)).id == "20f0bc18e6b816e0"


@pytest.mark.parametrize("extra", ["resources: {time_min: 1}", "metrics: {num_samples: 9}"])
def test_ids_do_not_depend_on_resources_or_metrics(extra: str) -> None:
    assert [c.id for c in parse(TRUTH + BLOCK + extra).cells] == [c.id for c in parse(TRUTH + BLOCK).cells]


def test_ids_do_not_depend_on_the_label() -> None:
    cell = nll("degree: W")[0]
    assert cell.model_copy(update={"degree": "custom"}).id == nll("flow: {width: 16, blocks: 2}")[0].id


def test_ids_depend_on_the_precision_that_auto_means() -> None:
    assert parse(TRUTH + BLOCK, "bf16").cells[0].id != parse(TRUTH + BLOCK, "fp32").cells[0].id


@pytest.mark.parametrize("degree", ["U3", "U2", "U1", "W", "O1", "O2"])
def test_a_degree_is_a_flow_relative_to_the_truth(degree: Degree) -> None:
    study = parse(TRUTH + BLOCK.replace("[U2, W, O1]", degree))
    assert study.cells[0].flow == student(truth_of(study).real_nvp, degree)


def test_the_control_starts_at_the_truth_and_trains_nothing() -> None:
    cell = nll("degree: W*")[0]
    assert (cell.start, cell.paradigm.steps, cell.degree) == ("truth", 0, "W*")


def test_an_explicit_flow_takes_its_shape_from_the_data() -> None:
    cell = nll("flow: {width: 4}", data="{source: mnist, image_size: 14}")[0]
    assert cell.real_nvp.shape == (1, 14, 14)
    assert cell.degree == "custom"


def test_an_empty_flow_is_the_default_flow() -> None:
    assert nll("flow: {}")[0].real_nvp.width == 32


def test_a_study_of_real_data_needs_no_truth() -> None:
    study = parse("name: r\ncells:\n - {flow: {width: 2}, paradigm: {name: nsgan}}")
    assert study.truth is None
    assert not study.needs_dataset


def test_a_paradigm_is_chosen_by_its_name() -> None:
    both = nll("degree: W"), cells("  - {degree: W, paradigm: {name: nsgan}}")
    assert [type(found[0].paradigm) for found in both] == [NLLConfig, NSGANConfig]


def test_a_paradigms_name_can_be_an_axis() -> None:
    assert [c.paradigm.name for c in cells("  - {degree: W, paradigm: {name: [nll, nsgan]}}")] == ["nll", "nsgan"]


def test_synthetic_data_carry_the_truths_id() -> None:
    study = parse(TRUTH + BLOCK)
    assert study.cells[0].data.truth_id == truth_of(study).id


def test_synthetic_data_hold_out_what_the_dataset_holds_out() -> None:
    assert (parse(TRUTH + BLOCK).cells[0].data.num_val, parse(TRUTH + BLOCK).cells[0].data.num_test) == (1000, 900)


def test_synthetic_data_may_hold_out_less() -> None:
    assert nll("degree: W", data="{source: synthetic, num_train: 10, num_val: 50}")[0].data.num_val == 50


def test_synthetic_data_have_the_truths_size_and_alpha() -> None:
    head = "name: a\ntruth: {data: {image_size: 14, alpha: 0.05}}"
    block = "  - {data: {source: synthetic, num_train: 9}, degree: W, paradigm: {name: nll}}"
    data = cells(block, head)[0].data
    assert (data.image_size, data.alpha) == (14, 0.05)


def test_the_truth_is_labelled_as_degree_w() -> None:
    assert truth_of(parse(TRUTH + BLOCK)).degree == "W"


def test_auto_is_the_precision_that_is_passed_in() -> None:
    assert parse(TRUTH + BLOCK, "bf16").cells[0].precision == "bf16"
    assert truth_of(parse(TRUTH + BLOCK, "bf16")).precision == "bf16"


def test_an_explicit_precision_stands() -> None:
    assert {c.precision for c in nll("degree: W, precision: [fp32, bf16]")} == {"fp32", "bf16"}


@pytest.mark.parametrize(
    ("written", "seeds"), [("[2, 5]", [2, 3, 4]), ("[0, 7, 3]", [0, 3, 6]), ("[3, 0, -1]", [3, 2, 1])]
)
def test_a_range_counts_up_to_its_stop(written: str, seeds: list[int]) -> None:
    assert [cell.seed for cell in nll(f"degree: W, seed: {{range: {written}}}")] == seeds


def test_a_range_serves_any_integer() -> None:
    found = nll("degree: W", data="{source: synthetic, num_train: {range: [10, 40, 10]}}")
    assert [cell.data.num_train for cell in found] == [10, 20, 30]


def test_zip_varies_keys_together() -> None:
    found = cells("""
  - degree: W
    paradigm: {name: nll}
    zip: {paradigm.lr: [1e-3, 1e-4], paradigm.steps: [100, 1000]}
""")
    assert [(cell.paradigm.lr, cell.paradigm.steps) for cell in found] == [(1e-3, 100), (1e-4, 1000)]


def test_exclude_drops_what_matches_every_key() -> None:
    found = parse(TRUTH + BLOCK + "    exclude: [{degree: O1, data.num_train: fresh}]").cells
    assert len(found) == 25
    assert not [c for c in found if c.degree == "O1" and c.data.num_train == "fresh"]


def test_exclude_takes_lists_and_ranges() -> None:
    found = parse(TRUTH + BLOCK + "    exclude: [{degree: [U2, W], seed: {range: [1, 5]}}]").cells
    assert Counter(cell.degree for cell in found) == {"O1": 10, "U2": 2, "W": 2}


def test_exclude_comes_before_validation() -> None:
    found = parse(TRUTH + BLOCK.replace("fresh", "8000") + "    exclude: [{data.num_train: 8000, seed: [1, 2, 3, 4]}]")
    assert len(found.cells) == 18


def test_include_adds_the_sweep_with_axes_replaced() -> None:
    found = parse(TRUTH + BLOCK + "    include: [{degree: W*, seed: 7, data.num_train: fresh}]").cells
    assert [(c.degree, c.seed, c.paradigm.steps) for c in found[30:]] == [("W*", 7, 0)]


def test_include_keeps_the_axes_that_it_does_not_name() -> None:
    found = parse(TRUTH + BLOCK + "    include: [{degree: W*, seed: 7}]").cells
    assert [cell.data.num_train for cell in found[30:]] == [1000, "fresh"]


def test_include_may_replace_a_whole_zip() -> None:
    found = cells("""
  - paradigm: {name: nll}
    degree: W
    zip: {paradigm.steps: [1, 2], seed: [3, 4]}
    include: [{paradigm.steps: 9, seed: 9}]
""")
    assert [(cell.paradigm.steps, cell.seed) for cell in found] == [(1, 3), (2, 4), (9, 9)]


def test_ten_thousand_cells_are_expanded_quickly() -> None:
    text = TRUTH.replace("8000", "2000000") + BLOCK.replace("[0, 5]", "[0, 1700]")
    begin = time.process_time()
    assert len(parse(text).cells) == 10_200
    assert time.process_time() - begin < 2


def test_a_built_in_study_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [load_study(name, precision="fp32").name for name in ("misspec", "misspec.yaml")]
    assert names == ["misspec", "misspec"]


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "misspec.yaml").write_text("name: mine\ncells: [{flow: {}, paradigm: {name: nll}}]")
    assert load_study("misspec.yaml", precision="fp32").name == "mine"


def test_the_smoke_study_has_everything() -> None:
    study = load_study("smoke", precision="bf16")
    assert {cell.data.source for cell in study.cells} == {"mnist", "synthetic"}
    assert {cell.paradigm.name for cell in study.cells} == {"nll", "nsgan"}
    assert {cell.degree for cell in study.cells} == {"U1", "W", "O1", "W*"}


def test_the_nash_start_of_smoke_and_its_control_share_batches_and_rate() -> None:
    study = load_study("smoke", precision="bf16")
    nash, control = (c for c in study.cells if c.start == "truth" and c.degree == "W")
    assert nash.data == control.data
    assert nash.seed == control.seed
    same = ("lr", "steps", "batch_size")
    assert [getattr(nash.paradigm, key) for key in same] == [getattr(control.paradigm, key) for key in same]


def test_misspec_has_five_seeds_of_every_degree() -> None:
    found = Counter((cell.degree, cell.data.num_train) for cell in load_study("misspec", precision="bf16").cells)
    assert len(found) == 16  # seven degrees and the Student-t base, each on 10,000 and on fresh images
    assert set(found.values()) == {5}
