"""Findings about this machine: Apptainer, GPUs, Python, assets."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from nllgen.assets import status
from nllgen.container.host import file_system
from nllgen.doctor.probe import Finding, ask
from nllgen.launch.slurm.cluster_info import ClusterInfo, Partition
from nllgen.study.hardware import num_cores
from nllgen.study.image_sets import PUBLISHED


def container() -> Iterator[Finding]:
    """Judge Apptainer, and whether a user without privileges can run it."""
    program = next((name for name in ("apptainer", "singularity") if shutil.which(name)), None)
    if program is None:
        means = "jobs run with the Python of this installation, which the nodes must see"
        hint = "to use a container: load the site's module, or have Apptainer installed"
        yield Finding("container", "Apptainer", "not here", "note", means, hint)
        return
    version = ask([program, "--version"])
    if version.error:
        hint = "check the module, or its installation"
        yield Finding("container", "Apptainer", "does not start", "note", version.error, hint)
        return
    yield Finding("container", "Apptainer", version.text.strip())
    yield _privileges(program)


def _privileges(program: str) -> Finding:
    name = "without privileges"
    has_setuid = _has_setuid(program)
    has_namespaces = not ask(["unshare", "--user", "--map-root-user", "true"], 5.0).error
    has_fuse = os.access("/dev/fuse", os.R_OK | os.W_OK)
    tools = [tool for tool in ("squashfuse_ll", "squashfuse", "fuse-overlayfs") if shutil.which(tool)]
    features = {"user namespaces": has_namespaces, "setuid": has_setuid, "/dev/fuse": has_fuse}
    value = ", ".join(f"{feature} {'yes' if there else 'no'}" for feature, there in features.items())
    if not (has_namespaces or has_setuid or os.geteuid() == 0):
        means = "no container starts for you on this machine; nodes may differ"
        hint = "the site must allow user namespaces (user.max_user_namespaces) or install apptainer-suid"
        return Finding("container", name, value, "note", means, hint)
    if not has_setuid and not (has_fuse and tools):
        means = "a SIF cannot be mounted and is unpacked at every start: minutes instead of a tenth of a second"
        return Finding("container", name, value, "note", means, "have squashfuse installed and /dev/fuse opened")
    return Finding("container", name, value, "ok", "containers start for any user")


def _has_setuid(program: str) -> bool:
    match = re.search(r"^LIBEXECDIR=(.+)$", ask([program, "buildcfg"]).text, re.MULTILINE)
    if match is None:
        return False
    starters = (Path(match[1]) / name / "bin" / "starter-suid" for name in ("apptainer", "singularity"))
    return any(path.exists() and path.stat().st_mode & stat.S_ISUID for path in starters)


def gpus(cluster: ClusterInfo) -> Iterator[Finding]:
    """List the GPUs of this machine, and those of the cluster."""
    yield _gpus_here()
    if cluster.partitions:
        names = [f"{part.name} ({_gpus_of(part)})" for part in cluster.usable if part.gpus]
        gpu_type = next((name for part in cluster.usable for name in part.gpu_types), "")
        example = f"{gpu_type}:1" if gpu_type else "1"
        means = f"a profile's `gpus: {example}` asks for one" if names else "training runs on processors"
        yield Finding("GPUs", "the cluster", ", ".join(names) or "none that you may use", "ok", means)


def _gpus_of(part: Partition) -> str:
    types = [f"{number} {name}" for name, number in part.gpu_types.items()]
    num_others = part.gpus - sum(part.gpu_types.values())
    return ", ".join([*types, *([str(num_others)] if num_others else [])])


def _gpus_here() -> Finding:
    devices = list(Path("/dev").glob("nvidia[0-9]*"))
    if not devices:
        return Finding("GPUs", "this machine", "none", "ok", "local runs use processors")
    answer = ask(["nvidia-smi", "-L"])
    if answer.error:
        means = f"the driver does not answer: {answer.error}"
        return Finding("GPUs", "this machine", f"{len(devices)} device files", "note", means)
    names = (re.sub(r" \(UUID.*", "", line) for line in answer.text.splitlines())
    return Finding("GPUs", "this machine", "; ".join(names))


def python() -> Iterator[Finding]:
    """Judge the Python that jobs run with where there is no container."""
    program = Path(sys.executable)
    value = f"{platform.python_version()}, {program} ({file_system(program.parent)})"
    yield Finding("Python", "version", value, "ok", "jobs without a container use the same path on the nodes")
    closed = next((path for path in program.resolve().parents if not path.stat().st_mode & stat.S_IXOTH), None)
    if os.geteuid() == 0 and closed is not None:
        yield Finding("Python", "readable", "for root alone", "note", f"{closed} is closed: other users cannot run it")
    if importlib.util.find_spec("torch") is None:
        means = "fine for a login node; jobs need a container with it, or a Python that has it"
        hint = "pip install 'nllgen[train]', or use a container"
        yield Finding("Python", "torch", "not installed", "note", means, hint)
    else:
        yield Finding("Python", "torch", "installed")
    num, num_all = num_cores(), os.cpu_count() or 1
    means = "an outer job, a container or taskset keeps the rest" if num < num_all else ""
    yield Finding("Python", "cores", f"{num} of {num_all}", "note" if means else "ok", means)


def asset_findings(assets: Path) -> list[Finding]:
    """Return a finding per asset. Sets that few studies name may be missing."""
    findings = []
    for asset in status(assets):
        if asset.name in PUBLISHED[1:] and asset.is_missing:
            continue
        if bad := [f"{file.name} {file.state}" for file in asset.files if not file.is_present]:
            hint = f"nllgen assets fetch {asset.name}"
            findings.append(Finding("assets", asset.name, ", ".join(bad), "note", asset.use, hint))
        else:
            findings.append(Finding("assets", asset.name, str(assets / asset.name), "ok", asset.use))
    return findings
