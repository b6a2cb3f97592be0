"""Every figure, from every kind of store: drawn twice, its sums, its names, results beside stores."""

from __future__ import annotations

import re
from importlib import import_module
from math import fsum
from pathlib import Path
from typing import Any

import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import OptionError
from bitxcore.plot.chart import Chart, series_colours
from bitxcore.plot.drawing import draw, new_axes
from bitxcore.tables import Table, Tables
from hwmodel.accelerators.cycle_attribution import CAUSES
from hwmodel.report.figure_sources import tables_of
from hwmodel.report.plot.change_figure import charts_of_change
from hwmodel.report.vega import specification
from hwmodel.studies.comparison.findings import comparison_findings

FIGURES = (
    "change_figure",
    "comparison_figure",
    "cycles_figure",
    "energy_figure",
    "evaluation_figure",
    "machines_figure",
    "option_figure",
    "reproduction_figure",
    "roofline_figure",
    "sweep_figure",
    "traffic_figure",
)
KINDS = ("run", "comparison", "sweep", "evaluation", "reproduction")
HOSTILE = "<script>alert('1')</script>\n\x1b[2J\u202e" + "x" * 200


def charts_of(tables: Tables, module: str | None = None) -> list[Chart]:
    found = []
    for name in FIGURES if module is None else [module]:
        if name != "change_figure":
            found += import_module(f"hwmodel.report.plot.{name}").charts(tables)
    return found


def renamed(tables: Tables, columns: tuple[str, ...], change: Any) -> Tables:
    """Return the tables with other names in some columns."""
    made = []
    for table in tables.values():
        values = {
            name: [change(v) if v is not None else None for v in column] if name in columns else column
            for name, column in table.columns.items()
        }
        made.append(Table(table.name, values, table.units, table.attrs))
    return Tables(made)


def one_of_each(charts: list[Chart]) -> list[Chart]:
    """Leave out figures of further accelerators, which differ by numbers only: drawing takes long."""
    return list({chart.title.partition(": ")[0]: chart for chart in charts}.values())


def test_every_figure_is_listed_here() -> None:
    folder = Path(hw.report.plot.__file__).parent
    mine = {path.stem for path in folder.glob("*_figure.py")}
    assert set(FIGURES) <= mine


@pytest.mark.parametrize("kind", KINDS)
def test_results_have_the_figures_of_their_stores(kept: dict[str, Any], kind: str) -> None:
    stored, made = charts_of(kept[kind].tables), charts_of(kept[kind].result.tables())
    assert stored
    by_name = {chart.name: chart for chart in made}
    for chart in stored:
        if kind == "run" and chart.name == "area_by_accelerator":  # it needs the machines
            assert chart.name not in by_name
        else:
            assert by_name[chart.name] == chart
    assert set(by_name) <= {chart.name for chart in stored}


@pytest.mark.parametrize("kind", KINDS[1:])  # a comparison has all figures of a run
def test_every_figure_is_drawn_by_both(kept: dict[str, Any], kind: str) -> None:
    pytest.importorskip("matplotlib")
    tables = kept[kind].tables
    charts = charts_of(tables) + charts_of_change(tables, tables)
    names = [chart.name for chart in charts]
    assert len(set(names)) == len(names)
    for chart in charts:
        assert chart.see
        assert chart.see == chart.see.strip()
        assert set(chart.data.columns) == set(chart.data.units)
        assert chart.name.isidentifier()
        assert specification(chart)["description"]
    for chart in one_of_each(charts):
        draw(chart, new_axes(columns=2, height_m=0.15)).figure.draw_without_rendering()


@pytest.mark.parametrize("module", FIGURES)
def test_stores_without_its_tables_have_no_figure(module: str) -> None:
    if module != "change_figure":
        assert charts_of(Tables(), module) == []
    assert charts_of_change(Tables(), Tables()) == []


