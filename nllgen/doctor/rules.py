"""What Slurm's settings mean for nllgen: one small rule a setting, from cluster to findings."""

from __future__ import annotations

import os
from collections.abc import Iterator

from nllgen.doctor.probe import Finding, Level
from nllgen.launch.slurm.cluster_info import ClusterInfo, Partition
from nllgen.launch.slurm.values import parse_number, parse_version

SECTION = "Slurm"
OLDEST = (20, 11)  # of which the options that are used are documented
_SHORT_MIN = 30
_MANY = 10_000  # cells of a large study


def _finding(name: str, value: str, level: Level = "ok", means: str = "", todo: str = "", **more: bool) -> Finding:
    return Finding(SECTION, name, value, level, means, todo, **more)


def judge(cluster: ClusterInfo) -> list[Finding]:
    """Every finding about Slurm, in the order to read them."""
    found = [*_version(cluster)]
    if cluster.error:
        return found
    for rule in (_partitions, _arrays, _limits, _preemption, _end, _memory, _processes, _accounting, _site):
        found += rule(cluster)
    return found


def _version(cluster: ClusterInfo) -> Iterator[Finding]:
    if not cluster.version:
        yield _finding(
            "version",
            "no Slurm here",
            "problem",
            f"{cluster.error}: nothing can be submitted from this machine",
            "run this on a login node of the cluster (or load its module); `nllgen submit --local` works anywhere",
            stops_submission=True,
        )
        return
    version = parse_version(cluster.version)
    old = version is not None and version < OLDEST
    means = f"older than {OLDEST[0]}.{OLDEST[1]:02d}, the oldest that nllgen was written for" if old else ""
    yield _finding("version", cluster.version, "note" if old else "ok", means)
    if cluster.error:
        yield _finding(
            "controller",
            "does not answer",
            "problem",
            cluster.error,
            "try again later, or ask the site; SLURM_CONF names the configuration where it is not the default one",
            stops_submission=True,
        )
        return
    yield _finding("controller", f"{cluster.config.get('clustername', '')} answers", "ok")


def _partitions(cluster: ClusterInfo) -> Iterator[Finding]:
    usable = {part.name for part in cluster.usable}
    for part in cluster.partitions:
        if part.name in usable:
            short = part.max_minutes is not None and part.max_minutes < _SHORT_MIN
            means = "a longer cell is stopped, saved and requeued, again and again" if short else ""
        else:
            means = "you may not use it" if part.is_up else "no jobs start in it now"
        yield _finding(f"partition {part.name}", describe(part), "note" if means else "ok", means)
    if not usable:
        yield _finding(
            "partitions",
            "none that you may use" if cluster.partitions else "none",
            "problem",
            "no job can be submitted",
            "ask the site for access to one",
            stops_submission=True,
        )
    elif not any(part.is_default for part in cluster.usable):
        yield _finding("default partition", "none for you", "note", "a profile has to name its partition")


def describe(part: Partition) -> str:
    """A partition in a line."""
    words = ["default"] * part.is_default + ([] if part.is_up else [part.fields.get("State", "down").lower()])
    words.append(f"up to {duration(part.max_minutes)}" if part.max_minutes is not None else "no time limit")
    if part.default_minutes is not None:
        words.append(f"{duration(part.default_minutes)} if not asked")
    if part.max_nodes is not None:
        words.append(f"at most {part.max_nodes} nodes a job")
    for kind in part.nodes:
        gpus = f", {kind.gpus} GPUs" if kind.gpus else ""
        words.append(f"{kind.count} × ({kind.cpus} CPUs, {kind.memory_mb / 1024:.1f} GB{gpus})")
    return "; ".join(words)


