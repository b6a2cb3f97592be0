"""Rules of stores, which know no machines, are those of the columns that runs write."""

from __future__ import annotations

from bitxcore.store.count_rules import ADDED_UP, CAUSES, DRAM_PARTS
from hwmodel.accelerators import cycle_attribution
from hwmodel.simulation.columns import COLUMNS, DRAM_TRAFFIC


def test_causes_and_bytes_are_all_named():
    assert set(CAUSES) == set(cycle_attribution.CAUSES)
    assert DRAM_PARTS == DRAM_TRAFFIC


def test_all_sums_are_checked():
    summed = {c.name for c in COLUMNS if c.total in ("count", "sum", "told") and c.layer and c.stored}
    assert set(ADDED_UP) == summed | {"cycles", "dram_bytes", "energy_j"}
