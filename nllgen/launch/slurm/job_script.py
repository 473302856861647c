"""The lines of a batch script before its program: a profile's setup under its own rules, then nllgen's under strict."""

from __future__ import annotations

import shlex
from pathlib import Path

from nllgen.launch.profile import Profile
from nllgen.launch.slurm.clock import STARTED_VARIABLE

ENDED_EARLY = "nllgen: the job ended before its program began: "  # in a job's output

# A line of setup that ends with another code than 0 ends the job, as do `exit` and an error of syntax. Commands that
# fail within a sourced file are that file's affair. Traps are used, because the lines may be parts of one command and
# must run in this shell, whose variables they set. The program follows by `exec`, which runs no trap.
_SETUP_RULES = rf"""nllgen_failed() {{
  printf '%sline %d of the setup of its profile ended with exit code %d: %s\n' \
    "$1" "$nllgen_line" "$2" "${{nllgen_setup[nllgen_line - 1]}}" >&2
}}
nllgen_ended() {{
  trap - ERR EXIT DEBUG
  nllgen_failed '{ENDED_EARLY}' "$1"
  exit "$(($1 ? $1 : 1))"
}}
nllgen_line=1
trap 'nllgen_ended $?' EXIT
trap 'nllgen_code=$?; [ "${{#BASH_SOURCE[@]}}" -gt 1 ] || ON_FAILURE "$nllgen_code"' ERR
trap '[ "${{#BASH_SOURCE[@]}}" -gt 1 ] || ((LINENO <= nllgen_base)) || nllgen_line=$((LINENO - nllgen_base))' DEBUG
nllgen_base=$LINENO"""
_STRICT_RULES = rf"""trap - ERR DEBUG
trap 'printf "{ENDED_EARLY}a command of nllgen ended with exit code %d\n" "$?" >&2' EXIT
set -euo pipefail"""
_FILE_SERVER_S = (1, 2, 3, 4, 5)  # pauses: another node may not have a new file for some seconds


def script_lines(
    submission_dir: Path, pickle: Path, profile: Profile, code: Path, *, needs_setup: bool = True
) -> list[str]:
    """Return the lines of the script before the supervisor; a failure in them ends the job and names itself.

    Without ``needs_setup``, the job goes on after a line of setup that failed.
    """
    place, file = shlex.quote(str(submission_dir)), shlex.quote(str(pickle))
    return [
        # Slurm's signal may come up to a minute early, before the supervisor handles it: it must not end the shell
        "trap '' USR2",
        f"export {STARTED_VARIABLE}=$(date +%s)",
        *_setup_lines(profile.setup, needs_setup=needs_setup),
        _STRICT_RULES,
        f"for pause in {' '.join(map(str, _FILE_SERVER_S))}; do",
        f'  if test -f {file}; then break; fi; ls {place} > /dev/null 2>&1 || true; sleep "$pause"',
        "done",
        f"test -f {file} || {{ echo 'the study was moved or removed' >&2; exit 75; }}",
        *_require_owner(pickle, code),
        "umask 022",
        # since 22.05, srun does not inherit this from sbatch
        'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"',
        'mine="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}_submitted.pkl"',
        f'rm -f -- {place}/"$mine".save_tmp',
        f'ln -sfn -- {shlex.quote(pickle.name)} {place}/"$mine"',
        # no module of the working directory is imported, which an empty part of the path would mean
        f'export PYTHONPATH={shlex.quote(str(code))}"$(tr -s : <<<":${{PYTHONPATH:-}}")"',
        'export PYTHONPATH="${PYTHONPATH%:}" PYTHONSAFEPATH=1',
        "unset SLURM_CLUSTERS SBATCH_CLUSTERS",  # a job's programs ask its own cluster; its record names the others
        *(f"export {name}={shlex.quote(value)}" for name, value in profile.environment.items()),
    ]


def _require_owner(*paths: Path) -> list[str]:
    """Return the lines that end a job where another user has put own files in the place of what it executes.

    Who may write in a directory above the study's can do that while the job is queued; Slurm keeps the script itself.
    """
    names = " ".join(shlex.quote(str(path)) for path in paths)
    refuse = '{ echo "$path belongs to another user: it is not executed" >&2; exit 3; }'
    return [
        f"for path in {names}; do",
        f'  test ! -e "$path" || case "$(stat -Lc %u -- "$path")" in 0 | "$(id -u)") ;; *) {refuse} ;; esac',
        "done",
    ]


def _setup_lines(setup: tuple[str, ...], *, needs_setup: bool) -> list[str]:
    """Return a profile's lines as they are, after rules that name the one that fails; none without any."""
    if not setup:
        return []
    on_failure = "nllgen_ended" if needs_setup else r"nllgen_failed nllgen:\ goes\ on\ although\ "
    return [
        f"nllgen_setup=({' '.join(map(shlex.quote, setup))})",
        _SETUP_RULES.replace("ON_FAILURE", on_failure),
        *setup,
    ]
