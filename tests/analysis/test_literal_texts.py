"""Texts of a study that matplotlib would read as mathematics stand in the figures as they are."""

from __future__ import annotations

import math

import pytest
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from matplotlib.text import Text
from nllgen_analysis.compare import Side, compare
from nllgen_analysis.figures import Drawn, draw_all
from nllgen_analysis.figures.comparison import draw_comparison
from nllgen_analysis.figures.style import line_key, literal, marker_key, project_style
from nllgen_analysis.frames import Frames, to_frames

from nllgen.study.config import Cell, ImportedConfig
from tests.analysis.conftest import build_study, kl, make_cell

OPTIONS = (r"$\foo$", "$waldo$")  # the first is no mathematics that matplotlib knows


def with_option(cell: Cell, value: str) -> Cell:
    model = ImportedConfig(shape=(1, 14, 14), factory="nllgen.models:RealNVP", options={"act": value})
    return Cell(**{**dict(cell), "degree": "custom", "flow": None, "model": model})


@pytest.fixture(scope="module")
def frames() -> Frames:
    cells = [
        with_option(make_cell("W", paradigm, seed=seed), value)
        for paradigm in ("nll", "nsgan") for value in OPTIONS for seed in (0, 1)
    ]  # fmt: skip

    def override(cell: Cell, step: object) -> dict[str, object]:
        return {"jsd_nats": math.log(2) / 2, "reverse_kl_nats": kl(cell, 0)}

    return to_frames(build_study(cells, truth=False, override=override))


def num_texts(figure: Figure) -> int:
    """Return how many texts of the study a figure has; none of them is mathematics, and it can be drawn."""
    with project_style():
        figure.draw_without_rendering()
    texts = [text.get_text() for text in figure.findobj(Text)]
    own = [text for text in texts if "foo" in text or "waldo" in text]
    assert not any(map(is_math_text, own))
    return len(own)


def test_every_figure_of_such_a_study_is_drawn(frames: Frames) -> None:
    drawn = {item.name: item for item in draw_all(frames) if isinstance(item, Drawn)}
    counts = {name: num_texts(item.figure) for name, item in drawn.items()}
    assert set(counts) >= {"divergences", "nll_frechet_lenet", "samples_synthetic_1000"}
    assert all(counts.values())
    names = " ".join(drawn["divergences"].data["group"].dropna())
    assert OPTIONS[0] in names  # the numbers behind the figure keep the text
    assert r"\$" not in names


def test_a_comparison_names_such_groups_and_studies(frames: Frames) -> None:
    first, second = (Side(name, frames, (("paradigm", name),)) for name in ("nll", "nsgan"))
    figure = draw_comparison(compare(first, second, ["kl_nats"]), OPTIONS)
    assert num_texts(figure) >= 4  # two keys and the labels of two groups


@pytest.mark.parametrize("text", ["$x$", "a $ b", r"\$x\$", "plain"])
def test_a_key_has_the_text_of_the_study(text: str) -> None:
    for key in (line_key(text, "k"), marker_key(text, "k")):
        label = str(key.get_label())
        assert label == literal(text)
        assert not is_math_text(label)
        assert label.replace(r"\$", "$") == text
