"""Results give the tables that their stores hold, and what is made from these."""

from __future__ import annotations

from typing import Any

import pytest

import hwmodel as hw
from bitxcore.errors import OptionError

KINDS = ("run", "comparison", "sweep", "evaluation", "reproduction")


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_those_of_the_store(kept: dict[str, Any], kind: str) -> None:
    made, stored = kept[kind].result.tables(), kept[kind].tables
    missing = {"area", "costs"} if kind == "run" else set()
    assert set(made) == set(stored) - missing
    for name, table in made.items():
        other = stored[name]
        assert dict(table.columns) == dict(other.columns), name
        assert table.units == other.units
        if name == "simulation" and kind == "run":  # the store also has the machines' assumptions
            assert table.attrs.items() <= other.attrs.items()
        else:
            assert table.attrs == other.attrs


@pytest.mark.parametrize("kind", KINDS)
def test_frames_and_notebooks(kept: dict[str, Any], kind: str) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("xarray")
    result = kept[kind].result
    tables = result.tables()
    for name, table in tables.items():
        assert len(result.to_pandas(name)) == len(table)
        assert result.to_pandas(name).attrs["units"] == dict(table.units)
        assert set(result.to_xarray(name).data_vars) == set(table.columns)
    assert set(result.to_pandas().columns) in [set(table.columns) for table in tables.values()]
    with pytest.raises(OptionError, match="table must be one of"):
        result.to_pandas("none")
    html = result._repr_html_()
    assert html.count("<table>") == 1
    assert repr(result).partition("\n")[0].replace("<", "&lt;")[:20] in html


def test_explanations_have_tables() -> None:
    found = hw.explain("dadiannao", "resnet20-cifar10", effort_s=1)
    tables = found.tables()
    assert sum(tables["causes"].columns["cycles"]) == found.cycles
    assert tables["rooflines"].columns["layer"] == [line.layer for line in found.layers]
    assert len(tables["changes"]) == len(found.trials)
    assert "compute_cycles" in found._repr_html_()


def test_names_in_notebooks_are_harmless() -> None:
    network = hw.Network("n<script>", (hw.NetworkLayer(hw.Linear("<b>l", in_features=4, out_features=4)),))
    html = hw.simulate_network("dadiannao", network)._repr_html_()
    assert "<script>" not in html
