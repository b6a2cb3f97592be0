"""SCNN: Cartesian products of the weights and the activations that are not zero.

A. Parashar, M. Rhu, A. Mukkara, A. Puglielli, R. Venkatesan, B. Khailany, J. Emer, S. W. Keckler, W. J.
Dally, "SCNN: An Accelerator for Compressed-sparse Convolutional Neural Networks", ISCA 2017. From its
sections on the dataflow and the architecture: planar tiles, one per PE, input-stationary products, 8 x 8 PEs
of 4 x 4 multipliers, 32 accumulator banks, halos that neighbours exchange, operands stored without their
zeros, each with a 4-bit count of those before it. Two sets of rules (`SCNN.rules`):

- "paper", the default: banks of 32 entries with queues, a barrier after every group of 8 output channels,
  accumulators in two sets, and beside it the dense machine that the paper compares with. The numbers are from
  summaries of the paper.
- "dnnsim": the machine of the public simulator DNNsim (isakedo/DNNsim 4748a60), with which this model agrees
  number by number on convolutions: the order of the walk, the bank hash, the halo's cycles, 6 K accumulator
  entries, a stall for every bank conflict, a barrier after every input channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.changes import Change
from hwmodel.accelerators.engines.planar_tiles import PlaneTiling, mapped, tiling_of
from hwmodel.accelerators.engines.planes import Arranged, arrange, conv_output_tile, input_planes, shares
from hwmodel.accelerators.families.cartesian_parts import RUN_BITS, WORD_BITS, dot_parts, product_parts
from hwmodel.accelerators.families.compressed import block_entries, tile_entries
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits, whole_words
from hwmodel.networks.layers import Conv, Layer, Linear
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

if TYPE_CHECKING:
    from hwmodel.accelerators.engines.cartesian_walks import Walk

RULES = ("dnnsim", "paper")
MULTIPLIES = ("nonzero", "all", "dense")
DNNSIM_OPTIONS = ("accumulator_entries", "phase_shift")
"""Options that nothing depends on under the paper's rules."""
PAPER_OPTIONS = ("group_filters", "bank_entries", "queue_depth", "accumulator_sets")
"""Numbers that nothing depends on under the public simulator's rules."""


