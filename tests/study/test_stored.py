"""A study that was made with a paradigm, a model or a key that this installation lacks is unknown here, not damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from nllgen.errors import CorruptFileError, NllgenError, SchemaError
from nllgen.study.config import SCHEMA, Study
from nllgen.study.load import parse_study
from nllgen.study.manifest import header_text, manifest_text, parse_frozen

GRID = """
name: small
truth: {flow: {width: 4}}
cells:
  - {flow: {width: 8}, paradigm: {name: [nll, nsgan], steps: 10}, seed: {range: [0, 3]}}
"""
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def study() -> Study:
    return parse_study(GRID, "small.yaml", precision="fp32")


def line_of(cell: dict[str, Any]) -> str:
    """The line of a manifest, as the installation that knows the cell wrote it."""
    known = {"schema": SCHEMA, "cell": {key: value for key, value in cell.items() if key != "degree"}}
    text = json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({"id": hashlib.sha256(text.encode()).hexdigest()[:16], "cell": cell})


def refusal(study: Study, edit: Edit, *, is_whole: bool = True) -> NllgenError:
    *rest, last = manifest_text(study).splitlines()
    line = json.loads(last)
    edit(line["cell"])
    last = line_of(line["cell"]) if is_whole else json.dumps(line)
    with pytest.raises(NllgenError) as caught:
        parse_frozen(header_text(study), "\n".join([*rest, last]), "runs/small")
    return caught.value


def paradigm(cell: dict[str, Any]) -> None:
    cell["paradigm"] = {"name": "diffusion", "steps": 3, "num_levels": 10}


def model(cell: dict[str, Any]) -> None:
    cell.update(flow=None, glow={"width": 3, "shape": [1, 28, 28]})


def key(cell: dict[str, Any]) -> None:
    cell["paradigm"]["momentum"] = 0.5


def value(cell: dict[str, Any]) -> None:
    cell["paradigm"]["optimizer"] = "muon"


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize(("edit", "name"), [(paradigm, "paradigm diffusion"), (model, "model glow")])
def test_a_paradigm_or_model_is_unknown_by_name(study: Study, edit: Edit, name: str, is_whole: bool) -> None:
    error = refusal(study, edit, is_whole=is_whole)
    assert isinstance(error, SchemaError)
    assert error.message.startswith(f"runs/small: unknown here: {name};")
    assert "damaged" not in str(error)


@pytest.mark.parametrize(("edit", "name"), [(key, "paradigm.momentum"), (value, 'paradigm.optimizer: "muon"')])
def test_a_key_or_value_of_a_whole_cell_is_unknown_by_name(study: Study, edit: Edit, name: str) -> None:
    error = refusal(study, edit)
    assert isinstance(error, SchemaError)
    assert f"unknown here: {name};" in error.message


@pytest.mark.parametrize("edit", [key, value])
def test_a_key_or_value_that_the_id_does_not_cover_is_damage(study: Study, edit: Edit) -> None:
    error = refusal(study, edit, is_whole=False)
    assert isinstance(error, CorruptFileError)
    assert "Input" not in str(error)
    assert "pydantic" not in str(error)


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("name: small", "name: small\npurpose2: x", "purpose2"),
        ("  num_samples: 2000", "  num_samples: 2000\n  num_dreams: 3", "metrics.num_dreams"),
        ("- lenet", "- clip", 'metrics.frechet[0]: "clip"'),
        ("    name: nll", "    name: diffusion", "paradigm diffusion"),
    ],
)
def test_a_header_has_what_is_unknown_here(study: Study, old: str, new: str, name: str) -> None:
    header = header_text(study)
    assert old in header
    with pytest.raises(SchemaError, match="unknown here") as caught:
        parse_frozen(header.replace(old, new, 1), manifest_text(study), "here")
    assert name in caught.value.message


def test_a_header_with_a_wrong_value_is_damage_in_our_words(study: Study) -> None:
    header = header_text(study).replace("num_samples: 2000", "num_samples: many")
    with pytest.raises(CorruptFileError) as caught:
        parse_frozen(header, manifest_text(study), "here")
    assert 'metrics.num_samples: "many" is not allowed; allowed: a whole number' in caught.value.message
