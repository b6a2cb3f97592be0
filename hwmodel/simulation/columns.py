"""Every column of a result, declared once: name, unit, dtype, meaning, and how a network's total is formed.

Tables, stores, JSON documents, data frames and ``docs/store.md`` are made from this list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hwmodel.accelerators.cycle_attribution import CAUSES

Total = Literal["count", "sum", "told", "first", "mean", "derived"]
"""How a network's value follows from those of its layers: their sum, which is 0 for no layers (count); their
sum, which is nothing if one has none (sum); the sum of those that tell it (told); the first one's, all being
equal (first); the mean over cycles (mean); or it is derived from the network's other values."""

TEXT, INTEGER, REAL = str, np.int64, float


@dataclass(frozen=True)
class Column:
    """One column.

    Parameters
    ----------
    name : str
        Of the attribute, and of the column.
    unit : str
        ``""`` for text, ``"1"`` for plain numbers.
    dtype : type
    meaning : str
        One line.
    total : Total, optional
        None: a layer has it, a network has not.
    layer : bool
        Whether layers have it.
    stored : bool
        Whether it is a column of tables; else it only enters others.
    heading : str
        In tables for people, lines separated; empty: it is in none.
    """

    name: str
    unit: str
    dtype: Any
    meaning: str
    total: Total | None = None
    layer: bool = True
    stored: bool = True
    heading: str = ""


def _cycles(
    name: str, meaning: str, total: Total = "sum", *, stored: bool = True, heading: str = ""
) -> Column:
    return Column(name, "cycles", INTEGER, meaning, total, stored=stored, heading=heading)


def _bytes(name: str, meaning: str, total: Total = "sum", *, heading: str = "") -> Column:
    return Column(name, "B", INTEGER, meaning, total, heading=heading)


def _gain(name: str, meaning: str, heading: str) -> Column:
    return Column(name, "1", REAL, meaning, "derived", heading=heading)


_CAUSE_HEADINGS = {
    "fill_cycles": "fill",
    "compute_cycles": "compute",
    "lane_wait_cycles": "lane\nwait",
    "imbalance_cycles": "imbal-\nance",
    "fifo_full_cycles": "FIFO\nfull",
    "weight_wait_cycles": "weight\nwait",
    "activation_wait_cycles": "activ.\nwait",
    "output_wait_cycles": "output\nwait",
}


UNPRUNED = (
    "unpruned_cycles",
    "every_bit_cycles",
    "unpruned_all_rows_cycles",
    "unpruned_nonempty_rows_cycles",
)
"""Columns of the same machine without pruning, which waits for the same memory."""

