"""Tables as data frames: dtypes of columns without any value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bitxcore.store import Store
from bitxcore.tables import Table, TableCollector

UNITS = {"layer": "", "cycles": "cycles", "energy_j": "J", "macs": "1"}
ROWS: list[dict[str, object]] = [dict.fromkeys(UNITS) for _ in range(2)]
DTYPES = {"layer": str, "cycles": np.int64, "energy_j": float}
EXPECTED = {"layer": "object", "cycles": "Int64", "energy_j": "float64", "macs": "float64"}


def dtypes(table: Table) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in table.to_pandas().dtypes.items()}


def test_columns_without_values_have_the_dtype_of_their_kind(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    collector, path = TableCollector(), tmp_path / "run.h5"
    collector.write_table("t", ROWS, units=UNITS, dtypes=DTYPES)
    with Store.create(path) as writer:
        writer.write_table("t", ROWS, units=UNITS, dtypes=DTYPES)
    with Store.open(path) as store:
        stored = store.read_tables()["t"]
    table = collector.tables()["t"]
    assert dtypes(table) == dtypes(stored) == EXPECTED
    assert dtypes(table.where(lambda row: True)) == EXPECTED
    assert int(table.to_pandas().cycles.sum()) == 0


def test_columns_with_values_keep_their_dtype() -> None:
    pytest.importorskip("pandas")
    table = Table("t", {"a": [1, 2], "b": [1, None], "c": ["x", None]}, {"a": "1", "b": "1", "c": ""})
    found = dtypes(table)
    assert (found["a"], found["b"]) == ("int64", "float64")


def test_missing_integers_are_nan_in_xarray() -> None:
    pytest.importorskip("xarray")
    data = Table("t", {"a": [None]}, {"a": "cycles"}, kinds={"a": "i"}).to_xarray()
    assert data.a.dtype == np.float64
    assert bool(np.isnan(data.a).all())
