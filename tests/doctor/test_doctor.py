"""Findings from Slurm's settings, and the profile that the doctor writes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nllgen.doctor import profile_path, write_profile
from nllgen.doctor.probe import Finding
from nllgen.doctor.profile import profile_text
from nllgen.doctor.rules import duration, judge
from nllgen.errors import ConfigError, MachineError
from nllgen.launch.profile import load_profile, parse_profile
from nllgen.launch.slurm.cluster_info import ClusterInfo, parse_partitions, parse_sinfo
from nllgen.launch.slurm.limits import Accounting, Association, Limits
from nllgen.launch.slurm.values import parse_config
from tests.launch.slurm.recorded import recorded


def facts_of(partitions: str, sinfo: str, /, **more: Any) -> ClusterInfo:
    kinds = parse_sinfo(sinfo)
    found = tuple(replace(part, nodes=kinds.get(part.name, ())) for part in parse_partitions(partitions))
    config = parse_config(recorded("config-22.05.txt"))
    known = ClusterInfo(
        version="slurm 24.05.3", config=config, partitions=found, limits=Limits(), user="ada", groups=("ml",)
    )
    return replace(known, **more)


def devcluster(**more: Any) -> ClusterInfo:
    sinfo = "\n".join(f"{name}|4|2|4000|gpu:2" for name in ("short", "urgent", "preempt"))
    return facts_of(recorded("partition-22.05.txt"), sinfo, **more)


def large(**more: Any) -> ClusterInfo:
    return facts_of(recorded("partition-24.05.txt"), recorded("sinfo-24.05.txt"), **more)


def with_config(**changed: str) -> ClusterInfo:
    facts = devcluster()
    return replace(facts, config={**facts.config, **changed})


def named(facts: ClusterInfo, name: str) -> Finding:
    (finding,) = [finding for finding in judge(facts) if finding.name == name]
    return finding


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


# ---- judging


def test_partitions_that_a_user_may_not_use_are_left_out(as_user: None) -> None:
    assert [part.name for part in large().usable] == ["batch", "gpu nodes (a100)", "old"]
    assert [part.name for part in large(groups=("guests",)).usable] == ["batch", "old"]
    assert [part.name for part in large(limits=Limits(("chem",))).usable] == ["batch", "gpu nodes (a100)"]


def test_root_is_kept_out_where_the_site_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert [part.name for part in large().usable] == ["old"]


def test_the_devcluster_has_no_problem() -> None:
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


def test_limits_below_a_large_study_are_noted() -> None:
    finding = named(devcluster(limits=Limits(("ml",), max_submit=500)), "submit limits")
    assert (finding.level, finding.value, finding.hint) == ("note", "500 queued", "submit --workers W")


@pytest.mark.parametrize(
    "facts",
    [
        ClusterInfo(error="sbatch is not on PATH"),
        ClusterInfo(version="slurm 22.05.8", error="scontrol did not answer in 15 s"),
        devcluster(partitions=()),
        replace(with_config(accountingstorageenforce="associations,limits"), limits=Limits()),
    ],
    ids=["no Slurm", "silent controller", "no partition", "no account"],
)
def test_obstacles_to_submission(facts: ClusterInfo) -> None:
    (finding,) = [finding for finding in judge(facts) if finding.stops_submission]
    assert finding.level == "problem"
    assert finding.hint


def test_sacct_is_not_needed() -> None:
    finding = named(devcluster(accounting_error="sacct failed: Slurm accounting storage is disabled"), "sacct")
    assert finding.level == "note"
    assert not finding.stops_submission


@pytest.mark.parametrize(("minutes", "text"), [(10, "10 min"), (90, "1 h 30 min"), (4320, "3 d"), (0, "0 min")])
def test_durations(minutes: int, text: str) -> None:
    assert duration(minutes) == text


# ---- a profile


def test_a_profile_of_the_devcluster_shares_a_node_among_its_gpus() -> None:
    profile = parse_profile(profile_text(devcluster(), None), "p")
    assert (profile.partition, profile.time_min, profile.max_array_size) == ("short", 10, 101)
    assert (profile.cpus, profile.gpus, profile.memory_gb, profile.array_parallelism) == (1, 1, 1.8, 8)


def test_a_profile_of_a_large_cluster(as_user: None) -> None:
    limits = Limits(("ml", "astro"), max_submit=60, max_jobs=40, max_minutes=1440)
    profile = parse_profile(profile_text(large(limits=limits), None), "p")
    assert (profile.partition, profile.time_min, profile.account) == ("batch", 1440, None)
    assert (profile.array_parallelism, profile.max_array_size, profile.gpus) == (40, 101, None)
    assert profile.workers == 40
    gpu = parse_profile(profile_text(large(limits=limits), "gpu nodes (a100)"), "p")
    assert (gpu.partition, gpu.time_min, gpu.gpus, gpu.cpus, gpu.array_parallelism) == (
        "gpu nodes (a100)",
        720,
        "a100:1",
        8,
        12,
    )


def test_a_limit_on_jobs_becomes_workers_and_leaves_room_for_other_jobs(as_user: None) -> None:
    profile = parse_profile(profile_text(large(limits=Limits(("ml",), max_submit=6)), None), "p")
    assert (profile.workers, profile.max_array_size) == (2, 101)
    assert parse_profile(profile_text(large(), None), "p").workers is None
    finding = named(devcluster(limits=Limits(("ml",), max_submit=4)), "submit limits")
    assert (finding.level, finding.hint) == ("problem", "within one job of yours: nllgen submit --local --wait")


def test_an_array_has_no_more_elements_than_max_array_tasks() -> None:
    facts = with_config(schedulerparameters="bf_interval=2,max_array_tasks=40")
    assert parse_profile(profile_text(facts, None), "p").max_array_size == 40


@pytest.mark.parametrize(
    ("limits", "at_once", "cpus", "memory_gb"),
    [
        (Limits(), 12, 8, 64.0),
        (Limits(at_once={"gres/gpu": 3}), 3, 8, 64.0),
        (Limits(at_once={"gres/gpu:a100": 2}), 2, 8, 64.0),
        (Limits(at_once={"cpu": 20}), 2, 8, 64.0),
        (Limits(at_once={"mem": 64 * 1024 * 5}), 5, 8, 64.0),
        (Limits(at_once={"cpu": 4}), 1, 4, 64.0),
        (Limits(per_job={"cpu": 2, "mem": 20 * 1024}), 12, 2, 20.0),
    ],
)
def test_a_cell_fits_limits_on_resources(
    as_user: None, limits: Limits, at_once: int, cpus: int, memory_gb: float
) -> None:
    profile = parse_profile(profile_text(large(limits=limits), "gpu nodes (a100)"), "p")
    assert (profile.array_parallelism, profile.cpus, profile.memory_gb) == (at_once, cpus, memory_gb)


@pytest.mark.parametrize(
    ("printed", "memory_gb"),
    [("MaxMemPerCPU=2000", 15.6), ("MaxMemPerNode=30000", 29.2), ("MaxMemPerNode=UNLIMITED", 64.0)],
)
def test_a_cell_fits_the_memory_that_a_partition_allows(as_user: None, printed: str, memory_gb: float) -> None:
    partitions = recorded("partition-24.05.txt").replace("MaxMemPerNode=UNLIMITED", printed)
    facts = facts_of(partitions, recorded("sinfo-24.05.txt"))
    assert parse_profile(profile_text(facts, "gpu nodes (a100)"), "p").memory_gb == memory_gb


@pytest.mark.parametrize(
    ("gres", "gpus", "at_once"),
    [
        ("gpu:2", 1, 4),
        ("gpu:1g.10gb:7", "1g.10gb:1", 14),
        ("gpu:3g.20gb", "3g.20gb:1", 2),
        ("gpu:a100:2(S:0),gpu:a100_1g.5gb:7(S:1)", "a100_1g.5gb:1", 14),
    ],
)
def test_a_profile_names_the_type_of_gpus(as_user: None, gres: str, gpus: int | str, at_once: int) -> None:
    facts = facts_of(recorded("partition-24.05.txt"), f"batch|2|64|512000|{gres}")
    profile = parse_profile(profile_text(facts, "batch"), "p")
    assert (profile.gpus, profile.array_parallelism) == (gpus, at_once)


def test_a_profile_names_a_qos_where_the_default_is_not_allowed(as_user: None) -> None:
    own = Association("ml", "", Limits(), ("normal", "long"), "normal")
    qos = {"long": Limits(max_minutes=300).set_by("QOS long"), "gpu": Limits(max_jobs=2)}
    records = Accounting(("ml",), (own,), {}, qos)
    facts = facts_of(
        recorded("partition-24.05.txt").replace("AllowQos=ALL", "AllowQos=long"),
        recorded("sinfo-24.05.txt"),
        limits=records.limits(),
        accounting=records,
    )
    text = profile_text(facts, "gpu nodes (a100)")
    profile = parse_profile(text, "p")
    assert (profile.qos, profile.time_min, profile.array_parallelism) == ("long", 300, 2)
    assert "QOS long allows 5 h" in text
    assert "QOS gpu of partition gpu nodes (a100) allows 2 running jobs" in text
    assert named(facts, "limits in gpu nodes (a100)").value == "2 running, 5 h each"
    closed = replace(records, associations=(replace(own, qos=("normal",)),))
    assert replace(facts, accounting=closed).usable == []


@pytest.mark.parametrize(
    ("limits", "time_min", "why"),
    [(Limits(), 1440, "the partition allows 3 d"), (Limits(max_minutes=90), 90, "your account allows 1 h 30 min")],
)
def test_time_is_what_is_allowed_and_a_day_at_most(as_user: None, limits: Limits, time_min: int, why: str) -> None:
    assert f"time_min: {time_min}   # {why}\n" in profile_text(large(limits=limits), "batch")


def test_memory_is_left_out_of_a_profile_where_it_is_no_resource() -> None:
    facts = with_config(selecttypeparameters="CR_CORE")
    assert parse_profile(profile_text(facts, None), "p").memory_gb is None


def test_an_unknown_partition_is_named_with_what_is_near() -> None:
    with pytest.raises(ConfigError, match=r"(?s)'shrot'.*did you mean.*short.*urgent"):
        profile_text(devcluster(), "shrot")


def test_no_profile_is_written_without_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="sbatch is not on PATH"):
        write_profile(ClusterInfo(error="sbatch is not on PATH"), tmp_path / "p.yaml", None, force=False)
    assert not any(tmp_path.iterdir())


def test_a_profile_is_written_once_and_loaded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    target = tmp_path / "nllgen" / "profiles" / "here.yaml"
    write_profile(devcluster(), target, "preempt", force=False)
    assert load_profile("here").partition == "preempt"
    with pytest.raises(ConfigError, match="--force"):
        write_profile(devcluster(), target, "short", force=False)
    write_profile(devcluster(), target, "short", force=True)
    assert load_profile("here").partition == "short"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "-x", "a b"])
def test_a_path_is_no_name_of_a_profile(name: str) -> None:
    with pytest.raises(ConfigError, match="--out"):
        profile_path(name)
