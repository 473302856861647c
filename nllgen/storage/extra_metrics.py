"""metrics.<group>.h5: metrics of a finished cell that were measured after its run, from the weights that it kept.

The file lies beside result.h5, which stays as it is. It names the weights and the truth that it was measured on, and
the code that measured: numbers of two versions of nllgen in one study are told apart. Complete or absent, and never
replaced.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from nllgen.errors import MADE_ANEW, CorruptFileError
from nllgen.storage.atomic import part_file, publish, write_part
from nllgen.storage.checksum import with_checksum
from nllgen.storage.hdf5 import check_schema, get_json, open_read, put_json
from nllgen.storage.result import Result
from nllgen.storage.schema import EXTRA_METRICS_ATTRS, FINAL_COLUMNS, INTEGER_COLUMNS, SCHEMA, TEXT_COLUMNS
from nllgen.storage.tables import Table, read_table, write_table

_KEYS = TEXT_COLUMNS | INTEGER_COLUMNS | {"time_s"}


@dataclass(frozen=True)
class ExtraMetrics:
    """One group of metrics of one cell.

    Attributes:
        attrs: ``schema.EXTRA_METRICS_ATTRS``.
        final: columns (F,) by kept weights, on the test split, as in result.h5.
    """

    attrs: dict[str, str]
    final: Table

    @property
    def group(self) -> str:
        """Return the group's name."""
        return self.attrs["group"]

    def belongs_to(self, attrs: dict[str, str]) -> bool:
        """Return whether it was measured on the weights and the truth of a result with these attributes."""
        return all(self.attrs[name] == attrs[name] for name in ("cell_id", "model_sha256", "truth_sha256"))


def write_extra_metrics(path: Path, extra_metrics: ExtraMetrics) -> bool:
    """Write, read back and publish; a file that stands there is never replaced.

    Returns:
        Whether this one was published; False where another was first.
    """

    def fill(file: h5py.File) -> None:
        file.attrs["schema"] = SCHEMA
        put_json(file, "attributes", {name: extra_metrics.attrs[name] for name in EXTRA_METRICS_ATTRS})
        write_table(file, "final", extra_metrics.final, FINAL_COLUMNS)

    with part_file(path) as part:
        write_part(part, with_checksum(fill))
        read_extra_metrics(part)
        return publish(part, path)


def read_extra_metrics(path: Path) -> ExtraMetrics:
    """Read and check a file of extra metrics.

    Raises:
        CorruptFileError: it is damaged or something else.
        SchemaError: it was written with another schema.
        MachineError: it cannot be read now.
    """
    with open_read(path) as file:
        check_schema(file, path)
        attrs = get_json(file, "attributes")
        if not all(isinstance(attrs.get(name), str) for name in EXTRA_METRICS_ATTRS):
            raise ValueError("an attribute is missing or not text")
        final = read_table(file, "final", FINAL_COLUMNS)
        if "weights" not in final or "step" not in final:
            raise ValueError("final has no weights or step column")
        return ExtraMetrics({name: attrs[name] for name in EXTRA_METRICS_ATTRS}, final)


def with_extra_metrics(result: Result, paths: list[Path]) -> Result:
    """Return a result with further metrics in ``final``, and their provenance as the attribute ``extra_metrics``.

    A number that the run itself measured stays; only what it lacks is filled in.

    Raises:
        CorruptFileError: a file is damaged, or of other weights or another truth than the result.
    """
    final, provenance = dict(result.final), {}
    for path in paths:
        extra_metrics = read_extra_metrics(path)
        if not extra_metrics.belongs_to(result.attrs):
            raise CorruptFileError(
                f"{path}: measured on other weights or another truth than result.h5's",
                f"run: nllgen evaluate STUDY --metric {extra_metrics.group}",
            )
        rows = _rows_of(extra_metrics, [str(name) for name in final["weights"]], path)
        for column in extra_metrics.final.keys() - _KEYS:
            measured = extra_metrics.final[column][rows]
            before = final.get(column, np.full(len(rows), np.nan))
            final[column] = np.where(np.isnan(before), measured, before)
        provenance[extra_metrics.group] = {
            name: value for name, value in extra_metrics.attrs.items() if name != "group"
        }
    return replace(result, final=final, attrs=result.attrs | {"extra_metrics": json.dumps(provenance)})


def _rows_of(extra_metrics: ExtraMetrics, weights: list[str], path: Path) -> list[int]:
    """Return the rows in the order of a result's kept weights."""
    names = [str(name) for name in extra_metrics.final["weights"]]
    if sorted(names) != sorted(weights):
        raise CorruptFileError(f"{path}: has not the weights that result.h5 has", MADE_ANEW)
    return [names.index(name) for name in weights]
