"""Peak memory of real runs beside the prediction of ``nllgen plan``."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measure import measure_nllgen
from nllgen.planning.cost import cell_cost
from nllgen.storage.result import read_attrs
from nllgen.storage.study_dir import StudyDir
from nllgen.study.load import parse_study

GRID = """
name: memory
metrics: {{every: [], final: [], num_samples: 500, num_train_eval: 500}}
cells:
  - data: {{source: mnist, image_size: {size}, num_train: {num_train}, num_val: 500, num_test: 500}}
    flow: {{width: {width}, blocks: {blocks}}}
    paradigm: {{name: {name}, steps: {steps}, batch_size: {batch}}}
    precision: {precision}
"""


@dataclass(frozen=True)
class Run:
    """A training run with little evaluation."""

    name: str
    size: int
    width: int
    blocks: int
    batch: int
    precision: str
    steps: int = 3
    num_train: int | str = "all"

    def __str__(self) -> str:
        model = f"{self.size}×{self.size}, width {self.width}, {self.blocks} blocks"
        return f"{self.name}, {model}, batch {self.batch}, {self.precision}"


@dataclass(frozen=True)
class Used:
    """The resources of a run on one core.

    Attributes:
        gb: largest resident set of any of its processes.
        planned_gb: the prediction of ``nllgen plan``.
        seconds_per_step: wall time of a step.
    """

    gb: float
    planned_gb: float
    seconds_per_step: float


RUNS = (
    Run("nll", 14, 8, 1, 128, "fp32"),
    Run("nll", 14, 32, 2, 128, "fp32"),
    Run("nll", 28, 16, 1, 128, "fp32"),
    Run("nll", 28, 32, 2, 64, "fp32"),
    Run("nll", 28, 32, 2, 128, "fp32"),
    Run("nll", 28, 32, 4, 128, "fp32"),
    Run("nll", 28, 64, 4, 64, "fp32"),
    Run("nll", 28, 64, 4, 8, "fp32"),
    Run("nll", 28, 32, 2, 128, "bf16"),
    Run("nll", 28, 64, 4, 64, "bf16"),
    Run("nsgan", 14, 16, 2, 128, "fp32"),
    Run("nsgan", 28, 32, 2, 128, "fp32"),
    Run("nsgan", 28, 32, 2, 128, "bf16"),
    Run("wgan_gp", 28, 16, 1, 128, "fp32"),
    Run("hybrid", 28, 32, 2, 64, "fp32"),
)


def rows() -> list[tuple[str, str, str]]:
    """Return rows of (work, measured, goal)."""
    table = []
    for run in RUNS:
        used = use(run)
        planned = f"plan {used.planned_gb:.2f} GB, {used.planned_gb / used.gb - 1:+.0%}"
        table.append((str(run), f"{used.gb:.2f} GB; {planned}", "within 20 %"))
    return table


def use(run: Run) -> Used:
    """Train on one core in a process and return the resources that it used."""
    text = GRID.format(**asdict(run))
    study = parse_study(text, "memory", precision="fp32")
    cell = study.cells[0]
    with tempfile.TemporaryDirectory() as root:
        grid = Path(root) / "memory.yaml"
        grid.write_text(text)
        usage = measure_nllgen("run", "--grid", grid, "--root", root, "--cell", cell.id, "--threads", "1")
        attrs = read_attrs(StudyDir(Path(root) / "memory").cell(cell.id).result)
    planned = cell_cost(cell, study).memory_gb
    return Used(usage.gb, planned, float(attrs["seconds_per_step"]))
