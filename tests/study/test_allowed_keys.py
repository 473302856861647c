"""Unknown keys: the allowed ones are those of the paradigm or section, and a key of another is said to be its."""

from __future__ import annotations

import pytest

from nllgen.errors import ConfigError
from nllgen.study.allowed_keys import ARCHITECTURES, KEYS, PARADIGMS, SECTIONS, paradigm_keys
from nllgen.study.load import parse_study


def refusal(cells: str, head: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        parse_study(f"name: a\n{head}cells:\n  - {cells}", "g.yaml", precision="fp32")
    return str(caught.value)


def allowed_in(message: str) -> set[str]:
    (message,) = (line for line in message.splitlines() if "unknown key" in line)
    return set(message.partition("allowed: ")[2].partition(";")[0].strip().split(", "))


@pytest.mark.parametrize("name", PARADIGMS)
def test_the_allowed_keys_are_those_of_the_paradigm(name: str) -> None:
    message = refusal(f"{{flow: {{}}, paradigm: {{name: {name}, zzz: 1}}}}")
    assert allowed_in(message) == {"name", "tuned", *PARADIGMS[name].model_fields}


def test_the_allowed_keys_are_those_of_all_paradigms_of_a_sweep() -> None:
    message = refusal("{flow: {}, paradigm: {name: [nll, nsgan], zzz: 1}}")
    assert allowed_in(message) == set(paradigm_keys(["nll", "nsgan"]))


def test_without_a_known_paradigm_all_keys_are_allowed() -> None:
    assert allowed_in(refusal("{flow: {}, paradigm: {zzz: 1}}")) == set(SECTIONS["paradigm"])


def test_dotted_keys_are_those_of_the_sweep() -> None:
    message = refusal("{flow: {}, paradigm: {name: noise}, zip: {zzz: [1, 2]}}")
    of_noise = {f"paradigm.{key}" for key in paradigm_keys(["noise"])}
    sections = {key for key in KEYS if key.split(".")[0] in ("data", "flow")}
    assert allowed_in(message) == {*sections, *of_noise, "degree", "start", "start_noise", "precision", "seed"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_allowed_keys_of_an_architecture_are_its_own(name: str) -> None:
    message = refusal(f"{{{name}: {{zzz: 1}}, paradigm: {{name: noise}}}}")
    assert allowed_in(message) == set(ARCHITECTURES[name].model_fields) - {"shape"}


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ("{flow: {}, paradigm: {name: nll, disc_lr: 0.1}}",
         'unknown key "disc_lr" of paradigm nll, which is a key of nsgan, r3gan, wgan_gp, hybrid; allowed: name, '),
        ("{flow: {latent_dim: 3}, paradigm: {name: nll}}", 'unknown key "latent_dim", which is a key of dcgan;'),
        ("{flow: {}, lr: 0.1, paradigm: {name: nll}}", 'unknown key "lr", which is a key of paradigm;'),
        ("{flow: {}, paradigm: {name: nll, seed: 1}}", 'unknown key "seed", which is a key of cells;'),
        ("{flow: {}, paradigm: {name: nll}, metrics: {}}", 'unknown key "metrics", which is a key of the study;'),
        ("{flow: {}, paradigm: {name: nll}, data: {num_entropy: 3}}", '"num_entropy", which is a key of dataset;'),
    ],
)  # fmt: skip
def test_a_key_of_another_section_or_paradigm_is_said_to_be_that_ones(cells: str, says: str) -> None:
    assert says in refusal(cells)


def test_a_key_of_cells_at_the_top_is_said_to_be_theirs() -> None:
    message = refusal("{flow: {}, paradigm: {name: nll}}", head="seed: 3\n")
    assert 'seed: unknown key "seed", which is a key of cells; allowed: name, ' in message


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ("{flow: {}, paradigm: {zzz: 1, steps: 5}}", "paradigm.name: is required"),
        ("{flow: {}, data: {source: synthetic, zzz: 1}, paradigm: {name: nll}}", "data.num_train: is required"),
        ("{zzz: 1, paradigm: {name: nll}}", "needs a degree"),
    ],
)
def test_an_unknown_key_does_not_hide_a_missing_one(cells: str, says: str) -> None:
    assert says in refusal(cells)


def test_a_misspelt_key_is_not_also_missing() -> None:
    message = refusal("{flow: {}, paradigm: {nmae: nll}}")
    assert message.count("\n") == 0
    assert "did you mean name?" in message