@dataclass(frozen=True, kw_only=True)
class SCNN(Accelerator):
    """PEs that multiply all pairs of values that are not zero.

    Parameters
    ----------
    pe_rows, pe_columns : int
        PEs along the first and the second spatial axis.
    units : int
        Copies of the whole machine, which share the filters. The paper has one, of 1024 multipliers; 4 have
        the peak of the other machines.
    weight_width, activation_width : int
        Operands that a PE multiplies per cycle, each weight with each activation (F and I of the paper).
    rules : str
        "paper", or "dnnsim": the public simulator's machine.
    accumulator_entries : int
        Partial sums that a PE holds, by the rules "dnnsim".
    banks : int
        Accumulator banks, at most 32; products of one cycle that fall into the same bank take turns.
    phase_shift : bool
        What a strided convolution with padding pairs by the rules "dnnsim". True, as DNNsim: kernel positions
        are shifted by the padding before their phase is compared with that of padded input coordinates. For
        odd padding those are not the pairs that make the outputs, and PEs at the edge get more bank conflicts
        (a third more cycles for 128 channels of 28 x 28, stride 2). False: the pairs that make the outputs,
        as by the rules "paper".
    multiplies : str
        By the rules "paper". "nonzero": SCNN. "all": SCNN with every value taken for one that is not zero,
        which is what it makes of dense operands. "dense": the machine of the same tiles that it is compared
        with, whose PEs form dot products of as many pairs as they have multipliers.
    group_filters : int
        Filters after which PEs wait for each other by the rules "paper" (Kc of the paper).
    bank_entries : int
        Sums of an accumulator bank by the rules "paper". A PE holds its tile's outputs and its halo's.
    large_tiles : str
        What happens by the rules "paper" to tiles whose sums do not fit for a whole group: "rounds" cuts them
        into smaller ones, worked off round by round; "groups" makes groups smaller.
    queue_depth : int or None
        Products that wait in front of a bank by the rules "paper". None: any number, in no area.
    weight_order : str
        What a compressed block of weights, and so the walk, has outermost by the rules "paper": "filters" or
        "positions" of the kernel.
    accumulator_sets : int
        Sets of accumulators by the rules "paper". With two, a group's halos are exchanged while the next
        group is multiplied.
    """

    pe_rows: int = 8
    pe_columns: int = 8
    weight_width: int = 4
    activation_width: int = 4
    accumulator_entries: int = 6144
    banks: int = 32
    phase_shift: bool = True
    units: int = 1
    rules: str = "paper"
    multiplies: str = "nonzero"
    group_filters: int = 8
    bank_entries: int = 32
    large_tiles: str = "rounds"
    queue_depth: int | None = 4
    weight_order: str = "filters"
    accumulator_sets: int = 2

    name: ClassVar[str] = "scnn"
    title: ClassVar[str] = "SCNN, ISCA 2017: zero weights and zero activations"
    source: ClassVar[str] = (
        "Parashar et al., SCNN: An Accelerator for Compressed-sparse Convolutional Neural Networks, ISCA 2017"
    )
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType({"units": 4})
    assumptions: ClassVar[tuple[str, ...]] = (
        "rules='dnnsim': PEs wait for each other after every input channel and group of output channels; a PE"
        " without work takes no cycle, a pair of operand blocks at least one, and as many as the fullest bank"
        " gets products.",
        "rules='dnnsim': as many output channels at once as the accumulators hold of a PE's output tile.",
        "rules='dnnsim': after every group of output channels halos take as many cycles as the largest has"
        " partial sums.",
        "rules='dnnsim': phases of strided convolutions are paired as in the public simulator (phase_shift).",
        "rules='dnnsim': a fully connected layer is a 16 x 16 kernel over a 16 x 16 plane of its inputs,"
        " whose partial sums meet in one output: one halo entry per filter (the simulator counts 225).",
        "Groups of channels run one after another, depthwise layers one output channel at a time. Strided"
        " convolutions run phase by phase. Linear layers at several positions are 1 x 1 convolutions over a"
        " plane of positions as wide as there are columns of PEs.",
        "rules='paper': PEs wait for each other once per group of 8 output channels (group_filters). A PE has"
        " 32 banks of 32 sums (bank_entries), for the outputs of its tile and those of others that its inputs"
        " reach. The paper is known from summaries only.",
        "Guessed, rules='paper': tiles cut the plane without its padding. Where the sums of 8 output channels"
        " do not fit, tiles are cut into rounds, or groups get smaller (large_tiles); groups are never larger"
        " than 8. The paper does not say which group each layer has.",
        "Guessed, rules='paper': products that find their bank busy wait in its queue of 4 (queue_depth); any"
        " number of a cycle's products enter a queue together, and the next pair of blocks is multiplied when"
        " all of them have a place. Queues hold products of several channels and run empty at the end of a"
        " group. 4 entries hide most conflicts: queues without limit save another 1 to 2 % of the cycles of"
        " AlexNet, GoogLeNet and VGG-16.",
        "Guessed, rules='paper': the bank of a sum is the public simulator's; blocks of weights have filter"
        " after filter (weight_order).",
        "Guessed, rules='paper': accumulators in two sets (accumulator_sets), so that halos move while the"
        " next group is multiplied, a sum per cycle on each link to one of 8 neighbours. Sums that belong to"
        " another round of tiles move like those of a neighbour.",
        "Guessed, rules='paper': weights arrive in time; the FIFOs never stop a PE or the broadcast. Outputs"
        " are activated and compressed behind the next group.",
        "Guessed, rules='paper': in a fully connected layer input i is on PE i modulo the PEs, alone in its"
        " channel, so that a quarter of the multipliers have work, as the paper says; the PEs' sums of a"
        " filter are added up in one cycle.",
        "Guessed, multiplies='dense': the dense machine that the paper compares with has SCNN's tiles and as"
        " many multipliers in a PE, which form the dot product of a whole window, padding included, without"
        " waiting for inputs of neighbours; of a fully connected layer each PE has its share of the inputs.",
        "Compressed storage is free: no cycles for indices. Peak: 1024 multiplications per cycle, as in the"
        " paper; four copies (units=4) have the peak of the other machines.",
        "Guessed: copies of the machine take equal shares of the filters, see all activations, and wait for"
        " each other at the end of the layer. One array of 16 x 16 PEs would have less than an activation a"
        " PE in planes of 14 x 14.",
        "Energy: every product is multiplied and gets coordinates; useful ones pass the crossbar, are added"
        " in an accumulator bank. Operands are 16 bits wide, sums 24, and every value that is not zero has 4"
        " bits of index; outputs leave dense, because their values are not computed.",
        "DRAM holds weights and activations compressed: a 16-bit word and 4 bits of zeros before it for each"
        " value that is not zero; more than 15 zeros take words of value zero. Runs begin anew with each"
        " input channel and group of filters (weights) or tile of a PE (activations); counts of a block's"
        " entries are left out.",
        "Guessed: results take as many bits per value in DRAM as the layer's activations do, since their"
        " values are not computed.",
        "Guessed: a crossbar of multiplexers; a weight block is read from a PE's FIFO for every activation"
        " block, all taken for full; each FIFO takes in all weights; halos move as many sums as their cycles,"
        " in every PE. The activation RAMs of the PEs are the common activation and output buffers.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(
            1,
            "pe_rows",
            "pe_columns",
            "weight_width",
            "activation_width",
            "accumulator_entries",
            "banks",
            "units",
            "group_filters",
            "bank_entries",
            "accumulator_sets",
        )
        if self.queue_depth is not None:
            self.check_at_least(0, "queue_depth")
        self.check_one_of(RULES, "rules")
        self.check_one_of(MULTIPLIES, "multiplies")
        self.check_one_of(("rounds", "groups"), "large_tiles")
        self.check_one_of(("filters", "positions"), "weight_order")
        if not self._paper and self.multiplies != "nonzero":
            raise self.refusal(f"multiplies={self.multiplies!r} needs rules='paper', got {self.rules!r}")
        if self.banks > 32 or self.weight_width * self.activation_width > 255:
            raise self.refusal(
                f"banks must be at most 32 and weight_width x activation_width"
                f" at most 255, got {self.banks} and {self.weight_width} x {self.activation_width}"
            )

    @property
    def reads(self) -> Reads:
        """Operands whose values its cycles depend on."""
        return Reads(weights=self._sparse, activations=self._sparse)

    @property
    def _paper(self) -> bool:
        """Whether the paper's rules apply."""
        return self.rules == "paper"

    @property
    def _sparse(self) -> bool:
        """Whether zeros are left out."""
        return self.multiplies == "nonzero"

    @property
    def _dense(self) -> bool:
        """Whether it is the machine of dot products that SCNN is compared with."""
        return self.multiplies == "dense"

    @property
    def sums(self) -> int:
        """Partial sums that a PE holds for the groups that it multiplies."""
        return self.banks * self.bank_entries if self._paper else self.accumulator_entries

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiplications per cycle."""
        return self.pes * self._multipliers

    @property
    def _multipliers(self) -> int:
        """Multipliers of a PE."""
        return self.weight_width * self.activation_width

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse what has no plane, or an output tile that no accumulator holds."""
        if not isinstance(layer, (Conv, Linear)):
            return "runs convolutions and fully connected layers only"
        if isinstance(layer, Conv) and len(layer.weight_shape) > 4:
            return "planar tiles: no convolution in three dimensions"
        if self._paper:
            if not self._tiling(layer).filters:
                return f"a filter has more sums in a tile and its halo than a PE holds: {self.sums}"
        elif isinstance(layer, Conv):
            tile = conv_output_tile(layer, (self.pe_rows, self.pe_columns))
            if tile > self.accumulator_entries:
                return f"an output tile has {tile} sums, the accumulators hold {self.accumulator_entries}"
        return None

    @property
    def pes(self) -> int:
        """PEs of all copies."""
        return self.units * self.pe_rows * self.pe_columns

    def parts(self, costs: Costs) -> dict[str, Part]:
        """PEs of multipliers, what brings products to their sums, accumulators and weight FIFO."""
        blocks = (self.activation_width, self.weight_width)
        sets = self.accumulator_sets if self._paper else 1
        if self._dense:
            return dot_parts(costs, self.pes, self._multipliers, self.sums, sets)
        queue = (self.queue_depth or 0) if self._paper else 0
        return product_parts(costs, self.pes, blocks, self.banks, self.sums, sets=sets, queue=queue)

    def _work(self, layer: Layer, walk: Walk, operands: Operands) -> Work:
        """Turn what the PEs do into uses of their parts and bits that move through the buffers."""
        weight_bits, activation_bits = operands.weight_precision, operands.activation_precision
        share = min(1.0, weight_bits / WORD_BITS) * min(1.0, activation_bits / WORD_BITS)
        block = self._multipliers if self._dense else self.weight_width
        taken_in = walk.weights * self.pe_rows * self.pe_columns / block
        if self._dense:
            added = walk.blocks
            uses = {"operand_registers": 2 * walk.products, "adder_trees": walk.blocks}
        else:
            added = walk.useful
            operand_uses = walk.blocks * self.weight_width + walk.activations
            uses = {
                "coordinates": walk.products,
                "index_decoders": operand_uses,
                "operand_registers": operand_uses,
                "crossbars": walk.useful,
            }
            if self._paper and self.queue_depth:
                uses["bank_queues"] = walk.useful
        index = 0 if self._dense else RUN_BITS
        return Work(
            uses=uses
            | {
                "multipliers": walk.products * share,
                "weight_fifos": walk.blocks + taken_in,
                # A sum is read and written; a halo's, and an output's, once more.
                "accumulator_banks": 2 * added + 2 * walk.halo_sums + layer.output_count,
                "accumulator_adders": added + walk.halo_sums,
            },
            read_bits={
                "weight_buffer": walk.weights * (weight_bits + index),
                "activation_buffer": walk.activations * (activation_bits + index),
                "output_buffer": 0,
            },
            written_bits={
                "weight_buffer": 0,
                "activation_buffer": 0,
                "output_buffer": layer.output_count * activation_bits,
            },
        )

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.cartesian_walks import dot_walk, queued_walk, stalling_walk

        blocks = (self.activation_width, self.weight_width)
        if self._dense:
            walk = dot_walk(layer, self._tiling(layer), multipliers=self._multipliers, units=self.units)
        elif self._paper:
            walk = queued_walk(
                mapped(layer, *self._held(layer, operands), self._tiling(layer)),
                blocks=blocks,
                banks=self.banks,
                depth=self.queue_depth,
                filters_outermost=self.weight_order == "filters",
                sets=self.accumulator_sets,
                units=self.units,
            )
        else:
            arranged = self._arranged(layer, *self._held(layer, operands))
            walk = stalling_walk(arranged, blocks, self.banks, sums=self.sums, units=self.units)
        everything = walk.cycles + walk.halo
        return self.on_chip(
            compute_cycles=everything,
            fill_cycles=0,
            utilisation=walk.useful / (everything * self.peak_macs_per_cycle) if everything else 0.0,
            notes=(f"{walk.halo} cycles exchange halos",) if walk.halo else (),
            work=self._work(layer, walk, operands),
        )

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits in DRAM: values that are not zero, each with the zeros before it."""
        if self._dense:
            return super().stored_bits(layer, operands, on_chip)
        a, w = self._held(layer, operands)
        if self._paper:
            cut = mapped(layer, a, w, self._tiling(layer))
            planes, kept, groups = cut.activations, cut.weights, cut.groups
            x, y = cut.tiling.axes
            sides, at_once = (x.tile, y.tile), cut.tiling.filters
        else:
            arranged = self._arranged(layer, a, w)
            # A convolution's padding is not stored.
            planes = input_planes(layer, a) if isinstance(layer, Conv) else arranged.activations
            filters, channels = arranged.weights.shape[:2]
            kept, groups = arranged.weights.reshape(1, filters, channels, -1), arranged.groups
            sides = (-(-planes.shape[2] // self.pe_rows), -(-planes.shape[3] // self.pe_columns))
            at_once = arranged.filters_at_once(self.accumulator_entries)
        activations = tile_entries(planes, sides, RUN_BITS)
        activations *= whole_words(operands.activation_precision, WORD_BITS) + RUN_BITS
        filters_last = self._paper and self.weight_order == "positions"
        weights = sum(
            block_entries(kept[:, part.start : part.stop], at_once, RUN_BITS, filters_last=filters_last)
            for share in shares(kept.shape[1], groups, self.units)
            for _, part in share
        )
        weights *= whole_words(operands.weight_precision, WORD_BITS) + RUN_BITS
        return StoredBits(weights, activations, -(-activations * layer.output_count // layer.input_count))

    def _held(self, layer: Layer, operands: Operands) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Activations and weights that are kept and multiplied."""
        if self._sparse:
            return operands.integer_activations != 0, operands.integer_weights != 0
        return np.ones(layer.input_count, np.bool_), np.ones(layer.weight_shape, np.bool_)

    def _arranged(self, layer: Layer, a: npt.NDArray[Any], w: npt.NDArray[Any]) -> Arranged:
        """See a layer as planes that the PEs share."""
        pes = (self.pe_rows, self.pe_columns)
        return arrange(layer, a, w, pes=pes, phase_shift=self.phase_shift)

    def _tiling(self, layer: Layer) -> PlaneTiling:
        """Cut a layer by the paper's rules."""
        return tiling_of(
            layer,
            pes=(self.pe_rows, self.pe_columns),
            filters=self.group_filters,
            sums=self.sums,
            smaller_tiles=self.large_tiles == "rounds",
        )

    def own_changes(self) -> Iterator[Change]:
        """List changes of its own options, but for those that the rules in force do not look at."""
        ignored = set(DNNSIM_OPTIONS if self._paper else PAPER_OPTIONS)
        for change in super().own_changes():
            if not ignored & set(change.options):
                yield change
