"""Findings about this machine: the folder of studies, Apptainer, GPUs, Python."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nllgen.doctor.filesystem import file_system
from nllgen.doctor.filesystem import main as probe_folder
from nllgen.doctor.probe import Finding, ask
from nllgen.launch.slurm.cluster_info import ClusterInfo

_FEW_FILES = 100_000
_LITTLE_GB = 5.0
_SKEW_S = 5.0


def folder(root: Path, cluster: ClusterInfo) -> list[Finding]:
    """What a study's folder will stand on."""
    program = f"from {probe_folder.__module__} import main; main()"
    answer = ask([sys.executable, "-c", program, str(root)], 30.0)
    if answer.error:
        why = answer.error.rpartition(": ")[2]
        means = f"its file server hangs: {why}" if "did not answer" in why else f"cannot be looked at: {why}"
        return [_folder("folder", str(root), "problem", means, "choose another with --root or NLLGEN_ROOT", True)]
    return list(judge_folder(json.loads(answer.text), cluster))


def _folder(name: str, value: str, level: Any = "ok", means: str = "", todo: str = "", stops: bool = False) -> Finding:
    return Finding("folder", name, value, level, means, todo, stops_submission=stops)


def judge_folder(seen: Mapping[str, Any], cluster: ClusterInfo) -> Iterator[Finding]:
    """Findings from what :func:`nllgen.doctor.filesystem.probe` saw."""
    other = "choose another with --root or NLLGEN_ROOT"
    if "error" in seen:
        yield _folder("folder", seen["path"], "problem", f"cannot be written: {seen['error']}", other, True)
        return
    yield _folder("folder", f"{seen['path']} ({seen['kind'] or 'unknown file system'})")
    elsewhere = sorted(host for host in cluster.hosts if host.split(".")[0] != socket.gethostname().split(".")[0])
    if elsewhere and not seen["network"]:
        means = (
            f"{seen['kind']} is usually a disk of this machine alone, and jobs on {elsewhere[0]} must see the folder"
        )
        yield _folder(
            "shared", "perhaps not", "note", means, "check it on a node, or choose a shared folder with --root"
        )
    yield from _operations(seen, other)
    yield _ownership(seen)
    yield _room(seen)
    yield from _clock(seen)


def _operations(seen: Mapping[str, Any], other: str) -> Iterator[Finding]:
    needed = {
        "exclusive": ("exclusive creation", "claims of cells need it"),
        "links": ("hard links", "results are published by them, so that none replaces another"),
        "rename": ("atomic rename", "every file gets its name by it"),
        "fsync": ("fsync", "a result must be on the disk before it has its name"),
    }
    for key, (name, why) in needed.items():
        if seen[key]:
            yield _folder(name, f"fails: {seen[key]}", "problem", why, other, True)
        elif key == "fsync" and seen["fsync_ms"] > 500:
            yield _folder(
                name, f"{seen['fsync_ms']:.0f} ms", "note", "slow: saving and publishing will take their time"
            )
        else:
            yield _folder(name, "works" + f", {seen['fsync_ms']:.0f} ms" * (key == "fsync"))
    setting = os.environ.get("HDF5_USE_FILE_LOCKING", "")
    if not seen["flock"]:
        yield _folder("flock", "works", "ok", "one submitter at a time; HDF5 locks its files")
    elif setting.upper() in ("TRUE", "1"):
        means = "HDF5 will refuse to open files, since HDF5_USE_FILE_LOCKING asks for locks"
        yield _folder("flock", f"fails: {seen['flock']}", "problem", means, "unset HDF5_USE_FILE_LOCKING", True)
    else:
        means = "two submitters at once are kept apart by claims alone; HDF5 goes on without locks (BEST_EFFORT)"
        yield _folder("flock", f"fails: {seen['flock']}", "note", means)
    if seen["posix_lock"]:
        yield _folder("POSIX locks", f"fail: {seen['posix_lock']}", "note", "nllgen itself does not use them")


def _ownership(seen: Mapping[str, Any]) -> Finding:
    mode, mine = seen["mode"], seen["owner"] == os.geteuid()
    value = f"{'yours' if mine else 'another user’s'}, mode {mode:o}"
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        means = "others can move a study's folder away, though not write into it: nllgen makes it yours alone"
        return _folder("owner", value, "note", means)
    return _folder("owner", value, "ok", "a study's own folder is made for you alone to write")


def _room(seen: Mapping[str, Any]) -> Finding:
    files = seen["free_files"]
    value = f"{seen['free_gb']:.0f} GB" + (f", {files:,} files" if files is not None else "")
    if seen["free_gb"] < _LITTLE_GB or (files is not None and files < _FEW_FILES):
        means = "ten thousand cells take about 60,000 files and 10 GB or more"
        return _folder("free", value, "note", means, "make room, or choose another folder with --root")
    return _folder("free", value, "ok", "a quota of yours may be less")


