"""report.html at the widths and in the colours of the screens that it is read on."""

from __future__ import annotations

from typing import Any

import pytest
from nllgen_analysis.figures.vector import DARK_INK, DARK_PAPER, contrast, dark_colour
from selenium.webdriver import Chrome

from tests.analysis.browser import screen

pytest.importorskip("selenium", reason="NOT TESTED: needs selenium (pip install '.[test]')")

from selenium.webdriver.common.by import By

WIDE, PHONE = 1400, 400
# what reaches beyond the page, and is not within something that scrolls
BEYOND = """
const scrolls = (e) => e && (getComputedStyle(e).overflowX === "auto" || scrolls(e.parentElement));
return [...document.querySelectorAll("body *")]
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e.parentElement) && !scrolls(e))
  .map((e) => e.tagName + "#" + e.id);
"""
# a colour as the browser resolves it, by the first element of a figure that has it
INK = "return getComputedStyle(document.querySelector('.drawn [style*=\"{1}:var(--c{0}\"]'))['{1}']"


def rgb(text: str) -> str:
    """Return the colour ``rgb(1, 2, 3)`` of a browser as ``#010203``."""
    red, green, blue = (int(part) for part in text[4:-1].split(","))
    return f"#{red:02x}{green:02x}{blue:02x}"


def right(page: Chrome, selector: str) -> float:
    edge: float = page.execute_script(
        "return document.querySelector(arguments[0]).getBoundingClientRect().right", selector
    )
    return edge


@pytest.mark.parametrize("width", [PHONE, 800, WIDE])
def test_nothing_reaches_beyond_the_page(page: Chrome, width: int) -> None:
    with screen(page, width):
        assert page.execute_script(BEYOND) == []
        assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_digest_of_a_tuning_study_breaks_on_a_phone(page: Chrome) -> None:
    with screen(page, PHONE):
        page.execute_script("document.querySelector('#findings li').textContent = 'sha256: ' + 'a5'.repeat(32)")
        fits = "const list = document.querySelector('#findings'); return list.scrollWidth <= list.clientWidth"
        assert page.execute_script(fits)


def test_tables_and_figures_scroll_on_a_phone(page: Chrome) -> None:
    hidden = "return [...document.querySelectorAll('.scroll, .panels')].filter((e) => e.scrollWidth > e.clientWidth)"
    with screen(page, PHONE):
        boxes = page.execute_script(f"{hidden}.map((e) => [e.tabIndex, getComputedStyle(e).overflowX])")
    assert len(boxes) > 5
    assert all(box == [0, "auto"] for box in boxes)


def test_a_figure_is_as_wide_as_the_page(page: Chrome) -> None:
    with screen(page, WIDE):
        main, drawn = (right(page, selector) for selector in ("main", "figure.wide .drawn"))
        left = page.execute_script("return document.querySelector('figure.wide .drawn').getBoundingClientRect().left")
    assert main - drawn < 30
    assert drawn - left > 0.75 * WIDE


@pytest.mark.parametrize("table", ["key-table", "final-metrics", "cell-table"])
def test_kl_is_visible_without_scrolling(page: Chrome, table: str) -> None:
    with screen(page, WIDE):
        heads = page.find_elements(By.CSS_SELECTOR, f"#{table} th")
        (kl,) = (head for head in heads if head.text.startswith("KL"))
        box = page.find_element(By.XPATH, f"//table[@id='{table}']/..").rect
        assert kl.rect["x"] + kl.rect["width"] <= box["x"] + box["width"]


def test_contents_stay_in_view(page: Chrome) -> None:
    for width in (PHONE, WIDE):
        with screen(page, width):
            page.execute_script("document.getElementById('provenance').scrollIntoView()")
            top = page.execute_script("return document.getElementById('contents').getBoundingClientRect().top")
            assert abs(top) < 1  # a pixel: heights of text are fractions of one


def test_a_lead_has_at_most_three_lines(page: Chrome) -> None:
    lines = "const s = getComputedStyle(e); return e.getBoundingClientRect().height / parseFloat(s.lineHeight)"
    with screen(page, WIDE):
        heights = page.execute_script(
            f"return [...document.querySelectorAll('figure.wide .lead')].map((e) => {{ {lines} }})"
        )
    assert heights
    assert max(heights) < 3.1


def test_the_first_screen_has_the_summary_and_the_key_numbers(page: Chrome) -> None:
    with screen(page, WIDE):
        top = "return document.getElementById(arguments[0]).getBoundingClientRect().top"
        key_numbers, verdicts = (page.execute_script(top, id) for id in ("key-table", "verdicts"))
    assert key_numbers < 800
    assert verdicts > 1000


def test_claims_that_are_not_judged_are_one_line(page: Chrome) -> None:
    folded = page.find_element(By.CSS_SELECTOR, "#verdicts > details.unjudged")
    assert folded.rect["height"] < 60
    assert not folded.find_element(By.TAG_NAME, "table").is_displayed()


def test_a_link_to_a_folded_claim_opens_it(page: Chrome) -> None:
    id = page.find_element(By.CSS_SELECTOR, "#verdicts > details.unjudged tr[id]").get_attribute("id")
    page.execute_script(f"location.hash = '{id}'")
    assert page.find_element(By.ID, str(id)).is_displayed()


@pytest.mark.parametrize(("scheme", "ink", "paper"), [("light", "#262626", "#ffffff"), ("dark", "", DARK_PAPER)])
def test_figures_have_the_colours_of_the_scheme(page: Chrome, scheme: str, ink: str, paper: str) -> None:
    with screen(page, WIDE, scheme=scheme):
        shown: dict[str, Any] = {
            colour: rgb(page.execute_script(INK.format(colour, "fill"))) for colour in ("ffffff", "262626")
        }
        blue = rgb(page.execute_script(INK.format("0072b2", "stroke")))
    assert shown == {"ffffff": paper, "262626": ink or dark_colour("#262626")}
    assert blue == (dark_colour("#0072b2") if scheme == "dark" else "#0072b2")


# faces without a colour of their own, of points of the degree W
POINT = '#figure-kl_capacity .drawn use[style="stroke:var(--c000000,#000000)"]'


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_black_points_are_seen_in_both_schemes(page: Chrome, scheme: str) -> None:
    with screen(page, WIDE, scheme=scheme):
        point = page.find_element(By.CSS_SELECTOR, POINT)
        fill = page.execute_script("return getComputedStyle(arguments[0]).fill", point)
        assert rgb(fill) == (DARK_INK if scheme == "dark" else "#000000")


def test_the_ink_of_dark_figures_is_that_of_the_page(page: Chrome) -> None:
    with screen(page, WIDE, scheme="dark"):
        values = [
            page.execute_script(
                f"return getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()"
            )
            for name in ("ink", "card")
        ]
    assert values == [DARK_INK, DARK_PAPER]
    assert contrast(*values) > 10


def test_a_name_has_the_colour_of_its_curves_in_the_dark(page: Chrome) -> None:
    with screen(page, WIDE, scheme="dark"):
        colour = page.execute_script("return getComputedStyle(document.querySelector('#paradigm-keys .symbol')).color")
    assert rgb(colour) == dark_colour("#0072b2")
