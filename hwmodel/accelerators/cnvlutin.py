"""Cnvlutin: no multiplication by an activation that is zero.

J. Albericio, P. Judd, T. Hetherington, T. Aamodt, N. Enright Jerger, A. Moshovos, "Cnvlutin:
Ineffectual-Neuron-Free Deep Neural Network Computing", ISCA 2016. From its sections on these topics:
DaDianNao's organisation with decoupled neuron lanes (a subunit per lane, with one multiplier per filter), the
zero-free neuron array format (bricks of 16 activations, value and offset), slices of a window for the lanes,
their synchronisation at the end of a window, and the first layer, whose input nobody has encoded. There is no
public code; what stands under "Guessed" is not from the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.engines.brick_slices import Drained, drain
from hwmodel.accelerators.engines.bricks import activation_bricks
from hwmodel.accelerators.engines.grid_plan import plan
from hwmodel.accelerators.families.grid_work import GridWork
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import accumulator, accumulator_bits, adder_tree
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits, whole_words
from hwmodel.networks.layers import Conv, Layer
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

WORD_BITS = 16
SLICES = ("bricks", "channels")


@dataclass(frozen=True, kw_only=True)
class Cnvlutin(Accelerator):
    """DaDianNao whose lanes each drain a slice of their own of a window.

    Parameters
    ----------
    lanes : int
        Slices of a window; each takes one activation that is not zero per cycle.
    rows : int
        Filters per tile.
    tiles : int
    brick : int
        Channels that are stored together, each value with its offset.
    slices : {"bricks", "channels"}
        Which bricks of a window a lane drains: every `lanes`-th in walk order, or the same channels at
        every kernel position. Where the channels fill a multiple of `lanes` bricks, that is the same.
    encoded_first_layer : bool
        Whether the input of the network, too, comes in the zero-free format. In the paper it does not:
        the first layer runs as on DaDianNao.
    fold_first_layer : bool
        As in `Grid`, where the first layer runs dense.
    """

    lanes: int = 16
    rows: int = 16
    tiles: int = 16
    brick: int = 16
    slices: str = "bricks"
    encoded_first_layer: bool = False
    fold_first_layer: bool = True

    name: ClassVar[str] = "cnvlutin"
    title: ClassVar[str] = "Cnvlutin, ISCA 2016: zero activations"
    source: ClassVar[str] = (
        "Albericio et al., Cnvlutin: Ineffectual-Neuron-Free Deep Neural Network Computing, ISCA 2016"
    )
    assumptions: ClassVar[tuple[str, ...]] = (
        "A window is cut into bricks of 16 channels at one kernel position. A lane spends a cycle on each"
        " activation of its bricks that is not zero, and one on a brick without any. All lanes wait for"
        " each other at the end of a window; tiles take the same activations, each with other filters.",
        "Kernel positions, channel blocks, depthwise, grouped and transposed layers follow DaDianNao's walk."
        " With more filters than rows x tiles a window is drained once per round.",
        "A convolution of 3 channels is taken for the network's first layer and runs dense, as on"
        " DaDianNao (encoded_first_layer).",
        "The lossy variant, which takes activations near zero for zero, is left out.",
        "Products of two activations stream the second operand as weights.",
        "Floating-point activations are quantised to 16-bit fixed point (or the precision given) first.",
        "Guessed: bricks are dealt to the lanes in walk order, so that layers with less than 256 channels"
        " keep all lanes busy (slices). Where bricks are no multiple of the lanes, some lanes have one less,"
        " and a layer without zeros is slower than on DaDianNao.",
        "Guessed: bricks of padding are bubbles like other bricks of zeros; fully connected layers, which the"
        " paper leaves to the baseline, are drained like one window per position.",
        "Guessed: parts are DaDianNao's; in addition, offsets in the lanes' registers, a buffer of one"
        " brick per lane in the dispatcher, and an encoder per tile. A bubble reads no weights.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "lanes", "rows", "tiles", "brick")
        self.check_one_of(SLICES, "slices")

    @property
    def reads(self) -> Reads:
        """Operands whose values its cycles depend on."""
        return Reads(weights=False, activations=True)

    @property
    def multipliers(self) -> int:
        """Of all tiles."""
        return self.lanes * self.rows * self.tiles

    @property
    def offset_bits(self) -> int:
        """Stored beside every activation."""
        return (self.brick - 1).bit_length()

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits, nothing skipped."""
        return self.multipliers

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """DaDianNao's parts, offsets, the dispatcher's brick buffers and the encoders."""
        entry = costs.register(WORD_BITS + self.offset_bits)
        filters = self.rows * self.tiles
        return {
            "multipliers": Part(costs.multiplier(WORD_BITS), self.multipliers),
            "adder_trees": Part(adder_tree(costs, self.lanes, 2 * WORD_BITS), filters),
            "accumulators": Part(accumulator(costs, accumulator_bits(WORD_BITS, WORD_BITS)), filters),
            "weight_registers": Part(costs.register(WORD_BITS), self.multipliers),
            "activation_registers": Part(entry, self.lanes * self.tiles),
            "dispatcher": Part(entry, self.lanes * self.brick),
            "encoders": Part(costs.comparator(WORD_BITS) + entry, self.tiles),
        }

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count an offset beside every activation: a brick keeps its full place, whatever it holds."""
        plain = super().stored_bits(layer, operands, on_chip)
        bits = whole_words(operands.activation_precision, self.stored_word_bits)
        encoded = bits + self.offset_bits
        return StoredBits(
            plain.weights,
            plain.activations if self._is_first(layer) else plain.activations // bits * encoded,
            plain.outputs // bits * encoded,
        )

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        dense = self._is_first(layer)
        p = plan(
            layer,
            lanes=self.lanes if dense else self.brick,
            columns=1,
            rows=self.rows,
            tiles=self.tiles,
            activation_bits=operands.activation_precision,
            weight_bits=operands.weight_precision,
            fold_first_layer=dense and self.fold_first_layer,
        )
        w = GridWork.of(p, operands)
        if dense:
            steps = p.all_steps
            return self._result(w, steps, steps, layer.macs, self._dense_work(w))
        bricks = activation_bricks(p, operands.integer_activations)
        groups = [
            drain(p, bricks, g, self.lanes, by_channel=self.slices == "channels") for g in range(p.groups)
        ]
        shared, cycles = (sum(getattr(d, c) for d in groups) for c in ("shared_cycles", "cycles"))
        products = sum(d.activations for d in groups) * p.filters_at_work * p.weight_words
        work = self._drained_work(w, groups, products)
        return self._result(w, p.rounds * shared, p.rounds * cycles, products, work)

    def _is_first(self, layer: Layer) -> bool:
        """Whether the layer's input is an image that nobody has encoded."""
        return isinstance(layer, Conv) and layer.in_channels == 3 and not self.encoded_first_layer

    def _result(self, w: GridWork, shared: int, cycles: int, products: int, work: Work) -> OnChip:
        return self.on_chip(
            work=work,
            compute_cycles=shared,
            imbalance_cycles=cycles - shared,
            fill_cycles=0,
            utilisation=products / (cycles * self.multipliers),
            filter_tiles=w.plan.groups * w.plan.rounds,
            position_tiles=w.plan.window_sets,
        )

    def _dense_work(self, w: GridWork) -> Work:
        """Work of a layer that runs as on DaDianNao; its outputs are encoded."""
        uses = {
            "multipliers": w.products * w.weight_share * w.activation_share,
            "adder_trees": w.unit_steps * (w.weight_share + w.activation_share) / 2,
            "accumulators": w.unit_steps * w.sum_share,
            "weight_registers": w.weights_read * w.weight_share,
            "activation_registers": w.tile_activations * w.activation_share,
            "dispatcher": 2 * w.activations_read * w.activation_share,
        }
        return self._encoded(w, uses, w.weights_read * w.weight_bits, w.activations_read * w.activation_bits)

    def _drained_work(self, w: GridWork, groups: Sequence[Drained], products: int) -> Work:
        """Work of a layer that skips zeros."""
        p = w.plan
        sums = sum(d.cycles * w.filters_at_work(g) for g, d in enumerate(groups))
        activations, bricks = (sum(getattr(d, c) for d in groups) for c in ("activations", "bricks"))
        uses = {
            "multipliers": products * w.weight_share * w.activation_share,
            "adder_trees": sums * (w.weight_share + w.activation_share) / 2,
            "accumulators": sums * w.sum_share,
            "weight_registers": products * w.weight_share,
            "activation_registers": activations * -(-p.filters // p.rows) * w.activation_share,
            "dispatcher": 2 * activations * p.rounds * w.activation_share,
        }
        entry_bits = w.activation_bits + self.offset_bits
        weight_bits = products * w.weight_bits // p.weight_words
        return self._encoded(w, uses, weight_bits, bricks * self.brick * entry_bits * p.rounds)

    def _encoded(self, w: GridWork, uses: dict[str, float], weight_bits: int, activation_bits: int) -> Work:
        """Add the encoding of the outputs to what a layer reads."""
        outputs = w.plan.layer.output_count
        return Work(
            uses=uses | {"encoders": outputs * w.activation_share},
            read_bits={"weight_buffer": weight_bits, "activation_buffer": activation_bits},
            written_bits={"output_buffer": outputs * (w.activation_bits + self.offset_bits)},
        )
