"""docs/analysis.ipynb: it runs as it is printed, and shows what it has printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.cli.pages import DOCS

NOTEBOOK = DOCS / "analysis.ipynb"


def texts(notebook: Mapping[str, Any]) -> list[list[str]]:
    """Return the texts that each cell of code has shown."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [[output["data"]["text/plain"] for output in cell["outputs"] if "data" in output] for cell in cells]


@pytest.fixture(scope="module")
def printed() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the notebook after a run by a real kernel; an error in a cell fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(DOCS)}}).execute()
    return notebook


def test_a_kernel_shows_what_the_page_shows(executed: Any, printed: Any) -> None:
    assert texts(executed) == texts(printed)


def test_every_cell_of_code_shows_something(printed: Any) -> None:
    assert all(texts(printed))


def test_no_cell_prints_a_warning(executed: Any) -> None:
    streams = [output["text"] for cell in executed["cells"] for output in cell.get("outputs", ()) if "text" in output]
    assert streams == []
