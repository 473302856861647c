"""The NLL step in fp32 with the instructions of AVX2 alone, which any processor here can be held to.

The step is beside deeprob-kit's, and beside the limit: if it were nothing but its convolutions at the measured rate of
one. That bound is the most that any implementation of the same layers by direct convolutions could reach.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import torch

from benchmarks.peers import deeprob_nll, paired
from benchmarks.steps import BATCH, conv_limit, nll_step
from nllgen.planning.flops import model_cost
from nllgen.study.config import FlowConfig

_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
_CHANNELS, _SIZE = 64, 14  # of the convolutions that take half of the step


def rows() -> list[tuple[str, str, str]]:
    """Measure in a process that may use AVX2 alone; return rows of (work, measured, goal)."""
    command = [sys.executable, "-m", "benchmarks.avx2"]
    done = subprocess.run(command, env=os.environ | _AVX2, capture_output=True, text=True, check=True)
    return [(work, measured, goal) for work, measured, goal in json.loads(done.stdout.splitlines()[-1])]


def _measure() -> list[tuple[str, str, str]]:
    assert torch.backends.cpu.get_cpu_capability() == "AVX2"
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    x = torch.randn(BATCH, 1, 28, 28)
    ours, peer = paired(nll_step(32, 2, x, "fp32"), deeprob_nll(32, 2, x))
    flop = 2 * 3 * model_cost(FlowConfig(width=32, blocks=2)).macs * BATCH  # forward, and backward twice as many
    rate, limit = flop / ours / 1e9, conv_limit(_CHANNELS, _SIZE, precision="fp32")
    what = "NLL step in fp32, width 32, 2 blocks, batch 128"
    one = f"3×3 convolution, {_CHANNELS} → {_CHANNELS}, {_SIZE}×{_SIZE}"
    return [
        (what, f"{BATCH / ours:,.0f} images/s; deeprob-kit {BATCH / peer:,.0f}: {peer / ours:.1f}×", "≥ 3.5×"),
        (f"its rate beside that of one {one}", f"{rate:.0f} of {limit:.0f} GFLOP/s: {rate / limit:.0%}", "—"),
        ("if it were its convolutions alone, at this rate", f"{peer * limit * 1e9 / flop:.1f}× deeprob-kit", "—"),
    ]


if __name__ == "__main__":
    print(json.dumps(_measure()))
