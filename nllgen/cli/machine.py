"""The commands to the machine: its assets, its cluster, its containers. Parse, call one function, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from nllgen.cli.options import JSON, PATH, ROOT, echo, root_of
from nllgen.errors import MachineError


@click.group()
def assets() -> None:
    """Fetch, verify and list what training needs from outside."""


@assets.command("fetch")
@click.argument("name", type=click.Choice(["mnist", "inception"]))
@click.option("--from", "source", type=click.Path(path_type=Path), help="A folder (mnist) or file (inception) here.")
def assets_fetch(name: str, source: Path | None) -> None:
    """Fetch an asset once; verified by its hash, repeated only for what is missing."""
    from nllgen.assets import asset_folder, fetch_inception, fetch_mnist

    if name == "mnist":
        path = fetch_mnist(asset_folder(), source=source, mirrors=() if source else _mirrors(), echo=echo)
    else:
        path = fetch_inception(asset_folder(), source=source, url=None if source else _inception_url(), echo=echo)
    echo(f"{name} is in {path}")


def _mirrors() -> tuple[str, ...]:
    """torchvision's own mirrors of MNIST; none where it cannot be imported."""
    try:
        from nllgen.data.mnist import mirrors

        return tuple(mirrors())
    except (ImportError, MachineError):
        return ()


def _inception_url() -> str | None:
    """Where pytorch-fid fetches its weights from; None where it cannot be imported."""
    try:
        from nllgen.metrics.inception import weights_url

        return weights_url()
    except (ImportError, MachineError):
        return None


@assets.command("list")
def assets_list() -> None:
    """What is there, its hash, what is missing and why it matters."""
    from nllgen.assets import asset_folder, pretrained_status, status
    from nllgen.cli.common import show_assets

    show_assets([*status(asset_folder()), *pretrained_status()])


@click.command()
@ROOT
@click.option("--write", "name", help="Write a profile of the cluster under this name into your configuration folder.")
@click.option("--out", type=click.Path(path_type=Path), help="Write it to this file instead.")
@click.option("--partition", help="That the profile uses; the cluster's default one if not given.")
@click.option("--force", is_flag=True, help="Replace a profile that is there.")
@JSON
def doctor(root: Path | None, **how: Any) -> None:
    """What this machine and its cluster are like, what that means for nllgen, and a profile to begin with."""
    from nllgen.cli.common import asset_findings
    from nllgen.cli.doctor_output import doctor as examine_and_show

    sys.exit(examine_and_show(root_of(root), asset_findings(), echo, **how))


@click.command()
@click.option("-o", "--out", type=PATH, help="The container; default nllgen.sif.")
@click.option("--base", type=click.Choice(["docker", "debootstrap", "localimage"]), default="docker", show_default=True)
@click.option("--from", "origin", default="", help="Which one: a Docker image, a mirror's URL, or a local container.")
@click.option("--wheel", type=PATH, help="A wheel of nllgen, instead of this checkout or installation.")
@click.option("--bind", "binds", multiple=True, metavar="SRC[:DST]", help="Show the build something of the host.")
@click.option("--sandbox", is_flag=True, help="Make a folder to look around in instead of a SIF.")
@click.option("--sign", default="", metavar="KEY", help="Sign it: a PEM private key, or the number of a PGP key.")
@click.option("--fresh", is_flag=True, help="Build anew even if the same inputs were built before.")
@click.option("--check", "checked", type=PATH, metavar="SIF", help="Build nothing: verify a container.")
@click.option("--key", type=PATH, metavar="PEM", help="With --check: the public key of who signed it.")
def build(checked: Path | None, key: Path | None, out: Path | None, **what: Any) -> None:
    """Build the Apptainer container in which jobs run, or verify one."""
    from nllgen.cli import containers

    if checked is not None:
        containers.check_container(checked, key)
    else:
        containers.build_container(containers.Request(out=out or Path("nllgen.sif"), **what))


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--container", type=PATH, default="nllgen.sif", show_default=True, help="A SIF or a sandbox.")
@click.option("--study", "study_dir", type=PATH, help="A study folder to show, writable.")
@click.option("--bind", "binds", multiple=True, metavar="SRC[:DST]", help="Something else to show, writable.")
@click.option("--gpus", is_flag=True, help="Show the GPUs.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def shell(
    container: Path, study_dir: Path | None, binds: tuple[str, ...], gpus: bool, command: tuple[str, ...]
) -> None:
    """Look around in the container as a job sees it: a shell, or one COMMAND after --."""
    from nllgen.cli.containers import enter_container

    enter_container(container, study_dir, command, binds, gpus)
