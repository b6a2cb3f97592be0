"""Results as data frames, data sets and HTML."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import bitxcore as bx
from bitxcore.errors import MissingExtraError
from bitxcore.tables import facts_html

X = np.random.default_rng(0).standard_normal((4, 6, 3, 3)).astype(np.float32)
RESULTS = {
    "Pruned": lambda: bx.prune(X),
    "Statistics": lambda: bx.statistics(X, rows=6),
    "Ones per weight": lambda: bx.weight_ones(X),
    "Decomposed": lambda: bx.decompose(X),
}


@pytest.mark.parametrize("name", RESULTS)
def test_units_are_everywhere(name):
    result = RESULTS[name]()
    frame, data = result.to_pandas(), result.to_xarray()
    assert set(frame.attrs["units"]) == set(frame.columns)
    assert all("units" in variable.attrs for variable in data.variables.values())
    assert result._repr_html_().startswith(f"<table><caption>{name}</caption>")


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("package", ["pandas", "xarray"])
def test_missing_packages_are_named(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed: pip install 'bitx\[tables\]'"):
        getattr(RESULTS[name](), f"to_{package}")()


def test_pruned():
    pruned = bx.prune(X, format="fixed8")
    frame, data = pruned.to_pandas(), pruned.to_xarray()
    assert len(frame) == pruned.kept_rows.size
    row = frame[(frame["filter"] == 2) & (frame["group"] == 3)]
    assert row.kept_rows.item() == pruned.kept_rows[2, 3]
    assert row.row_mask.item() == pruned.row_masks[2, 3]
    assert data["values"].dims == ("filter", "axis_1", "axis_2", "axis_3")
    assert (data["values"].to_numpy() == pruned.values).all()
    assert (data.codes.to_numpy() == pruned.codes).all()
    assert int(data.row_masks.sel(filter=2, group=3)) == pruned.row_masks[2, 3]
    assert data.attrs["scale"] == pruned.scale
    assert data.attrs["group_weights"] == 8
    assert bx.prune(X.reshape(-1)).to_xarray()["values"].dims == ("weight",)


def test_statistics():
    found = bx.statistics(X)
    data = found.to_xarray()
    assert found.to_pandas().ones.tolist() == found.row_ones.tolist() == data.row_ones.to_numpy().tolist()
    assert data.nonempty_rows_histogram.to_numpy().tolist() == found.nonempty_rows_histogram.tolist()
    assert int(data.essential_bits) == found.essential_bits


def test_decomposed():
    found = bx.decompose(X)
    assert (found.to_xarray().significand.to_numpy() == found.significand).all()
    assert found.to_pandas().exponent.tolist() == found.exponent.reshape(-1).tolist()
    assert f"<td>{int(bx.essential_bits(X).sum()):,} bit</td>" in found._repr_html_()


def test_html_obeys_nothing():
    text = facts_html("<b>\x1b[2J", {"<script>": ("</td>\n", "&")})
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "&lt;/td&gt;\\n &amp;" in text
