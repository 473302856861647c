"""The digest of a result: it covers all that is science, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nllgen.storage.result import (
    TABLES,
    Result,
    read_result,
    science_sha256,
)
from nllgen.storage.schema import RESULT_ATTRS
from nllgen.study.config import Cell

TIMES = [(name, column) for name, known in TABLES.items() for column, unit in known.items() if unit == "s"]


SCIENCE = [(name, column) for name, known in TABLES.items() for column, unit in known.items() if unit != "s"]


def changed(result: Result, name: str, column: Any) -> Any:
    """The result with the first number or word of a column changed."""
    table = getattr(result, name)
    data = table[column].copy() if column in table else np.zeros(len(table["step"]))
    data[0] = "other" if data.dtype.kind == "U" else 1234
    return replace(result, **{name: getattr(result, name) | {column: data}})


@pytest.mark.parametrize("attribute", sorted(set(RESULT_ATTRS) - {"schema", "science_sha256", "cell_id", "outcome"}))
def test_provenance_is_not_science(result: Result, attribute: Any) -> None:
    other = replace(result, attrs=result.attrs | {attribute: "another"})
    assert science_sha256(other) == science_sha256(result)


@pytest.mark.parametrize(("name", "column"), TIMES)
def test_time_is_not_science(result: Result, name: str, column: Any) -> None:
    assert science_sha256(changed(result, name, column)) == science_sha256(result)


@pytest.mark.parametrize(("name", "column"), SCIENCE)
def test_every_other_column_is_science(result: Result, name: str, column: Any) -> None:
    assert science_sha256(changed(result, name, column)) != science_sha256(result)


def test_the_outcome_is_science(make_result: Callable[..., Result]) -> None:
    assert science_sha256(make_result(outcome="diverged")) != science_sha256(make_result())


def test_the_cell_is_science(make_result: Callable[..., Result], make_cell: Callable[..., Cell]) -> None:
    assert science_sha256(make_result(make_cell(seed=1))) != science_sha256(make_result())


def test_one_pixel_is_science(result: Result) -> None:
    samples = result.samples.copy()
    samples[1, 0, 3, 3] += 1e-6
    assert science_sha256(replace(result, samples=samples)) != science_sha256(result)


def test_a_missing_column_is_science(result: Result) -> None:
    less = {name: data for name, data in result.eval.items() if name != "val_nll_nats"}
    assert science_sha256(replace(result, eval=less)) != science_sha256(result)


def test_the_digest_survives_the_file(written: Path, result: Result) -> None:
    assert read_result(written).attrs["science_sha256"] == science_sha256(result)
