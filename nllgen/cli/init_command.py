"""The command that writes a study to begin with: init."""

from __future__ import annotations

import shlex
from pathlib import Path

import cloup

from nllgen.cli.options import PATH, example
from nllgen.cli.output import echo
from nllgen.errors import ConfigError


@cloup.command(epilog=example("nllgen init", "nllgen init mine --from nash"))
@cloup.argument("path", metavar="[NAME]", type=PATH, default="first", help="Name of the study. [default: first]")
@cloup.option(
    "--from", "origin", metavar="STUDY", default="demo", show_default=True,
    help="The built-in study to begin with, such as demo, misspec, mnist or nash.",
)  # fmt: skip
def init(path: Path, origin: str) -> None:
    """Write NAME.yaml, a study with comments to start from.

    Never replaces a file."""
    from nllgen.storage.atomic import create_bytes
    from nllgen.study.template import template_text

    name = path.name.removesuffix(".yaml").removesuffix(".yml")
    if not name:
        raise ConfigError(f"NAME: {path} has no name of a study", "for example: nllgen init first")
    file = path.with_name(f"{name}.yaml")
    text = template_text(origin, name, str(file))
    if not create_bytes(file, text.encode()):
        raise ConfigError(f"{file} is there already and is not replaced", "give another name: nllgen init NAME")
    quoted = shlex.quote(str(file))
    echo(f"wrote {file}, which is {origin} under the name {name}; edit it, then")
    echo(f"next: nllgen plan {quoted}                    what would run, and its cost")
    echo(f"      nllgen submit {quoted} --local --wait   run it on this machine")
