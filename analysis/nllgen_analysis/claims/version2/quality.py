"""C1: NLL reaches about the Fréchet distance of tuned NSGAN with the same flow on MNIST."""

from __future__ import annotations

import math
from dataclasses import replace

from nllgen.study.config import Cell, NSGANConfig
from nllgen_analysis.claims.evidence import Evidence
from nllgen_analysis.claims.partners import controlled, with_seeds
from nllgen_analysis.claims.verdict import NAN, Finding, agreement
from nllgen_analysis.claims.version2.rules import Rules
from nllgen_analysis.claims.version2.tuning import Winners, is_tunable, tuned
from nllgen_analysis.claims.version2.values import mean_at_end, on_test, sample
from nllgen_analysis.statistics import log
from nllgen_analysis.text import number


def judge_quality(evidence: Evidence[Rules]) -> Finding:
    """Judge C1."""
    skipped: list[str] = []
    findings = []
    for winners in tuned(evidence, skipped):
        if winners.nll.cell.data.source != "mnist":
            continue
        if list(with_seeds(evidence, winners.nll, [winners.gan], skipped)):
            findings.append(_quality(evidence, winners))
    needs = (
        "a tuning study with equally many trials of NLL and of NSGAN with one flow on MNIST, and cells of both winners"
    )
    return agreement("C1", findings, skipped, needs)


def _quality(evidence: Evidence[Rules], winners: Winners) -> Finding:
    frechet, rule = evidence.rules.general.frechet, evidence.rules.C1
    values = sample(
        [winners.nll, winners.gan],
        lambda a, b: log(on_test(evidence, a, frechet)) - log(on_test(evidence, b, frechet, winners.weights)),
    )
    label, threshold = f"{winners.nll.label} against {winners.gan.label}", math.log(rule.max_ratio)
    finding = evidence.compare(label, values, threshold=threshold, sense="below", unit="ln of the ratio")
    if math.isfinite(finding.effect):
        finding = replace(finding, why=f"{finding.why}; ratio {number(math.exp(finding.effect))}")
    finding = replace(finding, why=f"{finding.why}; settings tuned by {winners.source}")
    controls = [arm for arm in evidence.arms if _is_control(evidence, winners.gan.cell, arm.cell)]
    needed = "a DCGAN generator trained on the same data, with the discriminator, steps and batch of NSGAN"
    judged = controlled(evidence, finding, winners.gan, controls, needed, mean_at_end)
    return judged if judged.verdict == finding.verdict else replace(judged, p_value=NAN)


def _is_control(evidence: Evidence[Rules], gan: Cell, other: Cell) -> bool:
    is_dcgan = other.dcgan is not None and other.data == gan.data and is_tunable(evidence, other)
    return is_dcgan and _game(gan) == _game(other)


def _game(cell: Cell) -> tuple[object, ...]:
    """Return the steps, batch and discriminator of a game."""
    game = cell.paradigm
    assert isinstance(game, NSGANConfig)
    return game.steps, game.batch_size, game.disc_width, game.disc_start, game.pixel_leak
