"""Scores of a model's outputs: one file each, found by name, open to other packages.

A metric turns each sample into a record, and records into a number. So confidence intervals come from
drawing records again, whatever the number is: a mean, a rank correlation, an area under a curve.
"""

from hwmodel.evaluation.metrics.metric_base import Metric, Ratio, metric, metric_names

__all__ = ["Metric", "Ratio", "metric", "metric_names"]
