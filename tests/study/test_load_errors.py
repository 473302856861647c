"""Errors of a study: one ConfigError with each error, its line, the value, what is allowed and the nearest match."""

import time
from pathlib import Path

import pytest

from nllgen.errors import ConfigError
from nllgen.study.load import load_study, parse_study
from tests.study.grids import GOOD


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_study(text, "g.yaml", precision="fp32")
    return str(caught.value)


def swap(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_the_valid_grid_is_accepted() -> None:
    assert len(parse_study(GOOD, "g.yaml", precision="fp32").cells) == 20


def test_an_empty_mapping_lacks_a_name_and_cells() -> None:
    said = refusal("{}")
    assert "name: is required" in said
    assert "cells: is required" in said


CASES = {
    # name: (old, new, line, what the message says)
    "unknown top key": (
        "metrics:",
        "metrisc:",
        8,
        'metrisc: unknown key "metrisc"; allowed: name, purpose, tuning, truth',
    ),
    "near top key": ("metrics:", "metrisc:", 8, "did you mean metrics?"),
    "name": ("name: small", "name: a/b", 1, 'name: "a/b" is not allowed'),
    "name missing": ("name: small", "# none", 2, "name: is required"),
    "truth key": ("flow: {width", "flow: {widht", 4, "did you mean width?"),
    "truth list": ("seed: 0\nd", "seed: [0, 1]\nd", 6, "truth.seed: the truth is one cell"),
    "truth paradigm": ("{name: nll, steps: 400}", "{name: nsgan}", 5, "allowed: nll"),
    "truth data": ("{source: mnist}", "{source: synthetic, num_train: 5}", 3, "allowed: mnist"),
    "truth start": ("  seed: 0\nd", "  start: truth\nd", 6, "allowed: random"),
    "truth degree": ("  seed: 0\nd", "  degree: W\nd", 6, 'unknown key "degree"'),
    "truth not a mapping": ("metrics: {frechet: [lenet]}", "metrics: 3", 8, "metrics: 3 is not a mapping"),
    "dataset type": ("num_train: 5000", "num_train: many", 7, 'dataset.num_train: "many" is not allowed'),
    "metrics": ("[lenet]", "[lenett]", 8, "did you mean lenet?"),
    "source": ("source: synthetic", "source: sinthetic", 10, "did you mean synthetic?"),
    "data key": ("num_train: [", "num_trian: [", 10, "did you mean num_train?"),
    "num_train missing": (", num_train: [1000, fresh]", "", 10, "cells[0].data.num_train: is required"),
    "num_train word": ("fresh]", "frehs]", 10, "did you mean fresh?"),
    "num_train all": ("fresh]", "all]", 10, "is a number or fresh, not all"),
    "alpha": ("num_train: [1000", "alpha: 0.05, num_train: [1000", 10, "differs from the truth's 1e-06"),
    "image_size": ("num_train: [1000", "image_size: 14, num_train: [1000", 10, "differs from the truth's 28"),
    "num_val": ("num_train: [1000", "num_val: 1001, num_train: [1000", 10, "more than dataset.num_val, which is 1000"),
    "truth_id": ("num_train: [1000", "truth_id: a, num_train: [1000", 10, 'unknown key "truth_id"'),
    "pool": ("num_train: 5000", "num_train: 4999", 10, "needs dataset.num_train ≥ 5000; it is 4999"),
    "degree": ("[U2, W]", "[U2, Q]", 11, 'cells[0].degree: "Q" is not allowed; allowed: U3, U2, U1, W, W*, O1, O2'),
    "degree and flow": ("start: random", "flow: {width: 2}", 10, "either flow or degree"),
    "neither": ("degree: [U2, W]", "# none", 10, "needs a degree"),
    "paradigm": ("{name: nll, steps: 300}", "{name: nnl, steps: 300}", 12, "did you mean nll?"),
    "paradigm unnamed": ("{name: nll, steps: 300}", "{steps: 300}", 12, "paradigm.name: is required; allowed: nll"),
    "paradigm key": ("steps: 300", "stesp: 300", 12, "did you mean steps?"),
    "key of another paradigm": ("steps: 300", "disc_lr: 0.1", 12, 'unknown key "disc_lr"'),
    "float steps": ("steps: 300", "steps: 300.0", 12, "steps: 300.0 is not allowed; allowed: a whole number"),
    "bool steps": ("steps: 300", "steps: true", 12, "steps: true is not allowed"),
    "no value": ("steps: 300", "steps: ~", 12, "steps: has no value"),
    "nested": ("steps: 300", "steps: [[1]]", 12, "[1] is not a single value"),
    "start": ("start: random", "start: rnadom", 13, "did you mean random?"),
    "start truth of U2": ("start: random", "start: truth", 13, "needs the truth's own flow (degree W), not U2"),
    "precision": ("precision: auto", "precision: bf61", 14, "allowed: auto, fp32, bf16; did you mean bf16?"),
    "negative seed": ("{range: [0, 5]}", "-1", 15, "seed: -1 is not allowed; allowed: at least 0"),
    "empty list": ("{range: [0, 5]}", "[]", 15, "an empty list makes no cells"),
    "empty range": ("[0, 5]", "[5, 5]", 15, "is empty"),
    "range step": ("[0, 5]", "[0, 5, 0]", 15, "the step is 0"),
    "range of floats": ("[0, 5]", "[0, 5.5]", 15, "of whole numbers"),
    "range misspelt": ("{range:", "{rang:", 15, "allowed: a value, a list, {range: [start, stop]}"),
    "exclude key": ("degree: U2, seed", "degre: U2, seed", 17, "did you mean degree?"),
    "exclude nothing": ("degree: U2, seed: 1", "degree: U2, seed: 9", 17, "cells[0].exclude[0]: matches no cell"),
    "exclude empty": ("{degree: U2, seed: 1}", "{}", 17, "needs at least one dotted key"),
    "exclude unset": ("seed: 1}", "paradigm.lr: 1e-3}", 17, "this sweep does not set that key"),
    "include key": ("degree: W*, seed", "data.num_trian: 1, seed", 19, "did you mean data.num_train?"),
    "include value": ("degree: W*", "degree: X", 19, '"X" is not allowed'),
    "include flow": ("degree: W*", "flow.width: 3", 19, "either flow or degree"),
    "include duplicate": ("degree: W*", "degree: W", 19, "duplicate cells, already in cells[0] on line 10: W nll"),
    "cells": ("cells:\n", "cells: 3\nmore:\n", 9, "cells: 3 is not a list"),
}


@pytest.mark.parametrize(("old", "new", "line", "says"), CASES.values(), ids=CASES)
def test_an_error_has_its_line(old: str, new: str, line: int, says: str) -> None:
    message = refusal(swap(old, new))
    lines = [text for text in message.splitlines() if says in text]
    assert lines, message
    assert lines[0].startswith(f"g.yaml:{line}: "), message


def test_an_error_is_reported_once() -> None:
    assert len(refusal(swap("steps: 300", "stesp: 300")).splitlines()) == 1


def test_all_errors_are_reported_at_once() -> None:
    text = GOOD.replace("widt", "wdit").replace("[lenet]", "[x]").replace("auto", "fp8").replace("U2, W", "U9, W")
    message = refusal(text)
    assert message.splitlines()[0] == "5 errors in g.yaml"
    assert [int(line.split(":")[1]) for line in message.splitlines()[1:]] == [4, 8, 11, 14, 17]


def test_a_wrong_truth_is_not_also_reported_as_missing() -> None:
    assert "no truth section" not in refusal(swap("width: 16", "width: 0"))


def test_a_degree_needs_a_truth() -> None:
    message = refusal("name: a\ncells:\n - degree: W\n   paradigm: {name: nll}")
    says = "degree W is relative to the truth, and this study has no truth section"
    assert message == f"g.yaml:3: cells[0].degree: {says}"


def test_synthetic_data_need_a_truth() -> None:
    message = refusal("name: a\ncells:\n - {data: {source: synthetic, num_train: 9}, flow: {}, paradigm: {name: nll}}")
    assert "synthetic images are drawn from the truth, and this study has no truth section" in message


def test_a_start_at_the_truth_needs_one() -> None:
    assert "no truth section" in refusal("name: a\ncells: [{flow: {}, start: truth, paradigm: {name: nll}}]")


def test_a_degree_needs_the_truths_image_size() -> None:
    block = "  - {data: {image_size: 14}, degree: W, paradigm: {name: nll}}\n"
    message = refusal(GOOD.replace("cells:\n", "cells:\n" + block))
    assert "g.yaml:10: cells[0].data.image_size: degree W needs the truth's image_size 28; it is 14" in message


def test_a_flow_that_does_not_divide_the_image_is_reported_at_its_scales() -> None:
    message = refusal("name: a\ncells:\n - data: {image_size: 7}\n   flow: {scales: 2}\n   paradigm: {name: nll}")
    assert message.startswith("g.yaml:4: cells[0].flow.scales: 2 scales need a height and width divisible by 2")


def test_a_degree_beyond_the_limits_is_reported() -> None:
    assert "degree O2 of this truth has no valid flow: width: 1200" in refusal(
        swap("width: 16", "width: 300").replace("[U2, W]", "[U2, O2]")
    )


def test_a_zip_of_unequal_lengths_is_reported() -> None:
    message = refusal(GOOD + "    zip: {paradigm.lr: [1, 2], paradigm.batch_size: [1, 2, 3]}")
    assert "g.yaml:20: cells[0].zip: lists that vary together need equal lengths: paradigm.lr has 2" in message


def test_a_key_in_zip_and_sweep_is_reported() -> None:
    message = refusal(GOOD + "    zip:\n      paradigm.steps: [1, 2]")
    assert "g.yaml:21: cells[0].zip.paradigm.steps: given twice: in zip and on line 12" in message


def test_a_zip_needs_lists() -> None:
    assert "zip needs a list" in refusal(GOOD + "    zip: {paradigm.lr: 1}")


def test_an_include_of_half_a_zip_is_refused() -> None:
    text = "name: a\ncells:\n - flow: {}\n   paradigm: {name: nll}\n   zip: {seed: [1, 2], paradigm.steps: [1, 2]}\n"
    assert "give all of seed, paradigm.steps or none" in refusal(text + "   include: [{seed: 3}]")


def test_duplicates_of_two_sweeps_name_both() -> None:
    text = "name: a\ncells:\n - {flow: {}, paradigm: {name: nll}}\n - {flow: {}, paradigm: {name: nll}, seed: [0, 1]}"
    assert refusal(text) == (
        "g.yaml:4: cells[1]: 1 duplicate cells, already in cells[0] on line 3: custom nll mnist:all random seed 0"
    )


@pytest.mark.parametrize("cells", ["[]", "[{flow: {}, paradigm: {name: nll}, seed: [1], exclude: [{seed: 1}]}]"])
def test_an_empty_grid_is_refused(cells: str) -> None:
    assert "an empty grid" in refusal(f"name: a\ncells: {cells}")


def test_a_file_that_is_a_list_is_refused() -> None:
    assert "is not a mapping" in refusal("- 1")


@pytest.mark.parametrize(
    "axes",
    [
        "seed: {range: [0, 1000000000]}",
        "seed: {range: [0, 9999999999999999999999999999]}",
        "seed: {range: [0, 1000]}, precision: [fp32, bf16], start: [random, truth]"
        + ", data: {num_train: {range: [1, 50000]}}",
    ],
)
def test_an_immense_grid_is_refused_before_it_is_expanded(axes: str) -> None:
    begin = time.process_time()
    message = refusal(f"name: a\ncells: [{{flow: {{}}, paradigm: {{name: nll}}, {axes}}}]")
    assert time.process_time() - begin < 0.5
    assert "at most 100,000 are allowed; the largest sweep is" in message
    assert "seed (1" in message


def test_an_immense_zip_is_refused_before_it_is_expanded() -> None:
    zipped = "{seed: {range: [0, 99999999999]}, paradigm.steps: {range: [1, 100000000000]}}"
    message = refusal(f"name: a\ncells: [{{flow: {{}}, paradigm: {{name: nll}}, zip: {zipped}}}]")
    assert "99,999,999,999 cells" in message


def test_thousands_of_errors_are_reported_in_short() -> None:
    seeds = ", ".join(map(str, range(-1000, 0)))
    message = refusal(f"name: a\ncells: [{{flow: {{}}, paradigm: {{name: nll}}, seed: [{seeds}]}}]")
    assert len(message.splitlines()) < 60
    assert "… and 950 more" in message


def test_a_missing_grid_names_the_built_in_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist; did you mean misspec\?\n.*misspec, .*smoke"):
        load_study("mispec", precision="fp32")


def test_a_folder_is_no_grid(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the YAML file of a study: it is a folder"):
        load_study(tmp_path, precision="fp32")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "../jobs/misspec.yml"])
def test_an_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        load_study(name, precision="fp32")


@pytest.mark.parametrize("key", ["plugins", "optional", "purpose"])
def test_a_key_without_a_value_is_named(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"g\.yaml:1: {key}: "):
        parse_study(f"{key}:\n{GOOD}", "g.yaml", precision="fp32")


def test_images_of_two_sizes_do_not_fit_into_one_study() -> None:
    text = "name: a\ncells:\n  - data: {source: mnist, image_size: [28, 14]}\n    flow: {}\n    paradigm: {name: nll}\n"
    assert "a study has images of one size" in refusal(text)


def test_a_misspelt_file_suggests_the_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text("name: first\n")
    with pytest.raises(ConfigError, match=r"does not exist; did you mean first\.yaml\?"):
        load_study(tmp_path / "fist.yaml", precision="fp32")
