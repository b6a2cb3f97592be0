"""Every number of the BitX paper that can be computed, compared with ours.

`reproduce` runs the modules of `places`, which share simulations.
"""

from hwmodel.studies.reproduction.line import COLUMNS, MARKS, Line, Mark
from hwmodel.studies.reproduction.reproduction import PLACES, Reproduction, reproduce
from hwmodel.studies.reproduction.written import page

__all__ = ["COLUMNS", "MARKS", "PLACES", "Line", "Mark", "Reproduction", "page", "reproduce"]
