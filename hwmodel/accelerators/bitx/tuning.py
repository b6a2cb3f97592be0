"""Changes of a BitX machine that might save cycles, for `hwmodel.explain` to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hwmodel.accelerators.changes import Change


def changes_of(options: Mapping[str, Any]) -> Iterator[Change]:
    """List changes of a machine with these options: its organisation, and what it prunes."""
    lanes, units, pes = (options[name] for name in ("lanes", "compute_units", "processing_elements"))
    rows, depth = options["rows"], options["fifo_depth"]
    yield Change("twice the lanes", "hardware", {"lanes": 2 * lanes})
    yield Change("twice the compute units", "hardware", {"compute_units": 2 * units})
    yield Change("twice the PEs", "hardware", {"processing_elements": 2 * pes})
    if depth is not None:
        yield Change("a FIFO of twice the depth", "hardware", {"fifo_depth": 2 * depth or 1})
        yield Change(
            "a FIFO without bound (a limit; its area is not counted)", "hardware", {"fifo_depth": None}
        )
    if units % 2 == 0:
        half = {"compute_units": units // 2}
        yield Change(
            "half the compute units, twice the PEs", "equal peak", half | {"processing_elements": 2 * pes}
        )
        yield Change("half the compute units, twice the lanes", "equal peak", half | {"lanes": 2 * lanes})
    if pes % 2 == 0:
        half = {"processing_elements": pes // 2}
        yield Change(
            "half the PEs, twice the compute units", "equal peak", half | {"compute_units": 2 * units}
        )
        yield Change("half the PEs, twice the lanes", "equal peak", half | {"lanes": 2 * lanes})
    if lanes % 2 == 0:
        half = {"lanes": lanes // 2}
        yield Change(
            "half the lanes, twice the compute units", "equal peak", half | {"compute_units": 2 * units}
        )
        yield Change("half the lanes, twice the PEs", "equal peak", half | {"processing_elements": 2 * pes})
    if rows is not None and rows > 1:
        yield Change(f"{rows - 1} rows instead of {rows}", "accuracy", {"rows": rows - 1})
    if not options["skip_zero_groups"]:
        yield Change("no cycle for a group of zeros", "equal peak", {"skip_zero_groups": True})
    if not options["pack_zeros"]:
        yield Change("zero weights left out of groups", "equal peak", {"pack_zeros": True})
    for port in ("weight", "activation", "output"):
        name = f"{port}_bytes_per_cycle"
        if options.get(name) is not None:
            yield Change(f"twice the width of the {port} port", "hardware", {name: 2 * options[name]})
