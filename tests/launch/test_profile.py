"""Profiles, named by path, name or environment; all errors are listed at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.errors import ConfigError
from nllgen.launch.profile import VARIABLE, find_profile, load_profile, parse_profile, user_folder
from nllgen.study.builtin import builtin_names
from nllgen.study.config import Resources


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize("name", ["dev", "cpu", "gpu"])
def test_the_built_in_profiles_load(name: str) -> None:
    assert name in builtin_names("profiles")
    load_profile(name)


def test_a_path_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dev").write_text("partition: mine\n")
    assert load_profile("dev").partition == "mine"


def test_a_user_s_own_goes_before_a_built_in_one() -> None:
    user_folder().mkdir(parents=True)
    (user_folder() / "dev.yaml").write_text("partition: own\n")
    assert load_profile("dev").partition == "own"


def test_the_environment_names_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "gpu")
    assert find_profile(None).name == "gpu.yaml"


def test_without_any_name_the_ways_are_told() -> None:
    with pytest.raises(ConfigError, match=r"no profile.*\n.*--profile NAME, or --local.*cpu, dev, gpu"):
        find_profile(None)


@pytest.mark.parametrize("name", ["gpuu", "../dev", "a b", "/nowhere/x.yaml", "x" * 300])
def test_an_unknown_profile_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        find_profile(name)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("partitio: x", "did you mean partition?"),
        ("sbatch: {time: 3}", "the profile's key for it is time_min"),
        ("sbatch: {job-name: x}", "job-name is set by nllgen itself"),
        ("sbatch: {--mail-type: x}", "sbatch"),
        ('partition: "a\\nb"', "partition"),
        ('sbatch: {comment: "a\\n#SBATCH --uid=0"}', "sbatch"),
        ("environment: {1A: x}", "environment"),
        ("time_min: 1\nsignal_s: 50", "too short for a signal"),
        ("cpus: many", "cpus"),
        ("memory_gb: -1", "memory_gb"),
    ],
)
def test_errors_of_a_profile_name_the_problem(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_profile(text, "p.yaml")
    assert sentence in str(caught.value)
    assert "p.yaml:" in str(caught.value)


def test_all_errors_come_at_once() -> None:
    with pytest.raises(ConfigError, match=r"3 errors in p\.yaml"):
        parse_profile("partitio: x\ncpus: 0\nsbatch: {time: 3}", "p.yaml")


def test_the_profile_s_word_goes_before_the_study_s() -> None:
    found = parse_profile("time_min: 60\ngpus: 2", "p.yaml").resources(Resources(time_min=5, memory_gb=7, cpus=3))
    assert (found.time_min, found.memory_gb, found.cpus, found.gpus) == (60, 7, 3, 2)


def test_a_time_limit_too_short_for_the_signal_is_refused() -> None:
    profile = parse_profile("signal_s: 90", "p.yaml")
    assert profile.resources(Resources(time_min=3)).time_min == 3
    with pytest.raises(ConfigError, match="too short for a signal 90 s before"):
        profile.resources(Resources(time_min=2))
