"""The frozen study as text: what is read is what was written, and what was edited is refused."""

from __future__ import annotations

import hashlib
import json

import pytest

from nllgen.errors import CorruptFileError, SchemaError
from nllgen.study.config import SCHEMA, Study
from nllgen.study.load import parse_study
from nllgen.study.manifest import header_text, manifest_text, parse_frozen

GRID = """
name: small
cells:
  - data: {source: mnist, image_size: 14}
    flow: {width: [4, 8]}
    paradigm: {name: [nll, nsgan], steps: 10}
    seed: {range: [0, 3]}
"""


@pytest.fixture
def study() -> Study:
    return parse_study(GRID, "small.yaml", precision="fp32")


def edited(study: Study, old: str, new: str) -> str:
    text = manifest_text(study)
    assert old in text
    return text.replace(old, new, 1)


def test_cells_share_the_sections_that_they_have_in_common(study: Study) -> None:
    back = parse_frozen(header_text(study), manifest_text(study), "here")
    assert back == study
    for section, count in (("data", 1), ("flow", 2), ("paradigm", 2)):
        assert len({id(getattr(cell, section)) for cell in back.cells}) == count


@pytest.mark.parametrize(("old", "new"), [('"width": 4', '"width": 5'), ('"seed": 2', '"seed": 7')])
def test_a_cell_that_was_edited_is_refused(study: Study, old: str, new: str) -> None:
    with pytest.raises(CorruptFileError, match="has the content of"):
        parse_frozen(header_text(study), edited(study, old, new), "here")


def test_a_study_from_before_a_key_existed_is_refused_by_its_version(study: Study) -> None:
    *rest, last = manifest_text(study).splitlines()
    cell = json.loads(last)["cell"]
    assert cell["paradigm"].pop("pixel_leak") == 0.01
    known = {"schema": SCHEMA, "cell": {name: value for name, value in cell.items() if name != "degree"}}
    text = json.dumps(known, sort_keys=True, separators=(",", ":"))
    line = json.dumps({"id": hashlib.sha256(text.encode()).hexdigest()[:16], "cell": cell})
    with pytest.raises(SchemaError, match=r"frozen by an earlier version of nllgen, which had no paradigm\.pixel_leak"):
        parse_frozen(header_text(study), "\n".join([*rest, line]), "here")


@pytest.mark.parametrize("cell", ["[]", "7", "null", '"text"', "{}", '{"data": 3}', '{"data": {"source": []}}'])
def test_a_line_that_is_no_cell_is_damage(study: Study, cell: str) -> None:
    first, *rest = manifest_text(study).splitlines()
    line = f'{{"id": {json.dumps(json.loads(first)["id"])}, "cell": {cell}}}'
    with pytest.raises(CorruptFileError, match="damaged or was edited"):
        parse_frozen(header_text(study), "\n".join([line, *rest]), "here")


def test_an_option_of_a_model_may_be_called_as_a_key_of_a_cell_is() -> None:
    text = GRID.replace("name: small", "name: small\nplugins: [own]").replace(
        "flow: {width: [4, 8]}", 'model: {factory: "own:f", options: {start: 3, seed: {start: 4}}}'
    )
    study = parse_study(text, "small.yaml", precision="fp32")
    assert parse_frozen(header_text(study), manifest_text(study), "here") == study


@pytest.mark.parametrize(
    "line",
    [
        "num_cells: .inf", "num_cells: true", "num_cells: [2]", "dataset: " + 20_000 * "[" + 20_000 * "]",
        "plugins: [" + 600_000 * "[]," + "]",
    ],
    ids=["infinite", "true", "list", "nested", "many"],
)  # fmt: skip
def test_a_header_that_was_edited_is_damage(study: Study, line: str) -> None:
    key = line.partition(":")[0]
    header = "".join(each for each in header_text(study).splitlines(keepends=True) if not each.startswith(f"{key}:"))
    with pytest.raises(CorruptFileError, match="damaged or was edited"):
        parse_frozen(f"{header}{line}\n", manifest_text(study), "here")
