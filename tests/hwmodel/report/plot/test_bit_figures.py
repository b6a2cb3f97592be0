"""Figures of the bits in stores: numbers are those of the library, names are harmless."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import errors_of_interest, row_errors
from bitxcore.errors import OptionError
from bitxcore.store import Store
from bitxcore.tables import Table, Tables
from hwmodel.cli import group
from hwmodel.report.figure_sources import tables_of
from hwmodel.report.plot import bit_rows_figure, kept_ones_figure, kept_rows_figure, row_errors_figure

SAMPLE = Path(__file__).parents[4] / "data/samples/digits_resnet.onnx"
MODULES = (bit_rows_figure, kept_rows_figure, kept_ones_figure, row_errors_figure)
EVIL = "<script>\x1b[31m\n$x$"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    paths = {name: folder / f"{name}.h5" for name in ("inspect", "prune")}
    for arguments in (
        ["inspect", SAMPLE, "--preset", "wild", "-o", paths["inspect"]],
        ["prune", SAMPLE, "-o", folder / "pruned.onnx", "--store", paths["prune"]],
    ):
        done = CliRunner().invoke(group, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
    return paths


@pytest.fixture(scope="module")
def weights():
    with bx.open_dump(SAMPLE) as dump:
        return {
            name: np.ascontiguousarray(dump[name].layout.turn(dump[name].read()))
            for name in ("stem.weight", "head.weight")
        }


def shares(chart, column, name):
    return [row["share"] for row in chart.data.rows() if row[column] == name]


def test_bit_rows(stores, weights):
    (chart,) = bit_rows_figure.charts(tables_of(stores["inspect"]))
    for name, values in weights.items():
        found = bx.statistics(values)
        drawn = shares(chart, "tensor", name)
        assert drawn == (found.row_ones / values.size).tolist()[: len(drawn)]


def test_kept_rows_and_ones_of_a_pruned_dump(stores, weights):
    tables = tables_of(stores["prune"])
    (rows,), (ones,) = kept_rows_figure.charts(tables), kept_ones_figure.charts(tables)
    for name, values in weights.items():
        pruned = bx.prune(values)
        assert (
            shares(rows, "tensor", name)
            == (pruned.kept_rows_histogram()[:7] / pruned.kept_rows.size).tolist()
        )
        counts = np.bincount(bx.essential_bits(pruned.values).reshape(-1))
        drawn = shares(ones, "tensor", name)
        assert drawn[: counts.size] == (counts / values.size).tolist()
        before = np.bincount(bx.essential_bits(values).reshape(-1), minlength=25)
        assert tables.tensors[name]["ones_histogram"].tolist() == before.tolist()


def test_errors(stores, weights):
    with Store.open(stores["inspect"]) as store:
        assert store.units("errors") == {"tensor": "", "rows": "1", "relative_error": "1", "values_used": "1"}
    (chart,) = row_errors_figure.charts(tables_of(stores["inspect"]))
    for name, values in weights.items():
        expected = row_errors(values, errors_of_interest(32))
        found = [r["relative_error"] for r in chart.data.rows() if r["tensor"] == name]
        assert found == [error.relative_error for error in expected]
    assert "At 6 rows the median error is" in chart.see
    ax = hw.plot.row_errors(stores["inspect"])
    assert len(ax.lines) == 13 + 1  # tensors, and the median


def test_simulations_have_kept_rows_and_ones():
    units = {"layer": "", "accelerator": "", "kept_rows": "1", "groups": "1"}
    columns = {
        "layer": ["a", "a", "b", "a"],
        "accelerator": ["bitx", "bitx", "bitx", "bitlet"],
        "kept_rows": [0, 2, 1, 5],
        "groups": [1, 3, 2, 2],
    }
    tables = Tables([Table("kept_rows", columns, units)])
    charts = kept_rows_figure.charts(tables)
    assert [c.data.columns["accelerator"][0] for c in charts] == ["bitx", "bitlet"]
    assert shares(charts[0], "layer", "a") == [0.25, 0.0, 0.75]
    assert "from 1.00 in b to 1.50 in a" in charts[0].see
    assert hw.plot.kept_rows(tables, "bitlet").get_title(loc="left").endswith("bitlet")
    with pytest.raises(OptionError, match="accelerator must be one of bitx, bitlet, got 'eie'"):
        hw.plot.kept_rows(tables, "eie")


@pytest.mark.parametrize("module", MODULES)
def test_stores_without_these_have_no_figures(module):
    assert module.charts(Tables()) == []
    assert module.charts(Tables([Table("simulation", {"layer": []}, {"layer": ""})])) == []


def test_many_tensors_and_hostile_names():
    names = [f"{EVIL}{i}" for i in range(100)]
    statistics = Table(
        "statistics",
        {"tensor": names, "values": list(range(100, 200))},
        {"tensor": "", "values": "1"},
    )
    tensors = {name: {"ones_per_row": np.array([3, 2, 1])} for name in names}
    (chart,) = bit_rows_figure.charts(Tables([statistics], tensors))
    assert "The largest 80 of 100 tensors are drawn." in chart.see
    assert list(dict.fromkeys(chart.data.columns["tensor"])) == names[20:]
    assert chart.see.isprintable()
    ax = hw.plot.bit_rows(Tables([statistics], tensors))
    assert all(label.get_text().isprintable() for label in ax.get_yticklabels())
