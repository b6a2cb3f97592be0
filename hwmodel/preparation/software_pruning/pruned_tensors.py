"""What was taken away of each weight tensor: channels, weights and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bitxcore.errors import BitxError
from bitxcore.showing import table_repr
from bitxcore.tables import TableCollector, Tables, TabularResult

Array = npt.NDArray[Any]

SOFTWARE_UNITS = {
    "tensor": "",
    "filters_before": "1",
    "filters_after": "1",
    "channels_before": "1",
    "channels_after": "1",
    "weights_before": "1",
    "weights_after": "1",
    "macs_before": "1",
    "macs_after": "1",
    "reason": "",
}
"""Units of the columns of a report."""


@dataclass(frozen=True)
class SoftwarePrunedTensor:
    """What was taken away of one weight tensor.

    Attributes
    ----------
    tensor : str
    filters_before, filters_after : int
        Output channels; those after have a weight that stays.
    channels_before, channels_after : int
        Input channels of a filter, likewise.
    weights_before, weights_after : int
    macs_before, macs_after : int or None
        Of all layers with these weights, for one sample; those after are of weights that stay. None where
        the layers' sizes are not known.
    reason : str or None
        Why its filters, or for methods on weights its weights, are all there.
    """

    tensor: str
    filters_before: int
    filters_after: int
    channels_before: int
    channels_after: int
    weights_before: int
    weights_after: int
    macs_before: int | None
    macs_after: int | None
    reason: str | None

    @staticmethod
    def of_mask(tensor: str, stays: Array, macs: int | None, reason: str | None) -> SoftwarePrunedTensor:
        """Count what stays of ``(filters, channels, *kernel)``."""
        flat = stays.reshape(*stays.shape[:2], -1) if stays.ndim > 1 else stays.reshape(1, -1, 1)
        left = int(flat.sum())
        return SoftwarePrunedTensor(
            tensor,
            flat.shape[0],
            int(flat.any(axis=(1, 2)).sum()),
            flat.shape[1],
            int(flat.any(axis=(0, 2)).sum()),
            flat.size,
            left,
            macs,
            None if macs is None else macs * left // flat.size,
            reason,
        )


class SoftwareReport(list[SoftwarePrunedTensor], TabularResult):
    """What a method took away: a list with a `SoftwarePrunedTensor` for each weight tensor."""

    _main_table = "software_pruning"

    def tables(self) -> Tables:
        """Return the table ``software_pruning``.

        Examples
        --------
        >>> row = SoftwarePrunedTensor("conv1.weight", 16, 8, 3, 3, 432, 216, None, None, None)
        >>> SoftwareReport([row]).tables()["software_pruning"].columns["filters_after"]
        [8]
        """
        collector = TableCollector()
        collector.write_table("software_pruning", [vars(row) for row in self], units=SOFTWARE_UNITS)
        return collector.tables()

    def _shown(self) -> tuple[str, Iterable[str]]:
        return "software_pruning", SOFTWARE_UNITS

    def __repr__(self) -> str:
        return table_repr(f"SoftwareReport: {len(self):,} tensors", map(vars, self), "all: .to_pandas()")


def macs_by_tensor(path: Path, feeds: Mapping[str, Array] | None) -> dict[str, int]:
    """Give the multiply-accumulates of one sample by weight tensor; nothing if sizes are not known."""
    from hwmodel.networks.loading import load_network

    sizes = {name: (1, *x.shape[1:]) for name, x in feeds.items()} if feeds else None
    for input_size in (sizes, None) if sizes else (None,):
        try:
            network = load_network(path, input_size=input_size)
        except BitxError:
            continue
        found: dict[str, int] = {}
        for entry in network.layers:
            for name in entry.tensors:
                found[name] = found.get(name, 0) + entry.layer.macs // len(entry.tensors)
        return found
    return {}


def total_of(report: Sequence[SoftwarePrunedTensor]) -> SoftwarePrunedTensor:
    """Add up all tensors; filters and channels, too.

    Examples
    --------
    >>> rows = [SoftwarePrunedTensor(name, 8, 6, 4, 4, 288, 216, None, None, None) for name in "ab"]
    >>> whole = total_of(rows)
    >>> whole.filters_after, whole.weights_after, whole.macs_after
    (12, 432, None)
    """

    def added(column: str) -> Any:
        values = [getattr(row, column) for row in report]
        return None if None in values else sum(values)

    columns = {name: added(name) for name in SOFTWARE_UNITS if name not in ("tensor", "reason")}
    return SoftwarePrunedTensor(tensor="all", reason=None, **columns)
