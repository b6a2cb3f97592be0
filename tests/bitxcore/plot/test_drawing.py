"""Figures on matplotlib axes: what is drawn, what is left as it was, and what files hold."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitxcore as bx
from bitxcore.errors import OptionError
from bitxcore.plot.chart import Chart, ChartAxis, ChartMark, series_colours
from bitxcore.plot.drawing import draw, new_axes, save
from bitxcore.tables import Table

EVIL = [
    "<script>alert(1)</script>",
    "$\\frac{1}{0}$",
    "_hidden",
    "a\x1b[31m\n\u202e",
    "100% & 'more' \"x\"",
    "$",
]
X = np.random.default_rng(0).standard_normal((8, 16, 3, 3)).astype(np.float32)


def chart_of(columns, marks, units=None):
    return Chart("c", "Title", "See.", Table("c", columns, units or dict.fromkeys(columns, "1")), marks)


def stacked(names=("a", "b", "c"), causes=("fill", "wait"), order=None, **mark):
    rows = [(n, c, 1.0 + i) for i, n in enumerate(names) for c in causes]
    columns = dict(zip(("layer", "cause", "cycles"), map(list, zip(*rows, strict=True)), strict=True))
    colour = ChartAxis("cause", "cause", "nominal", order=order)
    bars = ChartMark(
        "bar", ChartAxis("cycles", "cycles", unit="cycles"), ChartAxis("layer", "layer", "nominal"),
        colour=colour, **mark,
    )  # fmt: skip
    return chart_of(columns, [bars])


def legend_of(ax):
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


FIGURES = {
    "bit_matrix": lambda: bx.plot.bit_matrix(X, [0, 3]),
    "ones_per_row": lambda: bx.plot.ones_per_row(bx.statistics(X)),
    "nonempty_rows": lambda: bx.plot.nonempty_rows(bx.statistics(X)),
    "kept_rows": lambda: bx.plot.kept_rows(bx.prune(X)),
    "kept_ones": lambda: bx.plot.kept_ones(bx.weight_ones(X)),
    "error_by_rows": lambda: bx.plot.error_by_rows(X),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_change_no_style_and_write_vectors(name, tmp_path):
    before = dict(mpl.rcParams)
    ax = FIGURES[name]()
    save(ax, tmp_path / "a.svg")
    save(ax, tmp_path / "b.svg")
    save(ax, tmp_path / "a.pdf")
    save(ax, tmp_path / "b.pdf")
    assert dict(mpl.rcParams) == before
    for suffix in ("svg", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    svg = (tmp_path / "a.svg").read_text("utf-8")
    assert re.search(rf">{re.escape(ax.get_title(loc='left').splitlines()[0])}", svg)
    assert "<path" in svg
    assert "<image" not in svg
    assert "<dc:date>" not in svg
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # letters, not outlines
    assert b"/Subtype /Image" not in pdf
    assert b"CreationDate" not in pdf


def test_drawing_needs_no_pyplot():
    code = (
        "import sys, numpy as np, bitxcore as bx\n"
        "bx.plot.kept_rows(bx.prune(np.ones((2, 8), 'f4')))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_save_refuses_what_it_can_not_write(tmp_path):
    with pytest.raises(OptionError, match=r"path must end in one of .*pdf.*, got '.*c\.xyz'"):
        save(new_axes(), tmp_path / "c.xyz")
    with pytest.raises(OptionError, match="columns must be 1 or 2, got 3"):
        new_axes(columns=3)  # type: ignore[arg-type]


def test_given_axes_are_drawn_on():
    ax = new_axes(columns=2)
    assert bx.plot.kept_rows(bx.prune(X), ax=ax) is ax
    assert round(ax.figure.get_size_inches()[0] * 0.0254, 4) == 0.178


def test_bars_are_stacked_and_colours_stay():
    ax = draw(stacked(order=("none", "fill", "wait")))
    widths = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert widths == [(0, 1), (0, 2), (0, 3), (1, 1), (2, 2), (3, 3)]
    colours = series_colours(ChartAxis("cause", "", "nominal", order=("none", "fill", "wait")), [])
    assert [mpl.colors.to_hex(ax.patches[i].get_facecolor()) for i in (0, 3)] == [
        colours["fill"],
        colours["wait"],
    ]
    assert legend_of(ax) == ["fill", "wait"]  # no entry for what is not there
    assert ax.get_xlabel() == "cycles"  # and not cycles (cycles)
    ax = draw(stacked(beside=True))
    assert {bar.get_x() for bar in ax.patches} == {0}


def test_legend_and_title_cover_no_data():
    ax = draw(stacked(names=[f"layer{i}" for i in range(30)], causes=[f"cause {i}" for i in range(9)]))
    ax.figure.draw_without_rendering()
    inside = ax.get_window_extent()
    legend = ax.get_legend().get_window_extent()
    title = ax._left_title.get_window_extent()
    assert legend.y0 >= inside.y1 - 1
    assert title.y0 >= legend.y1 - 1
    whole = ax.figure.bbox
    for box in (legend, title):
        assert whole.x0 <= box.x0
        assert box.x1 <= whole.x1
        assert box.y1 <= whole.y1
    hatches = [patch.get_hatch() for patch in ax.patches]
    assert hatches[0] != hatches[-1]  # the ninth series has the colour of the first


@pytest.mark.parametrize("columns", [1, 2])
def test_many_long_names_do_not_overlap(columns):
    names = [f"model.encoder.layers.{i}.attention.output.dense.weight" for i in range(80)]
    values = {"layer": names, "cycles": [float(i) for i in range(80)]}
    bars = ChartMark("bar", ChartAxis("cycles", "cycles"), ChartAxis("layer", "layer", "nominal"))
    chart = chart_of(values, [bars])
    ax = draw(chart) if columns == 1 else draw(chart, new_axes(columns=2))
    ax.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert all(upper.y0 >= lower.y1 - 2 for upper, lower in pairwise(boxes))
    assert ax.get_window_extent().width > 0.4 * ax.figure.bbox.width
    assert all(len(label.get_text()) <= 40 for label in ax.get_yticklabels())


def test_labels_of_points_do_not_overlap():
    rng = np.random.default_rng(3)
    n = 27
    columns = {
        "x": rng.random(n).tolist(),
        "y": rng.random(n).tolist(),
        "name": [f"machine {i}" for i in range(n)],
    }
    ax = draw(chart_of(columns, [ChartMark("point", ChartAxis("x", "x"), ChartAxis("y", "y"), text="name")]))
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert len(boxes) > 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_hostile_names(suffix, tmp_path):
    chart = stacked(names=EVIL, causes=EVIL)
    chart = Chart(chart.name, "$\\bad{ title\x1b[2J", "See.", chart.data, chart.marks)
    ax = draw(chart)
    assert len(legend_of(ax)) == len(EVIL)  # also that which begins with "_"
    save(ax, tmp_path / f"c.{suffix}")
    if suffix == "svg":
        svg = (tmp_path / "c.svg").read_text("utf-8")
        assert "<script" not in svg
        assert "\x1b" not in svg
        assert "$\\bad{ title\\x1b[2J" in svg


def test_heat_map_of_names_and_of_nothing():
    columns = {"x": [0, 1, 0], "y": ["a", "a", "b"], "v": [0.5, None, 1.0], "s": ["in", "out", "in"]}
    x, y = ChartAxis("x", "x", "ordinal"), ChartAxis("y", "y", "nominal")
    ax = draw(chart_of(columns, [ChartMark("cell", x, y, colour=ChartAxis("v", "v", percent=True))]))
    grid = ax.collections[0].get_array()
    assert np.ma.filled(grid.astype(float), -1).tolist() == [[0.5, -1.0], [1.0, -1.0]]
    state = ChartAxis("s", "s", "nominal", colours=("#112233", "#eeeeee"))
    ax = draw(chart_of(columns, [ChartMark("cell", x, y, colour=state, text="s")]))
    assert legend_of(ax) == ["in", "out"]
    assert [text.get_text() for text in ax.texts] == ["in", "out", "in"]
    empty = {name: [] for name in columns}
    for mark in (
        ChartMark("cell", x, y, colour=ChartAxis("v", "v")),
        ChartMark("bar", ChartAxis("v", "v"), y),
        ChartMark("line", ChartAxis("x", "x"), ChartAxis("v", "v"), colour=state),
        ChartMark("line", ChartAxis("x", "x"), ChartAxis("v", "v", log=True), colour=ChartAxis("v", "v")),
        ChartMark("point", ChartAxis("x", "x"), ChartAxis("v", "v"), text="y"),
    ):
        draw(chart_of(empty, [mark]))


FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(max_examples=10)
@given(
    st.lists(st.tuples(FINITE, FINITE, st.sampled_from("abc")), min_size=1, max_size=12),
    st.sampled_from(["bar", "line", "step", "point"]),
    st.booleans(),
)
def test_any_finite_values_are_drawn(rows, shape, log):
    columns = dict(zip("xyc", map(list, zip(*rows, strict=True)), strict=True))
    x = ChartAxis("c", "name", "nominal") if shape == "bar" else ChartAxis("x", "x")
    mark = ChartMark(shape, x, ChartAxis("y", "y", log=log), colour=ChartAxis("c", "name", "nominal"))
    ax = draw(chart_of(columns, [mark]))
    drawn = sum(y > 0 for y in columns["y"]) if log else len(rows)
    if shape == "point":
        assert sum(len(part.get_offsets()) for part in ax.collections) == drawn
    elif shape != "bar":
        assert sum(len(line.get_xdata()) for line in ax.lines) == drawn


def test_what_does_not_fit_is_an_error_that_says_what_would() -> None:
    x = np.array([3, 8, -9, 0], np.int8)
    pruned = bx.prune(x, rows=2, group=2)
    for draw_it in (bx.plot.kept_rows, bx.plot.kept_ones):
        with pytest.raises(OptionError, match=r"bitxcore\.prune.* got ndarray"):
            draw_it(x)
    for draw_it in (bx.plot.ones_per_row, bx.plot.nonempty_rows):
        for unfit in (x, pruned):
            with pytest.raises(OptionError, match=r"what bitxcore\.statistics returns"):
                draw_it(unfit)
    with pytest.raises(OptionError, match="got a Pruned"):
        bx.plot.error_by_rows(pruned)
    with pytest.raises(OptionError, match="ax must be axes of matplotlib, got int"):
        bx.plot.kept_rows(pruned, ax=3)
