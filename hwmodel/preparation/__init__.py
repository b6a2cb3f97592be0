"""Weights made ready before deployment: fewer cycles on the same machine, without training."""

from hwmodel.preparation.budget import Budget
from hwmodel.preparation.preparation import PreparedTensor, prepare_model

__all__ = ["Budget", "PreparedTensor", "prepare_model"]
