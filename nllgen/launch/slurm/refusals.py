"""Messages of sbatch that refuse a job, and advice that fits each."""

from __future__ import annotations

import re
from typing import NamedTuple

from nllgen.errors import MachineError
from nllgen.launch.slurm.wait_reasons import explain

_MAX_LINES = 3


class _Refusal(NamedTuple):
    """A family of messages."""

    pattern: str  # of sbatch's text, whatever the case
    cause: str
    advice: str


# the first that fits counts: what names the cause comes before Slurm's general sentences
_REFUSALS = (
    _Refusal(
        r"unable to contact slurm controller|socket timed out|connect failure|connection refused|zero bytes were "
        r"transmitted|slurm_persist_conn|backup controller|temporarily unable to accept|resource temporarily unavail"
        r"|communication (connection )?(failure|shutdown)|transport endpoint|protocol authentication error",
        "the controller does not answer",
        "the profile is not at fault: try again in some minutes; what was accepted is not sent twice",
    ),
    _Refusal(
        r"invalid partition|partition name",
        "there is no such partition",
        "compare the profile's partition with `sinfo -s`, or write a new profile: nllgen doctor --write NAME",
    ),
    _Refusal(
        r"invalid (entry for --)?cluster|no cluster|cluster name|slurmdbd",
        "no cluster of this name can be reached",
        "compare the profile's clusters with: sacctmgr show clusters",
    ),
    _Refusal(
        r"(association|qos|user|account).{0,40}(job )?(submit|size|time) ?limit|submit limit"
        r"|max(imum)? ?(array|submit|job)|qosmaxsubmit|assocmaxsubmit|too many jobs"
        r"|job violates accounting/qos policy|array (size|spec)",
        "a limit on jobs, their size or their time is reached",
        "see which: nllgen doctor; fewer jobs at once: --workers N; shorter or smaller ones: time_min, memory_gb; or "
        "run the same command again when earlier jobs have ended",
    ),
    _Refusal(
        r"\bgres\b|generic resource|\btres\b|trackable resource|--gpus|\bgpus? (count|type|spec)",
        "the GPUs that were asked for are not to be had",
        "compare the profile's gpus with `sinfo -o '%P %G'`; some sites want a type, as in gpu:a100:1",
    ),
    _Refusal(
        r"time ?limit|wall ?(time|clock)|invalid time|partition.{0,20}time",
        "the time that was asked for is more than the partition or account allows",
        "lower time_min in the profile or the study (`sinfo -o '%P %l'` shows the limits): cells go on in the next job",
    ),
    _Refusal(
        r"memory|--mem\b|mem-?per-?",
        "the memory that was asked for is refused",
        "change memory_gb in the profile (`sinfo -o '%P %m %c'` shows the nodes' memory), or take another partition",
    ),
    _Refusal(
        r"invalid qos|\bqos\b",
        "the QOS is wrong, or not allowed for this account or partition",
        "compare the profile's qos with: sacctmgr show associations user=$USER format=account,partition,qos",
    ),
    _Refusal(
        r"invalid account|account/partition|\baccount\b|\bassociation\b",
        "the account is wrong, or may not use this partition",
        "compare the profile's account and partition with: sacctmgr show associations user=$USER",
    ),
    _Refusal(
        r"partition",
        "the partition is wrong, closed, or not allowed for you",
        "compare the profile's partition with `sinfo -s`, or write a new profile: nllgen doctor --write NAME",
    ),
    _Refusal(
        r"node configuration|cpu count|node count|processors|more (cpus|nodes)|feature|constraint",
        "no node has what was asked for",
        "compare the profile's cpus, memory_gb, gpus and constraint with `sinfo -o '%P %c %m %G %f'`",
    ),
    _Refusal(
        r"reservation",
        "the reservation is wrong, or not for you",
        "compare the profile's sbatch options with: scontrol show reservation",
    ),
    _Refusal(
        r"dependency",
        "a job that this one has to wait for is gone",
        "run the same command again: it sends what is missing",
    ),
    _Refusal(
        r"unrecognized option|invalid option|invalid directive|unknown option|invalid (value|argument)"
        r"|invalid --",
        "an option is unknown to this version of Slurm, or has a wrong value",
        "correct the profile's sbatch options",
    ),
    _Refusal(
        r"permission|not permitted|access denied|authoriz|munge|credential",
        "this user may not submit jobs from here",
        "run this on a login node, or ask the site's administrators",
    ),
)
_OTHER = _Refusal("", "", "check the profile against the cluster (nllgen doctor), then run the same command again")
_UNREACHED = _REFUSALS[0], next(kind for kind in _REFUSALS if "cluster of this name" in kind.cause)
_LIMIT = re.compile(r"\b(QOS|Assoc)(Max|Grp|Min)\w+")
# Slurm's last sentence for several causes: it decides only where no other line does
_GENERAL = re.compile(r"batch job submission failed: (.*)", re.IGNORECASE)


def refusal(text: str) -> MachineError:
    """Return the error for what sbatch printed when it refused a job: its lines once, the cause, and what to do."""
    lines = _lines(text)
    kind = _kind(lines)
    cause = f" ({kind.cause})" if kind.cause else ""
    return MachineError(f"sbatch refused the job{cause}: {'; '.join(lines) or 'it printed no reason'}", kind.advice)


def hint_of(text: str, otherwise: str) -> str:
    """Return the advice for what another program of Slurm printed when it failed, where its cause is known."""
    kind = _kind(_lines(text))
    return kind.advice if kind in _UNREACHED else otherwise


def _lines(text: str) -> list[str]:
    """Return the lines that say why, without repetitions: a site's banner and hints are left out."""
    lines = [*dict.fromkeys(filter(None, map(str.strip, text.splitlines())))]
    own = [line for line in lines if re.match(r"s\w+: ", line) or "error" in line.lower()]
    reasons = [re.sub(r"^s\w+: (error: )?", "", line) for line in own or lines]
    return [*dict.fromkeys(reasons)][:_MAX_LINES]


def _kind(lines: list[str]) -> _Refusal:
    particular = [line for line in lines if not _GENERAL.search(line)]
    for line in (*particular, *lines):
        if limit := _LIMIT.search(line):
            wait = explain(limit[0], "")
            return _Refusal("", wait.cause, wait.advice)
        for kind in _REFUSALS:
            if re.search(kind.pattern, line, re.IGNORECASE):
                return kind
    return _OTHER
