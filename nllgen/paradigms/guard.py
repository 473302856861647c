"""Watch on the numbers of training steps: nothing is updated any more after the first that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Scalars = dict[str, float]
Columns = dict[str, Tensor | float]  # columns of the history, by name; those still on the device have no dimension


class Diverged(Exception):  # noqa: N818  an outcome, not an error
    """A loss or gradient that is not finite, with the measurements of its step.

    It is raised before the optimiser's step, so the weights are the last finite ones.
    """

    def __init__(self, scalars: Scalars):
        super().__init__(", ".join(f"{name} {value}" for name, value in scalars.items()))
        self.scalars = scalars


@dataclass(frozen=True)
class StepNumbers:
    """Numbers of a step, which may still be on the device.

    Attributes:
        columns: of the history; empty where the step ended early.
        checked: columns of each part of the step that must be finite, in order; of those read at once, the last part.
        ended_early: whether the step diverged, and the rest of it was left out.
    """

    columns: Columns
    checked: tuple[Columns, ...] = ()
    ended_early: bool = False


@dataclass
class _Buffer:
    """A buffer that forward passes may change, such as a running mean, and its value at the latest check."""

    module: nn.Module
    name: str
    kept: Tensor

    @property
    def current(self) -> Tensor:
        return self.module.get_buffer(self.name)


@dataclass
class Guard:
    """Stops training at the first number that is not finite, such that the weights are still those that led there.

    On the CPU each number is read where it is computed, and the first that is not finite ends its step. On a GPU the
    host would wait for every number. There a flag on the device makes the optimisers skip their updates, and the
    numbers of several steps are read at once.

    Attributes:
        stopped: 1.0 on the device after a number that was not finite, else 0.0; None where numbers are read at once.
    """

    stopped: Tensor | None = None
    _checked: list[Columns] = field(default_factory=list, init=False, repr=False)
    _buffers: list[_Buffer] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def of(cls, device: torch.device) -> Guard:
        """Create the guard of a device."""
        return cls(None if device.type == "cpu" else torch.zeros((), device=device))

    def watch(self, optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
        """Make the flag stop a fused optimiser, and changes of the buffers of its module."""
        if self.stopped is None:
            return
        optimizer.found_inf = self.stopped  # type: ignore[attr-defined]  # read by fused optimisers, as for a GradScaler
        for part in module.modules():
            for name in sorted(part._buffers.keys() - part._non_persistent_buffers_set):
                if (buffer := part._buffers[name]) is not None and buffer.dtype != torch.bool:
                    self._buffers.append(_Buffer(part, name, buffer.clone()))

    def check(self, columns: Columns) -> Columns:
        """Return columns that must be finite before the next update: read, or as they are with a GPU.

        Raises:
            Diverged: one that was read, or that is no tensor, is not finite.
        """
        if self.stopped is None:
            (scalars,) = _to_host([columns])
            if not _is_finite(scalars):
                raise Diverged(scalars)
            self._checked = [{**scalars}]
            return {**scalars}
        if not _is_finite({name: value for name, value in columns.items() if not isinstance(value, Tensor)}):
            raise Diverged(*_to_host([columns]))
        tensors = [value for value in columns.values() if isinstance(value, Tensor)]
        self._note(torch.stack(tensors).isfinite().all().logical_not_() if tensors else None)
        self._checked.append({**columns})
        return columns

    def _note(self, is_bad: Tensor | None) -> None:
        """Keep the buffers that led to numbers, and raise the flag if these are bad."""
        assert self.stopped is not None
        before = self.stopped.bool()
        if is_bad is not None:
            self.stopped.logical_or_(is_bad)
        for buffer in self._buffers:
            buffer.kept = torch.where(before, buffer.kept, buffer.current)

    def run(self, work: Callable[[], Columns]) -> StepNumbers:
        """Run the work of a step and return its numbers."""
        self._checked, ended_early = [], False
        try:
            columns = work()
        except Diverged as divergence:  # of a check, or of a paradigm's own, for a reason of its own
            columns, ended_early = {}, True
            self._checked.append({**divergence.scalars})
            if self.stopped is not None:
                self._note(torch.ones_like(self.stopped))
        for buffer in self._buffers:
            assert self.stopped is not None
            buffer.current.copy_(torch.where(self.stopped.bool(), buffer.kept, buffer.current))
        return StepNumbers(columns, tuple(self._checked), ended_early)


def read_numbers(steps: Sequence[StepNumbers]) -> tuple[list[Scalars], bool]:
    """Read the numbers of several steps, for which the host waits once.

    Returns:
        The row of each step up to the first that diverged, whose row has only the columns of the part that did; and
        whether there is one.
    """
    parts = iter(_to_host([part for each in steps for part in (*each.checked, each.columns)]))
    rows = []
    for each in steps:
        *checked, row = [next(parts) for _ in range(len(each.checked) + 1)]
        bad = next((part for part in checked if not _is_finite(part)), None)
        if bad is None and each.ended_early:
            bad = next(filter(None, reversed(checked)), {})
        rows.append(row if bad is None else bad)
        if bad is not None:
            return rows, True
    return rows, False


def _is_finite(scalars: Scalars) -> bool:
    return all(math.isfinite(value) for value in scalars.values())


def _to_host(groups: Sequence[Mapping[str, Tensor | float]]) -> list[Scalars]:
    tensors = [value for columns in groups for value in columns.values() if isinstance(value, Tensor)]
    values = iter(torch.stack(tensors).tolist() if tensors else [])  # fp32 beside fp64 is read exactly
    return [
        {name: next(values) if isinstance(value, Tensor) else value for name, value in columns.items()}
        for columns in groups
    ]
