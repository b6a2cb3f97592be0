"""Rows of a run into an HDF5 store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from hwmodel.accelerators.base import Accelerator
from hwmodel.simulation.columns import LAYER_COLUMNS, TOTAL_COLUMNS, dtypes_of, units_of
from hwmodel.simulation.results import NetworkResult

if TYPE_CHECKING:
    from bitxcore.store import StoreWriter


def write_run(
    writer: StoreWriter,
    result: NetworkResult,
    accelerators: Sequence[Accelerator],
    built: Sequence[Accelerator] | None = None,
) -> None:
    """Write the tables ``simulation``, ``networks``, ``kept_rows``, ``kept_ones`` and ``not_simulated``.

    Parameters
    ----------
    writer : StoreWriter
        From ``Store.create``.
    result : NetworkResult
    accelerators : sequence of Accelerator
        Those of the run; their assumptions become attributes.
    built : sequence of Accelerator, optional
        Machines whose area and cost figures these have, where a policy's layers need others.
    """
    costed = [(a.label, b) for a, b in zip(accelerators, built or accelerators, strict=True)]
    attrs = {f"assumptions of {a.label}": "\n".join(a.assumptions) for a in accelerators}
    attrs |= {"network": result.network, "notes": "\n".join(result.notes)}
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
        "area",
        (
            {"accelerator": label, "part": part, "area_mm2": area}
            for label, machine in costed
            for part, area in machine.area_parts_mm2.items()
        ),
        units={"accelerator": "", "part": "", "area_mm2": "mm2"},
        dtypes={"accelerator": str, "part": str, "area_mm2": float},
    )
    writer.write_table(
        "costs",
        (
            {"accelerator": label, **asdict(figure)}
            for label, machine in costed
            for figure in machine.cost_figures
        ),
        units={
            "accelerator": "",
            "name": "",
            "source": "",
            "energy_j": "J",
            "area_mm2": "mm2",
            "value": "1",
            "unit": "",
        },
        dtypes={
            "accelerator": str,
            "name": str,
            "source": str,
            "energy_j": float,
            "area_mm2": float,
            "value": float,
            "unit": str,
        },
    )
    writer.write_table(
        "not_simulated",
        (asdict(n) for n in result.not_simulated),
        units={"operation": "", "count": "1", "reason": "", "multiplies": ""},
        dtypes={"operation": str, "count": np.int64, "reason": str, "multiplies": bool},
    )