@pytest.mark.parametrize("kind", KINDS[1:])
def test_hostile_names_survive(kept: dict[str, Any], kind: str) -> None:
    columns = (
        "layer",
        "label",
        "accelerator",
        "part",
        "place",
        "network",
        "setting",
        "quantity",
        "criterion",
    )
    tables = renamed(kept[kind].tables, columns, lambda name: f"{HOSTILE}{name}")
    charts = charts_of(tables) + charts_of_change(tables, tables)
    for chart in charts:
        assert chart.see.isprintable()
        assert chart.title.isprintable()
        assert all(axis.label.isprintable() for mark in chart.marks for axis in (mark.x, mark.y))
        assert len(chart.see) < 1200
        specification(chart)
    for chart in one_of_each(charts):
        draw(chart, new_axes(columns=2, height_m=0.15)).figure.draw_without_rendering()


# -- sums --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_cycles_that_are_drawn_add_up(kept: dict[str, Any], kind: str) -> None:
    tables = kept[kind].tables
    totals = {row["accelerator"]: row["cycles"] for row in tables["networks"].rows()}
    drawn = {
        chart.data.columns["accelerator"][0]: sum(chart.data.columns["cycles"])
        for chart in charts_of(tables, "cycles_figure")
    }
    assert drawn == totals
    beside = next(c for c in charts_of(tables, "machines_figure") if c.name == "cycles_by_accelerator")
    assert sum(beside.data.columns["cycles"]) == sum(totals.values())
    by_cause = {
        name.removesuffix("_cycles").replace("_", " "): sum(
            row[name] or 0 for row in tables["networks"].rows()
        )
        for name in CAUSES
    }
    for cause, cycles in by_cause.items():
        assert sum(row["cycles"] for row in beside.data.rows() if row["cause"] == cause) == cycles


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_energy_and_area_that_are_drawn_add_up(kept: dict[str, Any], kind: str) -> None:
    tables = kept[kind].tables
    layers = charts_of(tables, "energy_figure")
    for chart in layers:
        label = chart.data.columns["accelerator"][0]
        [total] = [row["energy_j"] for row in tables["networks"].rows() if row["accelerator"] == label]
        assert fsum(chart.data.columns["energy_j"]) == pytest.approx(total, rel=1e-12)
    beside = {chart.name: chart.data for chart in charts_of(tables, "machines_figure")}
    energy = fsum(row["energy_j"] for row in tables["networks"].rows())
    assert fsum(beside["energy_by_accelerator"].columns["energy_j"]) == pytest.approx(energy, rel=1e-12)
    area = fsum(tables["area"].columns["area_mm2"])
    assert fsum(beside["area_by_accelerator"].columns["area_mm2"]) == pytest.approx(area, rel=1e-12)


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_traffic_that_is_drawn_adds_up(kept: dict[str, Any], kind: str) -> None:
    tables = kept[kind].tables
    totals = {row["accelerator"]: row["dram_bytes"] for row in tables["networks"].rows()}
    charts = charts_of(tables, "traffic_figure")
    drawn = {c.data.columns["accelerator"][0]: sum(c.data.columns["dram_bytes"]) for c in charts}
    assert drawn == totals
    beside = next(c for c in charts_of(tables, "machines_figure") if c.name == "traffic_by_accelerator")
    assert sum(beside.data.columns["dram_bytes"]) == sum(totals.values())


# -- what is drawn -----------------------------------------------------------------------------


def test_layers_that_are_not_run_are_not_zero(kept: dict[str, Any]) -> None:
    tables = kept["comparison"].tables
    run = {
        row["layer"]
        for row in tables["simulation"].rows()
        if row["accelerator"].startswith("eie") and row["cycles"] is not None
    }
    found = [chart for chart in charts_of(tables) if chart.title.partition(": ")[2].startswith("eie")]
    assert len(found) == 4  # cycles, energy, traffic, roofline
    for chart in found:
        assert {layer for layer in chart.data.columns["layer"] if layer is not None} == run
        assert "does not run 12 layers" in chart.see
    beside = next(c for c in charts_of(tables) if c.name == "cycles_by_accelerator")
    assert beside.data.columns["accelerator"][-1] == "eie"
    assert "eie (1 of 13 layers) runs only some layers." in beside.see


