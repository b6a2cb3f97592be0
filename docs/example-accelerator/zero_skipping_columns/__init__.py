"""A weight-stationary systolic array whose columns hold only the weights that are not zero.

An example, not a published design: a column takes the weights of one filter, pushed together, each with the
index of its input. Activations run past all columns, and a PE picks the one that its index names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

import hwmodel as hw
from hwmodel.accelerators.memo import once
from hwmodel.costs import Costs, Part, Work

WORD_BITS = 16
SUM_BITS = 48


@dataclass(frozen=True, kw_only=True)
class ZeroSkippingColumns(hw.Accelerator):
    """Systolic array of PEs that each hold one weight.

    Parameters
    ----------
    rows : int
        PEs of a column: weights of a filter that are held at a time.
    columns : int
        Filters worked on together.
    dropped : int
        Smallest weights of each filter that are left out, although they are not zero. 0 changes no result.
    index_bits : int
        Width of the index beside each weight.
    """

    rows: int = 64
    columns: int = 64
    dropped: int = 0
    index_bits: int = 16

    name: ClassVar[str] = "zero-skipping-columns"
    title: ClassVar[str] = "Example package: systolic columns without zero weights"
    source: ClassVar[str] = "docs/example-accelerator"
    assumptions: ClassVar[tuple[str, ...]] = (
        "All columns are loaded together; the one with most weights decides how often.",
        "Weights are loaded while the array works on those before, so loading costs no cycles.",
        "Any PE can pick any activation of the filter's inputs.",
    )

    remarks: ClassVar[tuple[str, ...]] = (
        "zero-skipping-columns: cycles follow the filter with most weights of each load",
    )
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"dropped": 8})
    width_options: ClassVar[frozenset[str]] = frozenset({"index_bits"})
    lossy_options: ClassVar[frozenset[str]] = frozenset({"dropped"})
    sharing_options: ClassVar[tuple[str, ...]] = ("dropped",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "rows", "columns", "index_bits")
        self.check_at_least(0, "dropped")
        self.check_at_most(32, "index_bits")

    @property
    def number_format(self) -> str:
        """Numbers it computes with, in words."""
        return "16-bit fixed point"

    def own_changes(self) -> Iterator[hw.Change]:
        """Twice each option, as every machine; and the same PEs in another shape."""
        yield from super().own_changes()
        if self.columns % 2 == 0:
            shape = {"rows": 2 * self.rows, "columns": self.columns // 2}
            yield hw.Change("half the columns, twice as long", "equal peak", shape)

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates a cycle."""
        return self.rows * self.columns

    def not_applicable(self, layer: hw.Layer) -> str | None:
        """Refuse layers that have no weights to leave out."""
        return None if layer.has_weights else "both operands are activations: no weights to leave out"

    def _kept(self, layer: hw.Layer, operands: hw.Operands) -> npt.NDArray[Any]:
        """Weights in fixed point, shape (filters, reduction); the `dropped` smallest of each filter are 0."""
        weights = operands.integer_weights.reshape(layer.filters, -1).copy()
        # Zeros are gone already: the smallest that are left are looked for behind them.
        size = np.where(weights == 0, np.iinfo(np.int64).max, np.abs(weights.astype(np.int64)))
        smallest = np.argsort(size, axis=1, kind="stable")[:, : self.dropped]
        np.put_along_axis(weights, smallest, 0, axis=1)
        return weights

    def weights_used(
        self, layer: hw.Layer, operands: hw.Operands
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Give the weights, and what this machine makes of them; the same arrays for the same options."""
        assert operands.weights is not None
        return once(_used, operands.weights, machine=self, layer=layer, bits=operands.weight_bits)

    def run(self, layer: hw.Layer, operands: hw.Operands) -> hw.OnChip:
        """Count the cycles of `layer`: for every load of the columns, one a position and the way through."""
        used = np.count_nonzero(self._kept(layer, operands), axis=1)
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
                    "weight_buffer": int(used.sum()) * (WORD_BITS + self.index_bits),
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
            + costs.register(2 * WORD_BITS + self.index_bits + SUM_BITS)
        )
        return {"pes": Part(pe, self.rows * self.columns)}


def _used(
    weights: npt.NDArray[Any], *, machine: ZeroSkippingColumns, layer: hw.Layer, bits: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    before = hw.Operands(weights, weight_bits=bits).integer_weights.reshape(layer.filters, -1)
    return before, machine._kept(layer, hw.Operands(weights, weight_bits=bits))
