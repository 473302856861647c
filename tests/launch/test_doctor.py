"""The doctor reads what Slurm of several versions says, judges it, and never hangs."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nllgen.errors import ConfigError, MachineError
from nllgen.launch.doctor import checked_name, examine, write_profile
from nllgen.launch.doctor import folder as folder_probe
from nllgen.launch.doctor.facts import Facts
from nllgen.launch.doctor.machine import judge_folder
from nllgen.launch.doctor.probe import Answer, Finding, ask
from nllgen.launch.doctor.profile import profile_text
from nllgen.launch.doctor.rules import duration, judge
from nllgen.launch.doctor.slurm import (
    Limits,
    Nodes,
    gpus_of,
    parse_config,
    parse_limits,
    parse_minutes,
    parse_partitions,
    parse_sinfo,
    parse_version,
)
from nllgen.launch.profile import load_profile, parse_profile

SAID = Path(__file__).parent / "slurm_said"


def said(name: str) -> str:
    return (SAID / name).read_text("utf-8")


def facts_of(partitions: str, sinfo: str, /, **more: Any) -> Facts:
    kinds = parse_sinfo(sinfo)
    found = tuple(replace(part, nodes=kinds.get(part.name, ())) for part in parse_partitions(partitions))
    config = parse_config(said("config-22.05.txt"))
    known = Facts(version="slurm 24.05.3", config=config, partitions=found, limits=Limits(), user="ada", groups=("ml",))
    return replace(known, **more)


def devcluster(**more: Any) -> Facts:
    sinfo = "\n".join(f"{name}|4|2|4000|gpu:2|(null)" for name in ("short", "urgent", "preempt"))
    return facts_of(said("partition-22.05.txt"), sinfo, **more)


def large(**more: Any) -> Facts:
    return facts_of(said("partition-24.05.txt"), said("sinfo-24.05.txt"), **more)


def with_config(**changed: str) -> Facts:
    facts = devcluster()
    return replace(facts, config={**facts.config, **changed})


def named(facts: Facts, name: str) -> Finding:
    (finding,) = [finding for finding in judge(facts) if finding.name == name]
    return finding


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


# ---- reading


def test_configuration_of_the_devcluster() -> None:
    config = parse_config(said("config-22.05.txt"))
    assert config["maxarraysize"] == "101"
    assert config["preempttype"] == "preempt/partition_prio"
    assert config["constrainramspace"] == "yes"  # after a blank line and a heading
    assert config["slurmctldhost[0]"] == "login(127.0.0.1)"
    assert config["jobsubmitplugins"] == ""  # (null)
    assert config["schedulerparameters"].startswith("bf_interval=2,")  # a value with equal signs
    assert "slurmctld(primary) at login is up" not in config


def test_configuration_of_other_versions() -> None:
    text = "Configuration data as of …\nMaxArraySize=4001\nTrackWCKey = no\n"
    config = parse_config(
        text + "SlurmctldParameters = a,preempt_send_user_signal\nSlurmctld(primary/backup) at a/(NULL) are UP/DOWN\n"
    )
    assert config == {"maxarraysize": "4001", "trackwckey": "no", "slurmctldparameters": "a,preempt_send_user_signal"}


@pytest.mark.parametrize(
    ("text", "version"),
    [("slurm-wlm 22.05.8", (22, 5)), ("slurm 24.11.0-rc1", (24, 11)), ("slurm 2.3.2", (2, 3)), ("?", None)],
)
def test_versions(text: str, version: tuple[int, int] | None) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("30", 30),
        ("10:00", 10),
        ("00:10:00", 10),
        ("1:30:59", 90),
        ("1-00:00:00", 1440),
        ("2-12", 3600),
        ("3-01:15", 3 * 1440 + 75),
        ("UNLIMITED", None),
        ("infinite", None),
        ("NONE", None),
        ("", None),
    ],
)
def test_times(text: str, minutes: int | None) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize(("minutes", "text"), [(10, "10 min"), (90, "1 h 30 min"), (4320, "3 d"), (0, "0 min")])
def test_durations(minutes: int, text: str) -> None:
    assert duration(minutes) == text


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", 0),
        ("gpu:2", 2),
        ("gpu", 1),
        ("gpu:a100", 1),
        ("gpu:a100:4(S:0-1),nvme:3500", 4),
        ("gpu:a100_3g.20gb:4,gpu:a100:2(S:0,1)", 6),
        ("craynetwork:4", 0),
    ],
)
def test_gpus_of_a_node(gres: str, gpus: int) -> None:
    assert gpus_of(gres) == gpus


def test_partitions_of_the_devcluster() -> None:
    short, urgent, preempt = parse_partitions(said("partition-22.05.txt"))
    assert (short.name, short.is_default, short.max_minutes, short.default_minutes) == ("short", True, 10, 5)
    assert (urgent.priority_tier, urgent.max_minutes, urgent.preempt_mode) == (20, 60, "OFF")
    assert (preempt.preempt_mode, preempt.grace_s, preempt.priority_tier) == ("REQUEUE", 10, 1)


def test_partitions_of_a_newer_version() -> None:
    batch, gpu, old, shut = parse_partitions(said("partition-24.05.txt"))
    assert (batch.max_minutes, batch.max_nodes, batch.default_minutes) == (4320, 4, 60)
    assert (gpu.name, gpu.qos, gpu.grace_s, gpu.said["Nodes"]) == ("gpu nodes (a100)", "gpu", 120, "g[01-03]")
    assert batch.said["TRESBillingWeights"] == "CPU=1,Mem=0.25G"
    assert (old.max_minutes, old.is_up, shut.is_up, shut.max_minutes) == (None, True, False, 30)


def test_kinds_of_nodes() -> None:
    kinds = parse_sinfo(said("sinfo-24.05.txt") + "\nslurm_load_node: odd line\n")
    assert kinds["batch"][1] == Nodes(4, 128, 512000, 0, ("avx512", "bigmem"))
    assert kinds["gpu nodes (a100)"] == (Nodes(3, 64, 500000, 4, ("a100",)),)


def test_limits_are_the_tightest_of_associations_and_their_qos() -> None:
    associations = "astro|||50||normal,long|\nml||2000|||normal,gpu|gpu\n"
    qos = "normal|5000||\nlong|10||7-00:00:00\ngpu||8|12:00:00\n"
    limits = parse_limits(associations, qos, "ml")
    assert limits == Limits(("ml", "astro"), 2000, 8, 720, ("normal", "long", "gpu"))
    assert parse_limits("", "normal|||\n") == Limits()


# ---- judging


def test_partitions_that_a_user_may_not_use_are_left_out(as_user: None) -> None:
    assert [part.name for part in large().usable] == ["batch", "gpu nodes (a100)", "old"]
    assert [part.name for part in large(groups=("guests",)).usable] == ["batch", "old"]
    assert [part.name for part in large(limits=Limits(("chem",))).usable] == ["batch", "gpu nodes (a100)"]


def test_root_is_kept_out_where_the_site_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert [part.name for part in large().usable] == ["old"]


def test_the_devcluster_is_fit() -> None:
    found = judge(devcluster())
    assert not any(finding.level == "problem" for finding in found)
    assert named(devcluster(), "preemption in preempt").value == "requeue, 10 s of grace, user signal"
    assert not any(finding.name in ("preemption in short", "preemption in urgent") for finding in found)


@pytest.mark.parametrize(
    ("changed", "name", "level", "words"),
    [
        ({"slurmctldparameters": "idle_on_node_suspend"}, "preemption in preempt", "note", "SIGTERM alone"),
        ({"preempttype": "preempt/none"}, "preemption", "ok", "only a time limit"),
        ({"maxarraysize": "1"}, "MaxArraySize", "problem", "switched off"),
        ({"maxjobcount": "5000"}, "MaxJobCount", "note", "do not fit"),
        ({"selecttypeparameters": "CR_CORE"}, "memory", "note", "reserves nothing"),
        ({"taskplugin": "", "jobacctgatherparams": "OverMemoryKill"}, "memory", "note", "FAILED"),
        ({"proctracktype": "proctrack/pgid"}, "process tracking", "note", "may live on"),
        ({"enforcepartlimits": "NO"}, "EnforcePartLimits", "note", "waits for ever"),
        ({"jobsubmitplugins": "lua"}, "JobSubmitPlugins", "note", "refuse"),
    ],
)
def test_a_setting_and_what_it_means(changed: dict[str, str], name: str, level: str, words: str) -> None:
    finding = named(with_config(**changed), name)
    assert finding.level == level
    assert words in finding.means


def test_preemption_modes_of_partitions(as_user: None) -> None:
    facts = large()
    assert "ended at once" not in named(facts, "preemption in gpu nodes (a100)").means
    assert "does not requeue" in named(facts, "preemption in old").means


def test_limits_below_a_large_study_are_told() -> None:
    finding = named(devcluster(limits=Limits(("ml",), max_submit=500)), "submit limits")
    assert (finding.level, finding.value, finding.todo) == ("note", "500 queued", "submit --workers W")


@pytest.mark.parametrize(
    "facts",
    [
        Facts(error="sbatch is not on PATH"),
        Facts(version="slurm 22.05.8", error="scontrol did not answer in 15 s"),
        devcluster(partitions=()),
        replace(with_config(accountingstorageenforce="associations,limits"), limits=Limits()),
    ],
    ids=["no Slurm", "silent controller", "no partition", "no account"],
)
def test_what_makes_submission_impossible(facts: Facts) -> None:
    (finding,) = [finding for finding in judge(facts) if finding.stops_submission]
    assert finding.level == "problem"
    assert finding.todo


def test_sacct_is_not_needed() -> None:
    finding = named(devcluster(accounting=Answer(error="sacct: Slurm accounting storage is disabled")), "sacct")
    assert finding.level == "note"
    assert not finding.stops_submission


# ---- a profile


def test_a_profile_of_the_devcluster_shares_a_node_among_its_gpus() -> None:
    profile = parse_profile(profile_text(devcluster(), None), "p")
    assert (profile.partition, profile.time_min, profile.max_array_size) == ("short", 10, 101)
    assert (profile.cpus, profile.gpus, profile.memory_gb, profile.array_parallelism) == (1, 1, 1.8, 8)


def test_a_profile_of_a_large_cluster(as_user: None) -> None:
    limits = Limits(("ml", "astro"), max_submit=60, max_jobs=40, max_minutes=1440)
    profile = parse_profile(profile_text(large(limits=limits), None), "p")
    assert (profile.partition, profile.time_min, profile.account) == ("batch", 1440, None)
    assert (profile.array_parallelism, profile.max_array_size, profile.gpus) == (40, 60, None)
    gpu = parse_profile(profile_text(large(limits=limits), "gpu nodes (a100)"), "p")
    assert (gpu.partition, gpu.time_min, gpu.gpus, gpu.cpus, gpu.array_parallelism) == (
        "gpu nodes (a100)",
        720,
        1,
        8,
        12,
    )


def test_memory_is_left_out_of_a_profile_where_it_is_no_resource() -> None:
    facts = with_config(selecttypeparameters="CR_CORE")
    assert parse_profile(profile_text(facts, None), "p").memory_gb is None


def test_an_unknown_partition_is_named_with_what_is_near() -> None:
    with pytest.raises(ConfigError, match=r"(?s)'shrot'.*did you mean.*short.*urgent"):
        profile_text(devcluster(), "shrot")


def test_no_profile_without_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="sbatch is not on PATH"):
        write_profile(Facts(error="sbatch is not on PATH"), tmp_path / "p.yaml", None, force=False)
    assert not any(tmp_path.iterdir())


def test_a_profile_is_written_once_and_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    target = tmp_path / "nllgen" / "profiles" / "here.yaml"
    write_profile(devcluster(), target, "preempt", force=False)
    assert load_profile("here").partition == "preempt"
    with pytest.raises(ConfigError, match="--force"):
        write_profile(devcluster(), target, "short", force=False)
    write_profile(devcluster(), target, "short", force=True)
    assert load_profile("here").partition == "short"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "-x", "a b"])
def test_a_path_is_no_name(name: str) -> None:
    with pytest.raises(ConfigError, match="--out"):
        checked_name(name)


# ---- asking


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    path = program(tmp_path, "wrapper", f"sleep 600 & echo $! > {tmp_path}/child; wait")
    begun = time.monotonic()
    answer = ask([str(path)], 1.0)
    assert time.monotonic() - begun < 30
    assert "did not answer in 1 s" in answer.error
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    while child.exists() and child.read_text().split()[2] != "Z":  # killed, and about to die
        assert time.monotonic() - begun < 30
        time.sleep(0.05)


def test_a_command_that_fails_says_its_last_line(tmp_path: Path) -> None:
    path = program(tmp_path, "sacct", "echo one >&2; echo storage is disabled >&2; exit 1")
    assert ask([str(path)]).error == f"{path}: storage is disabled"


def test_an_outer_jobs_variables_do_not_reach_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CONF", "/c")
    path = program(tmp_path, "show", 'echo "$SLURM_JOB_ID|$SLURM_CONF"')
    assert ask([str(path)]).text == "|/c\n"


def test_a_machine_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = examine(tmp_path)
    assert report.exit_code == 3
    assert next(finding for finding in report.findings if finding.name == "version").value == "no Slurm here"
    assert json.loads(json.dumps(report.to_json()))["can_submit"] is False
    assert not any(tmp_path.iterdir())


# ---- folders


def test_a_good_folder_is_good_and_left_as_it_was(tmp_path: Path) -> None:
    seen = folder_probe.probe(tmp_path / "not" / "there")
    assert seen["path"] == str(tmp_path)
    assert not any(tmp_path.iterdir())
    found = list(judge_folder(seen, Facts()))
    assert not any(finding.level == "problem" for finding in found)
    assert {"exclusive creation", "hard links", "atomic rename", "fsync", "flock", "clock"} <= {f.name for f in found}


def test_a_file_system_is_named(mount: Callable[..., Path]) -> None:
    assert folder_probe.file_system(mount("size=64k")) == "tmpfs"


def test_a_folder_that_cannot_be_written_stops_submission(mount: Callable[..., Path]) -> None:
    (finding,) = judge_folder(folder_probe.probe(mount("ro,size=64k")), Facts())
    assert finding.stops_submission
    assert "Read-only" in finding.means


def test_a_full_disk_is_told_and_does_not_end_the_doctor(mount: Callable[..., Path]) -> None:
    folder = mount("size=64k")
    (folder / "filler").write_bytes(bytes(60_000))
    seen = folder_probe.probe(folder)
    assert "No space" in seen["fsync"] or "No space" in seen.get("error", "") or "No space" in seen["links"]


def test_a_folder_without_locks_is_worth_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Lustre without -o flock: every lock fails with errno 38."""

    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    (finding,) = [finding for finding in judge_folder(folder_probe.probe(tmp_path), Facts()) if finding.name == "flock"]
    assert (finding.level, finding.value) == ("note", "fails: Function not implemented")
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "TRUE")
    (finding,) = [finding for finding in judge_folder(folder_probe.probe(tmp_path), Facts()) if finding.name == "flock"]
    assert finding.stops_submission


def test_a_local_disk_is_doubted_where_nodes_are_other_machines(tmp_path: Path) -> None:
    seen = folder_probe.probe(tmp_path) | {"kind": "ext4", "network": False}
    assert "shared" in {finding.name for finding in judge_folder(seen, Facts(hosts=frozenset({"c001"})))}
    assert "shared" not in {
        finding.name for finding in judge_folder(seen | {"network": True}, Facts(hosts=frozenset({"c001"})))
    }


def test_the_clock_of_a_folder(tmp_path: Path) -> None:
    skew, unit = folder_probe.clock(tmp_path)
    assert abs(skew) < 1
    assert unit < 1


@pytest.mark.parametrize(("mode", "level"), [(0o755, "ok"), (0o1777, "ok"), (0o775, "note")])
def test_a_folder_that_others_may_write(tmp_path: Path, mode: int, level: str) -> None:
    tmp_path.chmod(mode)
    (finding,) = [finding for finding in judge_folder(folder_probe.probe(tmp_path), Facts()) if finding.name == "owner"]
    assert finding.level == level