COLUMNS: tuple[Column, ...] = (
    Column("layer", "", TEXT, "name of the layer"),
    Column("operation", "", TEXT, "kind of layer: conv, conv_transpose, linear, matmul"),
    Column("accelerator", "", TEXT, "name, and the options that differ from their defaults", "first"),
    Column("reason", "", TEXT, "why the accelerator does not run the layer; then there are no numbers"),
    Column("notes", "", TEXT, "assumptions that apply to this row only"),
    Column("peak_macs_per_cycle", "1/cycle", REAL, "of the accelerator at 16 bits, nothing skipped"),
    Column("layers", "1", INTEGER, "layers counted", "derived", layer=False),
    Column("not_applicable", "1", INTEGER, "layers that it does not run", "derived", layer=False),
    Column("macs", "1", INTEGER, "multiply-accumulates; padding counts", "count"),
    Column("parameters", "1", INTEGER, "weights; biases do not count", "count"),
    *(_cycles(name, words, "told", heading=_CAUSE_HEADINGS[name]) for name, words in CAUSES.items()),
    _cycles("cycles", "all causes together", "derived", heading="cycles"),
    _cycles("on_chip_cycles", "cycles with a memory without limits", heading="on chip\ncycles"),
    Column("bound_by", "", TEXT, "cause of most cycles", "derived", heading="bound by"),
    Column(
        "utilisation",
        "1",
        REAL,
        "share of the machine's slots, over all cycles, that did useful work",
        "mean",
        heading="util.",
    ),
    Column("seconds", "s", REAL, "time at the machine's clock", "derived"),
    Column("energy_j", "J", REAL, "all parts together, DRAM included", "derived"),
    Column("power_w", "W", REAL, "mean power", "derived"),
    Column("area_mm2", "mm2", REAL, "the whole machine without DRAM", "first"),
    _bytes("dram_bytes", "all that crosses the DRAM's bus", "derived", heading="DRAM\nMB"),
    _bytes("dram_weight_bytes", "weights, or a second operand, in; whole bytes, not whole bursts"),
    _bytes("dram_activation_bytes", "activations in"),
    _bytes("dram_output_bytes", "outputs out"),
    _bytes("dram_partial_sum_bytes", "spilled partial sums, out and in"),
    _bytes(
        "dram_weight_bytes_plain",
        "what weights would move if they were not kept compressed",
        heading="plain weights\nMB",
    ),
    Column("dram_seconds", "s", REAL, "time in which the DRAM is busy; nothing if it has no limits", "sum"),
    Column(
        "dram_peak_bytes_per_s",
        "B/s",
        REAL,
        "bandwidth of all DRAM channels; nothing if it has no limits",
        "first",
        layer=False,
    ),
    _cycles("work_cycles", "if the lanes of each PE were perfectly balanced, and nothing else waited"),
    _cycles("unpruned_work_cycles", "the same unpruned"),
    _cycles("unpruned_cycles", "the same machine unpruned, zero bits skipped"),
    _cycles("every_bit_cycles", "the same machine unpruned, a cycle for every bit of the format"),
    _cycles(
        "on_chip_unpruned_fixed16_cycles",
        "the same machine unpruned on 16-bit fixed point, with a memory without limits",
    ),
    _cycles("unpruned_all_rows_cycles", "the same row-serial machine unpruned, every row of the window"),
    _cycles("unpruned_nonempty_rows_cycles", "the same row-serial machine unpruned, empty rows skipped"),
    *(_cycles(f"on_chip_{name}", "the same with a memory without limits", stored=False) for name in UNPRUNED),
    _gain("speedup_over_unpruned", "gain over the unpruned machine, which skips zero bits", "x un-\npruned"),
    _gain("speedup_over_every_bit", "gain over the unpruned machine that takes every bit", "x every\nbit"),
    _gain("speedup_over_all_rows", "gain over the unpruned row-serial machine, every row", "x all\nrows"),
    _gain("speedup_over_nonempty_rows", "the same, non-empty rows", "x non-\nempty"),
    _gain("on_chip_speedup_over_unpruned", "the same with a memory without limits", "on\nchip"),
    _gain("on_chip_speedup_over_every_bit", "the same with a memory without limits", "on\nchip"),
    _gain("on_chip_speedup_over_all_rows", "the same with a memory without limits", "on\nchip"),
    _gain("on_chip_speedup_over_nonempty_rows", "the same with a memory without limits", "on\nchip"),
    _gain("work_speedup", "gain of perfectly balanced lanes: their work unpruned over pruned", "x work"),
    Column("tiling", "", TEXT, "loops over tiles in DRAM, outermost first, as `name trips x size`"),
    Column("filter_tiles", "1", INTEGER, "tiles of filters"),
    Column("position_tiles", "1", INTEGER, "tiles of output positions; with each tile of filters one pass"),
    Column("groups", "1", INTEGER, "weight groups, each counted once"),
    Column(
        "window_limited_groups",
        "1",
        INTEGER,
        "groups that kept fewer rows than they might while a one fell out of the window",
        "sum",
    ),
    Column("kept_ones_mean", "1", REAL, "mean of the kept ones over weights", heading="ones\nmean"),
    Column("kept_rows_mean", "1", REAL, "mean of the kept rows over groups", heading="rows\nmean"),
)

BY_NAME = {column.name: column for column in COLUMNS}

LAYER_COLUMNS = tuple(c for c in COLUMNS if c.layer and c.stored)
"""Of the table ``simulation``: one row per layer and accelerator."""

TOTAL_COLUMNS = tuple(c for c in COLUMNS if c.total and c.stored)
"""Of the table ``networks``: one row per accelerator."""

DRAM_TRAFFIC = (
    "dram_weight_bytes",
    "dram_activation_bytes",
    "dram_output_bytes",
    "dram_partial_sum_bytes",
)
"""Columns of bytes that cross the memory's bus, by what they are."""


def units_of(columns: tuple[Column, ...]) -> dict[str, str]:
    """Return the unit of each column."""
    return {column.name: column.unit for column in columns}


def dtypes_of(columns: tuple[Column, ...]) -> dict[str, Any]:
    """Return the dtype of each column, whether or not a run has values for it."""
    return {column.name: column.dtype for column in columns}
