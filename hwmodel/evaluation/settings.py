"""What is pruned how: one point of the grid that a model is evaluated on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import bitxcore as bx
from bitxcore.batch import Selection, prune_dump, prune_totals
from bitxcore.batch.selection import channel_first
from bitxcore.dumps import Dump, Tensor, save
from bitxcore.errors import OptionError, TensorError, error_context
from bitxcore.formats import FLOATS, number_format

COLUMNS = {
    "rows": "1",
    "group": "1",
    "grouping": "",
    "window": "1",
    "format": "",
    "criterion": "",
    "rounding": "",
}
"""Units of a setting's columns."""


CRITERIA = ("topn", "msb")
"""Those that need nothing but the number of rows."""


@dataclass(frozen=True)
class Setting:
    """How weights are pruned.

    Parameters
    ----------
    rows : int or None
        Rows that a group keeps; None prunes nothing, which with a format rounds to it only.
    group : int or None
        Weights of a group; None with ``grouping="kernel"``: whole kernels.
    grouping : str
    window : int, optional
    format : str, optional
        Numbers of the weights: a float format, to which they are rounded first, or ``"fixed<N>"``; None: the
        model's own.
    criterion, rounding : str
        As of `bitxcore.prune`.

    Examples
    --------
    >>> Setting(rows=6).label
    'rows 6, group 8'
    """

    rows: int | None = None
    group: int | None = 8
    grouping: str = "flat"
    window: int | None = None
    format: str | None = None
    criterion: str = "topn"
    rounding: str = "truncate"

    @property
    def is_unpruned(self) -> bool:
        """Whether weights stay as they are."""
        return self.rows is None and self.format is None

    @property
    def label(self) -> str:
        """What differs from the defaults, in words."""
        if self.is_unpruned:
            return "unpruned"
        if self.rows is None:
            return f"all rows, format {self.format}"
        return f"rows {self.rows}, {self.way}"

    @property
    def way(self) -> str:
        """How rows are pruned, whatever their number; what differs from the defaults, in words."""
        shown: dict[str, Any] = {}
        usual = Setting()
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if field.name == "group" or value != getattr(usual, field.name):
                shown[field.name] = "whole kernels" if value is None else value
        return ", ".join(f"{name} {value}" for name, value in shown.items())

    def columns(self) -> dict[str, Any]:
        """Return a table's columns."""
        return asdict(self)

    @property
    def machine(self) -> dict[str, Any]:
        """Options of BitX that prune alike.

        One that keeps every row has the machine's default for them: its unpruned cycles do not depend on
        that. A float format is not among the options: it is that of the weights that the machine is given.

        Raises
        ------
        OptionError
            If no machine prunes so.
        """
        if self.rows is None:
            return {} if self.format is None or self.format in FLOATS else {"format": self.format}
        options = {name: value for name, value in asdict(self).items() if value is not None}
        if self.group is None:
            raise OptionError("no machine takes whole kernels as groups")
        if self.format in FLOATS:
            del options["format"]
        return options

    def chosen(self, dump: Dump, selection: Selection) -> tuple[Tensor, ...]:
        """Tensors that are pruned, those that `bitx prune` takes."""
        fixed = self.format if self.format not in FLOATS else None
        return selection.choose(dump, fixed).tensors


def settled(setting: Setting, dump: Dump, selection: Selection) -> Setting:
    """Write a setting in one way only: what has no effect, or says what holds anyway, is left out.

    Parameters
    ----------
    setting : Setting
    dump : Dump
        The model: a format that all its weights have anyway is its own.
    selection : Selection
    """
    dtypes = {tensor.dtype.newbyteorder("=") for tensor in selection.choose(dump).tensors}
    names = [form.name for form in FLOATS.values() if {form.dtype} == dtypes]
    own = number_format(names[0]) if names else None
    if own is not None and setting.format == own.name:
        setting = replace(setting, format=None)
    if setting.rows is None:
        return Setting(format=setting.format)
    used = own if setting.format is None else number_format(setting.format)
    if used is not None and setting.window == used.default_window:
        setting = replace(setting, window=None)
    return setting


def write_pruned(dump: Dump, out: Path, setting: Setting, selection: Selection) -> dict[str, float | None]:
    """Write the model with pruned weights, as `bitx prune` does.

    Parameters
    ----------
    dump : Dump
    out : pathlib.Path
    setting : Setting
    selection : Selection
        Which tensors are weights.

    Returns
    -------
    dict
        ``relative_error`` of all pruned weights together, rounding to a format included, and
        ``kept_rows_mean`` per group, None where no rows are pruned.
    """
    options: dict[str, Any] = {
        "rows": setting.rows,
        "group": setting.group,
        "grouping": setting.grouping,
        "window": setting.window,
        "criterion": setting.criterion,
        "rounding": setting.rounding,
    }
    tensors = setting.chosen(dump, selection)
    if setting.rows is not None and setting.format not in FLOATS:
        totals = prune_totals(prune_dump(dump, out, tensors, format=setting.format, **options))
        return {name: totals[name] for name in ("relative_error", "kept_rows_mean")}
    rounding = _Rounding({tensor.name for tensor in tensors}, setting, options)
    save(dump, out, rounding)
    return rounding.totals


class _Rounding:
    """Rounds tensors to the setting's format, and prunes them in that, if rows are given."""

    def __init__(self, chosen: set[str], setting: Setting, options: dict[str, Any]) -> None:
        self._chosen, self._setting, self._options = chosen, setting, options
        self._squares = np.zeros(2)  # of the differences, of the values
        self._rows = np.zeros(2)  # kept ones of all groups, groups

    def __call__(self, tensor: Tensor) -> npt.NDArray[Any] | None:
        if tensor.name not in self._chosen:
            return None
        if tensor.dtype.newbyteorder("=") not in {form.dtype for form in FLOATS.values()}:
            if self._setting.format in FLOATS:
                raise TensorError(
                    f"is {tensor.dtype}: a float format is for floats; leave it out, or take format own",
                    tensor=tensor.name,
                )
            return None  # integers stay as they are, as in fixed point that rows are pruned in
        values = tensor.read()
        with error_context(tensor=tensor.name):
            rounded = self._rounded(tensor, values)
        wide = values.astype(np.float64)
        self._squares += [np.square(rounded - wide).sum(), np.square(wide).sum()]
        return rounded

    def _rounded(self, tensor: Tensor, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        form = self._setting.format
        assert form is not None
        if form not in FLOATS:
            return bx.quantize(values, int(form.removeprefix("fixed"))).dequantize(tensor.dtype)
        with np.errstate(over="ignore"):
            narrow = values.astype(bx.number_format(form).dtype)
        if not np.isfinite(narrow.astype(np.float64)).all():
            raise OptionError(
                f"weights are beyond what {form} holds; leave the tensor out, or choose another format",
                value=form,
            )
        if self._setting.rows is not None:
            layout = channel_first(tensor)
            pruned = bx.prune(layout.turn(narrow), **self._options)
            self._rows += [pruned.kept_rows.sum(dtype=np.int64), pruned.kept_rows.size]
            narrow = layout.restore(pruned.values)
        return narrow.astype(tensor.dtype)

    @property
    def totals(self) -> dict[str, float | None]:
        """See `write_pruned`."""
        errors, values = self._squares
        kept, groups = self._rows
        return {
            "relative_error": float(np.sqrt(errors / values)) if values else 0.0,
            "kept_rows_mean": float(kept / groups) if groups else None,
        }
