"""The effects that the rules of the claims can see with five and ten seeds, at the spread of the published study.

The spread is the standard deviation over the five seeds of docs/results/laptop/study.h5 (14×14). A rule sees an effect
that it decides in 80 % of simulated studies. ``nllgen/study/claims.toml`` has these numbers beside the rules.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
from nllgen_analysis.claims.curves import harm
from nllgen_analysis.claims.evidence import Arm, Evidence, Run
from nllgen_analysis.claims.power import spread_of, visible_effect, visible_share
from nllgen_analysis.claims.verdict import Sample
from nllgen_analysis.claims.version2.misspecification import curves_apart
from nllgen_analysis.claims.version2.overparameterised import successive_change
from nllgen_analysis.claims.version2.rules import Rules, load_rules
from nllgen_analysis.claims.version2.values import at_best, at_end, difference, on_test, sample, signed_difference
from nllgen_analysis.frames import load
from nllgen_analysis.statistics import log
from nllgen_analysis.text import number

from nllgen.study.config import DataConfig

STUDY = Path(__file__).parents[1] / "docs" / "results" / "laptop" / "study.h5"
SEEDS = (5, 10)
FRECHET = "frechet_lenet"
Row = tuple[str, str, float, int, str]  # claim, comparison, spread, parts that share the error, unit


class Published:
    """The published study, with its arms by what they are."""

    def __init__(self) -> None:
        self.rules = load_rules()
        self.evidence: Evidence[Rules] = Evidence(load(STUDY), self.rules)

    def arm(self, paradigm: str, degree: str, data: object, start: str = "random") -> Arm:
        """Return the first arm of a paradigm, degree and data with several seeds."""
        return next(
            arm
            for arm in self.evidence.arms
            if (arm.cell.paradigm.name, arm.degree, arm.cell.start) == (paradigm, degree, start)
            and data in (arm.cell.data.source, arm.cell.data.num_train)
            and len(arm.runs) >= min(SEEDS)
        )

    def by_degree(self, degree: str) -> Arm:
        """Return the arm of a degree on 500 images."""
        return self.arm("nll", degree, 500)


def _games(study: Published) -> Iterator[Row]:
    evidence = study.evidence
    nll, gan = study.arm("nll", "W", "mnist"), study.arm("nsgan", "W", "mnist")

    def rise(run: Run) -> float:
        curve = evidence.curve(run, FRECHET)
        return math.log(curve.iloc[-1] / curve.min())

    yield "C0", "ln(F_end / min F), NSGAN − NLL on MNIST", spread_of(difference(gan, nll, rise).values), 1, ""
    ratio = difference(nll, gan, lambda run: log(on_test(evidence, run, FRECHET)))
    yield "C1", "ln(F NLL / F NSGAN) on MNIST", spread_of(ratio.values), 1, ""
    nll, gan = (study.arm(name, "W", "fresh", "truth") for name in ("nll", "nsgan"))
    left = difference(gan, nll, lambda run: log(at_end(evidence, run, "kl_nats")))
    yield "C2", "ln KL, NSGAN − NLL from the truth (without noise)", spread_of(left.values), 1, ""


def _degrees(study: Published) -> Iterator[Row]:
    evidence, rules = study.evidence, study.rules
    arms = [study.by_degree(degree) for degree in rules.C3.ladder if degree not in rules.C3.optional]
    steps = [difference(a, b, lambda run: at_end(evidence, run, "train_nll_nats")) for a, b in itertools.pairwise(arms)]
    yield "C3", "training NLL, the largest spread of a step", _largest(steps), len(steps), " nats"
    pairs = list(itertools.combinations(arms, 2))
    apart = [sample(pair, lambda a, b: _whole_curves_apart(study, a, b)) for pair in pairs]
    yield "C4", "distance of curves, the largest spread of a pair", _largest(apart), len(pairs), ""
    well, smaller = study.by_degree(rules.C5.degree), [study.by_degree(degree) for degree in rules.C5.smaller]
    for name, value in (("last weights", at_end), ("best step", at_best)):
        ratios = [difference(well, arm, _log_of(evidence, value)) for arm in smaller]
        yield "C5", f"ln of the ratio of KLs, {name}", _largest(ratios), len(smaller), ""
    harms = [
        [harm(evidence.curve(run, column), rules.C6.min_evaluations) for column in ("val_nll_nats", FRECHET)]
        for run in well.runs
    ]
    yield "C6", "harm of NLL − harm of F, W", spread_of([nll - images for nll, images in harms]), 1, ""


def _log_of(evidence: Evidence[Rules], value: Callable[[Evidence[Rules], Run, str], float]) -> Callable[[Run], float]:
    return lambda run: log(value(evidence, run, "kl_nats"))


def _whole_curves_apart(study: Published, first: Run, second: Run) -> float:
    """Return the distance as on fresh data: the published best steps leave too few evaluations."""
    fresh = [
        Run(run.row, run.id, run.cell.model_copy(update={"data": _fresh(run)}), run.outcome, run.degree)
        for run in (first, second)
    ]
    return curves_apart(study.evidence, *fresh)


def _fresh(run: Run) -> DataConfig:
    return run.cell.data.model_copy(update={"num_train": "fresh"})


def _larger(study: Published) -> Iterator[Row]:
    evidence, frechet = study.evidence, FRECHET
    well, larger = study.by_degree("W"), study.by_degree("O1")
    yield (
        "C7a",
        "ln of the ratio of seconds per step, O1 : W",
        spread_of(difference(larger, well, lambda run: math.log(evidence.number(run, "seconds_per_step"))).values),
        1,
        "",
    )

    def unrest(run: Run) -> float:
        curve = evidence.curve(run, frechet)
        late: pd.Series = curve[curve.index >= run.cell.paradigm.steps / 2]
        return log(successive_change(late))

    yield (
        "C7b",
        "ln of the ratio of late changes of ln F, 7 evaluations",
        spread_of(difference(larger, well, unrest).values),
        1,
        "",
    )

    def gap(run: Run) -> float:
        return at_end(evidence, run, "val_nll_nats") - at_end(evidence, run, "train_nll_nats")

    yield "C7c", "signed ln of the difference of gaps", spread_of(signed_difference(larger, well, gap).values), 1, ""
    for weights in ("last", "best"):
        images = difference(larger, well, _log_on_test(evidence, weights))
        yield "C7d", f"ln of the ratio of F, {weights} weights", spread_of(images.values), 1, ""


def _log_on_test(evidence: Evidence[Rules], weights: str) -> Callable[[Run], float]:
    return lambda run: log(on_test(evidence, run, FRECHET, weights))


def _relation(study: Published) -> Iterator[Row]:
    arms = [study.by_degree(degree) for degree in ("U2", "U1", "W", "O1")]
    pairs = list(itertools.combinations(arms, 2))
    images = [difference(a, b, lambda run: log(on_test(study.evidence, run, FRECHET))) for a, b in pairs]
    nll = [signed_difference(a, b, lambda run: on_test(study.evidence, run, "test_nll_nats")) for a, b in pairs]
    yield "C8", "ln of the ratio of F, the largest spread of a pair", _largest(images), len(pairs), ""
    yield (
        "C8",
        "signed ln of the difference of NLLs, the median pair",
        sorted(map(_spread, nll))[len(nll) // 2],
        len(pairs),
        "",
    )


def _spread(values: Sample) -> float:
    return spread_of(values.values)


def _largest(samples: Sequence[Sample]) -> float:
    return max(map(_spread, samples))


def rows() -> list[tuple[str, str, str]]:
    """Return a row for each rule: what it compares at which spread, and the effects that it sees."""
    study = Published()
    confidence, share = study.rules.general.confidence, study.rules.C0.share
    shares = ", ".join(f"{visible_share(num, share, confidence):.0%} with {num} seeds" for num in SEEDS)
    table = [("C0: share of runs that fail", shares, f"above {share:.0%}")]
    for claim, what, spread, num_parts, unit in (*_games(study), *_degrees(study), *_larger(study), *_relation(study)):
        own = 1 - (1 - confidence) / num_parts
        effects = [f"{number(visible_effect(spread, num, own), 2)}{unit} with {num} seeds" for num in SEEDS]
        parts = f", 1 of {num_parts} parts" if num_parts > 1 else ""
        table.append(
            (f"{claim}: {what}{parts}; spread {number(spread, 2)}{unit}", ", ".join(effects), "beyond the threshold")
        )
    return table
