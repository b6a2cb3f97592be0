"""Changes of one parameter that might help a machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hwmodel.accelerators.base import Accelerator

KINDS = {
    "equal peak": "equal peak",
    "hardware": "adds hardware",
    "accuracy": "lowers accuracy",
}
"""What a change costs. At equal peak the weights' error does not grow either."""


@dataclass(frozen=True)
class Change:
    """A machine that differs in one thing.

    Attributes
    ----------
    words : str
    kind : str
        A key of `KINDS`.
    options : mapping of str to value
        What is set anew.
    """

    words: str
    kind: str
    options: Mapping[str, Any]


def changes(machine: Accelerator) -> Iterator[Change]:
    """List what might help a machine: one thing a change.

    BitX has changes of its own; of every other machine, each option that is a number of things is doubled.
    Options of the DRAM count where the machine has one with limits.
    """
    options = machine.options
    yield from _bitx_changes(options) if machine.name == "bitx" else _doubled(options)
    if options.get("dram") is None:
        return
    if "dram_channels" in options:
        yield Change("twice the DRAM channels", "hardware", {"dram_channels": 2 * options["dram_channels"]})
    for buffer in ("weight", "activation", "output"):
        if (name := f"{buffer}_buffer_bytes") in options:
            yield Change(f"{buffer} buffer of twice the size", "hardware", {name: 2 * options[name]})
    if options.get("weights_in_dram") == "plain":
        yield Change("weights packed in DRAM (beyond the paper)", "equal peak", {"weights_in_dram": "packed"})


def _bitx_changes(options: Mapping[str, Any]) -> Iterator[Change]:
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


_LOSSY = ("pruned_columns", "zero_columns")
"""Options that say how much of the operands is left out."""

_MEMORY = ("dram_channels", "weight_buffer_bytes", "activation_buffer_bytes", "output_buffer_bytes")


def _doubled(options: Mapping[str, Any]) -> Iterator[Change]:
    for name, value in options.items():
        # A width of numbers is no number of things; the shifters' reach, which is called so too, is one.
        is_width = name == "precision" or (name.endswith("_bits") and name != "first_stage_bits")
        if isinstance(value, bool) or not isinstance(value, int) or is_width or name in _MEMORY:
            continue
        new = 2 * value or 1
        kind = "accuracy" if name in _LOSSY else "hardware"
        yield Change(f"{name}={new} instead of {value}", kind, {name: new})
