"""The reference is what the code says: pages that are made from it, and keys and studies that are described by hand."""

from __future__ import annotations

import re

import click
import pytest
from pydantic import BaseModel

from nllgen.study.allowed_keys import KEYS
from nllgen.study.builtin import builtin_names
from nllgen.study.config import DatasetConfig, MetricsConfig, Resources, Study
from tests.cli.pages import DOCS, GENERATED, generated, load_generator


@pytest.mark.parametrize("name", GENERATED)
def test_pages_made_from_the_code_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == generated()[name], "make docs"


def test_a_command_page_has_aliases_and_examples() -> None:
    option = click.Option(["--container", "--image"], metavar="SIF", help="The container.")
    text = "Run it.\n\nSecond\nparagraph.\n\n\b\nExamples:\n  nllgen demo --container a.sif\n"
    section = load_generator()._command_section("nllgen demo", click.Command("demo", params=[option], help=text))
    assert "| `--container, --image SIF` | The container. |" in section
    assert "\nSecond paragraph.\n" in section
    assert "\n```text\nExamples:\n  nllgen demo --container a.sif\n```\n" in section


def test_every_key_of_a_study_has_its_line_and_a_meaning() -> None:
    text = generated()["keys.md"]
    for key in (key for key in KEYS if key not in ("precision", "paradigm.name")):
        (row, *_) = re.findall(rf"^\| `{re.escape(key)}` \|.*$", text, re.MULTILINE)
        assert not row.rstrip(" |").endswith("`"), f"{key} has no meaning in its model's docstring"


def test_the_reference_has_every_key_of_a_study() -> None:
    text = generated()["keys.md"] + "".join((DOCS / name).read_text("utf-8") for name in ("studies.md", "files.md"))
    models: dict[str, type[BaseModel]] = {"dataset": DatasetConfig, "metrics": MetricsConfig, "resources": Resources}
    nested = [f"{name}.{key}" for name, model in models.items() for key in model.model_fields]
    of_study = [key for key, info in Study.model_fields.items() if not info.exclude]  # the others are in no file
    missing = [key for key in (*of_study, *KEYS, *nested) if f"`{key}`" not in text]
    assert missing == []


def test_the_reference_has_every_built_in_study() -> None:
    text = (DOCS / "studies.md").read_text("utf-8")
    assert [name for name in builtin_names("jobs") if f"`{name}`" not in text] == []
