"""Messages about values that pydantic refuses: in our words, without its own text or links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from nllgen.errors import NllgenError
from nllgen.launch.profile import Profile
from nllgen.study.allowed_keys import ARCHITECTURES, PARADIGMS
from nllgen.study.config import Cell, DataConfig, DatasetConfig, MetricsConfig, Resources, Study
from nllgen.study.run_options import RunOptions
from nllgen.study.validation import faults_of, one_line

MODELS: list[type[BaseModel]] = [
    Study, Cell, DataConfig, DatasetConfig, MetricsConfig, Resources, Profile, *ARCHITECTURES.values(),
    *PARADIGMS.values(),
]  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 0, 1.5, 1e300, float("nan"), float("inf"), 10**30, "", "x", "a b\n", "y" * 5000, [], [1], ["x"], {},
    {"a": 1}, {"": []}, [[["x"]]], {"name": "other"},
]  # fmt: skip
FOREIGN = ("Input", "should", "valid", "pydantic", "http", "Value error", "permitted", "validation", "another value")


def errors(model: type[BaseModel]) -> Iterator[tuple[str, ValidationError]]:
    """Every refusal of one wrong value of a model's keys."""
    for key in [*model.model_fields, "unknown"]:
        for value in VALUES:
            try:
                model.model_validate({key: value})
            except ValidationError as error:
                yield f"{key}={value!r:.40}", error


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_message_has_pydantics_text(model: type[BaseModel]) -> None:
    for name, error in errors(model):
        text = one_line(error)
        assert text, name
        assert not [word for word in FOREIGN if word in text], f"{name}: {text}"


@pytest.mark.parametrize(
    ("model", "values", "text"),
    [
        (DataConfig, {"num_train": "fesh"},
         'num_train: "fesh" is not allowed; allowed: a whole number or all or fresh; did you mean fresh?'),
        (DataConfig, {"num_val": 1}, "num_val: 1 is not allowed; allowed: at least 2"),
        (Resources, {"memory_gb": 0}, "memory_gb: 0 is not allowed; allowed: more than 0"),
        (Resources, {"cpus": 1.5}, "cpus: 1.5 is not allowed; allowed: a whole number"),
        (Resources, {"cpus": 9999, "gpus": -1}, "cpus: 9999 is not allowed; allowed: at most 1024; "
         "gpus: -1 is not allowed; allowed: at least 0"),
        (MetricsConfig, {"every": ["kid", "kit"]}, 'every[1]: "kit" is not allowed; allowed: divergence, '
         "pareto, frechet, frechet_inf, kid, prdc, memorisation, fld, pr_curve, critic, resampling or numerics; "
         "did you mean kid?"),
        (Study, {"name": "a b", "cells": ()},
         'name: "a b" is not allowed; allowed: at most 64 letters, digits, - and _, the first no - or _'),
        (MetricsConfig, {"final": "kid"}, 'final: "kid" is not allowed; allowed: a list'),
        (Cell, {"data": {}, "flow": {}, "paradigm": {"name": "nll", "steps": -1}},
         "paradigm.steps: -1 is not allowed; allowed: at least 0"),
    ],
)  # fmt: skip
def test_a_message_names_key_value_and_what_is_allowed(model: type[BaseModel], values: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    assert one_line(caught.value) == text


def test_each_wrong_value_of_a_list_is_a_fault() -> None:
    with pytest.raises(ValidationError) as caught:
        MetricsConfig.model_validate({"every": ["a", "kid", "b"]})
    assert [fault.path for fault in faults_of(caught.value, ())] == [("every", 0), ("every", 2)]


def test_a_message_of_a_worker_has_our_words() -> None:
    with pytest.raises(NllgenError) as caught:
        RunOptions.from_json('{"assets": 3, "threads": 0, "speed": 9}')
    assert "threads: 0 is not allowed; allowed: at least 1" in str(caught.value)
    assert not [word for word in FOREIGN if word in str(caught.value)]


def test_no_other_module_formats_pydantics_errors() -> None:
    """``.errors()`` and ``["msg"]`` are read in one place, so that no other message can have its text."""
    root = Path(__file__).parents[2]
    files = [*root.glob("nllgen/**/*.py"), *root.glob("analysis/**/*.py")]
    readers = {path.name for path in files if ".errors(" in path.read_text("utf-8")}
    assert readers == {"validation.py", "stored.py"}
