"""The slider: one picture shows, the keyboard moves it, a label is text, nothing is left open."""

import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from mer_utils import figures

CHROMIUM = Path("/usr/bin/chromium")
VALUES = [0.25, 1, "<script>bad()</script>"]


def draw(value: object) -> plt.Figure:
    line = pd.DataFrame({str(VALUES.index(value)): [0, VALUES.index(value)]})
    return figures.curves({"height": line})


@pytest.fixture(scope="module")
def page() -> str:
    return figures.slider(draw, "margin <m>", VALUES, start=1).data


def test_without_javascript_the_chosen_picture_shows_and_values_are_text(page):
    frames = re.findall(r"<img [^>]*>", page)
    assert ["display:none" in frame for frame in frames] == [True, False, True]
    assert len({re.search(r'src="([^"]*)"', frame)[1] for frame in frames}) == 3
    assert "<output>1</output>" in page
    assert "<script" not in page
    assert "margin &lt;m&gt;" in page
    assert plt.get_fignums() == []
    assert len(page) < 1e5


@pytest.mark.skipif(not CHROMIUM.is_file(), reason="no Chromium")
def test_the_keyboard_moves_it_on_a_phone(page, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    file = tmp_path / "page.html"
    file.write_text(f"<meta charset=utf-8>{page}{page}", "utf-8")
    with sync_api.sync_playwright() as playwright:
        settings = {"executable_path": str(CHROMIUM), "args": ["--no-sandbox"]}
        browser = playwright.chromium.launch(**settings)
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        tab.goto(file.as_uri())
        first, second = (tab.get_by_label("margin <m>").nth(i) for i in (0, 1))
        first.press("ArrowLeft")
        second.press("End")
        shown = [frame.is_visible() for frame in tab.locator("img").all()]
        texts = tab.locator("output").all_inner_texts()
        told = first.get_attribute("aria-valuetext")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert shown == [True, False, False, False, False, True]
    assert (texts, told) == (["0.25", VALUES[2]], "0.25")
    assert wide <= 390
