"""The clusters that a submission's jobs may run on, where one login node sends jobs to several."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nllgen.errors import ConfigError
from nllgen.launch.profile import Profile

_VARIABLES = ("SBATCH_CLUSTERS", "SLURM_CLUSTERS")  # sbatch prefers the first
OWN_CLUSTER = ""  # the cluster of the machine's own slurm.conf


def split_names(clusters: str) -> tuple[str, ...]:
    """Return the names of ``a,b``; the machine's own cluster where none is named."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, clusters.split(","))))) or (OWN_CLUSTER,)


def clusters_of_environment(environ: Mapping[str, str] = os.environ) -> str:
    """Return the clusters that a user's shell exports for sbatch and the other programs; empty where it does not."""
    return next((environ[name].strip() for name in _VARIABLES if environ.get(name, "").strip()), "")


def with_clusters(profile: Profile) -> Profile:
    """Return a profile with the environment's clusters where it names none, so that its record has them."""
    clusters = profile.clusters or clusters_of_environment()
    return profile.model_copy(update={"clusters": clusters}) if clusters else profile


def clusters_of_records(profiles: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the clusters that earlier submissions went to, by the profiles in their records."""
    names: dict[str, None] = {}
    for profile in profiles:
        sbatch = profile.get("sbatch")  # where a submission of an earlier version has them
        clusters = profile.get("clusters") or (sbatch.get("clusters") if isinstance(sbatch, dict) else "") or ""
        names |= dict.fromkeys(split_names(str(clusters)))
    return tuple(names)


def cluster_options(cluster: str) -> list[str]:
    """Return the option by which every program of Slurm asks another cluster; none for the machine's own."""
    return [f"--clusters={cluster}"] if cluster else []


def by_cluster(jobs: Sequence[str]) -> dict[str, list[str]]:
    """Group jobs, ``7``, ``7_3`` or ``7;alpha`` as sbatch prints them, by cluster."""
    groups: dict[str, list[str]] = {}
    for job in jobs:
        number, _, cluster = job.partition(";")
        groups.setdefault(cluster, []).append(number)
    return groups


def on_cluster(job: str, cluster: str) -> str:
    """Return a job with its cluster, as ``sbatch --parsable`` prints it: ``7;alpha``, or ``7`` on the own cluster."""
    return f"{job};{cluster}" if cluster else job


def choose_clusters(wanted: str, of_live_jobs: Iterable[str]) -> str:
    """Return the clusters to send jobs to that depend on live ones: Slurm knows no dependency between clusters.

    Raises:
        ConfigError: live jobs are on other clusters than the profile's, or on several.
    """
    busy = tuple(dict.fromkeys(of_live_jobs))
    if not busy:
        return wanted
    if len(busy) == 1 and (busy[0] in split_names(wanted) or wanted == "all"):
        return busy[0]
    raise ConfigError(
        f"jobs of this study wait or run on {' and '.join(name or 'the default cluster' for name in busy)}, and the "
        f"profile sends to {wanted or 'the default cluster'}: Slurm knows no dependency between clusters",
        "wait until they have ended, cancel them (nllgen cancel), or name one cluster: the profile's key is clusters",
    )
