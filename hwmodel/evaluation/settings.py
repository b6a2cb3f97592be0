"""What is pruned how: one point of the grid that a model is evaluated on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import bitxcore as bx
from bitxcore.batch import PrunedTensor, Selection, prune_dump
from bitxcore.dumps import Dump, Tensor, save
from bitxcore.errors import OptionError
from bitxcore.formats import FLOATS

FORMATS = ("own", "float32", "float16", "bfloat16", "fixed<N>")
"""Numbers that weights may have."""


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
        shown = {"rows": self.rows if self.rows is not None else "all"}
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
        """Options of BitX that prune alike; an unpruned setting keeps every row."""
        options = {k: v for k, v in asdict(self).items() if v is not None or k == "rows"}
        if self.group is None:
            raise OptionError("whole kernels are how accuracy was measured; no machine takes such groups")
        if self.format in FLOATS:
            del options["format"]  # the values that it is given have that format
        return options


def write_pruned(dump: Dump, out: Path, setting: Setting, selection: Selection) -> list[PrunedTensor]:
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
    list of PrunedTensor
        Empty where weights are rounded to a format only.
    """
    options: dict[str, Any] = {
        "rows": setting.rows,
        "group": setting.group,
        "grouping": setting.grouping,
        "window": setting.window,
        "criterion": setting.criterion,
        "rounding": setting.rounding,
    }
    tensors = selection.choose(dump).tensors
    if setting.rows is not None and setting.format not in FLOATS:
        return prune_dump(dump, out, tensors, format=setting.format, **options)
    chosen = {tensor.name for tensor in tensors}
    save(dump, out, partial(_rounded, chosen=chosen, setting=setting, options=options))
    return []


def _rounded(
    tensor: Tensor, chosen: set[str], setting: Setting, options: dict[str, Any]
) -> npt.NDArray[Any] | None:
    """Round a tensor to the setting's format, and prune it in that, if rows are given."""
    if tensor.name not in chosen or tensor.dtype.kind != "f":
        return None
    values = tensor.read()
    if setting.format is None:
        return values
    if setting.format not in FLOATS:
        fixed = bx.quantize(values, int(setting.format.removeprefix("fixed")))
        return fixed.dequantize(tensor.dtype)
    narrow = values.astype(bx.number_format(setting.format).dtype)
    if not np.isfinite(narrow.astype(np.float64)).all():
        raise OptionError(f"{tensor.name}: weights are beyond {setting.format}", value=setting.format)
    if setting.rows is not None:
        pruned = bx.prune(tensor.layout.turn(narrow) if tensor.ndim > 1 else narrow, **options).values
        narrow = tensor.layout.restore(pruned) if tensor.ndim > 1 else pruned
    return narrow.astype(tensor.dtype)
