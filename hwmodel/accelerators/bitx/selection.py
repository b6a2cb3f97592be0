"""What a BitX machine prunes of its serial operand, and how it gathers groups."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitxcore.formats import format_of, number_format
from bitxcore.groups import Grouping
from hwmodel.accelerators.bitx.row_counts import RowCounts, count_rows, leave_out_zeros
from hwmodel.accelerators.memo import once

if TYPE_CHECKING:
    from bitxcore import Pruned

PACK_ZEROS_FROM = 0.3
"""Share of zero weights from which a tensor counts as pruned by software."""

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Gathered:
    """Groups as units take them in.

    Attributes
    ----------
    kept_rows : array of uint8, shape (vectors, groups)
        What lies behind a vector's last group means nothing.
    lengths : array of int64, shape (vectors,)
        Groups of each vector.
    histogram : array of int64
        Entry r: groups with r kept rows.
    packed : bool
        Whether zeros were left out.
    """

    kept_rows: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.int64]
    histogram: npt.NDArray[np.int64]
    packed: bool


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

    def packs(self, values: Values) -> bool:
        """Whether zeros of these values are left out."""
        if self.pack_zeros is not None:
            return self.pack_zeros
        return bool(1 - np.count_nonzero(values) / values.size >= PACK_ZEROS_FROM)

    def before_and_after(self, values: Values, form: str | None) -> tuple[Values, Values]:
        """Give the values as they are gathered, and what pruning makes of them."""
        if not self.packs(values):
            return values, self._prune(values, form, self.grouping).values
        packed, _ = once(leave_out_zeros, values, grouping=self.grouping)
        return packed, self._prune(packed, form, "flat").values

    def nonempty(self, values: Values, form: str | None) -> RowCounts:
        """Count the rows of the unpruned machine: all of the window that hold a one."""
        own = format_of(values.dtype) if form is None else number_format(form)
        cut: dict[str, Any] = {"window": self.window, "group": self.group, "grouping": self.grouping}
        return count_rows(values, format=form, rows=self.window or own.default_window, **cut)

    def gather(self, values: Values, form: str | None, dense: RowCounts) -> Gathered:
        """Count the rows that are kept of each group; `dense`: from `nonempty`."""
        window = dense.window
        if self.packs(values):
            packed, counts = once(leave_out_zeros, values, grouping=self.grouping)
            lengths = -(-counts // self.group)
            kept = count_rows(packed, format=form, **self._options("flat")).kept_rows
            # Vectors have different numbers of groups once their zeros are gone.
            exists = np.arange(kept.shape[1]) < lengths[:, None]
            return Gathered(kept, lengths, np.bincount(kept[exists], minlength=window + 1), True)
        kept = count_rows(values, format=form, **self._options(self.grouping)).kept_rows
        lengths = np.full(*dense.kept_rows.shape)
        return Gathered(kept, lengths, np.bincount(kept.reshape(-1), minlength=window + 1), False)

    def _prune(self, values: Values, form: str | None, grouping: Grouping) -> Pruned:
        import bitxcore as bx

        return once(bx.prune, values, format=form, **self._options(grouping))

    def _options(self, grouping: Grouping) -> dict[str, Any]:
        """Options of `bitxcore.prune`."""
        options = asdict(self) | {"grouping": grouping}
        del options["pack_zeros"]
        return options
