"""Shell completion: what a word on the command line can become.

Nothing heavy is imported, so that a shell waits for less than a fifth of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from nllgen.study.metric_groups import METRIC_GROUPS

SHELLS = ("bash", "zsh", "fish")
ROOT_KEY, STUDY_KEY, GRID_KEY = "nllgen.root", "nllgen.study", "nllgen.grid"  # of words in a context
_VARIABLE = "_NLLGEN_COMPLETE"
_CELL_ID = re.compile(r'\{"id": "([0-9a-f]+)"')
_MAX_DESCRIBED = 200  # cells; more are named without their configuration
_FILES = CompletionItem("", type="file")  # the shell's own completion of files, where nothing else matches


def script(group: click.Group, shell: str) -> str:
    """Return the script that makes a shell complete the command line ``nllgen``."""
    complete = get_completion_class(shell)
    assert complete is not None, shell
    return complete(group, {}, "nllgen", _VARIABLE).source()


def complete_studies(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of the studies under the root; paths are the shell's."""
    from nllgen.study.path_kinds import studies_in

    return [_FILES, *_matching((study.name for study in studies_in(_root(ctx))), incomplete)]


def complete_grids(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return built-in studies, and YAML files of the working directory; paths elsewhere are the shell's."""
    from nllgen.study.builtin import builtin_names

    files = (path.name for pattern in ("*.yaml", "*.yml") for path in sorted(Path().glob(pattern)))
    return [_FILES, *_matching([*builtin_names("jobs"), *files], incomplete)]


def complete_cells(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the ids of the cells of the study on the command line, with their configuration."""
    from nllgen.study.path_kinds import MANIFEST

    study = _named_study(ctx)
    if study is None:
        return []
    with contextlib.suppress(OSError), (study / MANIFEST).open() as lines:
        cells = [(match[1], line) for line in lines if (match := _CELL_ID.match(line))]
        matching = [(name, line) for name, line in cells if name.startswith(incomplete)]
        is_short = len(matching) <= _MAX_DESCRIBED
        items = [CompletionItem(name, help=_description(line) if is_short else None) for name, line in matching]
        return [*_matching(("truth", "dataset"), incomplete), *items]
    return []


def complete_metrics(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the groups of metrics."""
    return _matching(METRIC_GROUPS, incomplete)


def complete_profiles(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the user's profiles and the built-in ones; paths are the shell's."""
    from nllgen.study.profile_names import profile_names

    return [_FILES, *_matching(profile_names(), incomplete)]


def complete_failures(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the kinds of failures."""
    from nllgen.launch.retry_policy import FailureKind

    is_bash = os.environ.get(_VARIABLE) == "bash_complete"  # the others quote what they insert
    kinds = [str(kind).replace(" ", "\\ ") if is_bash else str(kind) for kind in FailureKind]
    return _matching(kinds, incomplete)


def complete_devices(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the devices without a number."""
    return _matching(("auto", "cpu", "cuda"), incomplete)


def complete_directories(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leave directories to the shell."""
    return [CompletionItem(incomplete, type="dir")]


def _matching(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _root(ctx: click.Context) -> Path:
    return Path(ctx.meta.get(ROOT_KEY) or os.environ.get("NLLGEN_ROOT") or "runs")


def _named_study(ctx: click.Context) -> Path | None:
    """Return the directory of the study, or of the grid, that is on the command line; None if there is none."""
    from nllgen.study.path_kinds import is_study

    return next((path for path in _candidates(ctx) if is_study(path)), None)


def _candidates(ctx: click.Context) -> Iterator[Path]:
    from nllgen.study.path_kinds import name_in_grid

    # an option that still lacks its value ends the parsing: the arguments before it are left over
    words = (ctx.meta.get(STUDY_KEY), ctx.meta.get(GRID_KEY), *ctx.args)
    for word in filter(None, words):
        yield from (Path(word), _root(ctx) / word)
        yield _root(ctx) / (name_in_grid(Path(word)) or Path(word).name.removesuffix(".yaml"))


def _description(line: str) -> str:
    """Return a few words on a cell of a manifest; the plan has them all."""
    try:
        cell = json.loads(line)["cell"]
        return f"{cell['degree'] or 'custom'} {cell['paradigm']['name']} {cell['data']['source']} seed {cell['seed']}"
    except (ValueError, KeyError, TypeError):
        return ""
