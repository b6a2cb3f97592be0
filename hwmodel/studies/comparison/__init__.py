"""All accelerators on one network, under equal conditions: peak, clock, memory.

A comparison is a run of `simulate_network` on machines that were made alike, and what can be said of them:
each pair of machines is compared on the layers that both run, so that what a design leaves out counts
for nobody.
"""

from hwmodel.studies.comparison.comparing import ComparisonResult, compare, summarise
from hwmodel.studies.comparison.comparison_rows import COMPARISON_COLUMNS, ComparisonRow
from hwmodel.studies.comparison.contenders import (
    BASELINE,
    PEAK_MACS_PER_CYCLE,
    Contender,
    conditions,
    contenders,
    entries,
    split,
)

__all__ = [
    "BASELINE",
    "COMPARISON_COLUMNS",
    "PEAK_MACS_PER_CYCLE",
    "ComparisonResult",
    "ComparisonRow",
    "Contender",
    "compare",
    "conditions",
    "contenders",
    "entries",
    "split",
    "summarise",
]
