"""Whole dumps, a tensor or a piece of one at a time: which are weights, their statistics, their pruning."""

from bitxcore.batch.inspect_dumps import INSPECT_UNITS, Inspected, inspect_dump, inspect_totals
from bitxcore.batch.memory import memory_budget
from bitxcore.batch.prune_dumps import POLICY_OPTIONS, check_norms, check_policy, prune_dump
from bitxcore.batch.pruned_rows import PRUNE_UNITS, PrunedTensor, prune_totals
from bitxcore.batch.row_errors import ERROR_UNITS, RowError, errors_of_interest, row_errors
from bitxcore.batch.selection import Chosen, Selection, grouped

__all__ = [
    "ERROR_UNITS",
    "INSPECT_UNITS",
    "POLICY_OPTIONS",
    "PRUNE_UNITS",
    "Chosen",
    "Inspected",
    "PrunedTensor",
    "RowError",
    "Selection",
    "check_norms",
    "check_policy",
    "errors_of_interest",
    "grouped",
    "inspect_dump",
    "inspect_totals",
    "memory_budget",
    "prune_dump",
    "prune_totals",
    "row_errors",
]
