"""ESE: sparse LSTM and fully connected layers, many voices at a time.

S. Han, J. Kang, H. Mao, Y. Hu, X. Li, Y. Li, D. Xie, H. Luo, S. Yao, Y. Wang, H. Yang, W. J. Dally, "ESE:
Efficient Speech Recognition Engine with Sparse LSTM on FPGA", FPGA 2017. From its sections on these topics:
rows interleaved over the PEs of a channel, columns with 12-bit weights and 4-bit zero counts, a queue of
activations in front of each PE, 32 channels of 32 PEs that each work on the vector of another voice,
load-balance-aware pruning. There is no public code of the authors; what stands under "Guessed" is not from
the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import accumulator, accumulator_bits, memory
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits, whole_words
from hwmodel.networks.layers import Layer, Linear
from hwmodel.operands.operands import Operands

WORD_BITS = 16
POINTER_BITS = 16
SUMS_BYTES = 1024
"""Partial sums of a PE."""


@dataclass(frozen=True, kw_only=True)
class ESE(Accelerator):
    """Channels of PEs that hold some rows of a sparse matrix each; a channel works on one vector.

    Parameters
    ----------
    clock_hz : float
        200 MHz in the paper.
    pes : int
        PEs of a channel, each with one multiplier.
    channels : int
        Vectors worked on together, with the same weights.
    fifo_depth : int
        Activations in the queue of a PE, the one that it works on included.
    weight_bits : int or None
        Of a stored weight. None: in words of 16 bits, so that nothing is lost.
    index_bits : int
        Of the zero count beside a weight; longer runs of zeros take entries of value zero.
    load_balanced : bool
        What the paper's load-balance-aware pruning would make of as many entries: every PE has the mean of
        the work, and none ever waits. Otherwise the weights are taken as they are.
    """

    clock_hz: float = 2e8
    pes: int = 32
    channels: int = 32
    fifo_depth: int = 8
    weight_bits: int | None = 12
    index_bits: int = 4
    load_balanced: bool = False

    name: ClassVar[str] = "ese"
    title: ClassVar[str] = "ESE, FPGA 2017: zero weights of LSTM and fully connected layers"
    source: ClassVar[str] = (
        "Han et al., ESE: Efficient Speech Recognition Engine with Sparse LSTM on FPGA, FPGA 2017"
    )
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"clock_hz": 1e9, "pes": 128, "weight_bits": None}
    )
    width_options: ClassVar[frozenset[str]] = frozenset({"weight_bits", "index_bits"})
    assumptions: ClassVar[tuple[str, ...]] = (
        "Matrix products only: fully connected layers, and an LSTM's matrices with all gates' rows; the"
        " element-wise operations overlap with them.",
        "Input vectors are dense: LSTM activations are hardly ever zero. Every column is broadcast.",
        "All channels take the same column at the same time. Positions that don't depend on each other fill"
        " the channels; a single voice keeps one busy.",
        "Weights have 12 bits in storage and arithmetic; their values are taken as given. In comparisons they"
        " are stored in 16-bit words (weight_bits=None), as other machines store them; 128 PEs in"
        " each of the paper's 32 channels have the common peak: more channels would only want more voices.",
        "load_balanced=True is a bound: pruning balances the entries of PEs over a matrix, not column by"
        " column.",
        "Guessed: queues as in EIE, with a depth of 8; a column without"
        " an entry takes a PE one cycle; vectors follow one another without overlap.",
        "Guessed: one read of a weight serves all channels; 1 KiB for the partial sums of a PE.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        widths = () if self.weight_bits is None else ("weight_bits",)
        self.check_at_least(1, "pes", "channels", "fifo_depth", "index_bits", *widths)
        if not isinstance(self.load_balanced, bool):
            raise self.refusal(f"load_balanced must be True or False, got {self.load_balanced!r}")

    @property
    def all_pes(self) -> int:
        """PEs of all channels."""
        return self.pes * self.channels

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle, nothing skipped."""
        return self.all_pes

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse everything but products with a matrix."""
        return None if isinstance(layer, Linear) else "runs fully connected and recurrent layers only"

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """Queues and arithmetic of the PEs."""
        weight_bits = self.weight_bits or WORD_BITS
        bits = accumulator_bits(WORD_BITS, weight_bits)
        queue = costs.register(WORD_BITS + POINTER_BITS)
        return {
            "activation_queues": Part(queue, self.all_pes * self.fifo_depth),
            "addresses": Part(accumulator(costs, WORD_BITS), self.all_pes),
            "multipliers": Part(costs.multiplier(WORD_BITS, weight_bits), self.all_pes),
            "adders": Part(costs.adder(bits), self.all_pes),
            "partial_sums": Part(memory(costs, SUMS_BYTES, 64), self.all_pes),
        }

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count weights, zero counts and pointers; activations are dense."""
        plain = super().stored_bits(layer, operands, on_chip)
        entries = self._entries(layer, operands)
        bits = int(entries.sum(dtype=np.int64)) * self._entry_bits(operands)
        pointers = (layer.channels + 1) * entries.shape[1] * POINTER_BITS
        return StoredBits(bits + pointers, plain.activations, plain.outputs)

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.interleaved_csc import feed

        entries = self._entries(layer, operands)
        everything = np.ones((1, layer.channels), np.bool_)
        turns = layer.position_tiles(self.channels)
        fed = turns * feed(entries, everything, self.pes, self.fifo_depth)
        waits = not self.load_balanced
        cycles = fed.cycles if waits else fed.fill_cycles + fed.compute_cycles
        products = int(np.count_nonzero(operands.integer_weights)) * layer.positions
        return self.on_chip(
            work=self._work(layer, operands, fed.entries // turns, entries.shape[1]),
            compute_cycles=fed.compute_cycles,
            imbalance_cycles=fed.imbalance_cycles if waits else 0,
            fifo_full_cycles=fed.fifo_full_cycles if waits else 0,
            fill_cycles=fed.fill_cycles,
            utilisation=products / (cycles * self.all_pes),
            filter_tiles=1,
            position_tiles=turns,
        )

    def _entries(self, layer: Layer, operands: Operands) -> npt.NDArray[Any]:
        from hwmodel.accelerators.engines.interleaved_csc import count_entries

        held = (operands.integer_weights != 0).reshape(layer.filters, layer.channels)
        return count_entries(held, self.pes, self.index_bits)

    def _entry_bits(self, operands: Operands) -> int:
        return (self.weight_bits or whole_words(operands.weight_precision, WORD_BITS)) + self.index_bits

    def _work(self, layer: Layer, operands: Operands, entries: int, used_pes: int) -> Work:
        """Work of a layer whose matrix has `entries`."""
        turns = layer.position_tiles(self.channels)
        done = entries * layer.positions
        pointers = 2 * layer.channels * used_pes * POINTER_BITS
        return Work(
            uses={
                "activation_queues": 2 * layer.input_count * used_pes,
                "addresses": done,
                "multipliers": done,
                "adders": done,
                "partial_sums": 2 * done,
            },
            read_bits={
                "weight_buffer": turns * (entries * self._entry_bits(operands) + pointers),
                "activation_buffer": layer.input_count * WORD_BITS,
            },
            written_bits={"output_buffer": layer.output_count * WORD_BITS},
        )
