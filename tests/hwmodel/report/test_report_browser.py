"""The page of a report in a real browser: what is seen, clicked and saved."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import hwmodel as hw
from bitxcore.store import Store
from hwmodel.report.figure_sources import tables_of

pytest.importorskip("jinja2")
pytest.importorskip("vl_convert")

PHONE, DESK = 390, 1440
FIGURES = "figure[data-figure]"
DRAWN = f"{FIGURES}[data-drawn]"
DIGITS = Path(__file__).parents[3] / "data/samples/digits_resnet.onnx"


@contextmanager
def opened(browser: Any, path: Path, width: int = DESK, scheme: str = "light", **also: Any) -> Iterator[Any]:
    """Open a page, and hold that it says no error and asks for nothing but itself."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **also)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(path.as_uri())
        yield page
        assert said == []
        # Blobs are made by the page: its downloads.
        assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    finally:
        context.close()


def wait_for_all(page: Any) -> int:
    """Wait until every figure is drawn, and return their number."""
    count: int = page.locator(FIGURES).count()
    page.locator(DRAWN).nth(count - 1).wait_for(timeout=60_000)
    return count


def check_view(page: Any) -> None:
    """Hold that every figure is drawn, has words, and nothing is wider than the screen."""
    count = wait_for_all(page)
    assert count
    assert page.locator(f"{FIGURES} .picture svg[role=img][aria-label]").count() == count
    for i in range(count):
        figure = page.locator(FIGURES).nth(i)
        assert figure.locator("svg path, svg line").count() > 2
        assert figure.locator("figcaption").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def saved(page: Any, figure: Any, kind: str) -> tuple[str, str]:
    """Click a download, and return its name and its text."""
    with page.expect_download() as waiting:
        figure.locator(f"[data-save={kind}]").click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_text("utf-8")


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write the report of stores."""

    def write(*stores: Path) -> Path:
        path = tmp_path_factory.mktemp("browser") / "report.html"
        hw.report.write_report(stores, path)
        assert path.stat().st_size < 5e6
        return path

    return write


def test_figures_choices_and_downloads(browser: Any, page_of: Any, run_store: Path) -> None:
    with opened(browser, page_of(run_store)) as page:
        check_view(page)
        figure = page.locator(FIGURES, has=page.locator("h4", has_text="Cycles by layer and cause"))
        figure.locator("select").select_option(label="stripes")
        figure.locator("xpath=self::*[@data-drawn='cycles_by_layer_stripes']").wait_for()
        name, text = saved(page, figure, "csv")
        assert name == "cycles_by_layer_stripes.csv"
        rows = list(csv.DictReader(io.StringIO(text)))
        own = [row for row in tables_of(run_store)["simulation"].rows() if row["accelerator"] == "stripes"]
        total: dict[str, int] = {}
        for row in rows:
            total[row["layer"]] = total.get(row["layer"], 0) + int(row["cycles"])
        assert total == {row["layer"]: row["cycles"] for row in own}
        name, text = saved(page, figure, "svg")
        assert name == "cycles_by_layer_stripes.svg"
        assert text.startswith("<svg")
        assert "var(" not in text


# -- slow --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large_page(page_of: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write, once each, the report of a large store."""
    folder = tmp_path_factory.mktemp("stores")

    @cache
    def write(what: str) -> Path:
        store = folder / f"{what}.h5"
        if what == "machines":
            hw.compare("resnet50", weights="synthetic", store=store)
        else:
            depths = [0, 1, 2, 4, 8]
            varied = {"rows": [2, 3, 4, 5, 6, 7, 8, 9], "lane_fifo_depth": depths, "fifo_depth": depths}
            varied["compute_units"] = [2, 4, 8, 16, 32]
            hw.sweep(DIGITS, varied, accelerator="bitx", fixed={"dram": None}, store=store, jobs=1)
            assert len(tables_of(store)["sweep"]) == 1000
        written: Path = page_of(store)
        return written

    return write


