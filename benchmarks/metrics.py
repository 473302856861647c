"""Processor time of the final metrics of one set of weights on one core."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

from nllgen.data.logits import from_logits
from nllgen.metrics.exact import log_densities
from nllgen.metrics.lenet import LeNetExtractor
from nllgen.metrics.measurement import EvalSet, Measurement, References
from nllgen.metrics.registry import GROUPS
from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig
from nllgen.train.streams import generator

CPU = torch.device("cpu")


def make_references(num: int, num_train: int) -> tuple[References, RealNVP]:
    """Return references of 28×28 images of a small flow; the cost of metrics does not depend on the model."""
    torch.manual_seed(0)
    truth = RealNVP(FlowConfig(width=2, blocks=0, scales=1)).requires_grad_(False)
    for parameter in truth.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    x = {split: truth.sample(num, torch.Generator().manual_seed(i)) for i, split in enumerate(("val", "test"))}
    x["train"] = truth.sample(num_train, torch.Generator().manual_seed(2))
    sets = {split: EvalSet(images[:num], log_densities(truth, images[:num])) for split, images in x.items()}
    references = References(
        sets,
        truth,
        (LeNetExtractor(CPU),),
        dict.fromkeys(sets, num),
        lambda y: from_logits(y, 1e-6),
        lambda purpose: generator(CPU, 0, purpose),
        x["train"],
    )
    return references, truth


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of this process, which excludes other load on the machine."""
    started = time.process_time()
    work()
    return time.process_time() - started


def rows(num: int = 10_000, num_train: int = 50_000) -> list[tuple[str, str, str]]:
    """Return rows of (work, measured, goal); only the first model computes floors and references."""
    torch.set_num_threads(1)
    references, truth = make_references(num, num_train)
    first, second = (Measurement(references, truth, "test") for _ in range(2))
    timings = []
    for measurement in (first, second):
        seconds = {"samples, 28×28": cpu_seconds(partial(getattr, measurement, "samples"))}
        see = partial(measurement.features, references.extractors[0], measurement.samples)
        seconds["LeNet's features of samples"] = cpu_seconds(see)
        for name, group in GROUPS.items():
            seconds[name] = cpu_seconds(partial(group.measure, measurement))
        timings.append(seconds)
    once, each = timings
    title = f"N = {num:,}, {num_train:,} training images, one core"
    table = [
        (f"{name}; {title}", f"{each[name]:.2f} s a set of weights, {once[name]:.2f} s the first time", "")
        for name in each
    ]
    own = ("frechet", "frechet_inf", "kid", "prdc", "memorisation", "pareto")
    total = [sum(part[name] for name in own) for part in (each, once)]
    return [
        *table,
        (
            f"all metrics of images, and Pareto-k̂; {title}",
            f"{total[0]:.1f} s a set of weights, {total[1]:.1f} s the first time",
            "",
        ),
    ]
