"""Looking into the curves of a figure in a real browser: values, zoom, single runs, scales, colours."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from nllgen_analysis.figures.vector import dark_colour
from selenium.webdriver import Chrome

from tests.analysis.browser import log_of, screen
from tests.analysis.conftest import ENTROPY, kl, make_cell

pytest.importorskip("selenium", reason="NOT TESTED: needs selenium (pip install '.[test]')")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

FIGURE = "#figure-nll_curves_synthetic_1000 .curves"


def open_curves(page: Chrome) -> WebElement:
    """Open the curves of the figure, and wait until they are drawn, which a browser does some time after the click."""
    box = page.find_element(By.CSS_SELECTOR, FIGURE)
    page.execute_script("arguments[0].scrollIntoView()", box)
    box.find_element(By.TAG_NAME, "summary").click()
    WebDriverWait(page, 10).until(lambda _: box.find_elements(By.TAG_NAME, "canvas"))
    return box


@pytest.fixture
def box(page: Chrome) -> WebElement:
    """The opened curves of a figure, with the panel of the validation NLL."""
    box = open_curves(page)
    Select(box.find_element(By.CSS_SELECTOR, "select")).select_by_visible_text("nll, validation images")
    return box


def view(page: Chrome, expression: str) -> Any:
    return page.execute_script(f"const view = document.querySelector('{FIGURE}').view; return {expression}")


def limits(page: Chrome, axis: str) -> list[float]:
    values: list[float] = view(page, f"[view.plot.scales.{axis}.min, view.plot.scales.{axis}.max]")
    return values


def hover(page: Chrome, box: WebElement, step: float, value: float) -> None:
    """Move to a point of the plot's axes."""
    over = box.find_element(By.CLASS_NAME, "u-over")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", over)
    x, y = view(page, f"[view.plot.valToPos({step}, 'x'), view.plot.valToPos({value}, 'y')]")
    size = over.size
    moved = ActionChains(page).move_to_element_with_offset(over, 1 - size["width"] // 2, 1 - size["height"] // 2)
    moved.move_by_offset(round(x), round(y)).perform()


def shown_runs(page: Chrome) -> int:
    count: int = view(page, "view.curves.filter((curve) => curve.run && view.plot.series[curve.place].show).length")
    return count


def test_a_plot_is_drawn_when_it_is_asked_for(page: Chrome) -> None:
    assert page.find_elements(By.CSS_SELECTOR, "canvas") == []
    open_curves(page)
    (canvas,) = page.find_elements(By.CSS_SELECTOR, "canvas")
    assert canvas.size["width"] > 500


def test_a_run_under_the_cursor_has_its_value_written(page: Chrome, box: WebElement) -> None:
    hover(page, box, 300, ENTROPY + float(kl(make_cell("O1", seed=2), 300)))
    text = box.find_element(By.CLASS_NAME, "readout").text
    told = re.fullmatch(r"optimiser steps 300: O1, seed (\d): (−[\d.]+)", text)
    assert told, text  # of runs that lie within a pixel, any
    value = ENTROPY + float(kl(make_cell("O1", seed=int(told[1])), 300))
    assert float(told[2].replace("−", "-")) == pytest.approx(value, abs=0.01)


def test_means_under_the_cursor_stand_beside_their_names(page: Chrome, box: WebElement) -> None:
    hover(page, box, 500, -250)
    lines = box.find_elements(By.CLASS_NAME, "line")
    (line,) = (line for line in lines if line.find_element(By.TAG_NAME, "label").text.strip() == "W")
    expected = ENTROPY + sum(float(kl(make_cell("W", seed=seed), 500)) for seed in range(3)) / 3
    text = line.find_element(By.TAG_NAME, "output").text
    assert float(text.replace("−", "-")) == pytest.approx(expected, abs=0.01)


def test_dragging_zooms_and_a_double_click_shows_everything(page: Chrome, box: WebElement) -> None:
    whole = limits(page, "x")
    hover(page, box, 300, -250)
    ActionChains(page).click_and_hold().move_by_offset(120, 0).release().perform()
    near = limits(page, "x")
    assert near[0] == pytest.approx(300, abs=10)
    assert near[1] - near[0] < (whole[1] - whole[0]) / 2
    ActionChains(page).double_click().perform()
    assert limits(page, "x") == whole


def test_a_run_is_turned_off_and_on(page: Chrome, box: WebElement) -> None:
    every = shown_runs(page)
    for expected in (every - 1, every):
        box.find_element(By.CSS_SELECTOR, ".runs button").click()
        assert shown_runs(page) == expected


def test_a_series_is_turned_off_with_its_runs(page: Chrome, box: WebElement) -> None:
    every = shown_runs(page)
    box.find_element(By.CSS_SELECTOR, ".line input").click()
    assert shown_runs(page) == every - 3


def test_all_runs_are_turned_off_and_means_stay(page: Chrome, box: WebElement) -> None:
    box.find_element(By.CSS_SELECTOR, ".all-runs input").click()
    assert shown_runs(page) == 0
    assert view(page, "view.curves.every((curve) => curve.run || view.plot.series[curve.place].show)")


@pytest.mark.parametrize(("scale", "distribution"), [("linear", 1), ("log", 3), ("symlog", 4)])
def test_the_scale_is_chosen(page: Chrome, box: WebElement, scale: str, distribution: int) -> None:
    Select(box.find_elements(By.TAG_NAME, "select")[1]).select_by_visible_text(scale)
    assert view(page, "view.plot.scales.y.distr") == distribution
    assert log_of(page, "browser") == []


def test_all_series_can_be_off(page: Chrome, box: WebElement) -> None:
    Select(box.find_elements(By.TAG_NAME, "select")[1]).select_by_visible_text("log")
    for line in range(len(box.find_elements(By.CLASS_NAME, "line"))):
        box.find_elements(By.CSS_SELECTOR, ".line input")[line].click()
    assert view(page, "view.curves.every((curve) => !view.plot.series[curve.place].show)")
    assert log_of(page, "browser") == []


def test_nothing_is_requested_and_no_error_is_logged(page: Chrome) -> None:
    for box in page.find_elements(By.CSS_SELECTOR, "details.curves"):
        page.execute_script("arguments[0].open = true", box)
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert len(page.find_elements(By.TAG_NAME, "canvas")) == len(page.find_elements(By.CLASS_NAME, "curves"))
    messages = [json.loads(entry["message"])["message"] for entry in log_of(page, "performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [address.split(":")[0] for address in asked if not address.startswith("data:")] == ["file"]
    assert log_of(page, "browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_have_the_colours_of_the_scheme(page: Chrome, scheme: str) -> None:
    with screen(page, 1400, scheme=scheme):
        page.execute_script(f"document.querySelector('{FIGURE}').open = true")
        page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        stroke = view(page, "view.plot.series[view.curves.find((c) => c.series.name === 'W' && !c.run).place].stroke()")
    assert stroke == (dark_colour("#000000") if scheme == "dark" else "#000000")


def test_a_plot_fits_a_phone(page: Chrome) -> None:
    with screen(page, 400):
        page.execute_script(f"document.querySelector('{FIGURE}').open = true")
        page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        assert page.execute_script("return document.documentElement.scrollWidth") <= 400
        assert page.find_element(By.TAG_NAME, "canvas").size["width"] <= 400