def test_roofs_are_the_machines(kept: dict[str, Any]) -> None:
    machine = hw.accelerator("bitx")
    chart = next(c for c in charts_of(kept["run"].tables) if c.name == "roofline_bitx")
    roof = [row for row in chart.data.rows() if row["is_roof"]]
    bandwidth, peak = machine.dram_peak_bytes_per_s, machine.peak_macs_per_cycle * machine.clock_hz
    assert roof[0]["macs_per_second"] / roof[0]["macs_per_byte"] == pytest.approx(bandwidth)
    assert [row["macs_per_second"] for row in roof[1:]] == pytest.approx([peak, peak])
    assert roof[1]["macs_per_byte"] == pytest.approx(peak / bandwidth)
    explained = {line.layer: line for line in hw.explain("bitx", _sample(), effort_s=0.1).layers}
    for row in chart.data.rows():
        if row["is_layer"]:
            line = explained[row["layer"]]
            assert row["macs_per_byte"] == pytest.approx(line.intensity_macs_per_byte)
            assert row["macs_per_second"] == pytest.approx(line.attained_macs_per_cycle * machine.clock_hz)


def test_memories_without_limits_have_a_flat_roof() -> None:
    run = hw.simulate_network(hw.accelerator("dadiannao", dram=None), "resnet20-cifar10")
    assert run.tables()["networks"].columns["dram_peak_bytes_per_s"] == [None]
    for chart in charts_of(run.tables(), "roofline_figure"):
        assert len({row["macs_per_second"] for row in chart.data.rows() if row["is_roof"]}) == 1
        assert "only the peak is drawn" in chart.see


def test_many_layers_and_parts_are_joined() -> None:
    rows = [(f"layer{i}", f"part{i % 11}", float(i)) for i in range(200)]
    table = Table(
        "energy",
        {
            "layer": [layer for layer, _, _ in rows],
            "accelerator": ["m"] * 200,
            "part": [part for _, part, _ in rows],
            "energy_j": [energy for _, _, energy in rows],
        },
        {"layer": "", "accelerator": "", "part": "", "energy_j": "J"},
    )
    [chart] = charts_of(Tables([table]), "energy_figure")
    assert len(set(chart.data.columns["layer"])) == 80
    assert len(set(chart.data.columns["part"])) == 11
    drawn = set(chart.data.columns["drawn_as"])
    assert drawn - {"other parts"} <= set(chart.data.columns["part"])
    assert len({*series_colours(chart.marks[0].colour, []).values()}) == len(drawn)
    assert chart.data.columns["layer"][-1] == "121 other layers"
    assert fsum(chart.data.columns["energy_j"]) == sum(range(200))
    assert "The 121 layers with the least are one bar." in chart.see
    assert "layer199" in chart.see


def test_large_sweeps_are_sampled_and_say_so() -> None:
    points = range(20_000)
    columns = {
        "point": list(points),
        "rows": [i % 7 for i in points],
        "layers": [1] * len(points),
        "cycles": [1000 + i for i in points],
        "energy_j": [1.0 / (1 + i) for i in points],
        "area_mm2": [2.0] * len(points),
        "on_front": [i % 200 == 0 for i in points],
    }
    table = Table("sweep", columns, dict.fromkeys(columns, "1"), {"accelerator": "bitx"})
    charts = {chart.name: chart for chart in charts_of(Tables([table]), "sweep_figure")}
    lines = charts["sweep_coordinates"]
    assert len(set(lines.data.columns["point"])) == 300
    assert "Drawn are 300 of 20,000 points" in lines.see
    drawn = set(charts["sweep_energy"].data.columns["point"])
    assert len(drawn) == 3000
    assert {i for i in points if i % 200 == 0} <= drawn  # all of the front
    assert charts_of(Tables([table]), "sweep_figure")[0] == lines


def test_parallel_coordinates_keep_the_true_values(kept: dict[str, Any]) -> None:
    tables = kept["sweep"].tables
    chart = next(c for c in charts_of(tables) if c.name == "sweep_coordinates")
    rows = list(chart.data.rows())
    assert len(rows) == 6 * 6
    assert {"cycles", "energy_j", "area_mm2", "relative_error"} <= {row["dimension"] for row in rows}
    assert all(0 <= row["position"] <= 1 for row in rows)
    true = {row["point"]: row for row in tables["sweep"].rows()}
    assert all(row["value"] == true[row["point"]][row["dimension"]] for row in rows)
    depth = {row["value"]: row["position"] for row in rows if row["dimension"] == "lane_fifo_depth"}
    assert depth == {0: 0.0, 2: 0.5, None: 1.0}


