"""Training, packed runs, other libraries and features on one GPU, in some minutes: ``python -m benchmarks gpu``.

A step is the worker's: the numbers of many are read at once. Rates are of whole rounds of such steps, at whose end the
host waits for the device. A row that fails says why, and the others are measured all the same.
"""

from __future__ import annotations

import gc
import hashlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.captured import captured_round, same_bits
from benchmarks.frechet import random_inception
from benchmarks.packing import Step, images_per_second, packed
from benchmarks.peers import deeprob_nll, paired, torchflows_nll
from benchmarks.steps import conv_limit, training_state
from nllgen.errors import MachineError
from nllgen.metrics.inception import InceptionExtractor
from nllgen.paradigms.guard import read_numbers
from nllgen.planning.flops import flow_cost
from nllgen.study.config import FlowConfig, NLLConfig, NSGANConfig, Precision
from nllgen.train.loop import READ_EVERY
from nllgen.worker.run_task import exact_arithmetic

Row = tuple[str, str, str]
Paradigm = type[NLLConfig] | type[NSGANConfig]
PARADIGMS: tuple[Paradigm, ...] = (NLLConfig, NSGANConfig)
CHECKOUT = Path(__file__).parents[1]
_TESTS_S = 120.0
_LIMIT_S = 360.0  # no row begins later, so that all end within 8 minutes
_STEPS = 10**8  # of a cell: the learning rate stays where it is


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements.

    Attributes:
        image_size, widths, batches, blocks: of the models that are trained alone.
        small: image size, width and blocks of the students that are packed.
        packs: numbers of students on the GPU at once, each in a process.
        num_features: images whose features are computed.
        seconds: time of each measurement.
        precision: of training.
        tests: directory of all tests that need a GPU.
    """

    image_size: int = 28
    widths: tuple[int, ...] = (32, 64)
    batches: tuple[int, ...] = (128, 512)
    blocks: int = 2
    small: tuple[int, int, int] = (14, 16, 2)
    packs: tuple[int, ...] = (1, 4, 16)
    num_features: int = 4_000
    seconds: float = 3.0
    precision: Precision = "bf16"
    tests: str = "tests/train"


def cuda_device() -> torch.device:
    """Return the GPU.

    Raises:
        MachineError: torch sees none.
    """
    if not torch.cuda.is_available():
        raise MachineError("this benchmark measures a CUDA device, and torch sees none here")
    return torch.device("cuda", torch.cuda.current_device())


def machine() -> str:
    """Return the name of the GPU and torch's version of CUDA."""
    return f"{torch.cuda.get_device_name(cuda_device())}, CUDA {torch.version.cuda}"


def rows(device: torch.device | None = None, sizes: Sizes | None = None) -> list[Row]:
    """Return rows of (work, measured, goal).

    Raises:
        MachineError: no device is given, and torch sees no GPU.
    """
    device, sizes, ends_at = device or cuda_device(), sizes or Sizes(), time.monotonic() + _LIMIT_S
    warnings.simplefilter("ignore")
    exact_arithmetic()
    planned = [
        *_peers(device, sizes),
        *_training(device, sizes),
        *_packed(device, sizes),
        _features(device, sizes),
        _tests(device, sizes),
    ]
    table = []
    for each in planned:
        measured = each.text() if time.monotonic() < ends_at else f"not measured: {_LIMIT_S:.0f} s were over"
        print(f"{each.what}: {measured}", file=sys.stderr, flush=True)
        table.append((each.what, measured.replace("|", "\\|"), each.goal))
    return table


@dataclass(frozen=True)
class _Planned:
    """A row that is to be measured."""

    what: str
    measure: Callable[[], str]
    goal: str = "—"

    def text(self) -> str:
        """Measure it; a failure is a result."""
        try:
            return self.measure()
        except Exception as error:  # of a library, a driver or a machine that is too small: the other rows still count
            return f"not measured: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        finally:
            gc.collect()  # its memory is free before the next row
            torch.cuda.empty_cache()


def _tests(device: torch.device, sizes: Sizes) -> _Planned:
    """Run the tests that need a GPU: step, resumption to the same bits, scores beside the CPU's."""
    mark = "gpu" if device.type == "cuda" else "not gpu"
    name = "pytest -m gpu: steps without waiting, resumed bits, scores and features beside the CPU's"
    return _Planned(name, partial(_test_result, mark, sizes.tests), "all passed")


