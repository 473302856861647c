"""Limits are read where they live: on associations, accounts, and QOS of the user and of the partition.

The rows have the form that sacctmgr documents for its named fields.
"""

from __future__ import annotations

import pytest

from nllgen.launch.slurm.limits import (
    ACCOUNT_FIELDS,
    ASSOCIATION_FIELDS,
    QOS_FIELDS,
    Accounting,
    Limits,
    parse_accounting,
)


def row(fields: str, *values: str, **named: str) -> str:
    """Return a line of sacctmgr with these values of its first fields, and of others by name."""
    names = fields.split(",")
    given = dict(zip(names, values, strict=False)) | named
    assert set(given) <= set(names)
    return "|".join(given.get(name, "") for name in names) + "\n"


ASTRO = row(ASSOCIATION_FIELDS, "astro", maxjobs="50", qos="normal,long")
ML = row(ASSOCIATION_FIELDS, "ml", maxsubmitjobs="2000", grptres="cpu=900", qos="normal,gpu,long", defaultqos="gpu")
ACCOUNTS = (
    row(ACCOUNT_FIELDS, "root")
    + row(ACCOUNT_FIELDS, "faculty", "root", grpsubmitjobs="400")
    + row(ACCOUNT_FIELDS, "ml", "faculty", grpjobs="300", grptres="gres/gpu=16")
    + row(ACCOUNT_FIELDS, "astro", "root", grpsubmitjobs="1")
)
QOS = (
    row(QOS_FIELDS, "normal", maxsubmitjobsperuser="5000")
    + row(QOS_FIELDS, "long", maxwall="7-00:00:00")
    + row(
        QOS_FIELDS, "gpu", maxjobsperuser="8", maxwall="12:00:00", maxtresperjob="mem=64G", maxtresperuser="gres/gpu=4"
    )
    + row(QOS_FIELDS, "part", maxsubmitjobsperuser="6", maxwall="02:00:00", grptres="gres/gpu=2")
)


def accounting(associations: str = ASTRO + ML, default_account: str = "ml") -> Accounting:
    return parse_accounting(associations, ACCOUNTS, QOS, default_account)


def test_limits_are_the_tightest_of_association_accounts_and_qos() -> None:
    limits = accounting().limits()
    at_once = {"cpu": 900, "gres/gpu": 4}
    assert limits == Limits(("ml", "astro"), 400, 8, 720, {"mem": 65536}, at_once)
    assert limits.sources["max_submit"] == "account faculty"
    assert limits.sources["max_jobs"] == limits.sources["max_minutes"] == "QOS gpu"
    assert limits.sources["at_once cpu"] == "your association with account ml"


def test_an_unknown_default_account_leaves_the_tightest_of_all_accounts() -> None:
    assert accounting(default_account="").limits().max_submit == 1


def test_a_partition_has_the_limits_of_its_qos() -> None:
    limits = accounting().limits("short", "ALL", "part")
    assert (limits.max_submit, limits.max_minutes, limits.at_once["gres/gpu"]) == (6, 120, 2)
    assert limits.sources["max_submit"] == "QOS part of partition short"


def test_an_association_with_a_partition_counts_there_alone() -> None:
    rows = row(ASSOCIATION_FIELDS, "ml", qos="normal"), row(ASSOCIATION_FIELDS, "ml", "small", "3", qos="normal")
    found = accounting("".join(rows))
    assert (found.limits().max_submit, found.limits("small").max_submit) == (400, 3)
    assert found.limits("other").max_submit == 400


@pytest.mark.parametrize(
    ("allowed", "admits", "named", "max_minutes"),
    [("ALL", True, "", 720), ("gpu,long", True, "", 720), ("long", True, "long", 7 * 1440), ("vip", False, "", None)],
)
def test_a_partition_may_ask_for_another_qos(allowed: str, admits: bool, named: str, max_minutes: int | None) -> None:
    found = accounting()
    assert (found.admits("p", allowed), found.qos_to_name("p", allowed)) == (admits, named)
    assert found.limits("p", allowed).max_minutes == max_minutes


def test_without_records_there_is_no_limit() -> None:
    assert parse_accounting("", "", QOS).limits() == Limits()
