"""Examination of this machine and its cluster, and a profile of the cluster to begin with.

Nothing is changed: files that try the study directory's file system are removed again. Every query has its time limit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nllgen.doctor import machine
from nllgen.doctor.directory import examine_directory
from nllgen.doctor.probe import Finding
from nllgen.doctor.profile import profile_text
from nllgen.doctor.rules import judge
from nllgen.errors import EXIT_DONE, EXIT_ENVIRONMENT, ConfigError
from nllgen.launch.slurm.cluster_info import ClusterInfo, query_cluster
from nllgen.storage.atomic import create_bytes, make_folder, write_bytes
from nllgen.study.profile_names import user_folder


@dataclass(frozen=True)
class Report:
    """All findings, and the description of the cluster that they were derived from."""

    findings: tuple[Finding, ...]
    cluster: ClusterInfo

    @property
    def can_submit(self) -> bool:
        """Return whether a study can be sent to Slurm from here."""
        return not any(finding.stops_submission for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """Return 0, or 3 where no study can be sent to Slurm."""
        return EXIT_DONE if self.can_submit else EXIT_ENVIRONMENT

    def to_json(self) -> dict[str, Any]:
        """Return the findings as JSON has them."""
        return {"can_submit": self.can_submit, "findings": [asdict(finding) for finding in self.findings]}


def examine(root: Path, more: Sequence[Finding] = ()) -> Report:
    """Examine the cluster, the root of the studies, which need not exist yet, and this machine; add more findings."""
    with ThreadPoolExecutor() as pool:
        container = pool.submit(lambda: list(machine.container()))
        cluster = query_cluster()
        directory = pool.submit(examine_directory, root, cluster)
        gpus = pool.submit(lambda: list(machine.gpus(cluster)))
        findings = [*judge(cluster), *directory.result(), *container.result(), *gpus.result()]
    return Report((*findings, *machine.python(), *more), cluster)


def write_profile(cluster: ClusterInfo, target: Path, partition: str | None, *, force: bool) -> Path:
    """Write a profile of the cluster for a partition, the default one where None.

    Raises:
        ConfigError: the file exists and is not replaced by force, or there is no such partition.
        MachineError: there is no cluster to make a profile of, or the file cannot be written.
    """
    data = profile_text(cluster, partition).encode()
    make_folder(target.absolute().parent)
    if force:
        write_bytes(target, data)
    elif not create_bytes(target, data):
        raise ConfigError(f"{target} exists", "add --force to replace it, or choose another name")
    return target


def profile_path(name: str) -> Path:
    """Return the file of a profile in the user's own directory of profiles.

    Raises:
        ConfigError: the name is a path, or a name that `--profile` would not accept.
    """
    plain = name.removesuffix(".yaml")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", plain):
        raise ConfigError(
            f"{name!r} is no name of a profile", "allowed: letters, digits, - and _; --out PATH takes a path"
        )
    return user_folder() / f"{plain}.yaml"
