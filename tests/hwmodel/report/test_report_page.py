"""The page of a report as a file: what it holds, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import pytest

import hwmodel as hw
from bitxcore.errors import BitxError, DumpError, MissingExtraError, OptionError
from bitxcore.store import Store
from bitxcore.tables import Table, Tables
from hwmodel.report.figure_blocks import coded_columns
from hwmodel.report.figure_sources import tables_of
from hwmodel.report.page import SECTIONS
from hwmodel.report.report_findings import MOST_FINDINGS, findings_of
from hwmodel.report.stored_runs import KINDS

pytest.importorskip("jinja2")
pytest.importorskip("vl_convert")


@pytest.fixture(scope="module")
def page(run_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    written = hw.report.write_report([run_store], path)
    assert written.size_bytes == path.stat().st_size < 5e6
    return path.read_text("utf-8")


def figures(page: str) -> dict[str, list[dict[str, Any]]]:
    found = re.search(r'<script type="application/json" id="figures"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found
    result: dict[str, list[dict[str, Any]]] = json.loads(found[1])
    return result


def test_page_tells_what_was_run(page: str, run_store: Path) -> None:
    provenance = Store.open(run_store).provenance
    for text in (
        "stripes is fastest of 2 machines",
        f"{provenance.created:%Y-%m-%d %H:%M} UTC",
        f"bitx {provenance.versions['bitx']}",
        "Skip to the content",
        "<noscript>",
        "Energy by layer",
    ):
        assert text in page


def test_headings_follow_each_other(page: str) -> None:
    static = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    levels = [int(level) for level in re.findall(r"<h([1-6])", static)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    identifiers = re.findall(r'\bid="([^"]+)"', static)
    assert len(identifiers) == len(set(identifiers))


def test_only_the_pages_own_scripts_run(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    allowed = unescape(policy[1])
    assert allowed.startswith("default-src 'none'; script-src 'sha256-")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in allowed
    static = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(?!data:|#)', static)


def test_data_are_those_of_the_store(page: str, run_store: Path) -> None:
    rows = [row for row in tables_of(run_store)["simulation"].rows() if row["accelerator"] == "stripes"]
    [chart] = [
        chart
        for charts in figures(page).values()
        for chart in charts
        if chart["name"] == "cycles_by_layer_stripes"
    ]
    assert sum(chart["columns"]["cycles"]["values"]) == sum(row["cycles"] for row in rows)
    assert chart["columns"]["cycles"]["unit"] == "cycles"


def test_tables_are_there_without_a_script(page: str) -> None:
    assert page.count("<figure ") == page.count('<th scope="col">layer</th>') + page.count(
        '<thead><tr><th scope="col">accelerator</th>'
    )


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -float("inf")])
def test_what_is_not_finite_is_none(value: float) -> None:
    assert coded_columns(Table("t", {"a": [value]}, {"a": "1"}))["a"]["values"] == [None]


def test_specifications_are_vega_lite(page: str) -> None:
    altair = pytest.importorskip("altair")
    seen = set()
    for charts in figures(page).values():
        for chart in charts:
            if (kind := chart["title"].partition(":")[0]) not in seen:
                seen.add(kind)
                altair.LayerChart.from_dict(chart["spec"] | {"data": {"values": []}})
    assert len(seen) > 5


def test_names_stay_text(hostile_store: Path, hostile_names: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    hw.report.write_report([hostile_store], path, title=hostile_names[1])
    page = path.read_text("utf-8")
    assert page.count("<script") == 3
    assert page.count("</script>") == 3
    assert "<img" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "\x1b" not in page
    assert "\u2028" not in page
    names = {name for charts in figures(page).values() for chart in charts for name in named_layers(chart)}
    assert set(hostile_names) <= names  # downloads have the names of the store


def named_layers(chart: dict[str, Any]) -> list[str]:
    levels: list[str] = chart["columns"].get("layer", {}).get("levels", [])
    return levels


def test_two_runs_are_compared(run_store: Path, tmp_path: Path) -> None:
    later, path = tmp_path / "later.h5", tmp_path / "report.html"
    hw.simulate_network(["dadiannao", "stripes"], "resnet20-cifar10", precisions=6, store=later)
    written = hw.report.write_report([run_store, later], path)
    page = path.read_text("utf-8")
    assert sorted(written.findings) == ["later.h5", "run.h5"]
    assert "What changed <span>run.h5 → later.h5</span>" in page
    assert "Totals of the second run over the first" in page


def test_every_section_and_kind_is_known(run_store: Path) -> None:
    modules = {module for _, own in SECTIONS for module in own}
    folder = Path(hw.plot.__file__).parent
    made = {file.stem for file in folder.glob("*_figure.py")} - {"change_figure"}
    assert modules == made
    for kind in KINDS:
        assert kind != "simulation" or len(findings_of(kind, tables_of(run_store), {})) <= MOST_FINDINGS


def stripped(tables: Tables, *columns: str) -> Tables:
    """Leave some columns of each table."""
    return Tables(
        Table(t.name, {n: t.columns[n] for n in columns if n in t.columns}, dict(t.units), t.attrs)
        for t in tables.values()
    )


def test_findings_need_few_columns(run_store: Path) -> None:
    found = stripped(tables_of(run_store), "accelerator", "layer", "cycles")
    said = findings_of("simulation", found, {})
    assert said[0].startswith("stripes is fastest of 2 machines")
    assert "takes most of its cycles" in said[-1]
    for kind, column in (("statistics", "tensor"), ("pruning", "tensor"), ("sweep", "point")):
        table = Table(kind, {column: [1], "values": [4], "cycles": [None]}, {})
        assert all(isinstance(sentence, str) for sentence in findings_of(kind, Tables([table]), {}))


@pytest.mark.parametrize(
    ("metric", "scores"), [("top1", (0.9, 0.895, 0.5)), ("bits_per_character", (1.0, 1.005, 3.0))]
)
def test_fewest_rows_are_those_within_the_loss(metric: str, scores: tuple[float, ...]) -> None:
    columns = {"rows": [None, 6, 4], metric: list(scores), "policy": [None] * 3, "samples": [10] * 3}
    table = Table("evaluation", columns, {}, {"metrics": metric})
    first, *_ = findings_of("evaluation", Tables([table]), {"loss": 0.005})
    allowed = f"(unpruned {scores[0]:.4g}, allowed loss 0.005)"
    assert first == f"6 rows per group are enough: {metric} {scores[1]:.4g} {allowed}."


def test_more_rows_that_score_worse_are_told() -> None:
    columns = {"rows": [None, 6, 5], "top1": [0.8, 0.75, 0.9], "policy": [None] * 3, "samples": [10] * 3}
    _, second, *_ = findings_of(
        "evaluation", Tables([Table("evaluation", columns, {}, {"metrics": "top1"})]), {}
    )
    assert second == "More rows do not always score better: 6 rows lose more than that."


# -- what is refused ---------------------------------------------------------------------------


def refused(path: Path, stores: list[Path], error: type[Exception] = BitxError) -> str:
    with pytest.raises(error) as raised:
        hw.report.write_report(stores, path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_damaged_and_newer_stores_write_nothing(run_store: Path, tmp_path: Path) -> None:
    path, store = tmp_path / "report.html", tmp_path / "damaged.h5"
    path.write_text("before")
    content = bytearray(run_store.read_bytes())
    content[len(content) // 2] ^= 0xFF
    store.write_bytes(content)
    refused(path, [store], DumpError)
    store.write_bytes(run_store.read_bytes()[:5000])
    refused(path, [run_store, store], DumpError)
    refused(path, [tmp_path / "none.h5"], DumpError)
    newer = tmp_path / "newer.h5"
    newer.write_bytes(run_store.read_bytes())
    with h5py.File(newer, "r+") as file:
        file.attrs["encoding-version"] = "99.0"
    refused(path, [newer], DumpError)
    assert path.read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["damaged.h5", "newer.h5", "report.html"]


def test_stores_without_a_known_table_are_refused(tmp_path: Path) -> None:
    store = tmp_path / "own.h5"
    with Store.create(store) as writer:
        writer.write_table("mine", [{"a": 1}], units={"a": "1"})
    assert "no table that a report shows (it has: mine)" in refused(tmp_path / "r.html", [store], DumpError)


def test_unknown_tables_are_ignored(run_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "more.h5"
    with Store.create(store) as writer:
        for table in tables_of(run_store).values():
            writer.write_table(table.name, list(table.rows()), units=table.units)
        writer.write_table("mine", [{"a": 1}], units={"a": "1"})
    assert hw.report.write_report([store], tmp_path / "r.html").figures > 5


def test_output_is_no_input(run_store: Path, tmp_path: Path) -> None:
    before = run_store.read_bytes()
    assert "is the input" in refused(run_store, [run_store])
    link = tmp_path / "link.html"
    link.symlink_to(run_store)
    refused(link, [run_store])
    refused(tmp_path / "r.html", [run_store, run_store], OptionError)
    refused(tmp_path / "r.html", [], OptionError)
    refused(tmp_path / "none" / "r.html", [run_store])
    assert run_store.read_bytes() == before


@pytest.mark.parametrize("package", ["jinja2", "vl_convert"])
def test_missing_packages_are_named(
    package: str, run_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwmodel.report import page

    monkeypatch.setattr(page, "_libraries", page._libraries.__wrapped__)  # what it has kept stays
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install 'bitx[report]'" in refused(tmp_path / "r.html", [run_store], MissingExtraError)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_nothing_is_simulated(run_store: Path, tmp_path: Path) -> None:
    """Neither compiled loops nor the engines that call them are loaded."""
    code = (
        "import sys, hwmodel as hw\n"
        f"hw.report.write_report([{str(run_store)!r}], {str(tmp_path / 'r.html')!r})\n"
        "print([m for m in sys.modules if m == 'numba' or m.startswith('hwmodel.accelerators.engines')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# -- command -----------------------------------------------------------------------------------


def test_command_tells_what_it_wrote(
    run_store: Path, hostile_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from hwmodel.cli import main

    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "r.html"
    with pytest.raises(SystemExit) as ended:
        main(["report", str(run_store), str(hostile_store), "-o", str(path), "--title", "Two runs"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "stripes is fastest of 2 machines" in printed
    assert f"wrote {path} (" in " ".join(printed.split())
    assert printed.replace("\n", "").isprintable()
    assert "<h1>Two runs</h1>" in path.read_text("utf-8")
