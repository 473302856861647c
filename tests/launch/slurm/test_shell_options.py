"""What a user's shell exports for sbatch counts where the profile is silent."""

from __future__ import annotations

from typing import Any

import pytest

from nllgen.errors import ConfigError
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.shell_options import with_shell_options


@pytest.mark.parametrize(
    ("variables", "keys"),
    [
        ({"SBATCH_ACCOUNT": "ml"}, {"account": "ml"}),
        ({"SBATCH_PARTITION": "gpu", "SBATCH_QOS": "long"}, {"partition": "gpu", "qos": "long"}),
        ({"SBATCH_CONSTRAINT": "a100|h100"}, {"constraint": "a100|h100"}),
        ({"SBATCH_RESERVATION": "course"}, {"sbatch": {"reservation": "course"}}),
        ({"SBATCH_EXCLUSIVE": ""}, {"sbatch": {"exclusive": True}}),
        ({"SBATCH_EXCLUSIVE": "user"}, {"sbatch": {"exclusive": "user"}}),
        ({"SBATCH_REQ_SWITCH": "1@60"}, {"sbatch": {"switches": "1@60"}}),
        ({"SBATCH_TIMELIMIT": "1-00:00:00"}, {"time_min": 1440}),
        ({"SBATCH_MEM_PER_NODE": "8G"}, {"memory_gb": 8.0}),
        ({"SBATCH_MEM_PER_NODE": "2048"}, {"memory_gb": 2.0}),
        ({"SBATCH_GPUS_PER_NODE": "a100:2"}, {"gpus": "a100:2"}),
        ({"SBATCH_GPUS": "1"}, {"gpus": 1}),
        ({"SBATCH_GRES": "gpu:a100,nvme:9"}, {"gpus": "a100:1", "gpu_option": "gres", "sbatch": {"gres": "nvme:9"}}),
    ],
)
def test_a_variable_completes_a_silent_profile(variables: dict[str, str], keys: dict[str, Any]) -> None:
    completed, notes = with_shell_options(Profile(cpus=3), variables)
    assert completed == Profile(cpus=3, **keys)
    assert len(notes) == len(variables)
    assert all(note.endswith("used, since the profile does not set it") for note in notes)


@pytest.mark.parametrize(
    ("variable", "text", "keys"),
    [
        ("SBATCH_ACCOUNT", "ml", {"account": "bio"}),
        ("SBATCH_TIMELIMIT", "60", {"time_min": 30}),
        ("SBATCH_GRES", "gpu:1", {"gpus": "a100:1"}),
        ("SBATCH_RESERVATION", "course", {"sbatch": {"reservation": "mine"}}),
        ("SBATCH_RESERVATION", "course", {"sbatch": {"reservation": False}}),
    ],
)
def test_the_profile_goes_before_the_shell(variable: str, text: str, keys: dict[str, Any]) -> None:
    completed, (note,) = with_shell_options(Profile(**keys), {variable: text})
    assert completed == Profile(**keys)
    assert note == f'{variable}="{text}": not used: the profile sets it'


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("SBATCH_EXPORT", "nllgen sets its own; the profile's key is environment"),
        ("SBATCH_MEM_PER_CPU", "nllgen sets its own; the profile's key is memory_gb"),
        ("SBATCH_JOB_NAME", "nllgen sets its own"),
        ("SBATCH_TIMELIMIT", "it has no number"),
    ],
)
def test_what_cannot_be_used_is_named(variable: str, words: str) -> None:
    completed, (note,) = with_shell_options(Profile(), {variable: "NONE"})
    assert completed == Profile()
    assert f"not used: {words}" in note


def test_variables_of_a_job_are_no_options() -> None:
    variables = {"SLURM_JOB_PARTITION": "p", "SLURM_JOB_ID": "7", "SBATCH_MEM_BIND_TYPE": "none", "SALLOC_ACCOUNT": "a"}
    assert with_shell_options(Profile(), variables) == (Profile(), ())


def test_a_value_that_a_script_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"SBATCH_ACCOUNT=.* of your shell cannot be used"):
        with_shell_options(Profile(), {"SBATCH_ACCOUNT": "a\n#SBATCH --uid=0"})
