"""Findings about Slurm: one rule for each of its settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from nllgen.doctor.probe import Finding
from nllgen.launch.slurm.arrays import JOBS_BESIDE_CELLS
from nllgen.launch.slurm.cluster_info import ClusterInfo, Partition
from nllgen.launch.slurm.limits import Limits
from nllgen.launch.slurm.values import parse_number, parse_version

OLDEST = (20, 11)  # whose documentation has all options that are used
_SHORT_MIN = 30
MANY = 10_000  # cells of a large study
_FEWER_JOBS = "submit --workers W"


_finding = partial(Finding, "Slurm")


def _obstacle(name: str, value: str, means: str, hint: str) -> Finding:
    return Finding("Slurm", name, value, "problem", means, hint, stops_submission=True)


def judge(cluster: ClusterInfo) -> list[Finding]:
    """Return every finding about Slurm, in the order to read them."""
    findings = [*_version(cluster)]
    if cluster.error:
        return findings
    for rule in (_partitions, _arrays, _accounts, _limits, _preemption, _end, _memory, _processes, _accounting, _site):
        findings += rule(cluster)
    return findings


def _version(cluster: ClusterInfo) -> Iterator[Finding]:
    if not cluster.version:
        means = f"{cluster.error}: nothing can be submitted from this machine"
        hint = "run this on a login node of the cluster (or load its module); `nllgen submit --local` works anywhere"
        yield _obstacle("version", "no Slurm here", means, hint)
        return
    version = parse_version(cluster.version)
    is_old = version is not None and version < OLDEST
    means = f"older than {OLDEST[0]}.{OLDEST[1]:02d}, the oldest that nllgen was written for" if is_old else ""
    yield _finding("version", cluster.version, "note" if is_old else "ok", means)
    if cluster.error:
        hint = "try again later, or ask the site; SLURM_CONF names the configuration where it is not the default one"
        yield _obstacle("controller", "does not answer", cluster.error, hint)
        return
    yield _finding("controller", f"{cluster.config.get('clustername', '')} answers", "ok")


def _partitions(cluster: ClusterInfo) -> Iterator[Finding]:
    usable = {part.name for part in cluster.usable}
    for part in cluster.partitions:
        if part.name in usable:
            is_short = part.max_minutes is not None and part.max_minutes < _SHORT_MIN
            means = "a longer cell is stopped, saved and requeued, again and again" if is_short else ""
        else:
            means = "you may not use it" if part.is_up else "no jobs start in it now"
        yield _finding(f"partition {part.name}", describe(part), "note" if means else "ok", means)
    if not usable:
        value = "none that you may use" if cluster.partitions else "none"
        yield _obstacle("partitions", value, "no job can be submitted", "ask the site for access to one")
    elif not any(part.is_default for part in cluster.usable):
        yield _finding("default partition", "none for you", "note", "a profile has to name its partition")


def describe(part: Partition) -> str:
    """Describe a partition in one line."""
    words = ["default"] * part.is_default + ([] if part.is_up else [part.fields.get("State", "down").lower()])
    words.append(f"up to {duration(part.max_minutes)}" if part.max_minutes is not None else "no time limit")
    if part.default_minutes is not None:
        words.append(f"{duration(part.default_minutes)} if not asked")
    if part.max_nodes is not None:
        words.append(f"at most {part.max_nodes} nodes a job")
    if part.max_memory_mb is not None:
        words.append(f"at most {part.max_memory_mb / 1024:.1f} GB a job and node")
    if part.max_memory_mb_per_cpu is not None:
        words.append(f"at most {part.max_memory_mb_per_cpu / 1024:.1f} GB a CPU")
    for nodes in part.nodes:
        types = ", ".join(f"{number} {name}" for name, number in nodes.gpu_types)
        gpus = f", {nodes.gpus} GPUs{f': {types}' if types else ''}" if nodes.gpus else ""
        words.append(f"{nodes.count} × ({nodes.cpus} CPUs, {nodes.memory_mb / 1024:.1f} GB{gpus})")
    return "; ".join(words)


def duration(minutes: int) -> str:
    """Format ``90`` as ``1 h 30 min``."""
    parts = ((minutes // 1440, "d"), (minutes % 1440 // 60, "h"), (minutes % 60, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 min"


def _arrays(cluster: ClusterInfo) -> Iterator[Finding]:
    size = parse_number(cluster.config.get("maxarraysize", ""))
    if size is not None and size < 2:
        yield _obstacle("MaxArraySize", str(size), "arrays are switched off", "ask the site to set MaxArraySize")
    elif size is not None:
        means = f"{MANY:,} cells, one an element, are {-(-MANY // size)} arrays; nllgen splits them"
        yield _finding("MaxArraySize", str(size), "ok", means)
    jobs = parse_number(cluster.config.get("maxjobcount", ""))
    if jobs is not None and jobs < MANY:
        means = f"of all users together; {MANY:,} cells do not fit with one element each"
        yield _finding("MaxJobCount", str(jobs), "note", means, _FEWER_JOBS)
    elif jobs is not None:
        yield _finding("MaxJobCount", str(jobs), "ok", "of all users")


def _accounts(cluster: ClusterInfo) -> Iterator[Finding]:
    enforced = cluster.config.get("accountingstorageenforce", "")
    limits = cluster.limits
    if limits is None:
        return
    if not limits.accounts and ("associations" in enforced or "all" in enforced.split(",")):
        means = "Slurm takes jobs of users with an account only"
        yield _obstacle("account", f"none for {cluster.user}", means, "ask the site for one")
    elif limits.accounts:
        means = "a profile's `account` chooses" if len(limits.accounts) > 1 else ""
        yield _finding("account", ", ".join(limits.accounts), "ok", means)


def _limits(cluster: ClusterInfo) -> Iterator[Finding]:
    enforced = cluster.config.get("accountingstorageenforce", "")
    limits = cluster.limits
    if limits is None:
        if "associations" in enforced or "limits" in enforced:
            yield _finding("submit limits", "unknown", "note", "sacctmgr does not answer, but limits are enforced")
        return
    yield _limit_finding("submit limits", limits)
    for part in cluster.usable:
        if (in_partition := cluster.limits_in(part)) != limits:
            yield _limit_finding(f"limits in {part.name}", in_partition)
        if qos := cluster.qos_to_name(part):
            means = f"it allows QOS {part.allow_qos} alone; a profile's `qos` chooses"
            yield _finding(f"QOS in {part.name}", qos, "note", means)


def _limit_finding(name: str, limits: Limits) -> Finding:
    value = _describe_limits(limits) or "none for you"
    sources = ", ".join(dict.fromkeys(limits.sources.values()))
    if limits.max_submit is None or limits.max_submit >= MANY:
        return _finding(name, value, "ok", sources)
    if limits.max_submit <= JOBS_BESIDE_CELLS:
        means = (
            f"a study has up to {JOBS_BESIDE_CELLS} jobs beside those of its cells, and more than allowed are refused"
        )
        hint = "within one job of yours: nllgen submit --local --wait"
        return _finding(name, value, "problem", _joined(means, sources), hint)
    means = "each element of an array counts; more are refused"
    return _finding(name, value, "note", _joined(means, sources), _FEWER_JOBS)


def _joined(means: str, sources: str) -> str:
    return f"{means} (set by {sources})" if sources else means


def _describe_limits(limits: Limits) -> str:
    words = [f"{limits.max_submit} queued"] if limits.max_submit is not None else []
    words += [f"{limits.max_jobs} running"] if limits.max_jobs is not None else []
    words += [f"{duration(limits.max_minutes)} each"] if limits.max_minutes is not None else []
    words += [f"{_amount(name, value)} each" for name, value in limits.per_job.items()]
    words += [f"{_amount(name, value)} at once" for name, value in limits.at_once.items()]
    return ", ".join(words)


def _amount(name: str, value: int) -> str:
    return f"{value / 1024:.4g} GB" if name == "mem" else f"{value} {name.removeprefix('gres/')}"


def _preemption(cluster: ClusterInfo) -> Iterator[Finding]:
    plugin = cluster.config.get("preempttype", "").rpartition("/")[2]
    if plugin in ("", "none"):
        yield _finding("preemption", "off", "ok", "only a time limit, a failure or scancel ends a job")
        return
    default = cluster.config.get("preemptmode", "OFF")
    is_signalled = "preempt_send_user_signal" in cluster.config.get("slurmctldparameters", "").split(",")
    yield _finding("preemption", f"{plugin}, {default.lower()}", "ok", "progress since the last save may be lost")
    for part in cluster.usable:
        mode = (part.preempt_mode or default).upper()
        if "OFF" not in mode.split(","):
            yield _preemption_in(part, mode, is_signalled)


def _preemption_in(part: Partition, mode: str, is_signalled: bool) -> Finding:
    value = f"{mode.lower()}, {part.grace_s} s of grace, " + ("user signal" if is_signalled else "no user signal")
    name = f"preemption in {part.name}"
    if "CANCEL" in mode:
        means = "Slurm does not requeue a preempted job; its cells are lost to it, and `nllgen retry` sends them again"
        return _finding(name, value, "note", means, "choose a partition that requeues, if there is one")
    if "SUSPEND" in mode or "GANG" in mode:
        return _finding(name, value, "note", "a preempted job sleeps in memory and goes on; its leases may look stale")
    if part.grace_s == 0:
        return _finding(name, value, "note", "a preempted job is ended at once: what was not saved is done again")
    if not is_signalled:
        means = "a preempted job gets SIGTERM alone: what was not saved is done again"
        return _finding(name, value, "note", means, "the site can set SlurmctldParameters=preempt_send_user_signal")
    return _finding(name, value, "ok", "a preempted job is told, saves its state and is requeued")


def _end(cluster: ClusterInfo) -> Iterator[Finding]:
    wait = parse_number(cluster.config.get("killwait", ""))
    if wait is not None:
        means = "from SIGTERM to SIGKILL at the time limit; a profile's signal_s is earlier"
        yield _finding("KillWait", f"{wait} s", "ok", means)
    if cluster.config.get("jobrequeue") == "0":
        yield _finding("JobRequeue", "0", "ok", "nllgen asks for requeueing with each job")


def counts_memory(cluster: ClusterInfo) -> bool:
    """Return whether memory is a resource that jobs reserve."""
    return "MEMORY" in cluster.config.get("selecttypeparameters", "").upper()


def _memory(cluster: ClusterInfo) -> Iterator[Finding]:
    has_cgroups = "cgroup" in cluster.config.get("taskplugin", "") and cluster.config.get("constrainramspace") == "yes"
    if not counts_memory(cluster):
        means = "--mem reserves nothing, and jobs of others can use up a node's memory"
        yield _finding("memory", "not a resource", "note", means, "ask for whole nodes (sbatch: {exclusive: true})")
    elif has_cgroups:
        means = "a job over its --mem is ended as OUT_OF_MEMORY, and retried with more"
        yield _finding("memory", "kept by cgroups", "ok", means)
    elif "OverMemoryKill" in cluster.config.get("jobacctgatherparams", ""):
        means = "a job over its --mem is killed at the next poll, and Slurm calls that FAILED, not OUT_OF_MEMORY"
        yield _finding("memory", "kept by polling", "note", means, "ask for more memory than a cell needs")
    else:
        yield _finding("memory", "a resource", "ok", "the configuration does not tell whether --mem is enforced")


def _processes(cluster: ClusterInfo) -> Iterator[Finding]:
    tracking = cluster.config.get("proctracktype", "").rpartition("/")[2]
    if tracking == "pgid":
        means = "processes of a cancelled or failed job may live on; leases and publication keep results right"
        yield _finding("process tracking", tracking, "note", means)
    elif tracking:
        means = "all of a job's processes end with it" if tracking == "cgroup" else ""
        yield _finding("process tracking", tracking, "ok", means)


def _accounting(cluster: ClusterInfo) -> Iterator[Finding]:
    if cluster.accounting_error:
        means = f"{cluster.accounting_error}; nllgen works without: files decide, and squeue gives hints"
        yield _finding("sacct", "does not work", "note", means)
    else:
        yield _finding("sacct", "works", "ok", "asked for jobs that squeue has forgotten")


def _site(cluster: ClusterInfo) -> Iterator[Finding]:
    if cluster.config.get("enforcepartlimits", "").upper() in ("NO", ""):
        means = "a job that asks for too much is not refused: it waits for ever"
        yield _finding("EnforcePartLimits", "no", "note", means)
    if plugins := cluster.config.get("jobsubmitplugins"):
        yield _finding("JobSubmitPlugins", plugins, "note", "the site may change or refuse jobs by rules of its own")
    if os.environ.get("SLURM_JOB_ID"):
        means = "submitting from here works: nllgen keeps the job's SLURM_* variables out of what it sends"
        yield _finding("inside a job", os.environ["SLURM_JOB_ID"], "note", means)
