"""Bit-Tactical: zero weights skipped by a static schedule, activations by precision or by essential bits.

A. Delmas Lascorz, P. Judd, D. Malone Stuart, Z. Poulos, M. Mahmoud, S. Sharify, M. Nikolic, K. Siu, A.
Moshovos, "Bit-Tactical: A Software/Hardware Approach to Exploiting Value and Bit Sparsity in Neural
Networks", ASPLOS 2019. From its sections on the front end, the scheduler and the back ends: weights move
ahead in time (lookahead) and aside between lanes (lookaside), by a greedy scheduler; TCLp finds precisions
at run time, TCLe works on essential bits. From the public simulator DNNsim (isakedo/DNNsim 4748a60), with
which this model agrees number by number on convolutions: the patterns, which lane chooses first, how tiles
skip empty steps, and which activations a step reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.engines.booth_terms import (
    magnitude_terms,
    magnitude_words,
    ones_complement,
    width_table,
)
from hwmodel.accelerators.engines.bricks import (
    activation_bricks,
    held_lanes,
    meetings,
    present,
    weight_bricks,
    words,
)
from hwmodel.accelerators.engines.grid_plan import GridPlan
from hwmodel.accelerators.families.grid import GRID_ASSUMPTIONS, Grid
from hwmodel.accelerators.families.grid_work import GridWork, columns_at_work, times_used
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.accelerators.pragmatic import TERM_UNITS, generator_parts, term_parts, term_uses
from hwmodel.accelerators.stripes import serial_parts, serial_uses
from hwmodel.costs.area_energy import Part
from hwmodel.costs.components import adder_tree, selector, width_detector
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

if TYPE_CHECKING:
    from hwmodel.accelerators.engines.back_ends import BackEnd
    from hwmodel.accelerators.engines.lookahead import WeightSchedule

BACK_ENDS = ("p", "e", None)
PATTERNS = ("T", "L")
ORDERS = ("most", "fewest")


def _at_work(schedules: list[WeightSchedule]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count filters at work, and activations that all of them read, in each executed step of all rounds."""
    filters, lanes = [], []
    for s in schedules:
        runs = np.arange(s.length) < s.steps[:, None]
        filters.append(np.diff(s.tiles) @ runs)
        lanes.append(s.counts[:, : s.length].sum(axis=0, dtype=np.int64))
    return np.concatenate(filters), np.concatenate(lanes)


