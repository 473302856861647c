"""Build times of the container, and its costs beside the host: a worker's start, and training in alternation."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from nllgen.assets import asset_folder
from nllgen.container import Bind, Container, container_python, exec_command, verify_container
from nllgen.launch.freeze import freeze
from nllgen.storage.result import read_attrs
from nllgen.study.load import parse_study

GRID = """
name: paired
metrics: {frechet: [], num_samples: 16, num_train_eval: 16, num_kept: 4}
cells:
  - data: {source: mnist, num_val: 16, num_test: 16}
    flow: {width: 16, blocks: 1}
    paradigm: {name: nll, steps: 60, batch_size: 128, eval_every: 60}
    precision: fp32
    seed: {range: [0, 2]}
"""
PAIRS = 5
HOST = [sys.executable, "-I", "-m", "nllgen"]


def seconds(words: Sequence[str], environment: dict[str, str] | None = None) -> float:
    """Return the wall time of a command.

    Raises:
        RuntimeError: it failed.
    """
    started = time.perf_counter()
    done = subprocess.run(words, env=os.environ | (environment or {}), stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return time.perf_counter() - started


def build(out: Path, cache: Path) -> str:
    """Build by debootstrap with a cache directory; return wall time and processor time as text."""

    def processor_s() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = processor_s()
    words = [*HOST, "build", "--base", "debootstrap", "-o", str(out)]
    wall_s = seconds(words, {"NLLGEN_CACHE": str(cache)})
    return f"{wall_s:.1f} s ({processor_s() - before:.1f} s of processor time)"


def starts(container: Container, rounds: int = 7) -> tuple[list[float], list[float]]:
    """Return the seconds of a worker's imports on the host and in the container, measured in alternation."""
    code = ["-c", "import nllgen.worker.setup"]
    words, variables = exec_command(container, [*container_python()[:2], *code], binds=[], environment={})
    host, inside = [], []
    for _ in range(rounds):
        host.append(seconds([*HOST[:2], *code]))
        inside.append(seconds(words, variables))
    return host, inside


def seconds_per_step(container: Container | None, root: Path) -> float:
    """Train briefly with one thread; return the seconds of a step."""
    study = parse_study(GRID, "paired", precision="fp32")
    study_dir, study, _ = freeze(study, root)
    cell = study.cells[0].id
    (root / "grid.yaml").write_text(GRID)
    run = ["run", "--grid", str(root / "grid.yaml"), "--root", str(root), "--cell", cell, "--threads", "1"]
    single = {"OMP_NUM_THREADS": "1", "NLLGEN_ASSETS": str(asset_folder())}
    if container is None:
        seconds([*HOST, *run], single)
    else:
        binds = [Bind(root, writable=True), Bind(asset_folder())]
        seconds(*exec_command(container, [*container_python(), *run], binds=binds, environment=single))
    return float(read_attrs(study_dir.cell(cell).result)["seconds_per_step"])


def paired(container: Container, root: Path) -> list[float]:
    """Return ratios of seconds per step, container over host, of pairs of runs; the first of a pair alternates."""
    ratios = []
    for pair in range(PAIRS):
        order = [None, container] if pair % 2 == 0 else [container, None]
        seconds_by_place = {}
        for one in order:
            where = "host" if one is None else "container"
            (root / f"{where}{pair}").mkdir()
            seconds_by_place[where] = seconds_per_step(one, root / f"{where}{pair}")
        ratios.append(seconds_by_place["container"] / seconds_by_place["host"])
    return ratios


def rows() -> list[tuple[str, str, str]]:
    """Return rows of (work, measured, goal)."""
    load = os.getloadavg()[1]
    with tempfile.TemporaryDirectory(prefix="nllgen-benchmark-") as name:
        root = Path(name)
        cold = build(root / "nllgen.sif", root / "cache")
        hit = build(root / "again.sif", root / "cache")
        os.environ["NLLGEN_CACHE"] = str(root / "cache")
        container = verify_container(root / "nllgen.sif")
        (next((root / "cache" / "containers").glob("container-*"))).unlink()
        again = build(root / "again.sif", root / "cache")
        host, inside = starts(container)
        ratios = paired(container, root)
        size = container.path.stat().st_size / 1e6
    spread = f"{100 * (min(ratios) - 1):+.1f} to {100 * (max(ratios) - 1):+.1f} %"
    return [
        ("nllgen build --base debootstrap, cold", f"{cold}, {size:.0f} MB", "≤ 300 s"),
        ("the same, after a change of nllgen alone", again, ""),
        ("the same inputs again", hit, "≤ 5 s"),
        *(
            (
                f"a worker's imports, {name} of {len(host)}",
                f"{of(inside):.2f} s in the container, {of(host):.2f} s on the host",
                "≤ 1 s slower",
            )
            for name, of in (("fastest", min), ("median", statistics.median))
        ),
        (
            f"training in the container, seconds per step against the host, median of {PAIRS} pairs",
            f"{100 * (statistics.median(ratios) - 1):+.1f} % ({spread})",
            "≤ +2 %",
        ),
        ("load average before and after, 2 cores", f"{load:.1f}, {os.getloadavg()[1]:.1f}", ""),
    ]
