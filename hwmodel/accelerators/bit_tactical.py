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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.accelerators.grid import GRID_ASSUMPTIONS, Grid
from hwmodel.engines.grid import GridPlan, activation_bricks, held_lanes, meetings, weight_bricks, words
from hwmodel.engines.terms import magnitude_terms, magnitude_words, ones_complement, width_table
from hwmodel.layers import Layer
from hwmodel.operands import Operands
from hwmodel.results import LayerResult

if TYPE_CHECKING:
    from hwmodel.engines.lookahead import BackEnd, Schedule

BACK_ENDS = ("p", "e", None)
PATTERNS = ("T", "L")
ORDERS = ("most", "fewest")


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
    needs_activations: ClassVar[bool] = True
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
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least(1, "lookahead", "group_columns")
        self._check_at_least(0, "lookaside", "first_stage_bits")
        if self.column_registers is not None:
            self._check_at_least(0, "column_registers")
        for option, known in (("back_end", BACK_ENDS), ("pattern", PATTERNS), ("order", ORDERS)):
            if getattr(self, option) not in known:
                one_of = ", ".join(map(str, known))
                raise TensorError(
                    f"accelerator {self.name!r}: {option} must be one of {one_of},"
                    f" got {getattr(self, option)!r}"
                )
        if self.pattern == "T" and (self.lookahead, self.lookaside) != (2, 5):
            raise TensorError(f"accelerator {self.name!r}: pattern 'T' needs lookahead=2 and lookaside=5")
        if self.lanes > 64 or self.lookahead + self.lookaside > 255:
            raise TensorError(
                f"accelerator {self.name!r}: lanes must be at most 64 and lookahead + lookaside at most 255,"
                f" got {self.lanes} and {self.lookahead} + {self.lookaside}"
            )
        if self.columns % self.group_columns:
            raise TensorError(
                f"accelerator {self.name!r}: group_columns must divide columns {self.columns},"
                f" got {self.group_columns}"
            )
        object.__setattr__(self, "needs_activations", self.back_end is not None)

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates a cycle at 16 bits, nothing skipped."""
        return self.slots / (self.slot_cycles_per_mac if self.back_end else 1)

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse products of two activations: there is nothing to schedule before run time."""
        return None if layer.has_weights else "both operands are activations: no weights to schedule"

    def run(self, layer: Layer, operands: Operands) -> LayerResult:
        """Count the cycles of `layer`."""
        p = self._plan(layer, operands)
        weights = weight_bricks(p, operands.integer_weights)
        weights = weights.reshape(*weights.shape[:2], p.steps, p.lanes)
        schedules = [self._schedules(p, weights, g) for g in range(p.groups)]
        nonzero = np.count_nonzero(weights, axis=1)
        if self.back_end is None:
            steps = sum(s.length for group in schedules for s in group)
            return self._grid_result(p, p.window_sets * steps, int(nonzero.sum()) * layer.positions)

        from hwmodel.engines.lookahead import step_costs
        from hwmodel.engines.waiting import waiting

        together = self.group_columns if self.back_end == "p" and not p.staggered else 1
        registers = self.column_registers
        if registers is None:
            registers = int(self.back_end == "e")
        activations = operands.integer_activations
        bricks = activation_bricks(p, activations)
        signed = bool(activations.min() < 0)
        back_end, table, costs = self._back_end(p, bricks.values, signed)
        columns = waiting(p, registers, together)
        work = 0
        for g in range(p.groups):
            columns.feed(step_costs(p, bricks, table[:, g], schedules[g], back_end, together))
            filters = nonzero[g].reshape(len(bricks.offset), -1, p.lanes)
            work += meetings(bricks, costs[:, g].sum(axis=-1, dtype=np.int64), filters)
        return self._grid_result(p, columns.cycles, work)

    def _schedules(self, p: GridPlan, weights: npt.NDArray[Any], group: int) -> list[Schedule]:
        """Schedule the filters of a group, round by round."""
        from hwmodel.engines.lookahead import offsets, schedule

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
        from hwmodel.engines.lookahead import Terms, Widths

        if self.back_end == "p":
            cut = ones_complement(words(values, p.activation_words, p.word_bits), p.word_bits, signed)
            return Widths(signed, self.minor_bit), cut, width_table(signed, self.minor_bit)[cut]
        terms = magnitude_terms(magnitude_words(values, p.activation_words, p.word_bits), self.booth)
        wide = bool(terms.max() >= 1 << 16)
        return Terms(self.first_stage_bits, wide), terms, np.bitwise_count(terms)
