"""Software pruning and run-time pruning together: accuracy, cycles, and whether the gains multiply."""

from hwmodel.studies.composition.composed_rows import (
    COMPOSED_UNITS,
    MACHINE_UNITS,
    READINGS,
    ComposedRow,
    Composition,
    MachineRow,
    PreparedModel,
    product_of_gains,
)
from hwmodel.studies.composition.composing import compose
from hwmodel.studies.composition.sparse_machines import SPARSE

__all__ = [
    "COMPOSED_UNITS",
    "MACHINE_UNITS",
    "READINGS",
    "SPARSE",
    "ComposedRow",
    "Composition",
    "MachineRow",
    "PreparedModel",
    "compose",
    "product_of_gains",
]
