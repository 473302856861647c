"""Fit of a calibration to the timings of a few cells on this machine."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

from nllgen.planning.calibration import SHIPPED, Measured
from nllgen.planning.flops import model_cost
from nllgen.planning.metric_cost import COSTS
from nllgen.study.config import Cell, DataConfig, FlowConfig, NLLConfig, Precision

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nllgen.study.run_options import CellTiming, TimingAnswer

    Array = npt.NDArray[np.float64]

# image size, width, blocks, scales, batch: small ones show what a call costs, the largest what a multiplication costs
_SHAPES = ((14, 8, 1, 2, 64), (7, 4, 0, 1, 16), (28, 16, 1, 2, 32), (28, 32, 2, 2, 16))
_NUM_IMAGES = 250  # of a pass that is timed
_AT_MOST = 8.0  # by which a machine differs from the shipped values


def cells_to_time(precision: Precision) -> list[Cell]:
    """Return the cells to time, in fp32, and in the precision of training where that is another one."""
    precisions: tuple[Precision, ...] = ("fp32",) if precision == "fp32" else ("fp32", precision)
    return [_cell(shape, each) for each in precisions for shape in _SHAPES]


def _cell(shape: tuple[int, int, int, int, int], precision: Precision) -> Cell:
    size, width, blocks, scales, batch = shape
    return Cell(
        data=DataConfig(image_size=cast("Literal[28, 14, 7]", size)),
        flow=FlowConfig(shape=(1, size, size), width=width, blocks=blocks, scales=scales),
        paradigm=NLLConfig(batch_size=batch, steps=1),
        precision=precision,
    )


def fit(cells: Sequence[Cell], answer: TimingAnswer) -> Measured:
    """Return the values by which the costs of the cells come closest to their timings, in relative terms."""
    import numpy as np  # here, since most plans need no fit

    rows, seconds = [], []
    for cell, timing in zip(cells, answer.cells, strict=True):
        for row, measured in _equations(cell, timing):
            rows.append(row)
            seconds.append(measured)
    shipped = np.array([1 / SHIPPED.gflops_bf16, 1 / SHIPPED.gflops_fp32, SHIPPED.ns_per_activation,
                        SHIPPED.s_per_coupling])  # fmt: skip
    ratios = _least_squares(np.array(rows) * shipped / np.array(seconds)[:, None], np.ones(len(rows)))
    bf16, fp32, activation, coupling = (float(ratio) for ratio in ratios)
    has_bf16 = any(cell.precision == "bf16" for cell in cells)
    return Measured(
        gflops_bf16=SHIPPED.gflops_bf16 / bf16 if has_bf16 else SHIPPED.gflops_fp32 / fp32,
        gflops_fp32=SHIPPED.gflops_fp32 / fp32,
        ns_per_activation=SHIPPED.ns_per_activation * activation,
        s_per_coupling=SHIPPED.s_per_coupling * coupling,
        metric_ratio=answer.pair_s / COSTS["lenet"].pair or SHIPPED.metric_ratio,
        start_s=answer.start_s,
        busy_ratio=answer.busy_ratio,
    )


def _equations(cell: Cell, timing: CellTiming) -> list[tuple[list[float], float]]:
    """Return (coefficients of bf16, fp32, activation and coupling; seconds) of a step and of a pass."""
    cost, batch = model_cost(cell.architecture), cell.paradigm.batch_size
    passes = 1 + SHIPPED.backward
    step = [2e-9 * cost.macs * batch * passes, 1e-9 * cost.activations * batch * passes, cost.num_layers * passes]
    one = [2e-9 * cost.macs, 1e-9 * cost.activations, cost.num_layers / _NUM_IMAGES]
    in_bf16 = cell.precision == "bf16"
    equations = [([in_bf16 * step[0], (not in_bf16) * step[0], *step[1:]], timing.step_s)]
    # a pass is in fp32 in any case
    return equations if in_bf16 else [*equations, ([0.0, *one], timing.density_s), ([0.0, *one], timing.sample_s)]


def _least_squares(matrix: Array, target: Array) -> Array:
    """Return the best values of at least 1/8: every subset of the others may lie at that bound."""
    import numpy as np

    num, lowest = matrix.shape[1], 1 / _AT_MOST
    best, error = np.ones(num), float("inf")
    for free in itertools.chain.from_iterable(itertools.combinations(range(num), n) for n in range(1, num + 1)):
        values = np.full(num, lowest)
        rest = target - matrix @ np.where(np.isin(np.arange(num), free), 0.0, values)
        values[list(free)] = np.linalg.lstsq(matrix[:, list(free)], rest, rcond=None)[0]
        squares = float(np.sum((matrix @ values - target) ** 2))
        if (values >= lowest).all() and squares < error:
            best, error = np.minimum(values, _AT_MOST), squares
    return best
