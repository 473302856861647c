"""Limits that accounting sets for a user: on associations, on the accounts above them, and on QOS.

A QOS counts if jobs have it, or if the partition has it. The tightest of all limits counts here; Slurm lets a limit of
a QOS replace that of an association, so that some users may do more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

from nllgen.launch.slurm.values import parse_minutes, parse_number, parse_tres, parse_value

ASSOCIATION_FIELDS = (
    "account,partition,maxsubmitjobs,maxjobs,maxwall,maxtresperjob,grpsubmitjobs,grpjobs,grptres,qos,defaultqos"
)
ACCOUNT_FIELDS = "account,parentname,grpsubmitjobs,grpjobs,grptres"
QOS_FIELDS = (
    "name,maxsubmitjobsperuser,maxjobsperuser,maxwall,maxtresperjob,maxtresperuser,maxsubmitjobsperaccount,"
    "maxjobsperaccount,maxtresperaccount,grpsubmitjobs,grpjobs,grptres"
)
_MAX_DEPTH = 20  # of a tree of accounts
_PER_JOB, _AT_ONCE = "per_job ", "at_once "
_Row = Mapping[str, str]


@dataclass(frozen=True)
class Limits:
    """Limits of a user's jobs; None and empty where there is none."""

    accounts: tuple[str, ...] = ()  # that the user may submit under, the default first where it is known
    max_submit: int | None = None  # jobs that may be queued at once, an array's elements counted one by one
    max_jobs: int | None = None  # jobs that may run at once
    max_minutes: int | None = None  # of a job
    per_job: Mapping[str, int] = field(default_factory=dict)  # resource, such as ``gres/gpu`` → most of it in a job
    at_once: Mapping[str, int] = field(default_factory=dict)  # resource → most of it in all running jobs
    # name of a limit, such as ``max_submit`` or ``at_once gres/gpu`` → where it is set
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def tightened(self, other: Limits) -> Limits:
        """Return the tighter of each two limits."""
        own, others = dict(self._values()), dict(other._values())
        smallest, sources = own | others, dict(other.sources)
        for name, value in own.items():
            if value <= others.get(name, value):
                smallest[name] = value
                sources[name] = self.sources.get(name, "")
        per_job, at_once = (
            {name.removeprefix(begin): value for name, value in smallest.items() if name.startswith(begin)}
            for begin in (_PER_JOB, _AT_ONCE)
        )
        return Limits(
            accounts=self.accounts or other.accounts,
            max_submit=smallest.get("max_submit"),
            max_jobs=smallest.get("max_jobs"),
            max_minutes=smallest.get("max_minutes"),
            per_job=per_job,
            at_once=at_once,
            sources=sources,
        )

    def set_by(self, source: str) -> Limits:
        """Return the limits with the place where all of them are set."""
        return replace(self, sources={name: source for name, _ in self._values()})

    def _values(self) -> Iterator[tuple[str, int]]:
        for name in ("max_submit", "max_jobs", "max_minutes"):
            if (value := getattr(self, name)) is not None:
                yield name, value
        yield from ((_PER_JOB + name, value) for name, value in self.per_job.items())
        yield from ((_AT_ONCE + name, value) for name, value in self.at_once.items())


@dataclass(frozen=True)
class Association:
    """The right of a user to submit under an account, in all partitions or in one."""

    account: str
    partition: str  # empty for all
    limits: Limits
    qos: tuple[str, ...] = ()  # that jobs may name
    default_qos: str = ""  # of jobs that name none


