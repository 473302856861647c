"""Profiles, named by path, name or environment; all errors are listed at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nllgen.errors import ConfigError
from nllgen.launch.profile import VARIABLE, Profile, find_profile, load_profile, parse_profile
from nllgen.study.builtin import builtin_names
from nllgen.study.config import Resources
from nllgen.study.profile_names import user_folder


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
        ("gpus: a100", "a number, or a type with a number, such as a100:1"),
        ("time_min: 1-00:00:00", "a number of minutes, of which an hour has 60 and one day is 1440; write 1440"),
        ("time_min: 90m", "write 90"),
        ("time_min: 12:30:00", "write 750"),
        ("time_min: soon", 'time_min: "soon" is not allowed; allowed: a number of minutes'),
        ("memory_gb: 8G", "a number of GiB; write 8"),
        ("memory_gb: 512M", "write 0.5"),
        ("signal_s: 2m", "a number of seconds; write 120"),
        ("memory_option: exact", "mem, mem-per-cpu, mem-per-gpu or none"),
        ("sbatch: {p: gpu}", "p is short for partition; the profile's key for it is partition"),
        ("sbatch: {c: 4}", "c is short for cpus-per-task; the profile's key for it is cpus"),
        ("sbatch: {A: ml}", "the profile's key for it is account"),
        ("sbatch: {w: n1}", "w is short for nodelist; write nodelist"),
        ("sbatch: {part: gpu}", "part is short for partition"),
        ("sbatch: {mail_type: END}", "write mail-type"),
        ("sbatch: {nodes: 2}", "nodes is set by nllgen itself"),
        ("sbatch: {gpus: 1}", "the profile's key for it is gpus"),
        ("sbatch: {gpus-per-task: 1}", "the profile's key for it is gpus"),
        ("sbatch: {mem-per-cpu: 4G}", "memory_gb, with memory_option"),
        ("sbatch: {cpus-per-gpu: 4}", "the profile's key for it is cpus"),
        ("sbatch: {ntasks-per-node: 4}", "set by nllgen itself"),
        ('sbatch: {gres: "gpu:a100:1"}', "asks for GPUs; the profile's keys for them are gpus"),
        ('gpus: 1\nsbatch: {gres: "nvme:5,gpu"}', "asks for GPUs"),
        ("sbatch: {test-only: true}", "set by nllgen itself"),
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


def test_an_option_is_refused_on_its_own_line() -> None:
    with pytest.raises(ConfigError, match=r"p\.yaml:4: sbatch\.p: p is short for partition"):
        parse_profile("cpus: 1\nsbatch:\n  reservation: r\n  p: gpu\n", "p.yaml")


@pytest.mark.parametrize(
    ("text", "gpu_type", "num_gpus"),
    [("gpus: a100:2", "a100", 2), ("gpus: 3", "", 3), ("gpus: 1g.10gb:1", "1g.10gb", 1)],
)
def test_gpus_have_a_number_and_may_have_a_type(text: str, gpu_type: str, num_gpus: int) -> None:
    profile = parse_profile(text, "p.yaml")
    assert (profile.gpu_type, profile.num_gpus) == (gpu_type, num_gpus)
    assert profile.resources(Resources()).gpus == num_gpus


def test_the_profile_s_word_goes_before_the_study_s() -> None:
    found = parse_profile("time_min: 60\ngpus: 2", "p.yaml").resources(Resources(time_min=5, memory_gb=7, cpus=3))
    assert (found.time_min, found.memory_gb, found.cpus, found.gpus) == (60, 7, 3, 2)


def test_a_time_limit_too_short_for_the_signal_is_refused() -> None:
    profile = parse_profile("signal_s: 90", "p.yaml")
    assert profile.resources(Resources(time_min=3)).time_min == 3
    with pytest.raises(ConfigError, match="too short for a signal 90 s before"):
        profile.resources(Resources(time_min=2))


@pytest.mark.parametrize("text", ["mail_type: [END, FAIL]", "mail_type: end,fail", "sbatch: {mail-type: 'END,FAIL'}"])
def test_mail_has_one_key_in_any_form(text: str) -> None:
    profile = parse_profile(f"{text}\nmail_user: me@example.org", "p.yaml")
    assert (profile.mail_type, profile.mail_user, profile.sbatch) == (("END", "FAIL"), "me@example.org", {})


@pytest.mark.parametrize("text", ["mail_user: 'me@example.org,you'", "sbatch: {mail-user: 'me@example.org,you'}"])
def test_mail_may_go_to_several(text: str) -> None:
    assert parse_profile(f"mail_type: END\n{text}", "p.yaml").mail_user == "me@example.org,you"


@pytest.mark.parametrize("users", ["me@example.org", "me@example.org,you"])
def test_a_mail_user_alone_is_an_option_of_sbatch_as_in_earlier_records(users: str) -> None:
    profile = Profile.of_record({"sbatch": {"mail-user": users}})
    assert (profile.mail_user, profile.sbatch) == (None, {"mail-user": users})
    assert Profile.of_record(profile.model_dump(mode="json")) == profile


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mail_type: [ENDE]", "did you mean END?"),
        ("mail_type: 3", "mail_type"),
        ("mail_type: END\nmail_user: me, you", "mail_user"),
        ("mail_user: me@example.org", "mail_user without mail_type sends nothing"),
        ("mail_type: END\nsbatch: {mail-type: FAIL}", "mail_type and sbatch's mail-type differ"),
    ],
)
def test_wrong_mail_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        parse_profile(text, "p.yaml")
