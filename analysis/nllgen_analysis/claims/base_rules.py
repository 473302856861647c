"""The parts of registered rules that every version has, as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError

from nllgen.errors import CorruptFileError
from nllgen.study.claims import PATHS, claims_rules
from nllgen.study.config import Degree, Frozen
from nllgen.study.validation import one_line
from nllgen_analysis.claims.verdict import Finding, Verdict

Degrees = Annotated[tuple[Degree, ...], Field(strict=False)]


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


class General(Frozen):
    """Values that all claims share.

    Attributes:
        confidence: of an interval.
        min_seeds: seeds that an interval needs.
        min_finished: of these, seeds with a finite value; the others count by their side.
        extractor: of the features behind Fréchet distances.
    """

    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    min_seeds: Annotated[int, Field(ge=2)]
    min_finished: Annotated[int, Field(ge=2)] = 2
    extractor: str

    @property
    def frechet(self) -> str:
        """Return the column of the Fréchet distance."""
        return f"frechet_{self.extractor}"

    @property
    def floor(self) -> str:
        """Return the column of the distance between two held-out sets."""
        return f"frechet_floor_{self.extractor}"


class Claim(Frozen):
    """A claim, in words the rule that it is judged by, and the effects that some numbers of seeds can see.

    Attributes:
        spread: standard deviation over seeds of what is compared, as it was measured; None in version 1, as ``power``.
    """

    statement: str
    rule: str
    power: str = ""
    spread: float | None = None

    @property
    def rule_text(self) -> str:
        """Return the rule with its registered numbers."""
        own = {name: value for name, value in self if name not in Claim.model_fields and not isinstance(value, Frozen)}
        numbers = "; ".join(f"{name} = {_text(value)}" for name, value in own.items())
        text = f"{self.rule} Registered: {numbers}." if own else self.rule
        return f"{text} Seen in 80 % of studies: {self.power}." if self.power else text


class Quality(Claim):
    """C1: largest ratio of Fréchet distances that counts as equally good; the control's distance by image size."""

    max_ratio: float
    max_control: dict[str, float]


class Nash(Claim):
    """C2: multiple of the control's KL that counts as leaving the equilibrium; the learning rate that counts."""

    factor: float
    counted_lr: float


class Ladder(Claim):
    """C3: degrees from the highest training NLL to the lowest; ``optional`` ones count where they are planned."""

    ladder: Degrees
    optional: Degrees


class Convergence(Claim):
    """C4: degrees that are compared, and the largest distance of normalised curves that counts as alike."""

    degrees: Degrees
    optional: Degrees
    max_distance: float
    min_evaluations: int


class Finite(Claim):
    """C5: the well-specified degree, and the smaller ones."""

    degree: Degree
    smaller: Degrees


class Harm(Claim):
    """C6: the degree, and the least difference of the harms."""

    degree: Degree
    margin: float
    min_evaluations: int


class Slower(Claim):
    """C7a: share of the whole improvement that is timed."""

    progress: float


class WorseImages(Claim):
    """C7d: least difference in truth-against-truth floors."""

    margin_floors: float


class LargerModels(Claim):
    """C7: the well-specified degree, and the larger ones; a version adds the four parts."""

    degree: Degree
    larger: Degrees


class NllAgainstFrechet(Claim):
    """C8: number of pairs that must all agree to refute the claim."""

    min_pairs: int


class BaseRules(Frozen):
    """The rules that have the same form in every version."""

    general: General
    plain_nsgan: dict[str, float | int | str | bool]
    C1: Quality
    C2: Nash
    C3: Ladder
    C4: Convergence
    C5: Finite
    C6: Harm
    C8: NllAgainstFrechet


AnyRules = TypeVar("AnyRules", bound=BaseRules)


def read_rules(kind: type[AnyRules], version: int) -> AnyRules:
    """Read a version of the rules.

    Raises:
        CorruptFileError: the file is not a valid file of rules.
    """
    try:
        return kind.model_validate(claims_rules(version))
    except ValidationError as error:
        raise CorruptFileError(f"{PATHS[version]}: {one_line(error)}", "install nllgen again") from error


def verdicts_of(rules: BaseRules, findings: Mapping[str, Finding]) -> list[Verdict]:
    """Return the verdicts on claims without parts, given a finding for each by its id."""
    claims: dict[str, Claim] = {id: getattr(rules, id) for id in findings}
    return [Verdict(id, claims[id].statement, claims[id].rule_text, finding) for id, finding in findings.items()]
