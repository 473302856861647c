"""The commands that set up a machine: assets, doctor, build, shell."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import cloup

from nllgen.cli.completion import SHELLS, script
from nllgen.cli.options import JSON, PATH, ROOT, STUDY_OPTION, STUDY_ROOT, example
from nllgen.cli.output import echo, print_json, print_tables, table
from nllgen.errors import ConfigError, MachineError
from nllgen.study.image_sets import PUBLISHED

if TYPE_CHECKING:
    from nllgen.doctor import Report
    from nllgen.storage.study_dir import StudyDir

_INCEPTION = "inception"  # the asset that is no set of images
_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}  # of the levels of findings


@cloup.group()
def assets() -> None:
    """Fetch and list sets of images and the weights of Inception."""


@assets.command(
    "fetch",
    epilog=example(
        "nllgen assets fetch mnist",
        "nllgen assets fetch mnist --from MNIST/raw",
        "nllgen assets fetch fashion-mnist --from /usr/share/datasets/fashion-mnist",
    ),
)
@cloup.argument(
    "name", metavar="NAME", type=cloup.Choice([*PUBLISHED, _INCEPTION]),
    help=f"A set of images, {', '.join(PUBLISHED)}; or {_INCEPTION}, the weights.",
)  # fmt: skip
@cloup.option("--from", "source", type=PATH, help="Copy it from a directory (images) or a file (inception).")
def assets_fetch(name: str, source: Path | None) -> None:
    """Fetch an asset, and verify it by its hash.

    Files that are already there are kept.
    """
    from nllgen.assets import asset_folder, fetch_images, fetch_inception
    from nllgen.cli.progress import counted

    with counted("bytes", echo) as progress:
        if name == _INCEPTION:
            url = None if source else _inception_url()
            path = fetch_inception(asset_folder(), source=source, url=url, echo=echo, progress=progress)
        else:
            mirrors = () if source else _mirrors(name)
            path = fetch_images(asset_folder(), name, source=source, mirrors=mirrors, echo=echo, progress=progress)
    echo(f"{name} is in {path}")


def _mirrors(name: str) -> tuple[str, ...]:
    """Return torchvision's mirrors of a set of images; none if torchvision cannot be imported."""
    with contextlib.suppress(ImportError, MachineError):
        from nllgen.data.published import mirrors

        return tuple(mirrors(name))
    return ()


def _inception_url() -> str | None:
    """Return the URL of pytorch-fid's weights; None if pytorch-fid cannot be imported."""
    with contextlib.suppress(ImportError, MachineError):
        from nllgen.metrics.inception import weights_url

        return weights_url()
    return None


@assets.command("list", epilog=example("nllgen assets list", "nllgen assets list mnist"))
@cloup.argument("name", metavar="[NAME]", required=False, help="One of them: list its files, with paths and hashes.")
def assets_list(name: str | None) -> None:
    """List the assets, their state and what needs each."""
    from nllgen.assets import asset_folder, pretrained_status, status
    from nllgen.study.diagnostics import not_allowed

    listed = {asset.name: asset for asset in [*status(asset_folder()), *pretrained_status()]}
    if name is None:
        rows = table("asset", "state", "needed for")
        for asset in listed.values():
            rows.add_row(asset.name, asset.state_text, asset.use)
        print_tables(rows, f"to fetch one into {asset_folder()}: nllgen assets fetch NAME")
    elif name in listed:
        rows = table("state", "hash", "file")
        for file in listed[name].files:
            rows.add_row(file.state, file.digest, str(file.path))
        print_tables(rows)
    else:
        raise ConfigError(f"NAME: {not_allowed(name, listed)}")


@assets.command("digest", epilog=example("nllgen assets digest photos", "nllgen assets digest images.npz"))
@cloup.argument("path", type=PATH, help="An .npz file, or a directory of PNG or JPEG files.")
def assets_digest(path: Path) -> None:
    """Print the lines by which a study names images of your own."""
    from nllgen.study.image_files import read_images

    images = read_images(path)
    channels, height, width = images.shape
    test = f", and {len(images.test):,} test images" if len(images.test) else ""
    echo(f"# {len(images.images):,} images of {height}×{width} in {'colour' if channels > 1 else 'grey'}{test}")
    echo(f"data: {{source: file, path: {path}, sha256: {images.sha256}}}")


@cloup.command(epilog=example("nllgen doctor", "nllgen doctor --write mine --partition short"))
@ROOT
@cloup.option(
    "--write", "name", metavar="NAME", help="Write a profile of the cluster under this name, for submit --profile NAME."
)
@cloup.option("--out", type=PATH, help="Write the profile to this file instead.")
@cloup.option(
    "--partition", metavar="PARTITION", help="Partition of the profile. [default: the cluster's default partition]"
)
@cloup.option("--force", is_flag=True, help="Replace an existing profile.")
@JSON
def doctor(root: Path, name: str | None, out: Path | None, partition: str | None, force: bool, as_json: bool) -> None:
    """Check this machine and its cluster; write a profile."""
    from nllgen.assets import asset_folder
    from nllgen.doctor import examine, profile_path, write_profile
    from nllgen.doctor.machine import asset_findings

    target = out or (profile_path(name) if name else None)
    report = examine(root, asset_findings(asset_folder()))
    if not as_json:
        _print_findings(report)
    if target is not None:
        write_profile(report.cluster, target, partition, force=force)
    if as_json:
        print_json(report.to_json() | {"profile": str(target) if target else None})
    elif target is not None:
        echo(f"wrote {target}; next: nllgen submit smoke --profile {name or target} --dry-run")
    elif report.can_submit:
        echo("next: nllgen doctor --write NAME makes a profile of this cluster")
    sys.exit(report.exit_code)


