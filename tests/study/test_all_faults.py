"""No fault of a study's file hides another, and none is reported as two: any faults together are all reported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nllgen.errors import ConfigError
from nllgen.study.load import parse_study

GOOD = """\
name: many
plugins: [numpy]
optional: [mnist]
truth:
  data: {source: mnist, image_size: 14, num_val: 900}
  flow: {width: 16, blocks: 2}
  paradigm: {steps: 400, lr: 1e-3}
  seed: 0
dataset: {num_train: 5000, num_val: 1000, num_test: 1000}
metrics: {every: [divergence, kid], frechet: [lenet], num_kept: 5}
resources: {time_min: 9, cpus: 1, gpus: 0}
cells:
  - data: {source: synthetic, num_train: [900, 1000], num_test: 500}
    degree: [U2, W]
    paradigm: {name: nll, steps: 300, schedule: cosine}
    precision: fp32
    seed: {range: [0, 5]}
    exclude:
      - {degree: U2, seed: 1}
    include:
      - {degree: O1, seed: 7, data.num_train: 100}
  - data: {source: mnist, image_size: 14, num_train: 700}
    dcgan: {width: 16}
    paradigm: {name: nsgan, updates: alternating, disc_steps: 2}
    start: random
    zip: {paradigm.lr: [1e-4, 1e-3], paradigm.disc_lr: [1e-4, 1e-3]}
  - data: {source: mnist, image_size: 14}
    flow: {width: 4, base: normal, scales: 2}
    paradigm: {name: wgan_gp, gp_weight: 3.0}
    seed: [0, 1]
  - data: {source: synthetic, num_train: fresh}
    degree: W
    start: truth
    paradigm: {name: hybrid, nll_weight: 2.0}