def test_scores_have_intervals_and_the_front(kept: dict[str, Any]) -> None:
    tables = kept["evaluation"].tables
    charts = {chart.name: chart for chart in charts_of(tables)}
    rows = list(tables["evaluation"].rows())
    scores = charts["score_by_cycles_top1"].data
    front = {(row["cycles"], row["score"]) for row in scores.rows() if row["is_front"]}
    assert front == {(row["cycles"], row["top1"]) for row in rows if row["on_front"]}
    ends = [(row["statistic"], row["score"]) for row in scores.rows() if row["is_interval"]]
    timed = [row for row in rows if row["cycles"] is not None]
    assert sorted(ends) == sorted(
        pair for row in timed for pair in (("low", row["top1_low"]), ("high", row["top1_high"]))
    )
    over_rows = charts["score_by_rows_top1"]
    assert {row["rows"] for row in over_rows.data.rows() if row["is_score"]} == {4, 6}
    assert "The dotted line is the unpruned model" in over_rows.see
    assert [row["rows"] for row in over_rows.data.rows() if row["is_unpruned"]] == [None]
    [rule] = [mark for mark in over_rows.marks if mark.shape == "rule"]
    assert [row["shown"] for row in over_rows.rows(rule)] == ["unpruned"]


def test_names_keep_their_colours(kept: dict[str, Any]) -> None:
    """In all figures of all kinds of stores, a cause, a kind, a part and a front have one colour."""
    found: dict[tuple[str, str], set[str]] = {}
    for kind in KINDS:
        for chart in charts_of(kept[kind].tables):
            for mark in chart.marks:
                axis = mark.colour
                if axis is not None and axis.column in ("cause", "kind", "drawn_as", "shown", "memory"):
                    for name, colour in series_colours(axis, chart.rows(mark)).items():
                        found.setdefault((axis.column, name), set()).add(colour)
    assert {("drawn_as", "DRAM"), ("cause", "weight wait"), ("shown", "Pareto front")} <= set(found)
    assert [name for name, colours in found.items() if len(colours) > 1] == []


def test_ranks_are_those_of_the_findings(kept: dict[str, Any]) -> None:
    """BitX has one rank by cycles, among all machines with the baseline."""
    tables = kept["comparison"].tables
    said = comparison_findings(list(tables["comparison"].rows()), list(tables["networks"].rows()))
    [(rank, of)] = re.findall(r"bitx ranks (\d+) of (\d+)", " ".join(said))
    charts = {chart.name: chart.see for chart in charts_of(tables)}
    for name in ("speedup_over_baseline", "cycles_by_accelerator"):
        assert f"bitx is number {rank} of {of}" in charts[name]


def test_bars_are_mostly_of_named_parts(kept: dict[str, Any]) -> None:
    for chart in charts_of(kept["comparison"].tables, "machines_figure"):
        value = chart.marks[0].x.column
        whole: dict[str, float] = {}
        others: dict[str, float] = {}
        for row in chart.data.rows():
            name = row["accelerator"]
            whole[name] = whole.get(name, 0) + row[value]
            if row.get("drawn_as") == "other parts":
                others[name] = others.get(name, 0) + row[value]
        assert all(rest <= whole[name] / 2 for name, rest in others.items())


def test_contradictions_of_the_paper_are_not_ours() -> None:
    columns = {
        "place": ["Table 3", "Contradictions", "Table 3", "Table 3"],
        "published": [2.0, 3.0, None, -1.0],
        "ours": [2.0, 9.0, 1.0, 1.0],
        "mark": ["paper"] * 4,
    }
    charts = charts_of(
        Tables([Table("reproduction", columns, dict.fromkeys(columns, ""))]), "reproduction_figure"
    )
    for chart in charts:
        assert 9.0 not in chart.data.columns["ours"]
        assert "1 contradiction within the paper" in chart.see
        assert "1 line without one of the two numbers" in chart.see
    assert "1 of 1 number (100%)" in charts[0].see


