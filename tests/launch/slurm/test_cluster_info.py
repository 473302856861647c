"""Output of several versions of Slurm is parsed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.launch.slurm.cluster_info import Nodes, parse_partitions, parse_sinfo, query_cluster
from nllgen.launch.slurm.commands import max_array_size
from nllgen.launch.slurm.limits import Limits
from nllgen.launch.slurm.values import parse_config, parse_gpus, parse_minutes, parse_tres, parse_version
from tests.launch.slurm.recorded import RECORDED, recorded


def test_configuration_of_the_devcluster() -> None:
    config = parse_config(recorded("config-22.05.txt"))
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


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", []),
        ("gpu:2", [("", 2)]),
        ("gpu", [("", 1)]),
        ("gpu:a100", [("a100", 1)]),
        ("gpu:a100:4(S:0-1),nvme:3500", [("a100", 4)]),
        ("gpu:a100_3g.20gb:4,gpu:a100:2(S:0,1)", [("a100_3g.20gb", 4), ("a100", 2)]),
        ("gpu:1g.10gb:7", [("1g.10gb", 7)]),
        ("gpu:3g.20gb(S:0)", [("3g.20gb", 1)]),
        ("gpu:2080ti", [("2080ti", 1)]),
        ("gpu:2080ti:8(S:0-1)", [("2080ti", 8)]),
        ("shard:8,gpu:(null):2(IDX:0-1)", [("", 2)]),
        ("craynetwork:4", []),
    ],
)
def test_gpus_of_a_node_and_their_types(gres: str, gpus: list[tuple[str, int]]) -> None:
    assert parse_gpus(gres) == gpus


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("", {}),
        ("cpu=6,gres/gpu=2", {"cpu": 6, "gres/gpu": 2}),
        ("mem=2G,gres/gpu:a100=4", {"mem": 2048, "gres/gpu:a100": 4}),
        ("mem=500M,node=1", {"mem": 500, "node": 1}),
        ("mem=1.50T,billing=1K", {"mem": 3 * 2**19, "billing": 1024}),
    ],
)
def test_amounts_of_resources(text: str, amounts: dict[str, int]) -> None:
    assert parse_tres(text) == amounts


def test_partitions_of_the_devcluster() -> None:
    short, urgent, preempt = parse_partitions(recorded("partition-22.05.txt"))
    assert (short.name, short.is_default, short.max_minutes, short.default_minutes) == ("short", True, 10, 5)
    assert (urgent.fields["PriorityTier"], urgent.max_minutes, urgent.preempt_mode) == ("20", 60, "OFF")
    assert (preempt.preempt_mode, preempt.grace_s, preempt.fields["PriorityTier"]) == ("REQUEUE", 10, "1")


def test_partitions_of_a_newer_version() -> None:
    batch, gpu, old, shut = parse_partitions(recorded("partition-24.05.txt"))
    assert (batch.max_minutes, batch.max_nodes, batch.default_minutes) == (4320, 4, 60)
    assert (gpu.name, gpu.fields["QoS"], gpu.grace_s, gpu.fields["Nodes"]) == (
        "gpu nodes (a100)",
        "gpu",
        120,
        "g[01-03]",
    )
    assert batch.fields["TRESBillingWeights"] == "CPU=1,Mem=0.25G"
    assert (old.max_minutes, old.is_up, shut.is_up, shut.max_minutes) == (None, True, False, 30)


def test_kinds_of_nodes() -> None:
    kinds = parse_sinfo(recorded("sinfo-24.05.txt") + "\nslurm_load_node: odd line\n")
    assert kinds["batch"][1] == Nodes(4, 128, 512000, 0)
    assert kinds["gpu nodes (a100)"] == (Nodes(3, 64, 500000, 4, (("a100", 4),)),)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of programs that print what Slurm's do, alone on PATH."""
    config, partitions, nodes = (
        f"cat {RECORDED / name}" for name in ("config-22.05.txt", "partition-24.05.txt", "sinfo-24.05.txt")
    )
    association, account, qos = 'echo "ml||2000|||||||normal|"', 'echo "ml|root|||"', 'echo "normal||8|||||||||"'
    answers = {
        "sbatch": "echo slurm 24.05.3",
        "scontrol": f'case "$*" in *config) {config};; *) {partitions};; esac',
        "sinfo": f'case "$*" in *--Node*) echo c1 c2;; *) {nodes};; esac',
        "sacctmgr": (
            f'case "$*" in *" user= "*) {account};; *associations*) {association};; *qos*) {qos};; *) echo ml;; esac'
        ),
        "sacct": "echo Slurm accounting storage is disabled >&2; exit 1",
    }
    for name, script in answers.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("slurm")
def test_a_cluster_is_described_by_slurms_programs() -> None:
    info = query_cluster()
    assert (info.version, info.error) == ("slurm 24.05.3", "")
    assert info.accounting_error == "sacct failed: Slurm accounting storage is disabled"
    assert info.config["maxarraysize"] == "101"
    assert info.hosts == {"c1", "c2"}
    assert info.limits == Limits(("ml",), 2000, 8)
    assert {part.name: part.cpus for part in info.partitions}["batch"] == 96 * 64 + 4 * 128
    assert max_array_size() == 101


def test_a_silent_controller_is_asked_once(slurm: Path) -> None:
    (slurm / "scontrol").write_text(f"#!/bin/sh\necho x >> {slurm}/calls; echo no controller >&2; exit 1\n")
    info = query_cluster()
    assert (info.version, info.error) == ("slurm 24.05.3", "scontrol failed: no controller")
    assert (slurm / "calls").read_text() == "x\n"
