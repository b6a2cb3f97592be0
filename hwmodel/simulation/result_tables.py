"""The tables of a result, as a store holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hwmodel.simulation.columns import LAYER_COLUMNS, TOTAL_COLUMNS, dtypes_of, units_of

if TYPE_CHECKING:
    from hwmodel.simulation.results import NetworkResult


class TableWriter(Protocol):
    """A `bitxcore.store.StoreWriter`, or a `bitxcore.tables.TableCollector`."""

    def write_table(
        self,
        name: str,
        columns: Any,
        *,
        units: Mapping[str, str],
        dtypes: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a table: whole columns, or an iterable of rows."""


def write_result(writer: TableWriter, result: NetworkResult, attrs: Mapping[str, str] | None = None) -> None:
    """Write what a result tells without its machines: all tables but ``area`` and ``costs``.

    Parameters
    ----------
    writer : StoreWriter or TableCollector
    result : NetworkResult
    attrs : mapping of str to str, optional
        More attributes of the table ``simulation``.
    """
    attrs = {**(attrs or {}), "network": result.network, "notes": "\n".join(result.notes)}
    writer.write_table(
        "simulation",
        (r.columns() for r in result.layers),
        units=units_of(LAYER_COLUMNS),
        dtypes=dtypes_of(LAYER_COLUMNS),
        attrs=attrs,
    )
    writer.write_table(
        "networks",
        ({"network": result.network, **t.columns()} for t in result.totals),
        units={"network": "", **units_of(TOTAL_COLUMNS)},
        dtypes=dtypes_of(TOTAL_COLUMNS),
    )
    writer.write_table(
        "kept_rows",
        (
            {"layer": r.layer, "accelerator": r.accelerator, "kept_rows": rows, "groups": groups}
            for r in result.layers
            for rows, groups in enumerate(r.kept_rows_histogram or ())
            if groups
        ),
        units={"layer": "", "accelerator": "", "kept_rows": "1", "groups": "1"},
        dtypes={"layer": str, "accelerator": str, "kept_rows": np.int64, "groups": np.int64},
    )
    writer.write_table(
        "kept_ones",
        (
            {"layer": r.layer, "accelerator": r.accelerator, "kept_ones": ones, "weights": weights}
            for r in result.layers
            for ones, weights in enumerate(r.kept_ones_histogram or ())
            if weights
        ),
        units={"layer": "", "accelerator": "", "kept_ones": "1", "weights": "1"},
        dtypes={"layer": str, "accelerator": str, "kept_ones": np.int64, "weights": np.int64},
    )
    writer.write_table(
        "energy",
        (
            {"layer": r.layer, "accelerator": r.accelerator, "part": part, "energy_j": energy}
            for r in result.layers
            for part, energy in (r.energy_parts_j or {}).items()
        ),
        units={"layer": "", "accelerator": "", "part": "", "energy_j": "J"},
        dtypes={"layer": str, "accelerator": str, "part": str, "energy_j": float},
    )
    writer.write_table(
        "not_simulated",
        (asdict(n) for n in result.not_simulated),
        units={"operation": "", "count": "1", "reason": "", "multiplies": ""},
        dtypes={"operation": str, "count": np.int64, "reason": str, "multiplies": bool},
    )