def _test_result(mark: str, tests: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-m", mark, tests]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=_TESTS_S, check=False)
    lines = [line for line in done.stdout.splitlines() if re.search(r"\b(passed|failed|errors?|deselected)\b", line)]
    if not lines:
        raise RuntimeError(f"pytest ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-150:]}")
    return lines[-1].strip("= ")


def eager_round(paradigm: Paradigm, width: int, blocks: int, x: Tensor, precision: Precision) -> Step:
    """Return a function that takes ``READ_EVERY`` steps on the images ``x`` and reads their numbers."""
    state = training_state(paradigm(batch_size=len(x), steps=_STEPS), width, blocks, x, precision)

    def steps() -> object:
        return read_numbers([state.guard.run(lambda: state.paradigm.step(lambda n: x, 0)) for _ in range(READ_EVERY)])

    return steps


def _images(image_size: int, batch: int, device: torch.device) -> Tensor:
    return torch.randn(batch, 1, image_size, image_size, generator=torch.Generator().manual_seed(0)).to(device)


def _rate(work: Step, batch: int, seconds: float) -> float:
    """Return images a second of rounds of ``READ_EVERY`` steps, after one to warm up."""
    work()
    return images_per_second(work, READ_EVERY * batch, seconds)


def _training(device: torch.device, sizes: Sizes) -> list[_Planned]:
    table = []
    for paradigm in PARADIGMS:
        table += [_bits_row(paradigm, device, sizes)]
        for width in sizes.widths:
            for batch in sizes.batches:
                x = _images(sizes.image_size, batch, device)
                what = f"{_name(paradigm)} step, width {width}, {sizes.blocks} blocks, batch {batch}, {sizes.precision}"
                goal = "≥ 30 % of the convolutions" if (paradigm, width, batch) == (NLLConfig, 64, 512) else "—"
                for mode, make in (("eager", eager_round), ("captured", captured_round)):
                    measure = partial(_training_rate, make, paradigm, width, x, sizes)
                    table.append(_Planned(f"{what}: {mode}", measure, goal))
    return table


def _training_rate(make: Callable[..., Step], paradigm: Paradigm, width: int, x: Tensor, sizes: Sizes) -> str:
    rate = _rate(make(paradigm, width, sizes.blocks, x, sizes.precision), len(x), sizes.seconds)
    text = f"{rate:,.0f} images/s, {len(x) / rate * 1e3:.2f} ms a step"
    if paradigm is not NLLConfig:
        return text
    config = FlowConfig(shape=(1, sizes.image_size, sizes.image_size), width=width, blocks=sizes.blocks)
    gflops = 3 * 2 * flow_cost(config).macs * rate / 1e9  # forward, and backward to inputs and to weights
    limit = conv_limit(width, sizes.image_size // 2, len(x), x.device, sizes.precision)
    return f"{text}; {gflops:,.0f} GFLOP/s, {gflops / limit:.0%} of {limit:,.0f} of such convolutions alone"


def _bits_row(paradigm: Paradigm, device: torch.device, sizes: Sizes) -> _Planned:
    x = _images(sizes.image_size, sizes.batches[0], device)
    measure = partial(same_bits, paradigm, sizes.widths[0], sizes.blocks, x, sizes.precision)
    what = f"{_name(paradigm)}: weights after {READ_EVERY} captured steps and as many eager ones"
    return _Planned(what, lambda: "the same bits" if measure() else "other bits", "the same bits")


def _name(paradigm: Paradigm) -> str:
    return paradigm.model_fields["name"].default.upper()


def _small_round(image_size: int, width: int, blocks: int, batch: int, device: str, precision: Precision) -> Step:
    """Return rounds of a small student's steps; in a process of its own."""
    exact_arithmetic()
    return eager_round(NLLConfig, width, blocks, _images(image_size, batch, torch.device(device)), precision)


def _packed(device: torch.device, sizes: Sizes) -> list[_Planned]:
    image_size, width, blocks = sizes.small
    batch, alone = sizes.batches[0], float("nan")
    make = partial(_small_round, image_size, width, blocks, batch, str(device), sizes.precision)

    def measure(num: int) -> str:
        nonlocal alone
        with packed(make, num, READ_EVERY * batch, sizes.seconds) as rate:
            total = rate()
        alone = total if num == 1 else alone
        return f"{total:,.0f} images/s in total, {total / alone:.1f}× one run"

    what = f"small students, {image_size}×{image_size}, width {width}, {blocks} blocks, batch {batch}"
    goals = {max(sizes.packs): "≥ 3×"}
    return [_Planned(f"{what}: {num} at once", partial(measure, num), goals.get(num, "—")) for num in sizes.packs]


def _peers(device: torch.device, sizes: Sizes) -> list[_Planned]:
    width, batch = sizes.widths[0], sizes.batches[0]
    x = _images(sizes.image_size, batch, device)
    peers: dict[str, tuple[Callable[[], Step], str]] = {
        "deeprob-kit": (lambda: deeprob_nll(width, sizes.blocks, x), "≥ 10×"),
        "torchflows": (lambda: torchflows_nll(x), "—"),
    }

    def measure(make_peer: Callable[[], Step]) -> str:
        ours, peer = eager_round(NLLConfig, width, sizes.blocks, x, sizes.precision), make_peer()

        def theirs() -> None:  # with torch's own settings, as their users have them
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=True):
                for _ in range(READ_EVERY):
                    peer()

        a, b = paired(ours, theirs, rounds=3)
        images = READ_EVERY * batch
        return f"{images / a:,.0f} images/s; {images / b:,.0f}: {b / a:.1f}×"

    what = f"NLL step, width {width}, {sizes.blocks} blocks, batch {batch}, {sizes.precision}, eager, beside"
    return [_Planned(f"{what} {name} in fp32", partial(measure, make), goal) for name, (make, goal) in peers.items()]


def _features(device: torch.device, sizes: Sizes) -> _Planned:
    def measure() -> str:
        images = torch.rand(sizes.num_features, 1, sizes.image_size, sizes.image_size)
        with tempfile.TemporaryDirectory() as name:
            weights = Path(name) / "random.pth"
            torch.save(random_inception(), weights)
            extractor = InceptionExtractor(weights, device, hashlib.sha256(weights.read_bytes()).hexdigest())
        extractor.features(images[: len(images) // 4])
        rates = [images_per_second(lambda: extractor.features(images), len(images), sizes.seconds) for _ in range(3)]
        return f"{statistics.median(rates):,.0f} images/s"

    return _Planned("Inception's features in fp32, random weights", measure)
