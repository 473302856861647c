"""The registered rules as typed values."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from pydantic import Field, ValidationError

from nllgen.errors import CorruptFileError
from nllgen.study.claims import PATH, claims_rules
from nllgen.study.config import Degree, Frozen


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


Degrees = Annotated[tuple[Degree, ...], Field(strict=False)]


class General(Frozen):
    """What all claims share: coverage of an interval, seeds that it needs, the feature extractor of Fréchet values."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    min_seeds: Annotated[int, Field(ge=2)]
    extractor: str

    @property
    def frechet(self) -> str:
        """Column of the Fréchet distance."""
        return f"frechet_{self.extractor}"

    @property
    def floor(self) -> str:
        """Column of the distance between two held-out sets."""
        return f"frechet_floor_{self.extractor}"


class Claim(Frozen):
    """What is claimed, and in words by what rule it is judged."""

    statement: str
    rule: str

    @property
    def told(self) -> str:
        """The rule with its registered numbers."""
        own = {name: value for name, value in self if name not in Claim.model_fields and not isinstance(value, Claim)}
        numbers = "; ".join(f"{name} = {_text(value)}" for name, value in own.items())
        return f"{self.rule} Registered: {numbers}." if own else self.rule


class Stability(Claim):
    """C0: evaluations that the last third of training must have, finished pairs that an interval needs."""

    min_evaluations: int
    min_finished: int


class Quality(Claim):
    """C1: ratio of Fréchet values that is still as good; the control's Fréchet by image size."""

    max_ratio: float
    max_control: dict[str, float]


class Nash(Claim):
    """C2: how many times the control's KL means that the equilibrium was left; the learning rate that counts."""

    factor: float
    counted_lr: float


class Ladder(Claim):
    """C3: degrees from the highest training NLL to the lowest; ``optional`` ones are rungs where they are planned."""

    ladder: Degrees
    optional: Degrees


class Convergence(Claim):
    """C4: degrees that are compared, and the distance of normalised curves that is still alike."""

    degrees: Degrees
    optional: Degrees
    max_distance: float
    min_evaluations: int


class Finite(Claim):
    """C5: the well-specified degree, and the smaller ones."""

    degree: Degree
    smaller: Degrees


class Harm(Claim):
    """C6: the degree, and by how much the harms must differ."""

    degree: Degree
    margin: float
    min_evaluations: int


class Slower(Claim):
    """C7a: the share of the whole improvement that is timed."""

    progress: float


class WorseImages(Claim):
    """C7d: the difference that counts, in truth-against-truth floors."""

    margin_floors: float


class Over(Claim):
    """C7: the well-specified degree, the larger ones, and the four parts."""

    degree: Degree
    larger: Degrees
    a: Slower
    b: Claim
    c: Claim
    d: WorseImages


class Relation(Claim):
    """C8: how many pairs must all agree before the claim is refuted."""

    min_pairs: int


class Rules(Frozen):
    """The file of rules."""

    general: General
    plain_nsgan: dict[str, float | int | str]
    C0: Stability
    C1: Quality
    C2: Nash
    C3: Ladder
    C4: Convergence
    C5: Finite
    C6: Harm
    C7: Over
    C8: Relation


@cache
def load_rules() -> Rules:
    """The rules that ship with this version.

    Raises:
        CorruptFileError: the file was edited and is not a file of rules any more.
    """
    try:
        return Rules.model_validate(claims_rules())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorruptFileError(f"{PATH}: {where}: {first['msg']}", "install nllgen again") from error