def _print_findings(report: Report) -> None:
    """Print a table of the findings by section, and their number by level."""
    from rich.text import Text

    rows = table("", "what", "found", "means")
    for column in rows.columns:
        column.overflow = "fold"
    section = ""
    for finding in report.findings:
        if finding.section != section:
            section = finding.section
            rows.add_row("", Text(section, style="bold"), "", "")
        means = finding.means + (f" → {finding.hint}" if finding.hint else "")
        rows.add_row(Text(finding.level, style=_STYLES[finding.level]), f"  {finding.name}", finding.value, means)
    counts = {level: sum(finding.level == level for finding in report.findings) for level in _STYLES}
    print_tables(
        rows,
        f"{counts['ok']} ok, {counts['note']} to know, {counts['problem']} to solve; "
        f"{'studies' if report.can_submit else 'no study'} can be sent to Slurm from here",
    )


@cloup.command(
    epilog=example("nllgen build", "nllgen build --base debootstrap -o mine.sif", "nllgen build --check mine.sif")
)
@cloup.option("-o", "--out", type=PATH, default="nllgen.sif", show_default=True, help="The container to write.")
@cloup.option(
    "--base", type=cloup.Choice(["docker", "debootstrap", "localimage"]), default="docker", show_default=True,
    help="Kind of base system: a Docker image, Debian's packages, or a local container.",
)  # fmt: skip
@cloup.option(
    "--from", "origin", metavar="BASE", default="",
    help="The base: a Docker image by its digest, a mirror's URL, or a container.",
)  # fmt: skip
@cloup.option("--wheel", type=PATH, help="Install this wheel. [default: this checkout or installation]")
@cloup.option("--bind", "binds", multiple=True, metavar="SRC[:DST]", help="Bind a path of the host during the build.")
@cloup.option("--sandbox", is_flag=True, help="Build a directory instead of a SIF.")
@cloup.option("--sign", default="", metavar="KEY", help="Sign it with a PEM private key, or the number of a PGP key.")
@cloup.option("--fresh", is_flag=True, help="Build again even if the same inputs were built before.")
@cloup.option("--check", "checked", type=PATH, metavar="SIF", help="Build nothing; verify a container.")
@cloup.option("--key", type=PATH, metavar="PEM", help="With --check: public key of the signature.")
def build(
    out: Path, base: Literal["docker", "debootstrap", "localimage"], origin: str, wheel: Path | None,
    binds: tuple[str, ...], sandbox: bool, sign: str, fresh: bool, checked: Path | None, key: Path | None,
) -> None:  # fmt: skip
    """Build or verify the Apptainer container that jobs run in."""
    from nllgen.cli.progress import counted
    from nllgen.container.build import Request
    from nllgen.container.build import build as build_container
    from nllgen.container.verify import bill_path, check

    if checked is not None:
        check(checked, key, echo)
        echo(f"{checked} can be used")
        return

    started = time.monotonic()

    def echo_with_time(text: str) -> None:
        echo(f"[{time.monotonic() - started:5.0f} s] {text}")

    request = Request(out, base, origin, wheel, binds, sandbox, sign, fresh)
    with counted("seconds of this stage", echo_with_time) as progress:
        container = build_container(request, echo_with_time, progress)
    if container is None:
        echo_with_time(f"built the sandbox {out}")
        echo(f"next: nllgen shell --container {out}")
        return
    size = container.path.stat().st_size / 1e6
    echo_with_time(f"{container.path}: {size:.0f} MB, sha256 {container.sha256}")
    echo(f"its bill of materials: {bill_path(container.path)}")
    echo(f"next: nllgen build --check {out}")


@cloup.command(
    context_settings={"ignore_unknown_options": True},
    epilog=example("nllgen shell --study smoke", "nllgen shell --container mine.sif -- python -c 'import nllgen'"),
)
@cloup.option(
    "--container", "--image", "container", type=PATH, metavar="SIF", default="nllgen.sif", show_default=True,
    help="A SIF or a sandbox.",
)  # fmt: skip
@STUDY_ROOT
@STUDY_OPTION
@cloup.option("--bind", "binds", multiple=True, metavar="SRC[:DST]", help="Bind a further path, writable.")
@cloup.option("--gpus", is_flag=True, help="Make the GPUs usable.")
@cloup.argument("command", nargs=-1, type=click.UNPROCESSED, help="A command, after two dashes. [default: a shell]")
def shell(
    container: Path, study_dir: StudyDir | None, binds: tuple[str, ...], gpus: bool, command: tuple[str, ...]
) -> None:
    """Open a shell in the container, as a job sees it.

    Or run one COMMAND there."""
    from nllgen.assets import asset_folder
    from nllgen.container.shell import enter_container

    path = study_dir.path if study_dir else None
    enter_container(container, command, assets=asset_folder(), study_dir=path, binds=binds, gpus=gpus)


@cloup.command(epilog=example("nllgen completion bash", "nllgen completion fish"))
@cloup.argument("shell_name", metavar="SHELL", type=cloup.Choice(SHELLS), help="One of bash, zsh and fish.")
@click.pass_context
def completion(ctx: click.Context, shell_name: str) -> None:
    """Print the script that completes commands in a shell.

    For this shell: eval "$(nllgen completion bash)", likewise in zsh; nllgen completion fish | source. In ~/.bashrc,
    ~/.zshrc (after compinit) or ~/.config/fish/config.fish, the same line is for all shells."""
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    echo(script(group, shell_name))
