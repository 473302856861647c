"""Findings about the directory that holds the studies."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from nllgen.doctor.filesystem import DirectoryState
from nllgen.doctor.filesystem import main as print_state
from nllgen.doctor.probe import Finding, ask
from nllgen.launch.slurm.cluster_info import ClusterInfo

_FEW_FILES = 100_000
_LITTLE_GB = 5.0
_SKEW_S = 5.0
_SLOW_FSYNC_MS = 500
_OTHER = "choose another with --root or NLLGEN_ROOT"
_finding = partial(Finding, "folder")
# operation → its name, and its use
_NEEDED = {
    "exclusive": ("exclusive creation", "leases of cells need it"),
    "links": ("hard links", "results are published by them, so that none replaces another"),
    "rename": ("atomic rename", "every file gets its name by it"),
    "fsync": ("fsync", "a result must be on the disk before it has its name"),
}


def examine_directory(root: Path, cluster: ClusterInfo) -> list[Finding]:
    """Try the directory in a process of its own and judge it."""
    program = f"from {print_state.__module__} import main; main()"
    answer = ask([sys.executable, "-c", program, str(root)], 30.0)
    if answer.error:
        reason = answer.error.rpartition(": ")[2]
        means = f"its file server hangs: {reason}" if "did not answer" in reason else f"cannot be examined: {reason}"
        return [_finding("folder", str(root), "problem", means, _OTHER, stops_submission=True)]
    return list(judge_directory(DirectoryState(**json.loads(answer.text)), cluster))


def judge_directory(state: DirectoryState, cluster: ClusterInfo) -> Iterator[Finding]:
    """Derive the findings from the state of a directory."""
    if state.error:
        means = f"cannot be written: {state.error}"
        yield _finding("folder", state.path, "problem", means, _OTHER, stops_submission=True)
        return
    yield _finding("folder", f"{state.path} ({state.file_system or 'unknown file system'})")
    this_host = socket.gethostname().split(".")[0]
    other_hosts = sorted(host for host in cluster.hosts if host.split(".")[0] != this_host)
    if other_hosts and not state.is_network:
        means = f"{state.file_system} is usually a disk of this machine alone; jobs on {other_hosts[0]} must see it"
        yield _finding("shared", "perhaps not", "note", means, "check it on a node, or choose a shared folder: --root")
    yield from _operations(state)
    yield from _locks(state)
    yield _ownership(state)
    yield _free_space(state)
    yield from _clock(state)


def _operations(state: DirectoryState) -> Iterator[Finding]:
    for key, (name, use) in _NEEDED.items():
        if state.failures[key]:
            yield _finding(name, f"fails: {state.failures[key]}", "problem", use, _OTHER, stops_submission=True)
        elif key != "fsync":
            yield _finding(name, "works")
        elif state.fsync_ms > _SLOW_FSYNC_MS:
            yield _finding(name, f"{state.fsync_ms:.0f} ms", "note", "slow: saving and publishing will take their time")
        else:
            yield _finding(name, f"works, {state.fsync_ms:.0f} ms")


def _locks(state: DirectoryState) -> Iterator[Finding]:
    failure = state.failures["flock"]
    if not failure:
        yield _finding("flock", "works", "ok", "one submitter at a time; HDF5 locks its files")
    elif os.environ.get("HDF5_USE_FILE_LOCKING", "").upper() in ("TRUE", "1"):
        means = "HDF5 will refuse to open files, since HDF5_USE_FILE_LOCKING asks for locks"
        hint = "unset HDF5_USE_FILE_LOCKING"
        yield _finding("flock", f"fails: {failure}", "problem", means, hint, stops_submission=True)
    else:
        means = "two submitters at once are kept apart by leases alone; HDF5 goes on without locks (BEST_EFFORT)"
        yield _finding("flock", f"fails: {failure}", "note", means)
    if state.failures["posix_lock"]:
        yield _finding("POSIX locks", f"fail: {state.failures['posix_lock']}", "note", "nllgen itself needs none")


def _ownership(state: DirectoryState) -> Finding:
    is_mine = state.owner == os.geteuid()
    value = f"{'yours' if is_mine else 'another user’s'}, mode {state.mode:o}"
    if state.mode & (stat.S_IWGRP | stat.S_IWOTH) and not state.mode & stat.S_ISVTX:
        means = "others can rename a study's folder, though not write into it: only you may write there"
        return _finding("owner", value, "note", means)
    return _finding("owner", value, "ok", "only you may write into the folder of a study")


def _free_space(state: DirectoryState) -> Finding:
    files = state.free_files
    value = f"{state.free_gb:.0f} GB" + (f", {files:,} files" if files is not None else "")
    if state.free_gb < _LITTLE_GB or (files is not None and files < _FEW_FILES):
        means = "ten thousand cells take about 60,000 files and 10 GB or more"
        return _finding("free", value, "note", means, "choose another folder with --root, or ask for a larger quota")
    return _finding("free", value, "ok", "your quota may be less")


def _clock(state: DirectoryState) -> Iterator[Finding]:
    skew_s = state.clock_skew_s
    if skew_s is None:
        return
    unit = {1.0: "s", 1e-3: "ms", 1e-6: "µs", 1e-9: "ns"}[state.clock_unit_s]
    value = f"{abs(skew_s):.2f} s {'ahead' if skew_s > 0 else 'behind'}, counts in {unit}"
    if abs(skew_s) > _SKEW_S:
        means = "times shown by `nllgen status` are off by that; leases do not depend on it"
        yield _finding("clock", value, "note", means)
    else:
        yield _finding("clock", value)
