"""Rows of a run into an HDF5 store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from hwmodel.accelerators.base import Accelerator
from hwmodel.simulation.result_tables import TableWriter, write_result
from hwmodel.simulation.results import NetworkResult


def write_run(
    writer: TableWriter,
    result: NetworkResult,
    accelerators: Sequence[Accelerator],
    built: Sequence[Accelerator] | None = None,
) -> None:
    """Write the tables of a run: those of its result, and ``area`` and ``costs`` of its machines.

    Parameters
    ----------
    writer : StoreWriter or TableCollector
    result : NetworkResult
    accelerators : sequence of Accelerator
        Those of the run; their assumptions become attributes.
    built : sequence of Accelerator, optional
        Machines whose area and cost figures these have, where a policy's layers need others.
    """
    costed = [(a.label, b) for a, b in zip(accelerators, built or accelerators, strict=True)]
    attrs = {f"assumptions of {a.label}": "\n".join(a.assumptions) for a in accelerators}
    write_result(writer, result, attrs)
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
