"""What the tests of the doors share: ``nllgen`` as a process, and what a refusal looks like."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from nllgen.launch.submit import freeze
from nllgen.study.grid import parse_study

Run = Callable[..., subprocess.CompletedProcess[str]]

NLLGEN = str(Path(sys.executable).with_name("nllgen"))
USAGE, ENVIRONMENT = 2, 3
TINY = """
name: tiny
metrics: {frechet: [], num_samples: 16, num_train_eval: 16, num_kept: 4}
cells:
  - data: {source: mnist, image_size: 7, num_train: 500, num_val: 100, num_test: 100}
    flow: {width: 2, blocks: 0, scales: 1}
    paradigm: {name: nll, steps: 2, batch_size: 16, eval_every: 1}
    precision: fp32
    seed: {range: [0, 2]}
"""
TEN_THOUSAND = TINY.replace("range: [0, 2]", "range: [0, 10000]").replace("name: tiny", "name: many")


def frozen(root: Path, text: str = TINY) -> Path:
    """A study folder in which nothing has run."""
    folder, _, _ = freeze(parse_study(text, "tiny.yaml", precision="fp32"), root)
    return folder.path


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It ended with an exit code and one message that has the words; no traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr
    assert done.stderr.lower().startswith(("error: ", "usage: "))
