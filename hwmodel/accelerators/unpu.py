"""UNPU: weights of any precision from 1 to 16 bits, looked up bit by bit.

J. Lee, C. Kim, S. Kang, D. Shin, S. Kim, H.-J. Yoo, "UNPU: A 50.6TOPS/W Unified Deep Neural Network
Accelerator with 1b-to-16b Fully-Variable Weight Bit-Precision", ISSCC 2018 (and JSSC 54(1), 2019). From its
abstract and summaries: 4 DNN cores of 6 bit-serial PEs (LBPEs) that look sums of activations up in tables, an
aligned feature loader each, an aggregation core that adds the cores' partial sums, one array for
convolutional and fully connected layers, 16-bit activations, 13,824 1-bit multiply-accumulates per cycle at
200 MHz (345.6 GOPS with 16-bit weights, 7,372 GOPS with 1-bit weights).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.families.bit_columns import GUARD_BITS
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import adder_tree
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits, dense_bits, whole_words
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import FIXED_POINT_BITS, Operands
from hwmodel.operands.reads import Reads

WORD_BITS = 16
"""Width of an activation."""


@dataclass(frozen=True, kw_only=True)
class UNPU(Accelerator):
    """Cores of PEs that look up sums of a few activations by as many weight bits.

    Parameters
    ----------
    weight_bits : int or None
        Precision of the weights, 1 to 16. None: that of each layer's operands, 16 where none is given.
    cores, pes : int
        DNN cores, and LBPEs in each.
    tables : int
        Tables of an LBPE.
    table_inputs : int
        Activations whose sums a table holds, ``2 ** table_inputs`` entries. With 1-bit weights, which are -1
        or +1, half of all sums are the others' negatives, and the same table serves one activation more.
    outputs : int
        Filters that look up a table in the same cycle.
    """

    clock_hz: float = 2e8
    weight_bits: int | None = None
    cores: int = 4
    pes: int = 6
    tables: int = 16
    table_inputs: int = 3
    outputs: int = 12

    name: ClassVar[str] = "unpu"
    title: ClassVar[str] = "UNPU, ISSCC 2018: weight precision from 1 to 16 bits"
    source: ClassVar[str] = (
        "Lee et al., UNPU: A 50.6TOPS/W Unified Deep Neural Network Accelerator with 1b-to-16b Fully-Variable"
        " Weight Bit-Precision, ISSCC 2018"
    )
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"clock_hz": 1e9, "cores": 8, "pes": 8, "table_inputs": 4, "outputs": 16}
    )
    width_options: ClassVar[frozenset[str]] = frozenset({"weight_bits"})
    assumptions: ClassVar[tuple[str, ...]] = (
        "A weight takes a cycle for each bit of the layer's precision; no value is looked at.",
        "Guessed: any LBPE takes any slice of a filter at any position, since partial sums are added outside;"
        " the feature loaders always have it aligned. All filters look at the tables of a slice before they"
        " are filled anew.",
        "Floats without a precision have 16 bits. Matrix products of activations take the second operand as"
        " weights of the activations' precision. Activations wider than 16 bits take several passes.",
        "Guessed: what an LBPE's 576 1-bit products are made of, 16 tables x 3 activations x 12 filters.",
        "Guessed: 1-bit weights are looked up four at a time. It is why 7,372 GOPS are 4/3 of 16 x 345.6: the"
        " published peak at 1 bit follows exactly.",
        "Guessed: tables are filled while others are looked up, and cost no cycles.",
        "Comparisons: 64 LBPEs of 16 tables x 4 activations x 16 filters, as no multiple of 3 makes the"
        " common peak; at the common clock instead of 200 MHz.",
        "Guessed: in DRAM a weight takes the bits of its precision, an activation whole 16-bit words.",
        "Transposed convolution scatters: every weight meets every input position.",
        "The SIMD core (activation functions, pooling) and off-chip compression are not modelled.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "cores", "pes", "tables", "table_inputs", "outputs")
        if self.weight_bits is not None:
            self.check_at_least(1, "weight_bits")
            self.check_at_most(FIXED_POINT_BITS, "weight_bits")

    @property
    def reads(self) -> Reads:
        """Weights, whose precision is the layer's, unless it is given."""
        return Reads(weights=self.weight_bits is None)

    @property
    def all_pes(self) -> int:
        """LBPEs of all cores."""
        return self.cores * self.pes

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits."""
        return self.macs_per_cycle(FIXED_POINT_BITS)

    def macs_per_cycle(self, weight_bits: int) -> float:
        """Multiply-accumulates per cycle with weights of a precision, all PEs busy."""
        return self.all_pes * self._slice(weight_bits) * self.outputs / weight_bits

    def _slice(self, weight_bits: int) -> int:
        """Weights of a filter that an LBPE takes together."""
        return self.tables * (self.table_inputs + (weight_bits == 1))

    def _bits(self, layer: Layer, operands: Operands) -> int:
        """Bits of a weight, or of what takes its place."""
        if not layer.has_weights:
            bits = operands.activation_precision
        else:
            bits = self.weight_bits or operands.weight_precision
        if bits > FIXED_POINT_BITS:
            raise self.refusal(f"weight_bits must be at most {FIXED_POINT_BITS}, got {bits}")
        return bits

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        bits, activation_bits = self._bits(layer, operands), operands.activation_precision
        passes = -(-activation_bits // WORD_BITS)
        slices = -(-layer.reduction // self._slice(bits))
        together = layer.positions // layer.steps
        turns = layer.steps * -(-together * slices // self.all_pes)
        filters = layer.filters // layer.conv_groups
        rounds = -(-filters // self.outputs)
        cycles = layer.conv_groups * rounds * turns * bits * passes
        filled = layer.conv_groups * layer.positions * slices * passes
        weight_reads = layer.steps * -(-together // self.all_pes) * passes
        return self.on_chip(
            compute_cycles=cycles,
            fill_cycles=0,
            utilisation=layer.macs * passes / (cycles * self.macs_per_cycle(bits)),
            filter_tiles=layer.conv_groups * rounds,
            position_tiles=turns,
            work=Work(
                uses={
                    "tables": filled * self.tables,
                    "lookups": filled * filters * bits * self.tables,
                    "sums": filled * filters * bits,
                },
                read_bits={
                    "weight_buffer": layer.filters * layer.reduction * bits * weight_reads,
                    "activation_buffer": layer.conv_groups
                    * layer.positions
                    * layer.reduction
                    * activation_bits,
                },
                written_bits={"output_buffer": layer.output_count * activation_bits},
            ),
        )

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits in DRAM: weights at their precision, activations in words."""
        word = whole_words(operands.activation_precision, self.stored_word_bits)
        return dense_bits(layer, self._bits(layer, operands), word)

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """Tables with the adders that fill them, their read ports, and the sums of what was looked up."""
        entries, word = 2**self.table_inputs, WORD_BITS + self.table_inputs
        table = entries * costs.register(word) + (entries - self.table_inputs - 1) * costs.adder(word)
        total = 2 * WORD_BITS + GUARD_BITS
        sums = adder_tree(costs, self.tables, word) + costs.adder(total) + costs.register(total)
        readers = self.all_pes * self.outputs
        return {
            "tables": Part(table, self.all_pes * self.tables),
            "lookups": Part(costs.gates("multiplexer", (entries - 1) * word), readers * self.tables),
            "sums": Part(sums, readers),
        }