def test_changes_between_runs(kept: dict[str, Any]) -> None:
    run = kept["run"]
    same = charts_of_change(run.tables, run.result.tables())
    assert [chart.name for chart in same] == [
        "change_of_totals",
        "change_by_layer_bitx",
        "change_by_layer_dadiannao",
    ]
    assert "no change" in same[0].see
    assert "are the same" in same[1].see
    fewer = hw.simulate_network([hw.accelerator("bitx", rows=3)], _sample()).tables()
    bitx = Tables(
        run.tables[name].where(lambda row: row["accelerator"] == "bitx")
        for name in ("networks", "simulation")
    )
    totals, by_layer = charts_of_change(bitx, fewer)
    before, after = (t["networks"].columns["cycles"][0] for t in (bitx, fewer))
    [ratio] = [row["ratio"] for row in totals.data.rows() if row["quantity"] == "cycles"]
    assert ratio == after / before
    assert sum(row["cycles"] for row in by_layer.data.rows() if row["run"] == "after") == after
    assert "bitx → bitx(rows=3)" in by_layer.title


MUST = {
    "simulation": ("layer", "accelerator"),
    "networks": ("network", "accelerator"),
    "sweep": ("point", "reason", "on_front"),
    "evaluation": ("rows", "samples", "reason", "on_front"),
    "reproduction": ("place", "quantity", "published", "ours"),
    "energy": ("layer", "accelerator", "part", "energy_j"),
    "area": ("accelerator", "part", "area_mm2"),
}
"""Columns that every store has, whoever wrote it (docs/store.md)."""


@pytest.mark.parametrize("values", [0, 1])
def test_stores_of_others_have_fewer_columns(kept: dict[str, Any], values: int) -> None:
    """Only what must be there; and some of the columns that figures look at."""
    found: dict[str, Table] = {}
    for one in kept.values():
        for name, table in one.tables.items():
            if name in MUST:
                more = ("cycles", "energy_j", "macs", "on_front", "published", "ours")[: 2 * values]
                names = [n for n in table.columns if n in MUST[name] or n in more]
                columns = {n: table.columns[n] for n in names}
                found[name] = Table(name, columns, {n: table.units[n] for n in names}, table.attrs)
    charts = charts_of(Tables(found.values()))
    assert {"energy_by_accelerator", "published_and_ours"} <= {chart.name for chart in charts}
    for chart in charts:
        specification(chart)
    for chart in one_of_each(charts):
        draw(chart, new_axes(columns=2))
    charts_of_change(Tables(found.values()), Tables(found.values()))


# -- functions on axes -------------------------------------------------------------------------


def _sample() -> Path:
    return Path(__file__).parents[4] / "data/samples/digits_resnet.onnx"


def test_functions_draw_on_given_axes(kept: dict[str, Any]) -> None:
    pytest.importorskip("matplotlib")
    ax = new_axes(columns=2)
    assert hw.plot.cycles_by_layer(kept["run"].path, "dadiannao", ax=ax) is ax
    assert ax.get_title(loc="left") == "Cycles by layer and cause: dadiannao"
    with bx.store.Store.open(kept["comparison"].path) as store:
        assert hw.plot.speedup_over_baseline(store).get_xlabel() == "speed-up over dadiannao"


def test_what_is_not_there_is_an_error(kept: dict[str, Any]) -> None:
    run = kept["run"]
    with pytest.raises(OptionError, match="accelerator must be one of bitx, dadiannao, got 'none'"):
        hw.plot.cycles_by_layer(run.result, "none")
    for draw_it in (hw.plot.speedup_over_baseline, hw.plot.sweep_option, hw.plot.score_by_rows):
        with pytest.raises(OptionError, match=r"no table .* bitx .* writes it"):
            draw_it(run.result)
    with pytest.raises(OptionError, match="option must be one of rows, lane_fifo_depth, got 'none'"):
        hw.plot.sweep_option(kept["sweep"].path, "none")
    assert tables_of(run.result.tables())
