"""Figures as SVG elements of the page: the same picture, in the colours of the page's scheme."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from nllgen_analysis.figures.style import (
    DEGREE_COLOURS,
    FROM_TRUTH,
    MORE_COLOURS,
    PARADIGM_COLOURS,
    new_figure,
)
from nllgen_analysis.figures.vector import (
    DARK_INK,
    DARK_PAPER,
    MIN_CONTRAST,
    contrast,
    dark_colour,
    dark_properties,
    glyph_sheet,
    to_vector,
)

NAMED = {*DEGREE_COLOURS.values(), *PARADIGM_COLOURS.values(), FROM_TRUTH, *MORE_COLOURS}


def line(colour: str, label: str = "KL −1") -> Figure:
    figure = new_figure(1, 1)
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], "o-", color=colour)
    ax.set_title(label)
    return figure


def test_paper_and_ink_are_exchanged() -> None:
    assert (dark_colour("#ffffff"), dark_colour("#000000")) == (DARK_PAPER, DARK_INK)


@pytest.mark.parametrize("colour", sorted(NAMED))
def test_every_colour_can_be_seen_on_a_dark_page(colour: str) -> None:
    assert contrast(dark_colour(colour), DARK_PAPER) >= MIN_CONTRAST


@pytest.mark.parametrize("colours", [DEGREE_COLOURS, PARADIGM_COLOURS])
def test_names_keep_colours_of_their_own_on_a_dark_page(colours: dict[str, str]) -> None:
    assert len({dark_colour(colour) for colour in colours.values()}) == len(colours)


def test_a_colour_that_can_be_seen_stays_what_it_is() -> None:
    assert dark_colour("#E69F00") == "#e69f00"


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_a_colour_becomes_a_property_with_itself_as_fallback() -> None:
    drawn = to_vector(line("#0072B2"), "one")
    assert "stroke:var(--c0072b2,#0072b2)" in drawn.markup
    assert not re.search(r"(?<!,)#[0-9a-f]{6}\b", drawn.markup.replace("url(#", ""))
    assert "#0072b2" in drawn.colours
    assert f"--cffffff: {DARK_PAPER};" in dark_properties(drawn.colours)


def test_ids_of_two_figures_differ_but_for_letters() -> None:
    both = [to_vector(line("#0072B2"), name) for name in ("one", "two")]
    first, second = (set(re.findall(r' id="([^"]+)"', drawn.markup)) for drawn in both)
    assert first
    assert not first & second
    assert both[0].glyphs == both[1].glyphs


def test_every_reference_has_its_target() -> None:
    drawn = to_vector(line("#0072B2"), "one")
    page = f"<svg>{drawn.markup}{glyph_sheet([drawn])}</svg>"
    wanted = set(re.findall(r'(?:"#|url\(#)([^")]+)', page))
    assert wanted
    assert wanted <= set(re.findall(r' id="([^"]+)"', page))


def test_the_markup_is_well_formed_and_has_no_text_of_the_study() -> None:
    drawn = to_vector(line("#0072B2", "</svg><script>alert(1)</script> -->"), "one")
    page = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink">{drawn.markup}{glyph_sheet([drawn])}</svg>'
    names = {element.tag for element in ElementTree.fromstring(page).iter()}
    assert names <= {"svg", "g", "path", "use", "defs", "clipPath", "rect", "image"}
    assert "alert" not in page


def test_equal_figures_give_equal_markup() -> None:
    assert to_vector(line("#0072B2"), "one") == to_vector(line("#0072B2"), "one")