def _clock(seen: Mapping[str, Any]) -> Iterator[Finding]:
    if "skew_s" not in seen:
        return
    skew = seen["skew_s"]
    unit = {1.0: "s", 1e-3: "ms", 1e-6: "µs", 1e-9: "ns"}[seen["granularity_s"]]
    value = f"{abs(skew):.2f} s {'ahead' if skew > 0 else 'behind'}, counts in {unit}"
    if abs(skew) > _SKEW_S:
        yield _folder(
            "clock", value, "note", "times shown by `nllgen status` are off by that; leases do not depend on it"
        )
    else:
        yield _folder("clock", value)


def container() -> Iterator[Finding]:
    """Apptainer, and whether a user without rights can run it."""
    program = next((name for name in ("apptainer", "singularity") if shutil.which(name)), None)
    if program is None:
        means = "jobs run with the Python of this installation, which the nodes must see"
        todo = "to use a container: load the site's module, or have Apptainer installed"
        yield Finding("container", "Apptainer", "not here", "note", means, todo)
        return
    version = ask([program, "--version"])
    if version.error:
        yield Finding(
            "container", "Apptainer", "does not start", "note", version.error, "check the module, or its installation"
        )
        return
    yield Finding("container", "Apptainer", version.text.strip())
    setuid = _has_setuid(program)
    spaces = not ask(["unshare", "--user", "--map-root-user", "true"], 5.0).error
    fuse = os.access("/dev/fuse", os.R_OK | os.W_OK)
    tools = [tool for tool in ("squashfuse_ll", "squashfuse", "fuse-overlayfs") if shutil.which(tool)]
    value = ", ".join((f"user namespaces {_yes(spaces)}", f"setuid {_yes(setuid)}", f"/dev/fuse {_yes(fuse)}"))
    if not (spaces or setuid or os.geteuid() == 0):
        means = "no container starts for you on this machine; nodes may differ"
        todo = "the site must allow user namespaces (user.max_user_namespaces) or install apptainer-suid"
        yield Finding("container", "without rights", value, "note", means, todo)
    elif not setuid and not (fuse and tools):
        means = "a SIF cannot be mounted and is unpacked at every start: minutes instead of a tenth of a second"
        yield Finding(
            "container", "without rights", value, "note", means, "have squashfuse installed and /dev/fuse opened"
        )
    else:
        yield Finding("container", "without rights", value, "ok", "containers start for any user")


def _yes(it: bool) -> str:
    return "yes" if it else "no"


def _has_setuid(program: str) -> bool:
    match = re.search(r"^LIBEXECDIR=(.+)$", ask([program, "buildcfg"]).text, re.MULTILINE)
    if match is None:
        return False
    starters = (Path(match[1]) / name / "bin" / "starter-suid" for name in ("apptainer", "singularity"))
    return any(path.exists() and path.stat().st_mode & stat.S_ISUID for path in starters)


def gpus(cluster: ClusterInfo) -> Iterator[Finding]:
    """GPUs of this machine, and those that Slurm has."""
    here = sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))
    listed = ask(["nvidia-smi", "-L"]) if here and shutil.which("nvidia-smi") else None
    if listed is not None and not listed.error:
        yield Finding(
            "GPUs", "this machine", "; ".join(re.sub(r" \(UUID.*", "", line) for line in listed.text.splitlines())
        )
    elif here:
        means = listed.error if listed else "nvidia-smi is not on PATH"
        yield Finding(
            "GPUs", "this machine", f"{len(here)} device files", "note", f"the driver does not answer: {means}"
        )
    else:
        yield Finding("GPUs", "this machine", "none", "ok", "local runs use processors")
    if cluster.partitions:
        names = [f"{part.name} ({part.gpus})" for part in cluster.usable if part.gpus]
        means = "a profile's `gpus: 1` asks for one" if names else "training runs on processors"
        yield Finding("GPUs", "the cluster", ", ".join(names) or "none that you may use", "ok", means)


def python() -> Iterator[Finding]:
    """The Python that jobs run with where there is no container."""
    where = Path(sys.executable)
    kind = file_system(where.parent)
    yield Finding(
        "Python",
        "version",
        f"{platform.python_version()}, {where} ({kind})",
        "ok",
        "jobs without a container use the same path on the nodes",
    )
    home = Path(sys.executable).resolve()
    closed = next((path for path in home.parents if not path.stat().st_mode & stat.S_IXOTH), None)
    if os.geteuid() == 0 and closed is not None:
        yield Finding("Python", "readable", "for root alone", "note", f"{closed} is closed: other users cannot run it")
    if importlib.util.find_spec("torch") is None:
        means = "fine for a login node; jobs need a container with it, or a Python that has it"
        yield Finding(
            "Python", "torch", "not installed", "note", means, "pip install 'nllgen[train]', or use a container"
        )
    else:
        yield Finding("Python", "torch", "installed")
    cores, all_cores = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    few = "the rest is another's: an outer job, a container or taskset" if cores < all_cores else ""
    yield Finding("Python", "cores", f"{cores} of {all_cores}", "note" if few else "ok", few)
