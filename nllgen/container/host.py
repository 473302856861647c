"""Properties of the host that a build depends on: temporary files, Debian's mirror, privileges, environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from nllgen.errors import ContainerError, MachineError

# names within the types of /proc/self/mountinfo, https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
_NETWORK = (
    *("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "afs", "9p", "gluster", "panfs", "pvfs", "orangefs"),
    *("sshfs", "wekafs"),
)
# of all packed files: 1980-01-01, the oldest time that a wheel can hold
ONE_TIME = {"SOURCE_DATE_EPOCH": "315532800"}
NEEDED_GB = 6  # a CPU build of torch and what is packed from it; the build for CUDA needs twice that


def file_system(path: Path) -> str:
    """Return the type of the file system that a file or directory lies on; empty where the kernel does not say."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    device = path.stat().st_dev
    device_id = f"{os.major(device)}:{os.minor(device)}"
    path = path.resolve()
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split()
        mount_point = fields[4].encode("latin-1", "replace").decode("unicode_escape")
        # btrfs and the like have devices of their own, for which the longest mount point counts
        rank = len(mount_point) + 10_000 * (fields[2] == device_id)
        if path.is_relative_to(mount_point) and rank >= best:
            best, kind = rank, after.split()[0]
    return kind


def is_network(file_system_type: str) -> bool:
    """Return whether a file system of this type lies on other machines."""
    return any(name in file_system_type.lower() for name in _NETWORK)


def temporary_parent() -> Path:
    """Find a local directory with enough free space: APPTAINER_TMPDIR or TMPDIR if set, else /tmp or /var/tmp.

    Raises:
        ContainerError: none can be used; with the reason for each.
    """
    chosen = os.environ.get("APPTAINER_TMPDIR") or os.environ.get("TMPDIR")
    reasons = []
    for path in [Path(chosen)] if chosen else [Path(tempfile.gettempdir()), Path("/var/tmp")]:
        if not os.access(path, os.W_OK):
            reasons.append(f"{path} cannot be written")
        elif is_network(kind := file_system(path)):
            reasons.append(f"{path} lies on a network file system ({kind}), on which builds are slow or fail")
        elif (free := shutil.disk_usage(path).free / 1e9) < NEEDED_GB:
            reasons.append(f"{path} has {free:.1f} GB free, a build needs {NEEDED_GB}")
        else:
            return path
    raise ContainerError(
        "there is no folder for the build's temporary files:\n    " + "\n    ".join(reasons),
        "APPTAINER_TMPDIR=DIR nllgen build …, with a folder on a local disk",
    )


def debian_mirror() -> str:
    """Return the mirror that this machine's own apt uses, or raise a ContainerError where it has none."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Codename: bookworm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        sites = sorted(set(done.stdout.split()), key=lambda site: ("security" in site, site))
    except OSError:
        sites = []
    if not sites:
        raise ContainerError(
            "this machine's apt knows no mirror of Debian 12 (bookworm)",
            "name one: nllgen build --base debootstrap --from URL",
        )
    return sites[0]


def require_programs(names: list[str]) -> None:
    """Raise a MachineError that names the programs which are not installed here."""
    missing = [name for name in names if shutil.which(name, path=search_path()) is None]
    if missing:
        raise MachineError(
            f"{' and '.join(missing)} is needed for this and not installed here",
            f"on Debian: apt-get install {' '.join(missing)}",
        )


def search_path() -> str:
    """Return PATH with the directories of system programs, which a plain user's often lacks."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def is_whole_root() -> bool:
    """Return whether this is root with every capability, who can build without a user namespace."""
    if os.geteuid() != 0:
        return False
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    return effective == (1 << (last + 1)) - 1


def build_environment(temporary: Path) -> dict[str, str]:
    """Copy the environment without variables that would change the build, and with one time for all packed files."""
    unwanted = ("APPTAINER_BIND", "APPTAINERENV_", "SINGULARITY_", "SINGULARITYENV_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    fixed = {"TMPDIR": str(temporary), "APPTAINER_TMPDIR": str(temporary), "PATH": search_path()}
    return kept | ONE_TIME | fixed
