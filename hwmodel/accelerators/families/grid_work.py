"""What the machines that walk as DaDianNao does have to do in a layer: counts that energy follows from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.engines.bricks import Bricks, present
from hwmodel.accelerators.engines.grid_plan import GridPlan
from hwmodel.costs.area_energy import Work
from hwmodel.costs.components import accumulator_bits
from hwmodel.operands.operands import Operands

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class GridWork:
    """Work of a layer on a grid; words, not values, where an operand takes several.

    A *unit* is what sums the lanes of one row and column. It is at work on every step of a filter and
    window that exist, and so are the lanes that hold a channel.

    Parameters
    ----------
    plan : GridPlan
    weight_bits, activation_bits : int
        Precisions.
    """

    plan: GridPlan
    weight_bits: int
    activation_bits: int

    @classmethod
    def of(cls, plan: GridPlan, operands: Operands) -> GridWork:
        """Take the precisions of `operands`; a second operand that is activations has theirs."""
        activation_bits = operands.activation_precision
        return cls(
            plan, operands.weight_precision if plan.layer.has_weights else activation_bits, activation_bits
        )

    @property
    def word_pairs(self) -> int:
        """Products of words that a product of values takes."""
        return self.plan.activation_words * self.plan.weight_words

    @property
    def products(self) -> int:
        """Products of words: steps of lanes at work."""
        return self.plan.layer.macs * self.word_pairs

    @property
    def unit_steps(self) -> int:
        """Steps of units at work."""
        return self.plan.layer.positions * self.plan.steps * self.plan.layer.filters * self.word_pairs

    @property
    def weights_read(self) -> int:
        """Weights, each as often as it leaves the buffer: once for all columns of a window set."""
        layer = self.plan.layer
        return layer.filters * layer.reduction * self.plan.window_sets

    @property
    def activations_read(self) -> int:
        """Activations, each as often as it leaves the buffer: once for all tiles of a round."""
        p, layer = self.plan, self.plan.layer
        groups = layer.filters if p.depthwise else p.groups
        return layer.positions * layer.reduction * groups * p.rounds

    @property
    def tile_activations(self) -> int:
        """Activation words that tiles take in, idle tiles left out."""
        return self.activations_read // self.plan.rounds * self.tile_rounds * self.plan.activation_words

    @property
    def tile_rounds(self) -> int:
        """Tiles at work on a group's windows, over all rounds."""
        return -(-self.plan.filters // self.plan.rows)

    @property
    def partial_sums(self) -> int:
        """Additions after the last step: of columns that worked on one window together."""
        p = self.plan
        columns = min(p.columns, p.steps) if p.staggered else 1
        return p.layer.positions * p.layer.filters * (columns * self.word_pairs - 1)

    @property
    def weight_share(self) -> float:
        """Part of a weight word's bits that are in use."""
        return min(1.0, self.weight_bits / (self.plan.weight_words * self.plan.word_bits))

    @property
    def activation_share(self) -> float:
        """Part of an activation word's bits that are in use."""
        return min(1.0, self.activation_bits / (self.plan.activation_words * self.plan.word_bits))

    @property
    def sum_share(self) -> float:
        """Part of an accumulator's bits that are in use."""
        word = self.plan.word_bits
        used = accumulator_bits(round(self.weight_share * word), round(self.activation_share * word))
        return used / accumulator_bits(word, word)

    def filters_in_round(self, group: int, index: int) -> int:
        """Rows at work on a group's windows in a round, weight words counted."""
        p = self.plan
        chosen = p.round_filters(index)
        filters = int(p.lanes_at_work(group)[0]) if p.depthwise else chosen.stop - chosen.start
        return filters * p.weight_words

    def filters_at_work(self, group: int) -> int:
        """Rows at work on a group's windows over all rounds, weight words counted."""
        return sum(self.filters_in_round(group, r) for r in range(self.plan.rounds))

    def lanes_of_unit(self, group: int) -> npt.NDArray[np.int64]:
        """Lanes of one unit that hold a channel, shape (channel blocks,)."""
        lanes = self.plan.lanes_at_work(group)
        return np.ones_like(lanes) if self.plan.depthwise else lanes

    def cycles_at_work(self, group: int, by_block: npt.NDArray[np.int64]) -> tuple[int, int]:
        """Cycles of units and of lanes at work, from the cycles of columns.

        Parameters
        ----------
        group : int
        by_block : array of int64, shape (channel blocks,)
            Cycles of all columns, over all windows.
        """
        filters = self.filters_at_work(group)
        return int(by_block.sum()) * filters, int(by_block @ self.lanes_of_unit(group)) * filters

    def work(self, uses: Mapping[str, float], *, weight_bits_read: int | None = None) -> Work:
        """Make the `Work`: uses of the parts, and what moves through the buffers on the machine's side.

        Parameters
        ----------
        uses : mapping of str to float
        weight_bits_read : int, optional
            Where that is not `weights_read` values.
        """
        weight_bits = self.weights_read * self.weight_bits
        return Work(
            uses=uses,
            read_bits={
                "weight_buffer": weight_bits if weight_bits_read is None else weight_bits_read,
                "activation_buffer": self.activations_read * self.activation_bits,
                "output_buffer": 0,
            },
            written_bits={
                "weight_buffer": 0,
                "activation_buffer": 0,
                "output_buffer": self.plan.layer.output_count * self.activation_bits,
            },
        )


def times_used(bricks: Bricks) -> npt.NDArray[np.int64]:
    """How often the walk reads each position of the padded input, over all windows, shape (positions,)."""
    return np.bincount(bricks.index.reshape(-1), minlength=len(bricks.values))


def columns_at_work(p: GridPlan, columns_at_once: int) -> npt.NDArray[np.int64]:
    """Count the physical columns with a window in each entry of `stream`, shape (window sets, columns)."""
    starts = np.arange(0, p.physical_columns, columns_at_once)
    return np.add.reduceat(present(p)[:, 0].astype(np.int64), starts, axis=-1)


def by_block(p: GridPlan, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sum what each time step has over kernel positions, shape (channel blocks,)."""
    blocks: npt.NDArray[np.int64] = steps.reshape(-1, p.channel_blocks).sum(axis=0)
    return blocks