@dataclass(frozen=True)
class Accounting:
    """The records of a user in Slurm's accounting."""

    accounts: tuple[str, ...]  # the default first where it is known
    associations: tuple[Association, ...]
    of_accounts: Mapping[str, tuple[str, Limits]]  # account → the account above it, and limits of all its users
    qos: Mapping[str, Limits]

    def limits(self, partition: str = "", allow_qos: str = "ALL", partition_qos: str = "") -> Limits:
        """Return the tightest limits of jobs, in a partition where one is named, under the default account."""
        parts = [Limits(self.accounts)]
        for each in self._associations(partition):
            parts += [each.limits, *self._above(each.account)]
            parts.append(self.qos.get(_job_qos(each, allow_qos), Limits()))
        if partition_qos in self.qos:
            of_partition = self.qos[partition_qos].set_by(f"QOS {partition_qos} of partition {partition}")
            parts.append(of_partition)
        return reduce(Limits.tightened, parts)

    def qos_to_name(self, partition: str, allow_qos: str) -> str:
        """Return the QOS that jobs must name in a partition, because the default is not allowed there, or empty."""
        for each in self._associations(partition):
            default, chosen = _job_qos(each, "ALL"), _job_qos(each, allow_qos)
            return chosen if chosen != default else ""
        return ""

    def admits(self, partition: str, allow_qos: str) -> bool:
        """Return whether the user has a QOS that a partition allows; unknown ones are taken for allowed."""
        own = {name for each in self._associations(partition) for name in each.qos}
        return not own or allow_qos in ("ALL", "") or bool(own & set(allow_qos.split(",")))

    def _associations(self, partition: str) -> list[Association]:
        """Return those that count in a partition, under the default account where it has any."""
        of_partition = [each for each in self.associations if each.partition in ("", partition)]
        of_default = [each for each in of_partition if self.accounts and each.account == self.accounts[0]]
        return of_default or of_partition

    def _above(self, account: str) -> Iterator[Limits]:
        for _ in range(_MAX_DEPTH):
            if account not in self.of_accounts:
                return
            account, limits = self.of_accounts[account]
            yield limits


def _job_qos(association: Association, allow_qos: str) -> str:
    """Return the QOS of jobs that name none if it is allowed, or else one that is."""
    default = association.default_qos or ("normal" if "normal" in association.qos else "")
    names = [*filter(None, (default, *association.qos))]
    allowed = names if allow_qos in ("ALL", "") else [name for name in names if name in allow_qos.split(",")]
    return next(iter(allowed), "")


def parse_accounting(associations: str, accounts: str, qos: str, default_account: str = "") -> Accounting:
    """Read the output of ``sacctmgr --parsable2 --noheader show``.

    Args:
        associations: ``associations format=ASSOCIATION_FIELDS`` of this user and cluster.
        accounts: ``associations where user= format=ACCOUNT_FIELDS``: those of accounts as a whole.
        qos: ``qos format=QOS_FIELDS``.
        default_account: of the user.
    """
    own = [*map(_association, _rows(associations, ASSOCIATION_FIELDS))]
    above = {
        row["account"]: (row["parentname"], _limits(row, f"account {row['account']}"))
        for row in _rows(accounts, ACCOUNT_FIELDS)
    }
    by_qos = {row["name"]: _limits(row, f"QOS {row['name']}") for row in _rows(qos, QOS_FIELDS)}
    names = dict.fromkeys(filter(None, [default_account, *(each.account for each in own)]))
    return Accounting(tuple(names), tuple(own), above, by_qos)


def _rows(text: str, fields: str) -> Iterator[_Row]:
    names = fields.split(",")
    for line in text.splitlines():
        if line.count("|") == len(names) - 1:
            yield dict(zip(names, map(parse_value, line.split("|")), strict=True))


def _association(row: _Row) -> Association:
    where = f" in partition {row['partition']}" if row["partition"] else ""
    limits = _limits(row, f"your association with account {row['account']}{where}")
    qos = tuple(filter(None, row["qos"].split(",")))
    return Association(row["account"], row["partition"], limits, qos, row["defaultqos"])


def _limits(row: _Row, source: str) -> Limits:
    limits = Limits(
        max_submit=_smallest(
            row, ("maxsubmitjobs", "maxsubmitjobsperuser", "maxsubmitjobsperaccount", "grpsubmitjobs")
        ),
        max_jobs=_smallest(row, ("maxjobs", "maxjobsperuser", "maxjobsperaccount", "grpjobs")),
        max_minutes=parse_minutes(row.get("maxwall", "")),
        per_job=parse_tres(row.get("maxtresperjob", "")),
        at_once=_tightest(parse_tres(row.get(name, "")) for name in ("maxtresperuser", "maxtresperaccount", "grptres")),
    )
    return limits.set_by(source)


def _smallest(row: _Row, names: Sequence[str]) -> int | None:
    return min((number for name in names if (number := parse_number(row.get(name, ""))) is not None), default=None)


def _tightest(resources: Iterable[Mapping[str, int]]) -> dict[str, int]:
    smallest: dict[str, int] = {}
    for amounts in resources:
        smallest |= {name: min(amount, smallest.get(name, amount)) for name, amount in amounts.items()}
    return smallest
