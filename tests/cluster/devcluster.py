"""The devcluster and its users, as the tests of this folder see them."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "slurm" / "devcluster"
FOLDER = Path(os.environ.get("NLLGEN_DEVCLUSTER", "/var/lib/nllgen-devcluster"))
PREFIX = os.environ.get("NLLGEN_DEVCLUSTER_NODE", "node")
MAX_ARRAY = 101
ENDED = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "DEADLINE"}
LEAKING = ("SLURM_", "SBATCH_", "SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_")


PATIENCE_S = 300.0  # for a state that comes within seconds on an idle machine: waiting costs nothing where it comes


def wait_for(
    predicate: Callable[[], object], timeout: float = PATIENCE_S, what: str = "", every_s: float = 0.2
) -> None:
    """Poll until the predicate is true; what it last returned is in the failure."""
    end = time.monotonic() + timeout
    while not (last := predicate()):
        assert time.monotonic() < end, f"not within {timeout:g} s: {what or predicate}; it is {last!r}"
        time.sleep(every_s)


@dataclass(frozen=True)
class PlainUser:
    """Somebody who is not root."""

    name: str
    home: Path

    @classmethod
    def made(cls, name: str) -> PlainUser:
        """Return a user; create it with a home folder that all may read if it does not exist."""
        try:
            home = Path(pwd.getpwnam(name).pw_dir)
        except KeyError:
            subprocess.run(
                ["useradd", "--create-home", "--shell", "/bin/bash", name], check=True, env={"PATH": "/usr/sbin:/sbin"}
            )
            home = Path(pwd.getpwnam(name).pw_dir)
        home.chmod(0o755)
        return cls(name, home)

    @property
    def uid(self) -> int:
        return pwd.getpwnam(self.name).pw_uid

    def can(self, *argv: str) -> bool:
        """Return True if a command succeeds for this user."""
        return subprocess.run(self.command(*argv), capture_output=True, cwd=self.home).returncode == 0

    def command(self, *argv: str) -> list[str]:
        """Return the command with which root runs a command as this user."""
        identity = [f"HOME={self.home}", f"USER={self.name}", f"LOGNAME={self.name}"]
        return ["runuser", "-u", self.name, "--", "env", "-u", "XDG_STATE_HOME", *identity, *argv]


@contextlib.contextmanager
def seen_by(user: PlainUser, folder: Path) -> Iterator[Path]:
    """The folder where the user can read it: where it lies, or mounted a second time if only root may look there."""
    if user.can("ls", str(folder)):
        yield folder
        return
    place = user.home / "seen" / folder.name
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", str(folder), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def python_for(user: PlainUser) -> Iterator[str]:
    """A Python that the user can run, with the packages of this one: root's own often lies where nobody else may look.

    It is made of the system's Python of the same version; empty where that does not do.
    """
    if user.can(sys.executable, "-c", "import nllgen.launch, torch"):
        yield sys.executable
        return
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    packages, checkout = Path(sysconfig.get_paths()["purelib"]), SCRIPTS.parents[1]
    made = user.home / "venv" / "bin" / "python"
    with seen_by(user, checkout) as checkout_seen, seen_by(user, packages) as packages_seen:
        if not user.can(system, "-m", "venv", "--clear", "--without-pip", str(made.parents[1])):
            yield ""
            return
        (own,) = made.parents[1].glob("lib/python3*/site-packages")
        paths = (checkout_seen, checkout_seen / "analysis")
        site = f"import site; site.addsitedir({str(packages_seen)!r})"
        (own / "shared.pth").write_text("\n".join((*map(str, paths), site)) + "\n")
        yield str(made) if user.can(str(made), "-c", "import nllgen.launch, torch") else ""


@dataclass
class Cluster:
    """A running devcluster; everything goes through Slurm's own commands."""

    folder: Path = FOLDER
    submitted: list[str] = field(default_factory=list)  # cancelled after the test

    @property
    def nodes(self) -> list[str]:
        return [f"{PREFIX}{number}" for number in range(1, 5)]

    @property
    def slurm_conf(self) -> Path:
        return self.folder / "etc" / "slurm.conf"

    @property
    def env(self) -> dict[str, str]:
        """Return the environment of a user's shell on the login node."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(LEAKING)}
        return clean | {"SLURM_CONF": str(self.slurm_conf)}

    # ---- the cluster itself

    def up(
        self, *, accounting: bool = True, limits: bool = False, max_array: int = MAX_ARRAY
    ) -> subprocess.CompletedProcess[str]:
        """Start or repair it with these settings; jobs run on meanwhile."""
        settings = {
            "NLLGEN_DEVCLUSTER_ACCOUNTING": "on" if accounting else "off",
            "NLLGEN_DEVCLUSTER_LIMITS": "on" if limits else "off",
            "NLLGEN_DEVCLUSTER_MAX_ARRAY": str(max_array),
        }
        return subprocess.run(
            [str(SCRIPTS / "up")], env=os.environ | settings, capture_output=True, text=True, timeout=600
        )

    def crash(self, node: str) -> None:
        """Kill a node with all processes of its jobs."""
        self._node("crash", node)

    def deaf(self, node: str) -> None:
        """Kill a node's slurmd; its jobs continue."""
        self._node("deaf", node)

    def start(self, node: str) -> None:
        """Start a node again."""
        self._node("start", node)

    def _node(self, what: str, node: str) -> None:
        done = subprocess.run([str(SCRIPTS / "node"), what, node], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    # ---- Slurm's commands

    def run(
        self,
        *argv: str,
        user: PlainUser | None = None,
        check: bool = True,
        cwd: Path | None = None,
        timeout: float = PATIENCE_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with the cluster's environment, as root or as a plain user."""
        where = cwd or (user.home if user else self.folder)
        command = user.command(*argv) if user else list(argv)
        done = subprocess.run(command, env=self.env, cwd=where, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0 or not check, f"{' '.join(argv)}: {done.stderr or done.stdout}"
        return done

    def sbatch(self, *options: str, script: str, user: PlainUser | None = None, cwd: Path | None = None) -> str:
        """Submit a shell script and return its job id. Its output is discarded unless options say otherwise."""
        default = () if any(option.startswith(("-o", "--output")) for option in options) else ("--output=/dev/null",)
        done = self.run("sbatch", "--parsable", *default, *options, "--wrap", script, user=user, cwd=cwd)
        job = done.stdout.strip().split(";")[0]
        self.submitted.append(job)
        return job

    def squeue(self, *options: str) -> list[str]:
        """Return squeue's lines without the header."""
        return self.run("squeue", "--noheader", *options).stdout.splitlines()

    def scontrol(self, *words: str, check: bool = True) -> str:
        return self.run("scontrol", *words, check=check).stdout

    def sacct(self, *options: str, check: bool = True) -> list[str]:
        """Return sacct's lines without the header, with fields separated by |."""
        return self.run("sacct", "--noheader", "--parsable2", *options, check=check).stdout.splitlines()

    def field(self, job: str, name: str) -> list[str]:
        """Return a field of scontrol's record of a job, a value for each array element; none if it is forgotten."""
        records = self.scontrol("show", "job", "--oneliner", job, check=False).splitlines()
        pairs = [dict(word.partition("=")[::2] for word in record.split()) for record in records]
        return [pair[name] for pair in pairs if name in pair]

    def states(self, job: str) -> set[str]:
        """Return the states of a job's elements."""
        return set(self.field(job, "JobState"))

    def node_state(self, node: str) -> str:
        """Return for example idle, mixed, allocated, down*; the star means that the node does not answer."""
        return self.run("sinfo", "--noheader", "-n", node, "-p", "short", "-o", "%T").stdout.strip()

    def wait_for(self, predicate: Callable[[], object], timeout: float = PATIENCE_S, what: str = "") -> None:
        wait_for(predicate, timeout, what)

    def wait_state(self, job: str, *states: str, timeout: float = PATIENCE_S) -> None:
        """Wait until every element of the job is in one of the states."""
        self.wait_for(lambda: self.states(job) and self.states(job) <= set(states), timeout, f"{job} to be {states}")

    def _has_ended(self, job: str) -> bool:
        return self.states(job) <= ENDED  # no state: the controller has forgotten it

    def tidy(self) -> None:
        """Cancel what a test submitted, bring back the nodes it took away, and wait for both."""
        if self.submitted:
            self.squeue()  # fails where the controller does not answer
            self.run("scancel", *self.submitted, check=False)  # some are forgotten
            jobs, self.submitted = self.submitted, []
            for job in jobs:
                self.wait_for(partial(self._has_ended, job), what=f"{job} to end")
        if any(self.node_state(node) not in ("idle", "mixed", "allocated", "completing") for node in self.nodes):
            done = self.up()
            assert done.returncode == 0, done.stderr


def why_not() -> str:
    """Return why this machine cannot run the devcluster; empty if it can."""
    if not Path("/etc/debian_version").exists() or shutil.which("apt-get") is None:
        return "it is no Debian machine with apt-get"
    return "" if os.geteuid() == 0 else "the tests do not run as root"
