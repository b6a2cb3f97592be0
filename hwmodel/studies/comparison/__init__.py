"""All accelerators on one network, under equal conditions: peak, clock, memory.

A comparison is a run of `simulate_network` on machines that were made alike, and what can be said of them:
each pair of machines is compared on the layers that both run, so that what a design leaves out counts
for nobody.
"""

from hwmodel.studies.comparison.comparing import ComparisonResult, compare, summarise, write_comparison
from hwmodel.studies.comparison.comparison_rows import UNITS, ComparisonRow
from hwmodel.studies.comparison.contenders import (
    BASELINE,
    PEAK_MACS_PER_CYCLE,
    VARIANTS,
    Contender,
    conditions,
    contenders,
    entries,
    split,
)

__all__ = [
    "BASELINE",
    "PEAK_MACS_PER_CYCLE",
    "UNITS",
    "VARIANTS",
    "ComparisonResult",
    "ComparisonRow",
    "Contender",
    "compare",
    "conditions",
    "contenders",
    "entries",
    "split",
    "summarise",
    "write_comparison",
]
