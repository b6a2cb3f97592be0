"""Where a machine's time goes on a network, and which change of one of its parameters would help most.

Two views of every layer: the causes of its cycles, and its place under a roofline. What a change would
bring is not estimated: each is simulated.
"""

from hwmodel.accelerators.changes import KINDS, Change
from hwmodel.studies.explaining.explanation import EFFORT_S, Explanation, explain
from hwmodel.studies.explaining.rooflines import ROOFLINE_UNITS, Cause, Roofline
from hwmodel.studies.explaining.trials import Trial

__all__ = [
    "EFFORT_S",
    "KINDS",
    "ROOFLINE_UNITS",
    "Cause",
    "Change",
    "Explanation",
    "Roofline",
    "Trial",
    "explain",
]
