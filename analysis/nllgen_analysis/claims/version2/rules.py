"""Version 2 of the registered rules as typed values."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from pydantic import Field

from nllgen.study.claims import VERSION
from nllgen.study.config import Frozen
from nllgen_analysis.claims.base_rules import BaseRules, Claim, LargerModels, Slower, WorseImages, read_rules


class Tuning(Frozen):
    """Trials of a tuning study: settings that may vary, R1's strengths and the number of rates that they must have."""

    free: Annotated[tuple[str, ...], Field(strict=False)]
    r1_gammas: Annotated[tuple[float, ...], Field(strict=False)]
    min_rates: int


class Stability(Claim):
    """C0: share of seeds that must fail, and what is a failure; the ratio of Fréchet distances that counts else."""

    share: float
    min_recall: float
    max_ratio: float
    min_evaluations: int
    parts: dict[str, str]  # statements of C0a and C0b


class LessStable(Claim):
    """C7b: ratio of successive differences that counts, and the evaluations that it needs."""

    max_ratio: float
    min_evaluations: int


class Overparameterised(LargerModels):
    """C7: its four parts."""

    a: Slower
    b: LessStable
    c: Claim
    d: WorseImages


class Rules(BaseRules):
    """The file of rules."""

    tuning: Tuning
    C0: Stability
    C7: Overparameterised


@cache
def load_rules() -> Rules:
    """Load the rules.

    Raises:
        CorruptFileError: the file is not a valid file of rules.
    """
    return read_rules(Rules, VERSION)
