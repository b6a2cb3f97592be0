"""Changes of a BitX machine that might save cycles, for `hwmodel.explain` to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hwmodel.accelerators.changes import Change


def changes_of(options: Mapping[str, Any]) -> Iterator[Change]:
    """List changes of a machine with these options: its organisation, and what it prunes."""
    pes, cus = options["processing_elements"], options["compute_units"]
    rows, depth, lane_depth = options["rows"], options["fifo_depth"], options["lane_fifo_depth"]
    by_rows = options["serial_unit"] == "row"
    yield Change("twice the PEs", "hardware", {"processing_elements": 2 * pes})
    yield Change("twice the CUs of a PE", "hardware", {"compute_units": 2 * cus})
    if depth is not None:
        yield Change("a FIFO of twice the depth", "hardware", {"fifo_depth": 2 * depth or 1})
        yield Change(
            "a FIFO without bound (a limit; its area is not counted)", "hardware", {"fifo_depth": None}
        )
    if not by_rows and lane_depth is not None:
        deeper = 2 * lane_depth or 1
        yield Change(f"a queue of {deeper} before each lane", "hardware", {"lane_fifo_depth": deeper})
    if pes % 2 == 0:
        yield Change(
            "half the PEs, twice the CUs", "equal peak",
            {"processing_elements": pes // 2, "compute_units": 2 * cus},
        )  # fmt: skip
    if cus % 2 == 0:
        yield Change(
            "half the CUs, twice the PEs", "equal peak",
            {"compute_units": cus // 2, "processing_elements": 2 * pes},
        )  # fmt: skip
    if by_rows:
        taken = options["rows_per_cycle"]
        yield Change("twice the rows per cycle", "hardware", {"rows_per_cycle": 2 * taken})
        if pes % 2 == 0:
            half = {"processing_elements": pes // 2, "rows_per_cycle": 2 * taken}
            yield Change("half the PEs, twice the rows per cycle", "equal peak", half)
    if options["prunes"] and rows is not None and rows > 1:
        yield Change(f"{rows - 1} rows instead of {rows}", "accuracy", {"rows": rows - 1})
    if not options["skip_zero_groups"]:
        yield Change("no cycle for a group of zeros", "equal peak", {"skip_zero_groups": True})
    if options["prunes"] and not options["pack_zeros"]:
        yield Change("zero weights left out of groups", "equal peak", {"pack_zeros": True})
    for port in ("weight", "activation", "output"):
        name = f"{port}_bytes_per_cycle"
        if options.get(name) is not None:
            yield Change(f"twice the width of the {port} port", "hardware", {name: 2 * options[name]})
