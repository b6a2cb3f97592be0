"""Rules of the tables that a report reads: what is refused, what is left out, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitxcore.errors import DumpError
from bitxcore.store import Store
from bitxcore.tables import Table, Tables
from hwmodel.report.report_findings import findings_of
from hwmodel.report.store_rules import LARGEST_KEPT, checked_arrays, kept_tables
from hwmodel.report.stored_runs import read_runs

PATH = Path("run.h5")


def table(name: str, **columns: list[Any]) -> dict[str, Table]:
    units = {column: "cycles" if column.endswith("cycles") else "" for column in columns}
    return {name: Table(name, columns, units)}


@pytest.mark.parametrize("rows", [-1, 2**62, LARGEST_KEPT + 1, 1.5, "3", True, None])
def test_a_count_sizes_no_array(rows: Any) -> None:
    found = table("kept_rows", layer=["a"], accelerator=["b"], kept_rows=[rows], groups=[1])
    with pytest.raises(DumpError, match=r"run\.h5: table kept_rows: column 'kept_rows', row 0: must be "):
        kept_tables(found, PATH)


def test_counted_units_are_not_negative() -> None:
    found = table("networks", network=["n"], accelerator=["b"], cycles=[3], fill_cycles=[-4])
    with pytest.raises(
        DumpError, match="column 'fill_cycles', row 0: must be a number from 0 to 1e300, got -4"
    ):
        kept_tables(found, PATH)


def test_what_is_not_finite_is_missing() -> None:
    kept, _ = kept_tables(table("mine", a=[float("inf"), 1.0, float("-inf"), float("nan")]), PATH)
    assert kept["mine"].columns["a"] == [None, 1.0, None, None]


def test_a_table_without_needed_columns_is_not_shown() -> None:
    found = table("comparison", speedup=[1.0], cycles=[2], label=["x"])
    kept, remarks = kept_tables(found, PATH)
    assert not kept
    assert remarks == ("table comparison lacks accelerator: not shown",)


@pytest.mark.parametrize("values", [[[1, 1]], [float("nan")], [-1], 3, []])
def test_histograms_are_counts(values: Any) -> None:
    with pytest.raises(DumpError, match="tensor 'fc', array 'ones_per_row': must hold"):
        checked_arrays("fc", {"ones_per_row": np.array(values)}, PATH)


def test_a_store_without_figures_says_why(tmp_path: Path) -> None:
    path = tmp_path / "pruning.h5"
    with Store.create(path) as writer:
        writer.write_table("pruning", {"tensor": ["fc"]}, units={"tensor": ""})
    (run,) = read_runs([path])
    lacks, none = run.remarks
    assert (
        lacks == "table pruning lacks values and groups: figures and sentences that need them are not shown"
    )
    assert none == "no tensor of table pruning has the array kept_rows_histogram: no figure of it is shown"


def test_errors_of_huge_tensors_do_not_overflow() -> None:
    columns: dict[str, list[Any]] = {"tensor": ["a", "b"], "values": [4, 4], "groups": [1, 1]}
    columns |= {"relative_error": [0.1, 0.1], "norm": [9e299, 9e299]}
    said = findings_of("pruning", Tables([Table("pruning", columns, {})]), {})
    assert "The relative error of all weights is 10.00%" in said[1]
