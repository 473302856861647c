"""Slurm's reasons for which a job waits, in words, and what a user can do about each."""

from __future__ import annotations

import re
from typing import NamedTuple


class WaitReason(NamedTuple):
    """A reason in words."""

    cause: str  # empty for a reason that is not known here
    advice: str  # what to do; empty where waiting is all that there is

    def __str__(self) -> str:
        return "; ".join(filter(None, self))


_ASK = "ask the site's administrators"
_NEVER = "it will not start as it is: nllgen cancel, correct the profile, and submit again"
_RELEASE = "to let it start: scontrol release JOB"
# pattern of the whole reason → cause, advice, in which JOB is the job's number
_REASONS: tuple[tuple[str, str, str], ...] = (
    ("JobHeldUser", "held by its owner", _RELEASE),
    ("JobHeldAdmin", "held by an administrator", f"only an administrator releases it: {_ASK}"),
    (".*requeued held|.*requeued in held state|JobHoldMaxRequeue|MaxRequeue(Reached)?",
     "its start failed or it was requeued too often, and Slurm holds it",
     "see `nllgen logs STUDY CELL --job`, then: scontrol release JOB"),
    ("BadConstraints", "no node fits what it asks for",
     f"compare constraint, memory_gb, cpus and gpus with sinfo; {_NEVER}"),
    (".*Reserved for maintenance.*|Maintenance.*",
     "nodes are reserved for maintenance, and its time limit reaches into it",
     "a shorter time_min may let it start before (`scontrol show reservation`)"),
    ("ReqNodeNotAvail.*|NodeDown|NodeNotAvail|Nodes required for job are DOWN.*",
     "nodes that it needs are down, drained or reserved",
     "see `sinfo -R` and `scontrol show reservation`; it starts when they are back, or on other nodes with another "
     "partition or constraint"),
    ("Reservation", "its reservation has not begun, or is used up", "see: scontrol show reservation"),
    ("ReservationDeleted|InvalidReservation", "its reservation is gone", f"take it out of the profile; {_NEVER}"),
    ("DependencyNeverSatisfied", "a job that it needs has failed or was cancelled",
     "it will not start: nllgen status shows the failed task; nllgen cancel, then nllgen submit sends what is missing"),
    ("Dependency", "waits for jobs that it depends on", ""),
    ("PartitionTimeLimit|TimeLimit", "its time limit is longer than the partition allows", f"lower time_min; {_NEVER}"),
    ("PartitionNodeLimit", "it asks for more nodes or processors than the partition allows",
     f"lower cpus, or take another partition; {_NEVER}"),
    ("PartitionDown|PartitionInactive", "the partition is closed for now",
     "it starts when the partition is up (`sinfo -s`), or take another one"),
    ("Priority", "jobs of higher priority come first", ""),
    ("Resources", "waits for free nodes", ""),
    ("JobArrayTaskLimit", "as many elements of its array run as the profile allows at once",
     "the profile's array_parallelism is this limit"),
    ("Licenses", "waits for a licence", "see: scontrol show licenses"),
    ("BeginTime", "its start time has not come; Slurm also delays a requeued job by some minutes", ""),
    ("DeadLine", "it cannot end before its deadline", _NEVER),
    ("InvalidAccount|AccountNotAllowed", "its account is not valid, or not allowed in the partition",
     f"compare the profile's account with `sacctmgr show associations user=$USER`; {_NEVER}"),
    ("InvalidQOS|QOSNotAllowed", "its QOS is not valid, or not allowed in the partition",
     f"compare the profile's qos with `sacctmgr show associations user=$USER`; {_NEVER}"),
    ("QOSUsageThreshold", "usage is above its QOS's threshold",
     "it starts when the usage has decayed, or with another qos"),
    ("QOSJobLimit|AssociationJobLimit", "a limit on jobs of its QOS or account is reached",
     "it starts as earlier jobs end; fewer jobs at once: --workers N"),
    ("QOSResourceLimit|AssociationResourceLimit", "a limit on resources of its QOS or account is reached",
     "it starts as earlier jobs end; smaller jobs: cpus, memory_gb and gpus of the profile"),
    ("QOSTimeLimit|AssociationTimeLimit", "a limit on time of its QOS or account is reached",
     f"lower time_min; {_NEVER}"),
    ("MaxMemPerLimit", "it asks for more memory than is allowed", f"lower memory_gb; {_NEVER}"),
    ("Cleaning", "Slurm still cleans up after its last start", ""),
    ("Prolog|Configuring", "its nodes are being prepared", ""),
    ("JobLaunchFailure|NonZeroExitCode|SystemFailure|RaisedSignal.*|FailedPrologue?|NODE_FAIL", "its last start failed",
     "see: nllgen logs STUDY CELL --job"),
    ("BurstBuffer.*", "waits for the burst buffer", ""),
    ("FedJobLock", "clusters of the federation decide where it starts", ""),
    ("Max(imum)?PowerCapped|PowerNotAvail|PowerReserved", "waits for electrical power", ""),
    ("SchedDefer|None|", "Slurm has not considered it yet", ""),
)  # fmt: skip
# QOSMaxSubmitJobPerUserLimit, AssocGrpGRES, MaxGRESPerAccount, QOSMaxWallDurationPerJobLimit …
_LIMIT = re.compile(
    r"(?P<scope>QOS|Assoc|)(?P<bound>Grp|Max|Min)(?P<resource>\w*?)(?P<minutes>(Run)?Minutes)?"
    r"(?P<per>Per(User|Job|Account|Node))?(Limit)?",
    re.IGNORECASE,
)
# beginning of the resource in Slurm's word → what it is, keys that change a job's share of it
_RESOURCES = (
    ("submit", "jobs that may be queued", ""),
    ("job", "jobs that may run at once", ""),
    ("wall", "time", "time_min"),
    ("cpu", "processors", "cpus"),
    ("mem", "memory", "memory_gb"),
    ("gres", "GPUs (GRES)", "gpus"),
    ("gpu", "GPUs", "gpus"),
    ("node", "nodes", "cpus and memory_gb"),
    ("lic", "licences", ""),
)


