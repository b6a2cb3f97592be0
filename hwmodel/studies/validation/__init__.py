"""Validation against tables of papers: published, ours, ratio, and how certain the published figure is.

One module per machine, each with a `STUDY`; `validation` lists them. Published figures are read from
``data/published``. They are never inputs, except the settings that a paper names: precisions, densities.
"""

from hwmodel.studies.validation.record import STANDINGS, Row, Standing, Study
from hwmodel.studies.validation.validation import MACHINES, rows, study

__all__ = ["MACHINES", "STANDINGS", "Row", "Standing", "Study", "rows", "study"]
