"""A weight-stationary systolic array whose columns hold only the weights that are not zero.

An example, not a published design: a column takes the weights of one filter, pushed together, each with the
index of its input. Activations run past all columns, and a PE picks the one that its index names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import hwmodel as hw
from hwmodel.costs import Costs, Part, Work

WORD_BITS = 16
SUM_BITS = 48
INDEX_BITS = 16


@dataclass(frozen=True, kw_only=True)
class ZeroSkippingColumns(hw.Accelerator):
    """Systolic array of PEs that each hold one weight.

    Parameters
    ----------
    rows : int
        PEs of a column: weights of a filter that are held at a time.
    columns : int
        Filters worked on together.
    """

    rows: int = 64
    columns: int = 64

    name: ClassVar[str] = "zero-skipping-columns"
    title: ClassVar[str] = "Example package: systolic columns without zero weights"
    source: ClassVar[str] = "docs/example-accelerator"
    assumptions: ClassVar[tuple[str, ...]] = (
        "All columns are loaded together; the one with most weights decides how often.",
        "Weights are loaded while the array works on those before, so loading costs no cycles.",
        "Any PE can pick any activation of the filter's inputs.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "rows", "columns")

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates a cycle."""
        return self.rows * self.columns

    def not_applicable(self, layer: hw.Layer) -> str | None:
        """Refuse layers that have no weights to leave out."""
        return None if layer.has_weights else "both operands are activations: no weights to leave out"

    def run(self, layer: hw.Layer, operands: hw.Operands) -> hw.OnChip:
        """Count the cycles of `layer`: for every load of the columns, one a position and the way through."""
        used = np.count_nonzero(operands.integer_weights.reshape(layer.filters, -1), axis=1)
        by_group = used.reshape(layer.conv_groups, -1)
        most = np.maximum.reduceat(by_group, np.arange(0, by_group.shape[1], self.columns), axis=1)
        loads = int((-(-most // self.rows)).sum())
        fill = (self.rows + self.columns - 2) * layer.steps * loads
        work = int(used.sum()) * layer.positions
        cycles = layer.positions * loads + fill
        return self.on_chip(
            compute_cycles=layer.positions * loads,
            fill_cycles=fill,
            utilisation=work / (cycles * self.peak_macs_per_cycle) if cycles else 0.0,
            filter_tiles=most.size,
            position_tiles=1,
            work=Work(
                uses={"pes": work},
                read_bits={
                    "weight_buffer": int(used.sum()) * (WORD_BITS + INDEX_BITS),
                    "activation_buffer": loads * layer.reduction * layer.positions * WORD_BITS,
                },
                written_bits={"output_buffer": layer.output_count * WORD_BITS},
            ),
        )

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """PEs of a multiplier, an adder, and registers for weight, index, activation and sum."""
        pe = (
            costs.multiplier(WORD_BITS)
            + costs.adder(SUM_BITS)
            + costs.register(2 * WORD_BITS + INDEX_BITS + SUM_BITS)
        )
        return {"pes": Part(pe, self.rows * self.columns)}
