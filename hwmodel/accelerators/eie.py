"""EIE: fully connected layers on compressed matrices, skipping zero weights and zero activations.

S. Han, X. Liu, H. Mao, J. Pu, A. Pedram, M. A. Horowitz, W. J. Dally, "EIE: Efficient Inference Engine on
Compressed Deep Neural Network", ISCA 2016. From its sections on these topics: rows interleaved over PEs and
columns stored with 4-bit zero counts and 4-bit codes of shared weights; the activation queue (broadcast is
held while any queue is full, a PE works on the activation at the head of its queue, depth 8); pointer read,
sparse matrix read, arithmetic unit; activation registers (64 per PE for sources, 64 for destinations);
leading nonzero detection. There is no public code of the authors; what stands under "Guessed" is not from the
paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import accumulator, selector
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits, whole_words
from hwmodel.networks.layers import Layer, Linear
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

WORD_BITS = 16
POINTER_BITS = 16


@dataclass(frozen=True, kw_only=True)
class EIE(Accelerator):
    """PEs that each hold some rows of a sparse matrix, fed with the activations that are not zero.

    Parameters
    ----------
    clock_hz : float
        800 MHz in the paper.
    pes : int
        PEs, each with one multiplier.
    fifo_depth : int
        Activations in the queue of a PE, the one that it works on included.
    index_bits : int
        Width of a zero count. Longer runs of zeros need additional entries of value zero.
    code_bits : int or None
        Width of a stored weight, an index into the table of shared weights. None: weights are stored
        in words of 16 bits, so that nothing is lost.
    output_registers : int
        Outputs that a PE accumulates at a time.
    """

    clock_hz: float = 8e8
    pes: int = 64
    fifo_depth: int = 8
    index_bits: int = 4
    code_bits: int | None = 4
    output_registers: int = 64

    name: ClassVar[str] = "eie"
    title: ClassVar[str] = "EIE, ISCA 2016: zero weights and zero activations of fully connected layers"
    source: ClassVar[str] = (
        "Han et al., EIE: Efficient Inference Engine on Compressed Deep Neural Network, ISCA 2016"
    )
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"clock_hz": 1e9, "pes": 4096, "code_bits": None}
    )
    width_options: ClassVar[frozenset[str]] = frozenset({"code_bits", "index_bits"})
    assumptions: ClassVar[tuple[str, ...]] = (
        "Fully connected layers only. Several positions run one after another; queues drain in between.",
        "A PE spends a cycle on each stored entry of a column, entries of value zero included. An activation"
        " stays at the head of the queue until its column is done, so depth 1 is lock step.",
        "4-bit codes and the table of shared weights are storage and area only; values are taken as given. In"
        " comparisons weights are stored in 16-bit words (code_bits=None), as other machines store them.",
        "The pipeline's depth, hazards on equal outputs (bypassed in the paper) and I/O mode cost nothing.",
        "Scaled to 4096 multiply-accumulates per cycle it has 4096 PEs, few rows each; most find nothing in"
        " a column, which still takes them a cycle.",
        "Guessed: a column without an entry takes a PE one cycle, in which it reads the pointers.",
        "Guessed: whether a queue is full is known from the cycle before, and what is broadcast is worked on"
        " from the next cycle: one cycle to begin with, and one between columns at depth 1.",
        "Guessed: outputs beyond the registers of all PEs (4096) run in passes over the activations, each"
        " with a matrix of its own; inputs beyond them are loaded without a cycle.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        codes = () if self.code_bits is None else ("code_bits",)
        self.check_at_least(1, "pes", "fifo_depth", "index_bits", "output_registers", *codes)

    @property
    def reads(self) -> Reads:
        """Operands whose values its cycles depend on."""
        return Reads(activations=True)

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits, nothing skipped."""
        return self.pes

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse everything but fully connected layers."""
        return None if isinstance(layer, Linear) else "runs fully connected layers only"

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """Queues, decoders, and the arithmetic of the PEs; all values have 16 bits."""
        word = costs.register(WORD_BITS)
        sharing = {
            "shared_weights": Part(word, self.pes * self._shared_weights),
            "decoders": Part(selector(costs, self._shared_weights, WORD_BITS), self.pes),
        }
        return (sharing if self._shared_weights else {}) | {
            "nonzero_detection": Part(costs.comparator(WORD_BITS), self.pes),
            "activation_queues": Part(costs.register(WORD_BITS + POINTER_BITS), self.pes * self.fifo_depth),
            "addresses": Part(accumulator(costs, WORD_BITS), self.pes),
            "multipliers": Part(costs.multiplier(WORD_BITS), self.pes),
            "adders": Part(costs.adder(WORD_BITS), self.pes),
            "activation_registers": Part(word, 2 * self.pes * self.output_registers),
        }

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count codes, zero counts, pointers and the table of shared weights; activations are dense."""
        plain = super().stored_bits(layer, operands, on_chip)
        bits = self._shared_weights * WORD_BITS
        for entries in self._matrices(layer, operands):
            bits += int(entries.sum(dtype=np.int64)) * self._entry_bits(operands)
            bits += (layer.channels + 1) * entries.shape[1] * POINTER_BITS
        return StoredBits(bits, plain.activations, plain.outputs)

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.interleaved_csc import Fed, feed

        a = (operands.integer_activations != 0).reshape(layer.positions, layer.channels)
        fed, pe_broadcasts, passes = Fed(), 0, 0
        for entries in self._matrices(layer, operands):
            matrix = feed(entries, a, self.pes, self.fifo_depth)
            fed, passes = fed + matrix, passes + 1
            pe_broadcasts += matrix.broadcasts * entries.shape[1]
        weights = np.count_nonzero(operands.integer_weights.reshape(layer.weight_shape), axis=0)
        products = int(np.count_nonzero(a, axis=0) @ weights)
        return self.on_chip(
            work=self._work(layer, operands, fed, pe_broadcasts, passes),
            compute_cycles=fed.compute_cycles,
            imbalance_cycles=fed.imbalance_cycles,
            fifo_full_cycles=fed.fifo_full_cycles,
            fill_cycles=fed.fill_cycles,
            utilisation=products / (fed.cycles * self.pes) if fed.cycles else 0.0,
            filter_tiles=passes,
            position_tiles=layer.positions,
        )

    @property
    def _shared_weights(self) -> int:
        """Entries of the table of shared weights, if there is one."""
        return 0 if self.code_bits is None else 1 << self.code_bits

    def _entry_bits(self, operands: Operands) -> int:
        return (self.code_bits or whole_words(operands.weight_precision, WORD_BITS)) + self.index_bits

    def _matrices(self, layer: Layer, operands: Operands) -> Iterator[npt.NDArray[Any]]:
        """Entries of each column and PE, for each pass over the outputs."""
        from hwmodel.accelerators.engines.interleaved_csc import count_entries

        held = (operands.integer_weights != 0).reshape(layer.filters, layer.channels)
        at_once = self.pes * self.output_registers
        for first in range(0, layer.filters, at_once):
            yield count_entries(held[first : first + at_once], self.pes, self.index_bits)

    def _work(self, layer: Layer, operands: Operands, fed: Any, pe_broadcasts: int, passes: int) -> Work:
        uses = ({"decoders": fed.entries} if self._shared_weights else {}) | {
            "nonzero_detection": layer.input_count * passes,
            "activation_queues": 2 * pe_broadcasts,
            "addresses": fed.entries,
            "multipliers": fed.entries,
            "adders": fed.entries,
            "activation_registers": 2 * fed.entries,
        }
        return Work(
            uses=uses,
            read_bits={
                "weight_buffer": fed.entries * self._entry_bits(operands) + 2 * pe_broadcasts * POINTER_BITS,
                "activation_buffer": layer.input_count * passes * WORD_BITS,
            },
            written_bits={"output_buffer": layer.output_count * WORD_BITS},
        )
