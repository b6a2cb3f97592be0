"""Whole dumps, one tensor in memory at a time: which tensors are weights, their statistics, their pruning."""

from bitxcore.batch.inspect_dumps import INSPECT_UNITS, Inspected, inspect_dump, inspect_totals
from bitxcore.batch.prune_dumps import (
    POLICY_OPTIONS,
    PRUNE_UNITS,
    PrunedTensor,
    check_norms,
    check_policy,
    prune_dump,
    prune_totals,
)
from bitxcore.batch.selection import Chosen, Selection, grouped

__all__ = [
    "INSPECT_UNITS",
    "POLICY_OPTIONS",
    "PRUNE_UNITS",
    "Chosen",
    "Inspected",
    "PrunedTensor",
    "Selection",
    "check_norms",
    "check_policy",
    "grouped",
    "inspect_dump",
    "inspect_totals",
    "prune_dump",
    "prune_totals",
]
