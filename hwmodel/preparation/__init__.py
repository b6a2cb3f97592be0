"""Weights made ready before deployment: fewer cycles on the same machine, without training."""

from hwmodel.preparation.budget import Budget
from hwmodel.preparation.budget_search import BudgetsFound, search_budgets
from hwmodel.preparation.equivalent_models import Equivalent, write_equivalent
from hwmodel.preparation.fitting import PREPARE_UNITS, PreparationReport, PreparedTensor
from hwmodel.preparation.modules import prepare_module
from hwmodel.preparation.preparation import policy_of, prepare_model

__all__ = [
    "PREPARE_UNITS",
    "Budget",
    "BudgetsFound",
    "Equivalent",
    "PreparationReport",
    "PreparedTensor",
    "policy_of",
    "prepare_model",
    "prepare_module",
    "search_budgets",
    "write_equivalent",
]
