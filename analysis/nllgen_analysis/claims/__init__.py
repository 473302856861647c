"""Tests of the claims C0 to C8 by rules that were registered before the runs (nllgen/study/claims.toml)."""

from __future__ import annotations

from dataclasses import dataclass

from nllgen.study.claims import VERSION, claims_sha256, version_of
from nllgen_analysis.claims.verdict import Finding, Qualifier, Verdict
from nllgen_analysis.claims.version1 import judge_version1
from nllgen_analysis.claims.version2 import judge_version2
from nllgen_analysis.frames import Frames

__all__ = ["Finding", "Judged", "Qualifier", "Verdict", "judge"]

_JUDGES = {1: judge_version1, VERSION: judge_version2}


@dataclass(frozen=True)
class Judged:
    """The verdict of every claim, and the status of the rules."""

    verdicts: tuple[Verdict, ...]  # C0 to C8; none of a tuning study
    rules_sha256: str  # of the rules that were used
    registered_sha256: str  # of the rules that were registered at submission, or empty
    version: int  # of the rules that were used

    @property
    def status(self) -> str:
        """Return ``registered``, ``changed`` or ``unregistered``."""
        if not self.registered_sha256:
            return "unregistered"
        return "registered" if self.registered_sha256 == self.rules_sha256 else "changed"

    @property
    def status_text(self) -> str:
        """Return the status as a sentence."""
        if not self.verdicts:
            return "The cells of a tuning study choose settings for another study, and no claim is judged by them."
        return {
            "registered": "The rules are those registered when the study was submitted",
            "changed": "The rules have changed since the study was submitted, so that these verdicts are not "
            f"pre-registered (registered: SHA-256 {self.registered_sha256})",
            "unregistered": "The study was submitted without registered rules, so that these verdicts are not "
            "pre-registered",
        }[self.status] + f"; SHA-256 of the rules used: {self.rules_sha256} (version {self.version})."

    @property
    def has_p_values(self) -> bool:
        """Return whether the rules correct p-values; version 1 has none."""
        return self.version > 1

    @property
    def rows(self) -> list[Verdict]:
        """Return every claim, each followed by its sub-claims."""
        return [row for verdict in self.verdicts for row in (verdict, *verdict.subclaims)]


def judge(frames: Frames) -> Judged:
    """Judge all claims by the version of the rules that the study registered, by the current one if by none of them.

    A tuning study has no verdicts.
    """
    registered = str(frames.study.get("claims_sha256", ""))
    version = version_of(registered) or VERSION
    verdicts = () if frames.is_tuning else _JUDGES[version](frames)
    return Judged(verdicts, claims_sha256(version), registered, version)
