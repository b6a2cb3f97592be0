"""What `prune` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.engine import Cut
from bitxcore.errors import MissingPartError
from bitxcore.showing import record_repr
from bitxcore.summary import Statistics
from bitxcore.tables import data_frame, data_set, facts_html

PARTS = ("values", "row_masks", "exponents", "kept_rows")
"""Arrays of a `Pruned` that can be asked for."""


@dataclass(frozen=True)
class Pruned(Cut):
    """A pruned tensor and what was kept of it.

    The first four arrays are the parts that `prune` can be asked for. It lacks what was not asked for.

    Attributes
    ----------
    values : ndarray
        The pruned tensor: shape, dtype and layout of the input.
    row_masks : ndarray of unsigned int, (filters, groups)
        Bit ``W - 1 - l`` set: row l kept.
    exponents : ndarray of int16, (filters, groups)
        Largest biased exponent of a non-zero member; 0 if there is none, and for integers.
    kept_rows : ndarray of uint8, (filters, groups)
        Number of kept rows.
    format, group, window, grouping
        As in `Cut`; for ``fixed<N>`` the format of `codes`.
    nonfinite_groups : int
        Groups left untouched for a NaN or Inf (``nonfinite="keep"``); their masks are full.
    window_limited_groups : int
        Groups that kept fewer than `rows` rows (without a cap: the rows of the window) although a one of a
        member fell out of the alignment window. A wider window could change them. 0 for integers, which are
        not aligned.
    codes : ndarray of int, optional
        ``fixed<N>`` only: the pruned integers. `values` are their products with `scale`.
    scale : float, optional
        ``fixed<N>`` only.
    statistics : Statistics, optional
        Of the tensor before pruning, if requested.

    Examples
    --------
    >>> from bitxcore import prune
    >>> p = prune(np.array([3, 8, -9, 0], np.int8), rows=1, group=4)
    >>> p.values.tolist(), p.kept_rows.tolist(), p.format.name
    ([0, 8, -8, 0], [[1]], 'int8')
    >>> p.kept_rows_histogram().tolist()
    [0, 1, 0, 0, 0, 0, 0, 0]
    """

    values: npt.NDArray[Any]
    row_masks: npt.NDArray[Any]
    exponents: npt.NDArray[np.int16]
    kept_rows: npt.NDArray[np.uint8]
    nonfinite_groups: int = 0
    window_limited_groups: int = 0
    codes: npt.NDArray[Any] | None = field(default=None, repr=False)
    scale: float | None = None
    statistics: Statistics | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        facts = self.__dict__
        for name in PARTS:
            if facts[name] is None:
                del facts[name]

    def __getattr__(self, name: str) -> Any:
        if name in PARTS:
            raise MissingPartError(f"there are no {name}", hint="prune was asked for other parts")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        rows = self.__dict__.get("kept_rows")
        return record_repr(
            self, format=self.format.name, kept_rows_mean=None if rows is None else float(rows.mean())
        )

    def _repr_html_(self) -> str:
        found = self.__dict__
        values, rows = found.get("values"), found.get("kept_rows")
        facts: dict[str, tuple[Any, str]] = {
            "shape": (None if values is None else "x".join(map(str, values.shape)), ""),
            "dtype": (None if values is None else str(values.dtype), ""),
            "groups": (None if rows is None else rows.size, ""),
            "kept rows per group, mean": (None if rows is None else float(rows.mean()), ""),
            "kept rows per group, most": (None if rows is None else int(rows.max()), ""),
            "groups with a NaN or Inf": (self.nonfinite_groups or None, ""),
            "window-limited groups": (self.window_limited_groups, ""),
            "scale": (self.scale, ""),
        }
        return facts_html("Pruned", self.cut_facts() | facts)

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` with a row per group.

        Columns are ``filter``, ``group``, ``kept_rows``, ``exponent`` and ``row_mask``.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> from bitxcore import prune
        >>> frame = prune(np.array([3, 8, -9, 0], np.int8), rows=1, group=2).to_pandas()
        >>> frame.group.tolist(), frame.row_mask.tolist(), frame.attrs["units"]["kept_rows"]
        ([0, 1], [8, 8], '1')
        """
        filters, groups = self.kept_rows.shape
        columns = {
            "filter": np.repeat(np.arange(filters), groups),
            "group": np.tile(np.arange(groups), filters),
            "kept_rows": self.kept_rows.reshape(-1),
            "exponent": self.exponents.reshape(-1),
            "row_mask": self.row_masks.reshape(-1),
        }
        return data_frame(columns, dict.fromkeys(columns, "1") | {"row_mask": ""})

    def to_xarray(self) -> Any:
        """Return an `xarray.Dataset`.

        ``row_masks``, ``exponents`` and ``kept_rows`` have the dimensions ``filter`` and ``group``;
        ``values`` and, where there are any, ``codes`` have ``filter``, ``axis_1``, ``axis_2``, …. Those of a
        1-D tensor, which is one filter, have ``weight``.

        Raises
        ------
        MissingExtraError
            If xarray is not installed.

        Examples
        --------
        >>> from bitxcore import prune
        >>> found = prune(np.array([[3, 8, -9, 0]], np.int8), rows=1, group=2).to_xarray()
        >>> dict(found.sizes), found.kept_rows.attrs["units"], found.attrs["window"]
        ({'filter': 1, 'axis_1': 4, 'group': 2}, '1', 7)
        """
        axes = ["filter", *(f"axis_{i}" for i in range(1, self.values.ndim))]
        axes = ["weight"] if self.values.ndim == 1 else axes
        variables: dict[str, Any] = {"values": (axes, self.values, "1")}
        if self.codes is not None:
            variables["codes"] = (axes, self.codes, "1")
        for name, unit in (("row_masks", ""), ("exponents", "1"), ("kept_rows", "1")):
            variables[name] = (["filter", "group"], getattr(self, name), unit)
        more = {
            "nonfinite_groups": self.nonfinite_groups,
            "window_limited_groups": self.window_limited_groups,
            "scale": self.scale,
        }
        # "group" is a dimension here.
        attrs = {("group_weights" if name == "group" else name): v for name, v in self.cut_attrs().items()}
        return data_set(variables, attrs | more)

    def kept_rows_histogram(self) -> npt.NDArray[np.int64]:
        """Count groups by their number of kept rows; shape (window + 1,)."""
        return np.bincount(self.kept_rows.reshape(-1), minlength=self.window + 1)
