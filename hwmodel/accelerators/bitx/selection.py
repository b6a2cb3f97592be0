"""What a BitX machine prunes of its serial operand, and how it gathers groups."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitxcore.engine import MAX_WINDOW
from bitxcore.formats import fixed_width
from bitxcore.groups import Grouping, grid
from hwmodel.accelerators.bitx.counts import Kept, Lanes, kept, leave_out_zeros, numbers_of, whole
from hwmodel.accelerators.memo import once

if TYPE_CHECKING:
    from hwmodel.accelerators.engines.lane_costs import Steps

PACK_ZEROS_FROM = 0.3
"""Share of zero weights from which a tensor counts as pruned by software."""

Values = npt.NDArray[Any]


def is_sparse(values: Values) -> bool:
    """Whether so many values are zero that they count as pruned by software, see `PACK_ZEROS_FROM`."""
    return bool(1 - np.count_nonzero(values) / values.size >= PACK_ZEROS_FROM)


@dataclass(frozen=True, eq=False)
class Gathered:
    """Groups as PEs take them in.

    Attributes
    ----------
    lanes : Lanes
        What lies behind a vector's last group means nothing.
    lengths : array of int64, shape (vectors,)
        Groups of each vector.
    values : int
        Values in all of them; lanes without one are empty.
    kept : Kept or None
        What pruning left; None of values that are not pruned.
    packed : bool
        Whether zeros were left out.
    """

    lanes: Lanes
    lengths: npt.NDArray[np.int64]
    values: int
    kept: Kept | None = None
    packed: bool = False

    def kept_rows_histogram(self, window: int) -> tuple[int, ...]:
        """Entry r: groups with r kept rows, up to the `window` rows that there are."""
        assert self.kept is not None
        rows = self.kept.rows
        if self.packed:
            rows = rows[np.arange(rows.shape[1]) < self.lengths[:, None]]
        return tuple(np.bincount(rows.reshape(-1), minlength=window + 1).tolist())

    def kept_ones_histogram(self, bits: int) -> tuple[int, ...]:
        """Entry k: weights with k ones, up to the `bits` of a significand."""
        weights = self.lanes.histogram[: bits + 1].copy()
        weights[0] -= self.lanes.histogram.sum() - self.values
        return tuple(weights.tolist())


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """Options of a machine that say which rows it keeps; as in `bitxcore.prune`.

    Parameters
    ----------
    rows, window, group, criterion, rounding, threshold, budget, grouping
        As in `bitxcore.prune`.
    pack_zeros : bool or None
        Whether zeros are left out when groups are gathered. None: where at least `PACK_ZEROS_FROM` of a
        tensor's values are zero.
    prunes : bool
        Whether rows are pruned at all.
    """

    rows: int | None
    window: int | None
    group: int
    criterion: str
    rounding: str
    threshold: float | None
    budget: float | None
    grouping: Grouping
    pack_zeros: bool | None
    prunes: bool

    def packs(self, values: Values) -> bool:
        """Whether zeros of these values are left out."""
        if self.pack_zeros is not None:
            return self.pack_zeros
        return is_sparse(values)

    def before_and_after(self, values: Values, form: str | None, *, in_window: bool) -> tuple[Values, Values]:
        """Give the values as they are gathered, and what the machine makes of them.

        Parameters
        ----------
        values : ndarray
        form : str or None
        in_window : bool
            Whether a machine that does not prune takes the rows of its window, and not whole significands.
        """
        if not self.prunes:
            if not in_window and fixed_width(form) is None:
                return values, values
            every = {"rows": MAX_WINDOW, "window": self.window, "group": self.group}
            return values, self._pruned_so(values, form, grouping=self.grouping, **every)
        if not self.packs(values):
            return values, self._prune(values, form, self.grouping)
        packed, _ = once(leave_out_zeros, values, grouping=self.grouping)
        return packed, self._prune(packed, form, "flat")

    def unpruned(self, values: Values, form: str | None, steps: Steps) -> Gathered:
        """Gather the groups of the machine without pruning: ones of whole significands, zeros in place."""
        cut = grid(values.shape, self.group, self.grouping)
        lanes = once(whole, values, format=form, group=self.group, grouping=self.grouping, steps=steps)
        return Gathered(lanes, np.full(cut.filters, cut.groups), values.size)

    def pruned(self, values: Values, form: str | None, steps: Steps) -> Gathered:
        """Gather the groups of the machine with pruning."""
        if self.packs(values):
            # What fixed point makes 0 is left out as well.
            numbers, own = once(numbers_of, values, format=form)
            packed, counts = once(leave_out_zeros, numbers, grouping=self.grouping)
            found = once(kept, packed, format=own, steps=steps, **self._options("flat"))
            # Vectors have different numbers of groups once their zeros are gone.
            return Gathered(found.lanes, -(-counts // self.group), int(counts.sum()), found, packed=True)
        found = once(kept, values, format=form, steps=steps, **self._options(self.grouping))
        return Gathered(found.lanes, np.full(*found.rows.shape), values.size, found)

    def nonempty(self, values: Values, form: str | None, steps: Steps) -> Gathered:
        """Gather the groups with every row of the window that holds a one, zeros in place."""
        every: dict[str, Any] = {"rows": MAX_WINDOW, "window": self.window, "group": self.group}
        found = once(kept, values, format=form, steps=steps, grouping=self.grouping, **every)
        return Gathered(found.lanes, np.full(*found.rows.shape), values.size, found)

    def _prune(self, values: Values, form: str | None, grouping: Grouping) -> Values:
        return self._pruned_so(values, form, **self._options(grouping))

    @staticmethod
    def _pruned_so(values: Values, form: str | None, **options: Any) -> Values:
        import bitxcore as bx

        return once(bx.prune, values, format=form, **options).values

    def _options(self, grouping: Grouping) -> dict[str, Any]:
        """Options of `bitxcore.prune`."""
        options = asdict(self) | {"grouping": grouping}
        del options["pack_zeros"], options["prunes"]
        return options