@dataclass(frozen=True, kw_only=True)
class BitTactical(Grid):
    """Grid with scheduled weights.

    Parameters
    ----------
    lanes, columns, rows, tiles, word_bits, fold_first_layer
        As in `Grid`, at most 64 lanes. Without a back end a column is 16 times as fast: ``columns=1`` then
        has the peak of the others.
    back_end : {"e", "p", None}
        TCLe: essential activation bits; TCLp: activation precision of each group; None: whole activations.
    lookahead : int
        Time steps that a weight may move ahead.
    lookaside : int
        Lanes that it may move aside.
    pattern : {"T", "L"}
        Which combinations of the two there are; T is for ``lookahead=2, lookaside=5`` only.
    order : {"most", "fewest"}
        Which lane of a filter chooses first: the one with most candidates, as the public simulator since
        December 2019, or the one with fewest, as its comments say and as it did before.
    first_stage_bits, booth
        Of TCLe, as in `Pragmatic`.
    group_columns, minor_bit
        Of TCLp, as in `ShapeShifter`.
    column_registers : int or None
        Weight sets that let a column run ahead. None: 1 for TCLe, 0 for TCLp.
    """

    back_end: str | None = "e"
    lookahead: int = 2
    lookaside: int = 5
    pattern: str = "T"
    order: str = "most"
    first_stage_bits: int = 2
    booth: bool = True
    group_columns: int = 1
    minor_bit: bool = False
    column_registers: int | None = None

    name: ClassVar[str] = "bit_tactical"
    title: ClassVar[str] = "Bit-Tactical, ASPLOS 2019: zero weights, then precision (TCLp) or bits (TCLe)"
    source: ClassVar[str] = (
        "Delmas Lascorz et al., Bit-Tactical: A Software/Hardware Approach to Exploiting Value and Bit"
        " Sparsity in Neural Networks, ASPLOS 2019"
    )
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"back_end": "p"})
    assumptions: ClassVar[tuple[str, ...]] = (
        *GRID_ASSUMPTIONS,
        "Schedule: at each step, lanes whose weight is 0 choose one after another, until none has a"
        " candidate; whole slots are swapped. Which lane chooses first is an option, because the public"
        " versions differ.",
        "Time steps without a weight in a tile are skipped, up to `lookahead` in a row; tiles are at"
        " different time steps, but begin each step together and wait for each other at the end of a window"
        " set.",
        "A weight of 0 that nothing replaced still feeds its activation to the back end; one that was"
        " swapped to a later step does not.",
        "Lanes beyond the last channel feed lane 0 of time step 0 in the first step, as in the public"
        " simulator.",
        TERM_UNITS,
        "DRAM holds weights as scheduled: all lanes of every step that a filter executes (`groups`), a word"
        " and the number of its place each; activations take words. How far a tile advances in a step, two"
        " bits for all its filters, is left out.",
        "Guessed: a lane of a unit chooses among its places, of a bit (TCLp), a term (TCLe) or a word; a tile"
        " stages lookahead + 1 steps of every column's activations, with a generator of terms (or serialiser)"
        " each. A unit works until the slowest filter of the step that shares its column is done: an upper"
        " bound. Weights are read as scheduled, each with the number of its place.",
    )

    @property
    def reads(self) -> Reads:
        """Weights; activations with a back end that looks at them."""
        return Reads(activations=self.back_end is not None)

    @property
    def _places(self) -> int:
        """Places that a lane may take a weight from, its own included."""
        return 8 if self.pattern == "T" else self.lookahead + self.lookaside + 1

    def parts(self, costs: Costs) -> dict[str, Part]:
        """Units of the back end, selectors in their lanes, staged activations."""
        bits, staged = self.word_bits, (self.lookahead + 1) * self.tiles
        inputs = staged * self.lanes * self.columns
        sent = {"e": bits.bit_length() + 1, "p": 1, None: bits}[self.back_end]
        parts = {"selectors": Part(selector(costs, self._places, sent), self.slots)}
        if self.back_end:
            parts["weight_sets"] = self.weight_sets(costs, self._column_registers)
        if self.back_end == "e":
            parts |= term_parts(self, costs, self.first_stage_bits)
            parts |= generator_parts(self, costs, self.booth, staged)
        elif self.back_end == "p":
            detector = width_detector(costs, self.lanes * (self.lookahead + 1) * self.group_columns, bits)
            groups = self.tiles * self.columns // self.group_columns
            parts |= serial_parts(self, costs)
            parts |= {
                "dispatcher": Part(self.dispatcher(costs).cost, inputs),
                "width_detectors": Part(detector, groups),
            }
        else:
            parts |= {
                "multipliers": Part(costs.multiplier(bits), self.slots),
                "adder_trees": Part(adder_tree(costs, self.lanes, 2 * bits), self.units),
                "accumulators": self.accumulators(costs),
                "weight_registers": Part(costs.register(bits), self.lanes * self.rows * self.tiles),
                "activation_registers": Part(costs.register(bits), inputs),
            }
        return parts

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "lookahead", "group_columns")
        self.check_at_least(0, "lookaside", "first_stage_bits")
        if self.column_registers is not None:
            self.check_at_least(0, "column_registers")
        self.check_one_of(BACK_ENDS, "back_end")
        self.check_one_of(PATTERNS, "pattern")
        self.check_one_of(ORDERS, "order")
        if self.pattern == "T" and (self.lookahead, self.lookaside) != (2, 5):
            raise self.refusal("pattern 'T' needs lookahead=2 and lookaside=5")
        if self.lanes > 64 or self.lookahead + self.lookaside > 255:
            raise self.refusal(
                f"lanes must be at most 64 and lookahead + lookaside at most 255,"
                f" got {self.lanes} and {self.lookahead} + {self.lookaside}"
            )
        self.check_divides("group_columns", "columns")

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits, nothing skipped."""
        return self.slots / (self.slot_cycles_per_mac if self.back_end else 1)

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse products of two activations: there is nothing to schedule before run time."""
        return None if layer.has_weights else "both operands are activations: no weights to schedule"

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits in DRAM: weights as scheduled, each with the number of its place; whole words."""
        assert on_chip.groups is not None
        p = self.plan_of(layer, operands)
        entry = p.weight_words * self.word_bits + self._place_bits
        weights = on_chip.groups * (1 if p.depthwise else p.lanes) * entry
        return replace(super().stored_bits(layer, operands, on_chip), weights=weights)

    @property
    def _place_bits(self) -> int:
        """Bits of the number of a place."""
        return (self._places - 1).bit_length()

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        p = self.plan_of(layer, operands)
        weights = weight_bricks(p, operands.integer_weights)
        weights = weights.reshape(*weights.shape[:2], p.steps, p.lanes)
        schedules = [self._schedules(p, weights, g) for g in range(p.groups)]
        nonzero = np.count_nonzero(weights, axis=1)
        w = GridWork.of(p, operands)
        at_work = [_at_work(group) for group in schedules]
        steps = sum(int(filters.sum()) for filters, _ in at_work)
        weights_read = steps * p.window_sets * (1 if p.depthwise else p.lanes)
        bits_read = weights_read * (w.weight_bits + self._place_bits)
        weight_words = weights_read * p.weight_words * w.weight_share
        if self.back_end is None:
            useful = int(nonzero.sum()) * layer.positions
            uses = self._whole_uses(w, useful * w.word_pairs, steps * layer.positions * w.word_pairs)
            work = w.work(uses | {"weight_registers": weight_words}, weight_bits_read=bits_read)
            cycles = p.window_sets * sum(s.length for group in schedules for s in group)
            return self.grid_result(p, cycles, useful, groups=steps, work=work)

        from hwmodel.accelerators.engines.back_ends import step_costs
        from hwmodel.accelerators.engines.column_sync import waiting

        together = self.group_columns if self.back_end == "p" and not p.staggered else 1
        activations = operands.integer_activations
        bricks = activation_bricks(p, activations)
        signed = bool(activations.min() < 0)
        back_end, table, costs = self._back_end(p, bricks.values, signed)
        columns = waiting(p, self._column_registers, together)
        members, used = columns_at_work(p, together), times_used(bricks)
        useful = unit_cycles = lane_cycles = column_cycles = terms = 0
        for g in range(p.groups):
            fed = step_costs(p, bricks, table[:, g], schedules[g], back_end, together)
            columns.feed(fed)
            by_step = np.einsum("stc,sc->t", fed, members, dtype=np.int64)
            column_cycles += int(by_step.sum())
            unit_cycles += int(by_step @ at_work[g][0]) * p.weight_words
            lane_cycles += int(by_step @ at_work[g][1]) * p.weight_words
            filters = nonzero[g].reshape(len(bricks.offset), -1, p.lanes)
            of_activations = costs[:, g].sum(axis=-1, dtype=np.int64)
            useful += meetings(bricks, of_activations, filters)
            terms += int(used @ of_activations.sum(axis=(-1, -2)))
        if self.back_end == "e":
            uses = {
                **term_uses(w, unit_cycles, useful * p.weight_words),
                "selectors": useful * p.weight_words,
                "booth_encoders": w.tile_activations * w.activation_share * self.booth,
                "oneffset_generators": terms * w.tile_rounds,
                "lowest_offset": column_cycles * w.tile_rounds / p.rounds,
            }
        else:
            executed = sum(int(s.steps.sum()) for group in schedules for s in group)
            uses = {
                **serial_uses(w, unit_cycles, lane_cycles),
                "selectors": lane_cycles,
                "dispatcher": w.tile_activations * w.activation_share,
                "width_detectors": int(present(p, together).sum()) * executed,
            }
        lane_steps = sum(int(lanes.sum()) for _, lanes in at_work)
        uses["weight_registers"] = lane_steps * layer.positions * w.word_pairs * w.weight_share
        uses["weight_sets"] = weight_words * (self._column_registers > 0)
        work = w.work(uses, weight_bits_read=bits_read)
        return self.grid_result(p, columns.cycles, useful, groups=steps, work=work)

    @staticmethod
    def _whole_uses(w: GridWork, products: int, unit_steps: int) -> dict[str, float]:
        """Count the uses of parts without a back end, but for the weights' registers."""
        return {
            "selectors": products * w.activation_share,
            "multipliers": products * w.weight_share * w.activation_share,
            "adder_trees": unit_steps * (w.weight_share + w.activation_share) / 2,
            "accumulators": (unit_steps + w.partial_sums) * w.sum_share,
            "activation_registers": w.tile_activations * w.activation_share,
        }

    @property
    def _column_registers(self) -> int:
        """Weight sets that let a column run ahead."""
        return int(self.back_end == "e") if self.column_registers is None else self.column_registers

    def _schedules(self, p: GridPlan, weights: npt.NDArray[Any], group: int) -> list[WeightSchedule]:
        """Schedule the filters of a group, round by round."""
        from hwmodel.accelerators.engines.lookahead import offsets, schedule

        held = held_lanes(p)
        places = offsets(self.pattern, self.lookahead, self.lookaside)
        exist = weights[group][: p.layer.filters - group * p.filters]
        rounds = []
        for r in range(p.rounds):
            chosen = p.round_filters(r)
            rounds.append(
                schedule(
                    exist[chosen],
                    held[: len(exist)] if len(held) > 1 else held,
                    rows=p.rows,
                    places=places,
                    most_first=self.order == "most",
                )
            )
        return rounds

    def _back_end(
        self, p: GridPlan, values: npt.NDArray[Any], signed: bool
    ) -> tuple[BackEnd, npt.NDArray[Any], npt.NDArray[Any]]:
        """Back end, what it takes of each activation, and the cycles of each alone."""
        from hwmodel.accelerators.engines.back_ends import PrecisionBackEnd, TermBackEnd

        if self.back_end == "p":
            cut = ones_complement(words(values, p.activation_words, p.word_bits), p.word_bits, signed)
            return PrecisionBackEnd(signed, self.minor_bit), cut, width_table(signed, self.minor_bit)[cut]
        terms = magnitude_terms(magnitude_words(values, p.activation_words, p.word_bits), self.booth)
        wide = bool(terms.max() >= 1 << 16)
        return TermBackEnd(self.first_stage_bits, wide), terms, np.bitwise_count(terms)
