"""report.html in a real browser: sorting, filters, links, requests, and the log."""

from __future__ import annotations

import json

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.remote.webelement import WebElement

from tests.analysis.browser import log_of
from tests.analysis.conftest import DIVERGED, MISSING, default_cells

pytest.importorskip("selenium", reason="NOT TESTED: needs selenium (pip install '.[test]')")

from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

CELLS = default_cells()


def shown(page: Chrome) -> list[str]:
    """Return the ids of the visible rows."""
    rows = page.find_elements(By.CSS_SELECTOR, "#cell-table tbody tr:not([hidden])")
    return [row.find_element(By.CLASS_NAME, "id").text for row in rows]


def count(page: Chrome) -> str:
    return page.find_element(By.CSS_SELECTOR, "#filters output").text


def click(page: Chrome, element: WebElement) -> None:
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def column(page: Chrome, heading: str) -> tuple[int, list[str | None]]:
    """Return the index of a column and the sort keys of its rows."""
    headings = [head.text.strip(" ▲▼") for head in page.find_elements(By.CSS_SELECTOR, "#cell-table th")]
    place = headings.index(heading)
    cells = page.find_elements(By.CSS_SELECTOR, f"#cell-table tbody td:nth-child({place + 1})")
    return place, [cell.get_attribute("data-key") for cell in cells]


def test_the_page_requests_nothing_and_logs_no_error(page: Chrome) -> None:
    click(page, page.find_element(By.CSS_SELECTOR, "#cell-table th button"))
    click(page, page.find_element(By.CSS_SELECTOR, "#figures figcaption a[data-cells]"))
    messages = [json.loads(entry["message"])["message"] for entry in log_of(page, "performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [address.split(":")[0] for address in asked if not address.startswith("data:")] == ["file"]
    assert log_of(page, "browser") == []


def test_a_request_would_be_logged(page: Chrome) -> None:
    page.execute_script("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    assert any("127.0.0.1:9" in entry["message"] for entry in log_of(page, "browser"))


def test_every_figure_has_shapes_and_letters(page: Chrome) -> None:
    drawn = page.find_elements(By.CSS_SELECTOR, "svg.drawn")
    assert len(drawn) > 10
    lost = "return [...document.querySelectorAll('use')].filter((e) => !document.querySelector(e.href.baseVal)).length"
    assert page.execute_script(lost) == 0
    assert all(figure.size["height"] > 100 for figure in drawn)


@pytest.mark.parametrize("clicks", [1, 2])
def test_a_heading_sorts_by_number_with_missing_numbers_last(page: Chrome, clicks: int) -> None:
    place, _ = column(page, "KL (nats)")
    for _ in range(clicks):
        click(page, page.find_elements(By.CSS_SELECTOR, "#cell-table th button")[place])
    keys = column(page, "KL (nats)")[1]
    known = [float(key) for key in keys if key is not None]
    assert known == sorted(known, reverse=clicks == 2)
    assert 0 < len(known) < len(keys)
    assert all(key is None for key in keys[len(known) :])


def test_a_menu_filters_rows_and_shows_their_number(page: Chrome) -> None:
    Select(page.find_element(By.NAME, "outcome")).select_by_visible_text("diverged")
    assert shown(page) == [CELLS[index].id for index in DIVERGED]
    assert count(page) == f"2 of {len(CELLS) + 1} rows"


def test_a_search_filters_rows_and_a_button_resets_it(page: Chrome) -> None:
    page.find_element(By.NAME, "text").send_keys(f"{CELLS[MISSING].id} missing")
    assert shown(page) == [CELLS[MISSING].id]
    page.find_element(By.CSS_SELECTOR, "#filters button").click()
    assert len(shown(page)) == len(CELLS) + 1


def test_filters_work_together(page: Chrome) -> None:
    for name, wanted in {"degree": "U2", "paradigm": "nsgan"}.items():
        Select(page.find_element(By.NAME, name)).select_by_visible_text(wanted)
    expected = {cell.id for cell in CELLS if cell.degree == "U2" and cell.paradigm.name == "nsgan"}
    assert set(shown(page)) == expected


def test_a_number_in_a_caption_links_to_its_cells(page: Chrome) -> None:
    figure = "#figure-nll_curves_synthetic_1000 figcaption > details:not(.curves)"
    click(page, page.find_element(By.CSS_SELECTOR, f"{figure} > summary"))
    links = page.find_elements(By.CSS_SELECTOR, f"{figure} a[data-cells]")
    link = next(link for link in links if link.text.startswith("U2"))
    behind = set(str(link.get_attribute("data-cells")).split())
    assert behind
    text = link.text
    click(page, link)
    assert set(shown(page)) == behind
    assert text in count(page)
    assert page.execute_script("return document.getElementById('cells').getBoundingClientRect().top") < 500


@pytest.mark.parametrize(
    "table", ["key-table", "group-table", "final-metrics", "resource-table", "numbers-nll_curves_synthetic_1000"]
)
def test_a_number_in_a_table_links_to_its_cells(page: Chrome, table: str) -> None:
    link = page.find_element(By.CSS_SELECTOR, f"#{table} a[data-cells]")
    behind = set(str(link.get_attribute("data-cells")).split())
    click(page, link)
    assert set(shown(page)) == behind


def test_the_count_of_diverged_cells_links_to_them(page: Chrome) -> None:
    click(page, page.find_element(By.CSS_SELECTOR, ".tiles .diverged a"))
    assert shown(page) == [CELLS[index].id for index in DIVERGED]


def test_a_link_to_a_hidden_row_shows_it(page: Chrome) -> None:
    page.find_element(By.NAME, "text").send_keys("no such cell")
    assert shown(page) == []
    click(page, page.find_element(By.CSS_SELECTOR, "figcaption > details:not(.curves) > summary"))
    link = page.find_element(By.CSS_SELECTOR, 'figcaption .ids a[href^="#cell-"]')
    id = link.text
    click(page, link)
    assert page.find_element(By.ID, f"cell-{id}").is_displayed()


def contrast(page: Chrome, selector: str) -> float:
    """Return the WCAG 2 contrast between an element's text and the page."""
    colours = page.execute_script(
        "const of = (e, p) => getComputedStyle(e)[p].match(/[0-9.]+/g).slice(0, 3).map(Number);"
        f"return [of(document.querySelector('{selector}'), 'color'), of(document.body, 'backgroundColor')]"
    )
    light: list[float] = []
    for colour in colours:
        parts = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
        light.append(0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2])
    return (max(light) + 0.05) / (min(light) + 0.05)


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(252, 252, 251)"), ("dark", "rgb(22, 24, 27)")])
def test_light_and_dark_schemes_have_enough_contrast(page: Chrome, scheme: str, paper: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == paper
    for selector in ("p", "a", ".kicker", "tr.diverged td", "tr.missing td", ".warnings li"):
        assert contrast(page, selector) >= 4.5, selector


def test_print_hides_controls_and_cuts_no_table(page: Chrome) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": 718, "height": 1000, "deviceScaleFactor": 1, "mobile": False,
    })  # fmt: skip
    try:
        assert not page.find_element(By.NAME, "text").is_displayed()
        wide = (
            "return [...document.querySelectorAll('table, img')].filter((e) => e.getBoundingClientRect().right > 719)"
        )
        assert [element.get_attribute("id") for element in page.execute_script(wide)] == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
