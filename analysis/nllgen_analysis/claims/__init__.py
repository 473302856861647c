"""Tests of the claims C0 to C8 by rules that were registered before the runs (nllgen/study/claims.toml)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nllgen.study.claims import claims_sha256
from nllgen_analysis.claims.adversarial import judge_nash, judge_quality, judge_stability
from nllgen_analysis.claims.degrees import (
    judge_convergence,
    judge_finite,
    judge_harm,
    judge_ladder,
    judge_overparameterised,
)
from nllgen_analysis.claims.evidence import Evidence
from nllgen_analysis.claims.nll_against_frechet import judge_nll_against_frechet
from nllgen_analysis.claims.rules import Rules, load_rules
from nllgen_analysis.claims.verdict import Finding, Verdict
from nllgen_analysis.frames import Frames

__all__ = ["Finding", "Judged", "Verdict", "judge"]

_JUDGES: dict[str, Callable[[Evidence], Finding]] = {
    "C0": judge_stability,
    "C1": judge_quality,
    "C2": judge_nash,
    "C3": judge_ladder,
    "C4": judge_convergence,
    "C5": judge_finite,
    "C6": judge_harm,
    "C8": judge_nll_against_frechet,
}


@dataclass(frozen=True)
class Judged:
    """The verdict of every claim, and the status of the rules."""

    verdicts: tuple[Verdict, ...]  # C0 to C8
    rules_sha256: str  # of the rules that were used
    registered_sha256: str  # of the rules that were registered at submission, or empty

    @property
    def status(self) -> str:
        """Return ``registered``, ``changed`` or ``unregistered``."""
        if not self.registered_sha256:
            return "unregistered"
        return "registered" if self.registered_sha256 == self.rules_sha256 else "changed"

    @property
    def status_text(self) -> str:
        """Return the status as a sentence."""
        return {
            "registered": "The rules are those registered when the study was submitted",
            "changed": "The rules have changed since the study was submitted, so that these verdicts are not "
            f"pre-registered (registered: SHA-256 {self.registered_sha256})",
            "unregistered": "The study was submitted without registered rules, so that these verdicts are not "
            "pre-registered",
        }[self.status] + f"; SHA-256 of the rules used: {self.rules_sha256}."

    @property
    def rows(self) -> list[Verdict]:
        """Return every claim, each followed by its sub-claims."""
        return [row for verdict in self.verdicts for row in (verdict, *verdict.subclaims)]


def judge(frames: Frames, rules: Rules | None = None) -> Judged:
    """Judge all claims, by default by the rules that ship with this version."""
    rules = rules or load_rules()
    evidence = Evidence(frames, rules)
    verdicts = [_verdict(evidence, id, judge_one) for id, judge_one in _JUDGES.items()]
    verdicts.insert(-1, judge_overparameterised(evidence))
    return Judged(tuple(verdicts), claims_sha256(), str(frames.study.get("claims_sha256", "")))


def _verdict(evidence: Evidence, id: str, judge_one: Callable[[Evidence], Finding]) -> Verdict:
    rule = getattr(evidence.rules, id)
    return Verdict(id, rule.statement, rule.rule_text, judge_one(evidence))
