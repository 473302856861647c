"""The JSON schema that ships: it is what the models say, accepts what the loader accepts, and refuses wrong values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nllgen.study.allowed_keys import KEYS
from nllgen.study.builtin import builtin_names, builtin_path
from nllgen.study.json_schema import SCHEMA_PATH, schema_text, study_schema
from nllgen.study.yaml_documents import read_text, read_yaml
from tests.study.test_all_faults import FAULTS, GOOD, Planted

CHECKER = jsonschema.Draft7Validator(study_schema())


def values(text: str) -> Any:
    return read_yaml(text, "g.yaml").value


def builtin(name: str) -> Path:
    path = builtin_path("jobs", name)
    assert path is not None
    return path


def test_the_file_that_ships_is_generated() -> None:
    assert SCHEMA_PATH.read_text("utf-8") == schema_text(), "run: make docs"


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(study_schema())


@pytest.mark.parametrize("name", builtin_names("jobs"))
def test_every_built_in_study_validates(name: str) -> None:
    CHECKER.validate(values(read_text(builtin(name))))


def test_another_name_of_a_metric_validates() -> None:
    CHECKER.validate(values(GOOD.replace("[divergence, kid]", "[divergence, fid]")))


def test_numbers_with_underscores_validate_as_an_editor_reads_them() -> None:
    text = GOOD.replace("steps: 300", 'steps: "1_300"')
    assert not list(CHECKER.iter_errors(values(text)))
    CHECKER.validate({"name": "s", "dataset": {"num_train": "5_000"}, "cells": values(GOOD)["cells"]})


def test_a_study_with_everything_validates() -> None:
    CHECKER.validate(values(GOOD))


# Contradictions of allowed values, and what depends on numbers of cells: for the loader alone.
FOR_THE_LOADER = (
    "start_noise: 1\n    paradigm: {name: wgan_gp",
    "num_val: 10001", "num_train: 4999", "num_test: 1001", "{degree: U2, seed: 9}", "num_train: 70000",
    "num_train: fresh", "updates: simultaneous", "start: truth", "paradigm.disc_lr: [1e-4, 1e-3, 1e-2]",
    "base: student_t", "dof: 3.0", "scales: 3", "    seed: [0, 1, 1]\n", "num_train: fresh}\n    degree: U1\n",
)  # fmt: skip


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.new not in FOR_THE_LOADER], ids=lambda fault: fault.new
)
def test_a_faulty_study_does_not_validate(fault: Planted) -> None:
    assert list(CHECKER.iter_errors(values(GOOD.replace(fault.old, fault.new, 1))))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: many\n", ""),
        ("    degree: [U2, W]\n", ""),
        ("    degree: [U2, W]\n", "    degree: W\n    flow: {}\n"),
        ("{name: nll, steps: 300, schedule: cosine}", "{steps: 300}"),
        ("seed: {range: [0, 5]}", "seed: {rang: [0, 5]}"),
        ("paradigm.lr: [1e-4, 1e-3]", "paradigm.lr: 1e-4"),
        ("flow: {width: 16, blocks: 2}", "flow: {width: [16], blocks: 2}"),
        ("[lenet]", "[lenet, clip]"),
    ],
)
def test_a_wrong_structure_does_not_validate(old: str, new: str) -> None:
    assert old in GOOD
    assert list(CHECKER.iter_errors(values(GOOD.replace(old, new, 1))))


def test_every_key_has_a_description() -> None:
    definitions = study_schema()["definitions"]
    assert [key for key in KEYS if not definitions[key].get("description")] == []
