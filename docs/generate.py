"""Writes the pages of this folder that say what the code says: commands, keys of YAML, layout of HDF5. `make docs`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from nllgen.cli import cli
from nllgen.launch.profile import Profile
from nllgen.storage import schema
from nllgen.study.config import Cell, DataConfig, DatasetConfig, MetricsConfig, Resources, Study
from nllgen.study.pretrained import pretrained_card, pretrained_names
from nllgen.study.sweep import ARCHITECTURES, PARADIGMS

HERE = Path(__file__).parent
NOTE = "<!-- written by docs/generate.py; `make docs` writes it again -->\n"


def pages() -> dict[str, str]:
    """File name → text."""
    return {"commands.md": commands(), "keys.md": keys(), "schema.md": files()}


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Markdown; a bar or a line break within a cell does not end it."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(str(value)) for value in row)} |\n" for row in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


# commands


def commands() -> str:
    """Every command with its usage, arguments and options, as ``--help`` has them."""
    parts = [f"# Commands\n\n{NOTE}\nEach command as `--help` shows it; what they do together is in the [reference]"]
    parts[0] += "(reference.md).\n"
    for words, command in _commands(cli, ("nllgen",)):
        context = click.Context(command, info_name=" ".join(words))
        usage = " ".join([" ".join(words), *command.collect_usage_pieces(context)])
        options = [record for parameter in command.params if (record := parameter.get_help_record(context))]
        rows = [(f"`{name}`", text) for name, text in options if text and name != "--help"]
        about = re.sub(r"\s+", " ", (command.help or "").split("\f")[0]).strip()
        parts.append(f"## {' '.join(words)}\n\n{about}\n\n```text\n{usage}\n```\n")
        parts += [table(("option", "means"), rows)] if rows else []
    return "\n".join(parts)


def _commands(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, (*words, name))
        elif not command.hidden:
            yield (*words, name), command


# keys


def keys() -> str:
    """Every key of a study and of a profile: allowed values, default, meaning."""
    parts = [f"# Keys\n\n{NOTE}\nWhat may stand in a study and in a profile; how the parts fit together is in the"]
    parts[0] += " [reference](reference.md#a-study).\n"
    parts.append(
        "## Cells and the truth\n\n" + _models({"": Cell}, leave=("data", "paradigm", "precision", *ARCHITECTURES))
    )
    parts[-1] += "\n`precision` is `auto` (the default: decided when the study is submitted), `fp32` or `bf16`.\n"
    told = _attributes(Study)
    shipped = "".join(f"\n- `{name}`: {pretrained_card(name).description}" for name in pretrained_names())
    parts[-1] += (
        f"\n`truth: {{pretrained: NAME}}` takes a truth that ships, and trains none:\n{shipped}\n"
        f"\n`plugins: [MODULE]` names {told['plugins']}\n"
        f"\n`optional: [mnist]` names {told['optional']}\n"
    )
    parts.append("## data\n\n" + _models({"data.": DataConfig}, leave=("truth_id",)))
    for name, model in ARCHITECTURES.items():
        parts.append(f"## {name}\n\n" + _models({f"{name}.": model}, leave=("shape",)))
    for name, model in PARADIGMS.items():
        about = (model.__doc__ or "").split("\n")[0]
        parts.append(f"## paradigm: {name}\n\n{about}\n\n" + _models({"paradigm.": model}, leave=("name",)))
    for name, model in {"dataset": DatasetConfig, "metrics": MetricsConfig, "resources": Resources}.items():
        parts.append(f"## {name}\n\n" + _models({f"{name}.": model}))
    parts.append("## A profile\n\n" + _models({"": Profile}))
    return "\n".join(parts)


def _models(models: Mapping[str, type[BaseModel]], leave: tuple[str, ...] = ()) -> str:
    rows = []
    for prefix, model in models.items():
        told = _attributes(model)
        for name, field in model.model_fields.items():
            if name not in leave:
                rows.append((f"`{prefix}{name}`", _allowed(field), _default(field), told.get(name, "")))
    return table(("key", "values", "default", "means"), rows)


def _allowed(field: Any) -> str:
    """Literals as they are written, else the type and its bounds."""
    bounds = [f"{sign} {getattr(bound, name)}" for bound in field.metadata for name, sign in
              (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")) if hasattr(bound, name)]  # fmt: skip
    return " ".join([_words(field.annotation), ", ".join(bounds)]).strip()


def _words(annotation: Any) -> str:
    if annotation is type(None):
        return "none"
    if arguments := get_args(annotation):
        plain = [item for item in arguments if item is not Ellipsis and not hasattr(item, "metadata")]
        return " or ".join(
            dict.fromkeys(f"`{item}`" if isinstance(item, str | int) else _words(item) for item in plain)
        )
    return {"int": "whole number", "float": "number", "str": "text", "bool": "`true` or `false`"}.get(
        getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation))
    )


def _default(field: Any) -> str:
    if field.default is not PydanticUndefined:
        return f"`{field.default}`" if not isinstance(field.default, BaseModel) else ""
    return f"`{field.default_factory()}`" if field.default_factory else "required"


def _attributes(model: type) -> dict[str, str]:
    """Name → meaning, from the ``Attributes:`` of a model and of those that it is made from."""
    told: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        text = (kind.__doc__ or "").partition("Attributes:\n")[2]
        for names, meaning in re.findall(r"^ {8}([\w, ]+): (.*(?:\n {12}.*)*)", text, re.MULTILINE):
            told |= dict.fromkeys(names.split(", "), meaning.replace("``", "`"))
    return told


# files


def files() -> str:
    """Every attribute and column of the HDF5 files, with its unit."""
    tables = {"history": schema.HISTORY_COLUMNS, "eval": schema.EVAL_COLUMNS, "final": schema.FINAL_COLUMNS}
    parts = [f"# Layout of the HDF5 files\n\n{NOTE}\nSchema {schema.SCHEMA}. What the columns measure is in"]
    parts[0] += " [science.md](science.md#measures), how the files come about in the [reference](reference.md#files).\n"
    parts[0] += "Columns of a table in which every value is NaN are one dataset under their names; its unit says so.\n"
    parts.append(f"## result.h5: attributes\n\n{', '.join(f'`{name}`' for name in schema.RESULT_ATTRS)}\n")
    for name, columns in tables.items():
        rows = ((f"`{column}`", _kind(column), unit) for column, unit in columns.items())
        parts.append(f"## result.h5: /{name}\n\n" + table(("column", "kind", "unit"), rows))
    parts.append(
        f"## metrics.group.h5: attributes\n\n{', '.join(f'`{name}`' for name in schema.EXTRA_METRICS_ATTRS)}\n"
    )
    rows = [(f"`{name}`", "text", "") for name in schema.CELL_TEXT_COLUMNS]
    rows += [(f"`{name}`", "float64", unit) for name, unit in schema.CELL_NUMBER_COLUMNS.items()]
    parts.append("## study.h5: /cells\n\n" + table(("column", "kind", "unit"), rows))
    return "\n".join(parts)


def _kind(column: str) -> str:
    return "text" if column in schema.TEXT_COLUMNS else "int64" if column in schema.INTEGER_COLUMNS else "float64"


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, "utf-8")
        print(HERE / name, file=sys.stderr)