@pytest.mark.slow
@pytest.mark.parametrize("what", ["machines", "sweep"])
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_large_reports_open(
    browser: Any, large_page: Callable[[str], Path], what: str, width: int, scheme: str
) -> None:
    with opened(browser, large_page(what), width, scheme) as page:
        page.locator(DRAWN).first.wait_for()
        check_view(page)


@pytest.mark.slow
def test_names_do_nothing(browser: Any, page_of: Any, hostile_store: Path, hostile_names: Any) -> None:
    with opened(browser, page_of(hostile_store)) as page:
        check_view(page)
        assert page.title() != "taken"
        figure = page.locator(FIGURES, has=page.locator("h4", has_text="Cycles by layer and cause"))
        figure.locator("summary").click()
        _, text = saved(page, figure, "csv")
        names = {row["layer"] for row in csv.DictReader(io.StringIO(text, newline=""))}
        # What a spreadsheet would compute begins with an apostrophe; all else is as the store has it.
        assert {f"'{name}" if name[0] == "=" else name for name in hostile_names} <= names
        for element in ("script", "img", "iframe"):
            assert page.locator(f"main {element}").count() == 0


@pytest.mark.slow
def test_theme_changes_without_drawing_again(browser: Any, page_of: Any, run_store: Path) -> None:
    with opened(browser, page_of(run_store), PHONE) as page:
        wait_for_all(page)
        label = page.locator(f"{FIGURES} svg text").first
        colour = "e => getComputedStyle(e).fill"
        light = label.evaluate(colour)
        page.locator("#theme").click()
        assert page.locator("html").get_attribute("data-theme") == "dark"
        dark = label.evaluate(colour)
        assert light != dark
        page.emulate_media(media="print")
        assert label.evaluate(colour) == light


@pytest.mark.slow
def test_keyboard_reaches_everything(browser: Any, page_of: Any, run_store: Path) -> None:
    with opened(browser, page_of(run_store)) as page:
        wait_for_all(page)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        seen = []
        for _ in range(120):
            page.keyboard.press("Tab")
            tag, what = page.evaluate(
                "[document.activeElement.tagName, document.activeElement.dataset.save || '']"
            )
            seen.append((tag, what))
        for wanted in (("SELECT", ""), ("BUTTON", "csv"), ("BUTTON", "svg"), ("SUMMARY", "")):
            assert wanted in seen
        shown = page.locator("select").first
        shown.focus()
        page.keyboard.press("ArrowDown")
        page.locator("figure[data-drawn$=_dadiannao], figure[data-drawn$=_stripes]").first.wait_for()
        assert page.locator("select:not([aria-label])").count() == 0


CONTRAST = """
() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || ["SCRIPT", "STYLE"].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(parse(e.closest("svg") ? style.fill : style.color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${e.tagName} ${e.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return low;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Any, page_of: Any, run_store: Path, scheme: str) -> None:
    with opened(
        browser,
        page_of(
            run_store,
        ),
        DESK,
        scheme,
    ) as page:
        wait_for_all(page)
        assert page.evaluate(CONTRAST) == []


@pytest.mark.slow
def test_without_javascript_the_words_are_there(browser: Any, page_of: Any, run_store: Path) -> None:
    with opened(browser, page_of(run_store), java_script_enabled=False) as page:
        assert page.locator("noscript p").is_visible()
        assert "is fastest of 2 machines" in page.locator(".findings").inner_text()
        figure = page.locator(FIGURES).first
        assert figure.locator("figcaption").inner_text()
        figure.locator("summary").click()
        assert figure.locator("tbody tr").count() > 1


@pytest.mark.slow
def test_empty_runs_have_a_page(browser: Any, page_of: Any, tmp_path: Path) -> None:
    store = tmp_path / "empty.h5"
    with Store.create(store) as writer:
        writer.write_table(
            "pruning",
            [{"tensor": "a", "values": 0, "groups": 0, "kept_rows_mean": None, "relative_error": None}],
            units={"tensor": "", "values": "1", "groups": "1", "kept_rows_mean": "1", "relative_error": "1"},
            dtypes={"kept_rows_mean": "float64", "relative_error": "float64"},
        )
    with opened(browser, page_of(store)) as page:
        assert "No tensor has values." in page.locator(".findings").inner_text()
