"""The numbers of cells in the table of a status, and the order of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import cloup

from nllgen.cli.output import finite
from nllgen.study.metric_groups import group_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nllgen.launch.numbers import Numbers
    from nllgen.launch.status import TaskReport
    from nllgen.storage.study_dir import StudyDir
    from nllgen.study.config import Study

_BY_NUMBER = ("nll", "kl", "frechet")
_HEADINGS = dict(zip(_BY_NUMBER, ("NLL (nats)", "KL (nats)", "Fréchet"), strict=True))


class _Order(click.Choice[str]):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(group_name(value), param, ctx)


SORT = cloup.option(
    "--sort",
    type=_Order((*_BY_NUMBER, "progress", "state")),
    help="Order of the cells: smallest number first, most steps first, or by state.",
)


def read_numbers(study_dir: StudyDir, study: Study, rows: Sequence[TaskReport]) -> dict[str, Numbers]:
    """Read the numbers of some tasks, by name."""
    from nllgen.launch.numbers import numbers_of

    return {row.name: numbers_of(study_dir, study, row) for row in rows}


def sorted_rows(
    study_dir: StudyDir, study: Study, rows: list[TaskReport], sort: str | None
) -> tuple[list[TaskReport], dict[str, Numbers]]:
    """Return the tasks in the order that was asked for, with their numbers if these decide it."""
    from nllgen.launch.numbers import Measure, sorted_by
    from nllgen.storage.states import TaskStatus

    if sort in _BY_NUMBER:
        numbers = read_numbers(study_dir, study, rows)
        return sorted_by(Measure(sort), rows, numbers), numbers
    if sort == "progress":
        return sorted(rows, key=lambda row: -(1.0 if row.has_result else row.step / max(1, row.steps))), {}
    if sort == "state":
        order = [*TaskStatus]
        return sorted(rows, key=lambda row: order.index(row.status)), {}
    return rows, {}


def number_columns(rows: Sequence[TaskReport], numbers: Mapping[str, Numbers]) -> dict[str, list[str]]:
    """Return heading → texts; numbers of an evaluation before the end are in parentheses."""
    from nllgen.launch.numbers import Measure

    return {_HEADINGS[measure]: [_text(numbers[row.name], measure) for row in rows] for measure in Measure}


def _text(numbers: Numbers, measure: Any) -> str:
    value = numbers.values.get(measure)
    if value is None:
        return ""
    text = f"{value:,.2f}" if 0.01 <= abs(value) < 1e6 else f"{value:.3g}"
    return text if numbers.is_final else f"({text})"


def with_numbers(status: dict[str, Any], numbers: Mapping[str, Numbers]) -> dict[str, Any]:
    """Add the numbers to the tasks of a status in JSON, where they were read; one that is not finite is null."""
    for task in status["tasks"] if numbers else ():
        values = numbers[task["name"]].values
        task["numbers"] = {str(name): finite(value) for name, value in values.items()}
    return status