def duration(minutes: int) -> str:
    """``90`` → ``1 h 30 min``."""
    parts = ((minutes // 1440, "d"), (minutes % 1440 // 60, "h"), (minutes % 60, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 min"


def _arrays(cluster: ClusterInfo) -> Iterator[Finding]:
    size = parse_number(cluster.config.get("maxarraysize", ""))
    if size is not None and size < 2:
        yield _finding(
            "MaxArraySize",
            str(size),
            "problem",
            "arrays are switched off",
            "ask the site to set MaxArraySize",
            stops_submission=True,
        )
    elif size is not None:
        means = f"{_MANY:,} cells, one an element, are {-(-_MANY // size)} arrays; nllgen splits them"
        yield _finding("MaxArraySize", str(size), "ok", means)
    jobs = parse_number(cluster.config.get("maxjobcount", ""))
    if jobs is not None:
        few = jobs < _MANY
        means = f"of all users together; {_MANY:,} cells do not fit with one element each" if few else "of all users"
        yield _finding("MaxJobCount", str(jobs), "note" if few else "ok", means, "submit --workers W" if few else "")


def _limits(cluster: ClusterInfo) -> Iterator[Finding]:
    enforced = cluster.config.get("accountingstorageenforce", "")
    limits = cluster.limits
    if limits is None:
        if "associations" in enforced or "limits" in enforced:
            yield _finding("submit limits", "unknown", "note", "sacctmgr does not answer, but limits are enforced")
        return
    if not limits.accounts and ("associations" in enforced or "all" in enforced.split(",")):
        yield _finding(
            "account",
            f"none for {cluster.user}",
            "problem",
            "Slurm takes jobs of users with an account only",
            "ask the site for one",
            stops_submission=True,
        )
    elif limits.accounts:
        means = "a profile's `account` chooses" if len(limits.accounts) > 1 else ""
        yield _finding("account", ", ".join(limits.accounts), "ok", means)
    words = [f"{limits.max_submit} queued"] if limits.max_submit is not None else []
    words += [f"{limits.max_jobs} running"] if limits.max_jobs is not None else []
    words += [f"{duration(limits.max_minutes)} each"] if limits.max_minutes is not None else []
    if not words:
        yield _finding("submit limits", "none for you")
        return
    few = limits.max_submit is not None and limits.max_submit < _MANY
    means = "each element of an array counts; more are refused" if few else ""
    yield _finding(
        "submit limits", ", ".join(words), "note" if few else "ok", means, "submit --workers W" if few else ""
    )


def _preemption(cluster: ClusterInfo) -> Iterator[Finding]:
    kind = cluster.config.get("preempttype", "").rpartition("/")[2]
    if kind in ("", "none"):
        yield _finding("preemption", "off", "ok", "only a time limit, a failure or scancel ends a job")
        return
    default = cluster.config.get("preemptmode", "OFF")
    signalled = "preempt_send_user_signal" in cluster.config.get("slurmctldparameters", "").split(",")
    yield _finding("preemption", f"{kind}, {default.lower()}", "ok", "progress since the last save may be lost")
    for part in cluster.usable:
        mode = (part.preempt_mode or default).upper()
        if "OFF" in mode.split(","):
            continue
        yield _preempted(part, mode, signalled)


def _preempted(part: Partition, mode: str, signalled: bool) -> Finding:
    value = f"{mode.lower()}, {part.grace_s} s of grace, " + ("user signal" if signalled else "no user signal")
    name = f"preemption in {part.name}"
    if "CANCEL" in mode:
        means = "Slurm does not requeue a preempted job; its cells are lost to it, and `nllgen retry` sends them again"
        return _finding(name, value, "note", means, "choose a partition that requeues, if there is one")
    if "SUSPEND" in mode or "GANG" in mode:
        return _finding(name, value, "note", "a preempted job sleeps in memory and goes on; its claims may look stale")
    if part.grace_s == 0:
        return _finding(name, value, "note", "a preempted job is ended at once: what was not saved is done again")
    if not signalled:
        means = "a preempted job gets SIGTERM alone: what was not saved is done again"
        return _finding(name, value, "note", means, "the site can set SlurmctldParameters=preempt_send_user_signal")
    return _finding(name, value, "ok", "a preempted job is told, saves its state and is requeued")


def _end(cluster: ClusterInfo) -> Iterator[Finding]:
    wait = parse_number(cluster.config.get("killwait", ""))
    if wait is not None:
        yield _finding(
            "KillWait", f"{wait} s", "ok", "from SIGTERM to SIGKILL at the time limit; a profile's signal_s is earlier"
        )
    if cluster.config.get("jobrequeue") == "0":
        yield _finding("JobRequeue", "0", "ok", "nllgen asks for requeueing with each job")


def _memory(cluster: ClusterInfo) -> Iterator[Finding]:
    counted = "MEMORY" in cluster.config.get("selecttypeparameters", "").upper()
    if not counted:
        means = "memory is not shared out: --mem reserves nothing, and neighbours can use up a node's memory"
        yield _finding("memory", "not a resource", "note", means, "ask for whole nodes (sbatch: {exclusive: true})")
        return
    params = cluster.config.get("jobacctgatherparams", "")
    kernel = "cgroup" in cluster.config.get("taskplugin", "") and cluster.config.get("constrainramspace") == "yes"
    if kernel:
        yield _finding(
            "memory", "kept by cgroups", "ok", "a job over its --mem is ended as OUT_OF_MEMORY, and retried with more"
        )
    elif "OverMemoryKill" in params:
        means = "a job over its --mem is killed at the next look at it, and Slurm calls that FAILED, not OUT_OF_MEMORY"
        yield _finding("memory", "kept by polling", "note", means, "ask for memory with room to spare")
    else:
        yield _finding("memory", "a resource", "ok", "whether --mem is enforced is not said here")


def _processes(cluster: ClusterInfo) -> Iterator[Finding]:
    tracking = cluster.config.get("proctracktype", "").rpartition("/")[2]
    if tracking == "pgid":
        means = "processes of a cancelled or failed job may live on; claims and publication keep results right"
        yield _finding("process tracking", tracking, "note", means)
    elif tracking:
        yield _finding(
            "process tracking", tracking, "ok", "all of a job's processes end with it" * (tracking == "cgroup")
        )


def _accounting(cluster: ClusterInfo) -> Iterator[Finding]:
    if cluster.accounting_error:
        means = f"{cluster.accounting_error}; nllgen works without: files are the truth, and squeue the hint"
        yield _finding("sacct", "does not work", "note", means)
    else:
        yield _finding("sacct", "works", "ok", "asked for jobs that squeue has forgotten")


def _site(cluster: ClusterInfo) -> Iterator[Finding]:
    if cluster.config.get("enforcepartlimits", "").upper() in ("NO", ""):
        yield _finding(
            "EnforcePartLimits", "no", "note", "a job that asks for too much is not refused: it waits for ever"
        )
    if plugins := cluster.config.get("jobsubmitplugins"):
        yield _finding("JobSubmitPlugins", plugins, "note", "the site may change or refuse jobs by rules of its own")
    if os.environ.get("SLURM_JOB_ID"):
        means = "submitting from here works: nllgen keeps the job's SLURM_* variables out of what it sends"
        yield _finding("inside a job", os.environ["SLURM_JOB_ID"], "note", means)