def explain(reason: str, job: str, cluster: str = "") -> WaitReason:
    """Return the cause and the advice for a reason of ``squeue``; both empty for one that is not known.

    Args:
        reason: such as ``QOSMaxSubmitJobPerUserLimit`` or ``ReqNodeNotAvail, UnavailableNodes:node3``.
        job: the number that scontrol takes.
        cluster: that it takes, too; empty for the machine's own.
    """
    for pattern, cause, advice in _REASONS:
        if re.fullmatch(pattern, reason.strip(), re.IGNORECASE):
            named = re.sub(r"\b(scontrol|sinfo) ", rf"\1 --clusters={cluster} ", advice) if cluster else advice
            return WaitReason(cause, named.replace("JOB", job))
    match = _LIMIT.fullmatch(reason.strip())
    return _limit(match) if match else WaitReason("", "")


def _limit(match: re.Match[str]) -> WaitReason:
    """Return the words for a limit of a QOS or an association."""
    word = match["resource"].lower()
    what, keys = next(
        (row[1:] for row in _RESOURCES if word.startswith(row[0])), ("resources", "cpus, memory_gb and gpus")
    )
    owner = "the account" if match["scope"].lower() == "assoc" else "the QOS"
    per = match["per"][3:].lower() if match["per"] else ""
    whole = f"{owner} per {per}" if per else f"{owner} for all jobs together" if match["bound"] == "Grp" else owner
    reached = f"the limit of {whole} on {what} is reached"
    if match["bound"] == "Min":
        return WaitReason(f"it asks for fewer {what} than {whole} demands", f"raise {keys}; {_NEVER}")
    if match["minutes"] and not match["minutes"].lower().startswith("run"):
        cause = f"the budget of {whole}, {what} times minutes, is used up"
        return WaitReason(cause, f"take another account or qos, or {_ASK}")
    if match["minutes"]:
        return WaitReason(
            f"{reached}, times their minutes", "it starts as earlier jobs end; a lower time_min counts less"
        )
    if not keys:
        return WaitReason(reached, "it starts as earlier jobs end; fewer jobs at once: --workers N")
    if word.startswith("wall") or per in ("job", "node"):
        return WaitReason(
            f"it asks for more {what} than {whole} allows", f"lower {keys}, or take another qos; {_NEVER}"
        )
    return WaitReason(reached, f"it starts as earlier jobs end; smaller jobs: lower {keys}")
