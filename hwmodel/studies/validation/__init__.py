"""Validation beside papers' tables: published, ours, ratio, and how sure the published figure is.

One module per machine, each with a `STUDY`; `validation` lists them. Published figures are read from
``data/published`` and are never inputs, but for the settings that a paper names: precisions, densities.
"""

from hwmodel.studies.validation.record import STANDINGS, Row, Standing, Study
from hwmodel.studies.validation.validation import MACHINES, rows, study

__all__ = ["MACHINES", "STANDINGS", "Row", "Standing", "Study", "rows", "study"]
