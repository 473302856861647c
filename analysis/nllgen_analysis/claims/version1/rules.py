"""Version 1 of the registered rules as typed values."""

from __future__ import annotations

from functools import cache

from nllgen_analysis.claims.base_rules import BaseRules, Claim, LargerModels, Slower, WorseImages, read_rules


class Stability(Claim):
    """C0: evaluations that the last third of training must have, finished pairs that an interval needs."""

    min_evaluations: int
    min_finished: int


class Overparameterised(LargerModels):
    """C7: its four parts."""

    a: Slower
    b: Claim
    c: Claim
    d: WorseImages


class Rules(BaseRules):
    """The file of rules."""

    C0: Stability
    C7: Overparameterised


@cache
def load_rules() -> Rules:
    """Load the rules.

    Raises:
        CorruptFileError: the file is not a valid file of rules.
    """
    return read_rules(Rules, 1)