"""


@dataclass(frozen=True)
class Planted:
    """A fault: the text that it replaces, its own, and a part of the message about it and of a second one.

    ``area`` is what it cannot share with another fault, since one of the two would then not be true.
    """

    old: str
    new: str
    says: str
    area: str = ""
    also: str = "\0"

    @property
    def key(self) -> str:
        return self.area or self.old


FAULTS = [
    Planted("name: many", "name: a/b", 'name: "a/b" is not allowed'),
    Planted("plugins: [numpy]", 'plugins: [numpy, "a b", 3]', 'plugins[1]: "a b" is not allowed', also="plugins[2]: 3"),
    Planted("optional: [mnist]", "optional: [minst]", "optional[0]: "),
    Planted("optional: [mnist]", "optinal: [mnist]", 'optinal: unknown key "optinal"', "optional: [mnist]"),
    Planted("mnist, image_size: 14, num_val", "mnist, image_size: 13, num_val", "truth.data.image_size: 13"),
    Planted("num_val: 900", "num_val: 10001", "num_val is 10001, at most 10000 on MNIST"),
    Planted("width: 16, blocks: 2", "width: 0, blocks: 2", "truth.flow.width: 0 is not allowed"),
    Planted("width: 16, blocks: 2", "width: 16, blocs: 2", 'truth.flow.blocs: unknown key "blocs"'),
    Planted("steps: 400, lr: 1e-3", "steps: 400, lr: 0", "truth.paradigm.lr: 0 is not allowed"),
    Planted("  seed: 0\ndataset", "  seed: [0, 1]\ndataset", "truth.seed: the truth is one cell"),
    Planted("num_train: 5000", "num_train: 4999", "needs dataset.num_train ≥ 5000; it is 4999", "pool"),
    Planted("num_train: 5000", "num_train: many", 'dataset.num_train: "many" is not allowed', "pool"),
    Planted("num_val: 1000, num_test: 1000", "num_val: 1, num_test: 1000", "dataset.num_val: 1 is not allowed"),
    Planted("[divergence, kid]", "[divergence, kit]", "did you mean kid?"),
    Planted("frechet: [lenet]", "frechet: lenet", 'metrics.frechet: "lenet" is not allowed; allowed: a list'),
    Planted("num_kept: 5", "num_kep: 5", 'metrics.num_kep: unknown key "num_kep"'),
    Planted("num_kept: 5", "num_kept: 5, steps: 5", 'unknown key "steps", which is a key of paradigm'),
    Planted("time_min: 9", "time_min: 2h", "write 120"),
    Planted("cpus: 1", "cpus: 0", "resources.cpus: 0 is not allowed"),
    Planted("gpus: 0", "gpu: 0", "did you mean gpus?"),
    Planted("num_test: 500", "num_test: 1001", "1001 is more than dataset.num_test, which is 1000"),
    Planted("degree: [U2, W]", "degree: [U2, W, Q]", '"Q" is not allowed; allowed: U3'),
    Planted("steps: 300", "steps: 300.5", "cells[0].paradigm.steps: 300.5 is not allowed"),
    Planted("schedule: cosine", "disc_steps: 1", 'unknown key "disc_steps" of paradigm nll, which is a key of nsgan, '),
    Planted("schedule: cosine", "gp_wieght: 1", 'cells[0].paradigm.gp_wieght: unknown key "gp_wieght"'),
    Planted("precision: fp32", "precision: fp23", "did you mean fp32?"),
    Planted("{degree: U2, seed: 1}", "{degree: U2, seed: 9}", "exclude[0]: matches no cell"),
    Planted("{degree: U2, seed: 1}", "{degree: U7, seed: 1}", '"U7" is not allowed'),
    Planted("degree: O1, seed: 7", "degree: O1, seed: -7", "seed: -7 is not allowed; allowed: at least 0"),
    Planted("data.num_train: 100", "data.num_train: 0", "data.num_train: 0 is not allowed"),
    Planted("num_train: 700", "num_train: 70000", "num_train is 70000, MNIST has 50000"),
    Planted("num_train: 700", "num_train: fresh", "num_train: fresh needs source: synthetic"),
    Planted("dcgan: {width: 16}", "dcgan: {width: 16, blocks: 2}", 'unknown key "blocks", which is a key of flow'),
    Planted("dcgan: {width: 16}", "dcgan: 16", "cells[1].dcgan: 16 is not a mapping"),
    Planted("updates: alternating", "updates: simultaneous", "updates: simultaneous needs disc_steps 1, it is 2"),
    Planted("start: random", "start: truth", "which fit only a flow", "dcgan: {width: 16}"),
    Planted("paradigm.disc_lr: [1e-4, 1e-3]", "paradigm.disc_lr: [1e-4, 1e-3, 1e-2]", "need equal lengths"),
    Planted("paradigm.disc_lr: [1e-4, 1e-3]", "paradigm.disc_lr: [1e-4, 77]", "77 is not allowed; allowed: at most 10"),
    Planted("flow: {width: 4,", "flow: {width: 4000,", "cells[2].flow.width: 4000 is not allowed"),
    Planted("base: normal", "base: student_t", "base: student_t needs dof"),
    Planted("base: normal", "dof: 3.0", "which needs base: student_t"),
    Planted("scales: 2", "scales: 3", "3 scales need a height and width divisible by 4"),
    Planted("gp_weight: 3.0", "gp_weight: 3.0, r1_gamma: 1.0", 'unknown key "r1_gamma" of paradigm wgan_gp'),
    Planted("    seed: [0, 1]\n", "    seed: [0, 1, 1]\n", "duplicate cells, already in cells[2]"),
    Planted("    seed: [0, 1]\n", "    seed: []\n", "an empty list makes no cells"),
    Planted("num_train: fresh}\n    degree: W\n", "num_train: fresh}\n    degree: U1\n", "not U1", "flow of the truth"),
    Planted("paradigm: {name: wgan_gp", "start_noise: 1\n    paradigm: {name: wgan_gp", "which needs start: truth"),
    Planted("nll_weight: 2.0", "nll_weight: -2.0", "nll_weight: -2.0 is not allowed"),
]


def messages(faults: Iterable[Planted]) -> list[str]:
    text = GOOD
    for fault in faults:
        assert fault.old in text, fault
        text = text.replace(fault.old, fault.new, 1)
    with pytest.raises(ConfigError) as caught:
        parse_study(text, "g.yaml", precision="fp32")
    return [line for line in str(caught.value).splitlines() if line.startswith("g.yaml:")]


def test_the_file_without_a_fault_is_accepted() -> None:
    assert len(parse_study(GOOD, "g.yaml", precision="fp32").cells) == 18 + 1 + 2 + 2 + 1


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.new)
def test_a_fault_is_one_message(fault: Planted) -> None:
    said = messages([fault])
    assert len(said) == 1 + (fault.also in "\n".join(said)), said
    assert fault.says in "\n".join(said)


def compatible(faults: list[Planted]) -> list[Planted]:
    """Leave out faults at the place of another, and those that are no faults beside it."""
    kept: dict[str, Planted] = {}
    for fault in faults:
        kept.setdefault(fault.key, fault)
    chosen = list(kept.values())
    hides = {"flow of the truth": "truth.flow.", "scales: 2": "cells[9]", "num_test: 500": "cells[9]"}
    return [fault for fault in chosen if not any(hides.get(fault.key, "no") in other.says for other in chosen)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(FAULTS), min_size=2, max_size=12, unique=True))
@example(list(reversed(FAULTS)))
@example(FAULTS)
def test_any_faults_together_are_all_reported(faults: list[Planted]) -> None:
    faults = compatible(faults)
    assume(faults)
    said = messages(faults)
    missing = [fault.says for fault in faults if fault.says not in "\n".join(said)]
    assert not missing, said
    assert not [line for line in said if not any(fault.says in line or fault.also in line for fault in faults)]
