"""Calls of Apptainer that build, sign, verify and test a container."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nllgen.container.host import build_environment, is_whole_root
from nllgen.errors import ContainerError

# zstd packs and unpacks several times as fast as gzip, at the same size. One owner, since root may lack the capability
# to give files to others when the second step unpacks what the first packed.
_SQUASHFS = "-comp zstd -Xcompression-level 3 -all-root"
_SQUASHFS_BASE = "-comp lz4 -all-root"  # larger, and unpacked again at once
_STEP = "step: "  # prefix of the lines that the recipe prints at each step
# lines of debootstrap and Apptainer; minutes pass before the recipe's first step
_MILESTONE = re.compile(
    r"I: ((?:Retrieving InRelease|Resolving dependencies|Installing core|Unpacking the|Configuring the|Base system).*)"
    r"|INFO: +((?:Starting build|Copying blob|Extracting OCI|Running post|Creating SIF).*)"
)
_TERMINATE_S = 5.0
_SHOWN = 15  # lines of a failed build


def build(
    recipe: Path,
    target: Path,
    arguments: Mapping[str, str],
    bound: Path,
    work: Path,
    echo: Callable[[str], None],
    *,
    directory: Path | None = None,
    binds: Sequence[str] = (),
    test: bool = True,
    sandbox: bool = False,
    hint: str = "the lines above are the end of its output",
) -> None:
    """Run ``apptainer build``.

    Args:
        recipe: the definition file, which takes ``arguments``.
        target: the SIF or, with ``sandbox``, the directory to write.
        bound: directory that the recipe sees at /mnt.
        work: directory for temporary files.
        echo: prints a line at each step.
        directory: that a relative FROM is in.
        test: whether this is the container itself, which is packed small and runs the recipe's test.
        hint: what to do where it fails.

    Raises:
        ContainerError: it failed; with the end of its output.
    """
    command = ["apptainer", "build", "--force", "--warn-unused-build-args", "--bind", f"{bound}:/mnt:ro"]
    command += ["--mksquashfs-args", _SQUASHFS if test else _SQUASHFS_BASE]
    command += [word for bind in binds for word in ("--bind", bind)]
    command += [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    options = {"--fakeroot": not is_whole_root(), "--notest": not test, "--sandbox": sandbox}
    command += [option for option, is_needed in options.items() if is_needed]
    process = subprocess.Popen(
        [*command, str(target), str(recipe.absolute())], cwd=directory, env=build_environment(work),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    lines = _follow(process, echo)
    if process.wait() != 0:
        shown = "\n    ".join(line for line in lines[-_SHOWN:] if line.strip())
        raise ContainerError(f"apptainer build failed:\n    {shown}", hint)


def _follow(process: subprocess.Popen[str], echo: Callable[[str], None]) -> list[str]:
    """Return every line of the output; print those of the recipe's steps and the milestones before them."""
    lines = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith(_STEP):
                echo(line.removeprefix(_STEP).strip())
            elif match := _MILESTONE.match(line):
                echo("  " + (match[1] or match[2]).rstrip(".").lower())
    except BaseException:  # Ctrl-C: Apptainer's own processes may ignore SIGINT
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(_TERMINATE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return lines


def _run(*words: str | Path) -> tuple[bool, str]:
    """Run Apptainer; return whether it succeeded, and its output."""
    done = subprocess.run(
        ["apptainer", *words], stdin=None if words[0] == "sign" else subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.returncode == 0, done.stdout.strip()


def sign(container: Path, key: str) -> None:
    """Add a signature.

    Args:
        container: the SIF, which is changed.
        key: a PEM file with a private key, or the number of a PGP key (``apptainer key list --secret``).

    Raises:
        ContainerError: there is no such key, or its passphrase was wrong.
    """
    if not key.isdecimal() and not Path(key).is_file():
        hint = "a PEM file with a private key, or the number of a PGP key in: apptainer key list --secret"
        raise ContainerError(f"no key {key!r} to sign with", hint)
    signed, output = _run("sign", "--key" if Path(key).is_file() else "--keyidx", key, container)
    if not signed:
        reason = f"apptainer could not sign the container:\n    {output}"
        raise ContainerError(reason, "see: apptainer key list --secret")


def verify(container: Path, public_key: Path | None) -> None:
    """Verify the signatures with a public key, or with those of this machine's keyring.

    Raises:
        ContainerError: a signature is wrong, or made with another key.
    """
    verified, output = _run("verify", *(["--key", public_key] if public_key else ["--local"]), container)
    if not verified:
        reason = (output.splitlines() or ["no reason given"])[-1].removeprefix("FATAL:").strip()
        raise ContainerError(
            f"the signature of {container} is not good: {reason}",
            "give the signer's public key: --key PEM, or import it: apptainer key import FILE; or build it anew",
        )


def test(container: Path) -> None:
    """Run the recipe's test in the container.

    Raises:
        ContainerError: the test failed.
    """
    passed, output = _run("--silent", "test", "--contain", "--cleanenv", "--no-home", container)
    if not passed or "nllgen samples and scores" not in output:
        last = "\n    ".join(output.splitlines()[-8:])
        raise ContainerError(f"the test of {container} failed:\n    {last}", "build it anew: nllgen build --fresh")
