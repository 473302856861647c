"""A stand-in for Slurm's programs on several clusters, for what one machine cannot produce.

It is made of the documented options and formats: jobs are lines of a file for each cluster, ``--clusters`` or ``-M``
names the clusters to ask, and each call is noted. What a site prints besides is in the file ``banner``.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("sbatch", "squeue", "scontrol", "sacct", "scancel", "sinfo", "srun")
SCRIPT = r"""#!PYTHON
import json, os, re, sys
from pathlib import Path
here, argv = Path(HERE), sys.argv[1:]
program = os.path.basename(sys.argv[0])
with open(here / "calls", "a") as file:
    file.write(json.dumps([program, *argv]) + "\n")
banner = here / "banner"
sys.stdout.buffer.write(banner.read_bytes() if banner.exists() else b"")
sys.stdout.buffer.flush()
if (here / f"{program}.sh").exists():
    os.execv("/bin/sh", ["sh", str(here / f"{program}.sh"), *argv])
text = " ".join(argv)
script = Path(argv[-1]).read_text() if program == "sbatch" else ""
named = re.search(r"(?:--clusters[= ]|-M ?)(\S+)", text) or re.search(r"#SBATCH --clusters=(\S+)", script)
clusters = named[1].split(",") if named else ["own"]
jobs = {name: json.loads((here / f"{name}.json").read_text()) for name in clusters}
if program == "sbatch":
    name, number = clusters[-1], 40 + sum(len(json.loads(path.read_text())) for path in here.glob("*.json"))
    option = lambda key: (re.search(rf"#SBATCH --{key}=(\S+)", script) or [None, ""])[1]
    indices = option("array").partition("%")[0]
    job = {"id": number, "indices": indices, "name": option("job-name").strip("'"), "state": "PENDING"}
    jobs[name].append(job)
    (here / f"{name}.json").write_text(json.dumps(jobs[name]))
    print(f"{number};{name}" if named else number)
if program == "squeue":
    for name in clusters:
        if named and "--noheader" not in argv:
            print(f"CLUSTER: {name}")
        for job in jobs[name]:
            element = f"_[{job['indices']}]" if job["indices"] else ""
            print(f"{job['id']}{element}|{job['name']}|{job['state']}|({job.get('reason', 'Priority')})|N/A")
if program in ("scontrol", "scancel") and len(clusters) > 1:
    sys.exit(f"{program}: error: Only one cluster can be used at a time with {program}")
if program == "scontrol" and "config" in argv:
    print(f"MaxArraySize = 1001\nClusterName = {clusters[0]}")
if program == "scontrol" and "job" in argv:
    shown = [job for job in jobs[clusters[0]] if str(job["id"]) == argv[-1].partition("_")[0]]
    for job in shown:
        words = [f"JobId={job['id']}", f"ArrayTaskId={job['indices']}", f"JobName={job['name']}"]
        print(*words, f"JobState={job['state']}", "Reason=None")
    sys.exit(0 if shown else "slurm_load_jobs error: Invalid job id specified")
"""


@dataclass(frozen=True)
class StandIn:
    """The programs of a folder, the jobs of each cluster, and what was called."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, *clusters: str) -> StandIn:
        """Make the programs; without a name, they ask the cluster ``own``."""
        folder.mkdir(exist_ok=True)
        for program in PROGRAMS:
            script = SCRIPT.replace("PYTHON", f"{sys.executable} -S", 1).replace("HERE", repr(str(folder)), 1)
            (folder / program).write_text(script)
            (folder / program).chmod(0o755)
        for cluster in ("own", *clusters):
            (folder / f"{cluster}.json").write_text("[]")
        return cls(folder)

    @property
    def path(self) -> str:
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    def jobs(self, cluster: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads((self.folder / f"{cluster}.json").read_text())
        return found

    def write_jobs(self, cluster: str, jobs: list[dict[str, str]]) -> None:
        (self.folder / f"{cluster}.json").write_text(json.dumps(jobs))

    def replace(self, program: str, script: str) -> None:
        """Let a program run lines of shell, after the banner."""
        (self.folder / f"{program}.sh").write_text(script)

    def calls(self, program: str) -> list[list[str]]:
        file = self.folder / "calls"
        calls = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [call[1:] for call in calls if call[0] == program]
