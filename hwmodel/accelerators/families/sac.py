"""Base of the machines that split and accumulate (SAC): no multipliers, one adder for each bit position.

H. Lu, X. Wei, N. Lin, G. Yan, X. Li, "Tetris: Re-architecting Convolutional Neural Network Computation for
Machine Learning Accelerators", ICCAD 2018, and H. Lu, M. Zhang, Y. Han, Q. Wang, H. Li, X. Li, "Architecting
Effectual Computation for Machine Learning Accelerators", TCAD 2020. From their descriptions of the SAC unit:
a splitter per lane sends an activation to the segment adders of a weight's essential bits; an adder tree
joins the segments once all lanes have passed the mark at the end of their weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.changes import Change
from hwmodel.accelerators.engines.booth_terms import magnitude_words
from hwmodel.accelerators.engines.bricks import held_lanes, weight_bricks
from hwmodel.accelerators.engines.grid_plan import GridPlan
from hwmodel.accelerators.engines.pass_marks import pass_mark_cycles
from hwmodel.accelerators.engines.tiles import tile_bounds
from hwmodel.accelerators.families.grid import SECOND_OPERAND, Grid
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import SUM_GUARD_BITS, adder_tree, selector
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import Operands

Array = npt.NDArray[Any]

ACTIVATION_BITS = 16
"""Width of the splitters and segment adders."""

BARRIERS = ("sac", "pe", "round")

SAC_ASSUMPTIONS = (
    "Guessed: organised as DaDianNao is, a SAC unit in place of each neuron's multipliers and adder tree: 16"
    " tiles x 16 filters x 16 lanes, one window. A channel block never straddles two kernel positions;"
    " depthwise layers use one lane per filter, and one tile; a 3-channel input's stride is folded into its"
    " channels.",
    "Floats are quantised to 16 bits (or the precision given). Weights of more than word_bits take several"
    " filters' places.",
    "The tree that joins the segments opens when all lanes of a SAC unit have reached the pass mark at the"
    " end of an output sum, and works beside the next sum.",
    "Guessed, barrier='round': all SAC units get the activations of a step together, through throttle"
    " buffers: a lane may be up to fifo_depth entries ahead of the slowest. Filters of a round end together.",
    "dual_issue: two weights of at most half of word_bits in one splitter, each half with its own"
    " activations.",
    "Weights are prepared when they enter the weight buffer, without cycles; in DRAM they are plain, and"
    " every value takes a word (with dual_issue a weight of at most half a word takes half).",
    "The pipeline's fill is not counted. Transposed convolution scatters.",
    "Energy is components x events, the inventory being ours: the papers give block diagrams. Selectors, sign"
    " inverters and segment adders work once per essential bit, all segment registers of a SAC unit until its"
    " slowest lane is done. Prepared weights are read once per window; activations once for whatever begins a"
    " sum together: a SAC unit, a PE, or all PEs (barrier).",
)
"""What the machines of this family have in common."""


@dataclass(frozen=True, kw_only=True)
class SplitAccumulate(Grid):
    """Grid of SAC units.

    Parameters
    ----------
    lanes, columns, rows, tiles, fold_first_layer
        As in `Grid`.
    word_bits : int
        Bits of a weight, that is segment adders of a SAC unit.
    barrier : {"sac", "pe", "round"}
        What waits for its slowest lane at the end of an output sum. "sac": each SAC unit for itself; it then
        goes on to its next window and filter alone, and fetches activations alone. "pe": the units of a PE
        (`rows` of a tile), which share activations; PEs go on by themselves. "round": the units of all PEs,
        which also take activations step by step together (`fifo_depth`).
    fifo_depth : int or None
        With barrier "round", entries of its throttle buffer by which a lane may be ahead of the slowest; 0 is
        lock step, None is unbounded (an idealisation without area).
    throttle_depth : int
        With the other barriers, entries of a lane in its throttle buffer. They arrive in time, so that this
        is area only.
    dual_issue : bool
        Whether a splitter takes two weights at once if both fit its width.
    clock_hz, cost_basis, weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes
        As in `Accelerator`.
    """

    columns: int = 1
    barrier: str = "round"
    fifo_depth: int | None = 2
    throttle_depth: int = 2
    dual_issue: bool = False

    slot_cycles_per_mac: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fifo_depth is not None:
            self.check_at_least(0, "fifo_depth")
        self.check_at_least(1, "throttle_depth")
        self.check_one_of(BARRIERS, "barrier")

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits in DRAM: plain words; two weights per word where splitters take two at once."""
        stored = super().stored_bits(layer, operands, on_chip)
        return replace(stored, weights=stored.weights // self._splits(operands))

    @property
    @abstractmethod
    def _stride(self) -> int:
        """Weights of a lane that one entry of its throttle buffer represents."""

    @property
    @abstractmethod
    def _entry_bits(self) -> int:
        """Bits of what a splitter takes in a cycle."""

    @abstractmethod
    def _entries(self, streams: npt.NDArray[np.uint16]) -> tuple[npt.NDArray[np.int32], Array]:
        """Cycles of each entry of each lane, shape (lanes, entries), and each lane's number of entries."""

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse products of two activations: there is nothing to prepare."""
        return None if layer.has_weights else SECOND_OPERAND

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        lanes = self.lanes * self._splits(operands)
        p = replace(self, lanes=lanes).plan_of(layer, operands)
        streams = self._streams(p, operands)
        costs, entries = self._entries(streams.reshape(-1, p.steps))
        lengths = np.where(self._held(p), entries.reshape(streams.shape[:-1]), 0).reshape(-1)
        costs = np.where(np.arange(costs.shape[1]) < lengths[:, None], costs, 0)
        ladder = self._ladder(p, lanes, costs, lengths)
        even, unequal, waiting = (p.window_sets * np.diff(ladder, prepend=0)).tolist()
        cycles = even + unequal + waiting
        ones = int(np.bitwise_count(streams).sum(dtype=np.int64)) * layer.positions
        return self.on_chip(
            work=self._work(p, operands, costs, ones),
            compute_cycles=even,
            imbalance_cycles=unequal,
            fifo_full_cycles=waiting,
            fill_cycles=0,
            utilisation=ones / (cycles * self.slots * self.word_bits) if cycles else 0.0,
            filter_tiles=p.groups * p.rounds,
            position_tiles=p.window_sets,
            groups=int(lengths.sum()),
        )

    def _ladder(self, p: GridPlan, lanes: int, costs: Array, lengths: Array) -> Array:
        """Cycles of one window of every filter: evenly shared; waiting at pass marks; and for entries."""
        if self.barrier == "round":
            from hwmodel.accelerators.engines.skewed_fifo import fifo_ladder

            ladder = fifo_ladder(
                costs,
                fifo_depth=self.fifo_depth,
                units=lanes * self.rows * self.tiles,
                bounds=tile_bounds(p.groups, p.filters, p.rows * p.tiles) * p.weight_words * p.lanes,
                lengths=lengths,
            )
            total: Array = ladder.sum(axis=0)
            return total
        # The words of a wide weight make one sum, so its units wait for each other.
        sums = costs.sum(axis=1, dtype=np.int64).reshape(p.groups, p.filters, -1)
        share = self.barrier == "pe"
        even, cycles = pass_mark_cycles(sums, rows=p.rows, tiles=p.tiles, share=share)
        return np.array([even, cycles, cycles])

    def _splits(self, operands: Operands) -> int:
        """Weights that a splitter takes at once."""
        return 2 if self.dual_issue and 2 * operands.weight_precision <= self.word_bits else 1

    def _words(self, p: GridPlan, operands: Operands) -> npt.NDArray[np.uint16]:
        """Bits of the weights that are sent to segments: of `weight_bricks`, words on a new last axis."""
        return magnitude_words(weight_bricks(p, operands.integer_weights), p.weight_words, p.word_bits)

    def _streams(self, p: GridPlan, operands: Operands) -> npt.NDArray[np.uint16]:
        """Weights as they pass the lanes, shape (groups, filters, words, lanes, steps)."""
        words = self._words(p, operands)
        streams = words.transpose(0, 1, 5, 4, 2, 3)
        return np.ascontiguousarray(streams.reshape(*streams.shape[:4], p.steps))

    @staticmethod
    def _held(p: GridPlan) -> npt.NDArray[np.bool_]:
        """Which lanes have weights, be they 0, shape (groups, filters, 1, lanes)."""
        exists = np.arange(p.groups * p.filters).reshape(p.groups, p.filters) < p.layer.filters
        held: npt.NDArray[np.bool_] = exists[:, :, None] & held_lanes(p).any(axis=1)
        return held[:, :, None]

    @property
    def _depth(self) -> int:
        """Entries of a throttle buffer, the one at work included."""
        return 1 + (self.fifo_depth or 0) if self.barrier == "round" else self.throttle_depth

    def own_changes(self) -> Iterator[Change]:
        """List changes of its own options, but for those that no cycle depends on."""
        ignored = {"throttle_depth"} if self.barrier == "round" else {"throttle_depth", "fifo_depth"}
        for change in super().own_changes():
            if not ignored & set(change.options):
                yield change

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """Components: throttle buffers, splitters, segment adders and their registers, trees that join them.

        Parameters
        ----------
        costs : Costs
            Figures of `cost_basis`.
        """
        sacs = self.columns * self.rows * self.tiles
        positions = sacs * self.word_bits
        choose = selector(costs, self._stride, ACTIVATION_BITS) + costs.gates("and", ACTIVATION_BITS)
        segment = ACTIVATION_BITS + SUM_GUARD_BITS
        words = self.lanes * self._depth
        # SAC units that do not wait for each other hold activations of their own.
        holders = self.columns * self.tiles * (self.rows if self.barrier == "sac" else 1)
        return {
            "weight_throttle": Part(costs.register(self._entry_bits), words * self.rows * self.tiles),
            "activation_throttle": Part(costs.register(ACTIVATION_BITS), words * self._stride * holders),
            "splitters": Part(choose + costs.gates("xor", ACTIVATION_BITS), positions * self.lanes),
            "segment_adders": Part(
                costs.adder(ACTIVATION_BITS + self.lanes.bit_length()), positions * self.lanes
            ),
            "segment_registers": Part(costs.register(segment), positions),
            "joining_trees": Part(adder_tree(costs, self.word_bits, segment + self.word_bits), sacs),
        }

    def _work(self, p: GridPlan, operands: Operands, costs: Array, ones: int) -> Work:
        """Count the uses of the parts from the entries' cycles and the essential bits applied."""
        positions = p.layer.positions
        filters = np.arange(0, p.filters, p.rows * p.tiles)
        busy_tiles = int((-(-np.minimum(p.rows * p.tiles, p.filters - filters) // p.rows)).sum())
        steps = p.groups * p.steps * p.lanes * positions
        # Those that hold a step's activations, and how often these are read for them.
        held = p.filters * p.weight_words if self.barrier == "sac" else busy_tiles
        reads = p.rounds if self.barrier == "round" else held
        slowest = costs.sum(axis=1, dtype=np.int64).reshape(-1, p.lanes).max(axis=1)
        words = int(costs.sum(dtype=np.int64)) * p.window_sets
        outputs = p.layer.filters * positions
        return Work(
            uses={
                "weight_throttle": words,
                "activation_throttle": steps * held,
                "splitters": ones,
                "segment_adders": ones,
                "segment_registers": int(slowest.sum()) * positions * self.word_bits,
                "joining_trees": outputs * p.weight_words,
            },
            read_bits={
                "weight_buffer": words * self._entry_bits,
                "activation_buffer": steps * reads * operands.activation_precision,
                "output_buffer": 0,
            },
            written_bits={
                "weight_buffer": 0,
                "activation_buffer": 0,
                "output_buffer": outputs * operands.activation_precision,
            },
        )
