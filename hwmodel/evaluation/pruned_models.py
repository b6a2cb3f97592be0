"""Models with pruned weights, written as `bitx prune` writes them, and how far their weights moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import bitxcore as bx
from bitxcore.batch import PrunedTensor, Selection, check_norms, prune_dump
from bitxcore.batch.selection import channel_first
from bitxcore.dumps import Dump, Tensor, save
from bitxcore.errors import OptionError, TensorError, error_context
from bitxcore.formats import FLOATS
from hwmodel.evaluation.runners.product_alignment import ProductOnes
from hwmodel.evaluation.settings import Setting


@dataclass(frozen=True)
class Changes:
    """What pruning did to weights; of several models, `+` adds them up.

    Parameters
    ----------
    error_square, value_square : float
        Sums of the squared differences, rounding to a format included, and of the squared weights.
    kept_rows, groups : int
    products : tuple of ProductOnes
        What is counted while the models run, where rows are chosen by products: one for each model.
    """

    error_square: float = 0.0
    value_square: float = 0.0
    kept_rows: int = 0
    groups: int = 0
    products: tuple[ProductOnes, ...] = ()

    @staticmethod
    def of(row: PrunedTensor) -> Changes:
        """Record the results of pruning a tensor."""
        return Changes(
            (row.relative_error * row.norm) ** 2,
            row.norm**2,
            sum(count * n for count, n in enumerate(row.kept_rows_histogram)),
            row.groups,
        )

    def __add__(self, other: Changes) -> Changes:
        return Changes(
            self.error_square + other.error_square,
            self.value_square + other.value_square,
            self.kept_rows + other.kept_rows,
            self.groups + other.groups,
            self.products + other.products,
        )

    @property
    def relative_error(self) -> float | None:
        """Euclidean norm of the differences over that of the weights; 0 if nothing was pruned.

        None if weights are pruned at run time, for each use anew.
        """
        if self.products:
            return None
        return sqrt(self.error_square / self.value_square) if self.value_square else 0.0

    @property
    def kept_rows_mean(self) -> float | None:
        """Per group; None where no rows were pruned."""
        return self.kept_rows / self.groups if self.groups else None

    @property
    def ones_means(self) -> tuple[float | None, float | None]:
        """Kept ones of a weight per product whose activation is not zero: by products, and by weights."""
        live = sum(found.live for found in self.products)
        if not live:
            return None, None
        ones = (sum(getattr(p, name) for p in self.products) for name in ("ones", "plain_live_ones"))
        by_products, plain = (count / live for count in ones)
        return by_products, plain


Norms = Mapping[str, npt.NDArray[Any]]
"""By tensor, as `hwmodel.open_norms` gives them."""


def write_pruned(
    dump: Dump, out: Path, setting: Setting, selection: Selection, norms: Norms | None = None
) -> dict[str, Changes]:
    """Write the model with pruned weights, as `bitx prune` does; return the changes by tensor.

    Parameters
    ----------
    dump : Dump
    out : pathlib.Path
    setting : Setting
    selection : Selection
        Which tensors are weights.
    norms : mapping of str to ndarray, optional
        Of criterion ``"calibrated"``.

    Raises
    ------
    OptionError
        If they are needed, and a tensor has none.
    """
    tensors = setting.chosen(dump, selection)
    if setting.prunes and setting.format not in FLOATS:
        how: dict[str, Any] = _options(setting) if setting.policy is None else {"policy": setting.policy}
        if setting.takes_norms:
            how["norms"] = norms_of(setting, dump, tensors, norms)
        rows = prune_dump(dump, out, tensors, format=setting.format, **how)
        return {row.tensor: Changes.of(row) for row in rows}
    replacement = Replacement(setting, dump, tensors, norms)
    save(dump, out, replacement)
    return replacement.changes


def _options(setting: Setting) -> dict[str, Any]:
    """Of `bitxcore.prune`, but the format."""
    names = ("rows", "group", "grouping", "window", "criterion", "rounding")
    return {name: getattr(setting, name) for name in names}


def norms_of(setting: Setting, dump: Dump, tensors: tuple[Tensor, ...], norms: Norms | None) -> Norms:
    """Give the norms that a setting takes; empty, where it takes none.

    Raises
    ------
    OptionError
        If it takes some, and a tensor has none.
    """
    if not setting.takes_norms:
        return {}
    if norms is None:
        raise OptionError(f"criterion {setting.criterion!r} needs norms of a calibration run")
    check_norms(dump, tensors, norms)
    return norms


class Replacement:
    """Gives tensors as a setting has them: rounded to its format, and pruned in that; adds up the changes.

    Parameters
    ----------
    setting : Setting
    dump : Dump
    tensors : tuple of Tensor
        Those of the dump that change.
    norms : mapping of str to ndarray, optional
        As of `write_pruned`.
    """

    def __init__(
        self, setting: Setting, dump: Dump, tensors: tuple[Tensor, ...], norms: Norms | None = None
    ) -> None:
        self._chosen, self._setting = {tensor.name for tensor in tensors}, setting
        self._norms = norms_of(setting, dump, tensors, norms)
        self.changes: dict[str, Changes] = {}

    def __call__(self, tensor: Tensor) -> npt.NDArray[Any] | None:
        """Return a tensor's new values; None leaves it."""
        policy = self._setting.policy
        options = _options(self._setting) if policy is None else policy.options_for(tensor.name)
        is_float = tensor.dtype.newbyteorder("=") in {form.dtype for form in FLOATS.values()}
        if tensor.name not in self._chosen:
            return None
        if not is_float and self._setting.format in FLOATS:
            raise TensorError(
                f"is {tensor.dtype}: a float format is for floats; leave it out, or take format own",
                tensor=tensor.name,
            )
        if options["rows"] is None and (not is_float or self._setting.format is None):
            return None  # integers stay as they are, as in fixed point that rows are pruned in
        values = tensor.read()
        with error_context(tensor=tensor.name):
            changed, kept = self._changed(tensor, values, options, is_float)
        wide = values.astype(np.float64)
        squares = float(np.square(changed - wide).sum()), float(np.square(wide).sum())
        self.changes[tensor.name] = Changes(*squares, *kept)
        return changed

    def _changed(
        self, tensor: Tensor, values: npt.NDArray[Any], options: dict[str, Any], is_float: bool
    ) -> tuple[npt.NDArray[Any], tuple[int, int]]:
        """Return the values, and how many rows of how many groups were kept."""
        form = self._setting.format if is_float else None
        fixed = form is not None and form not in FLOATS
        narrow = values
        if form in FLOATS:
            narrow = _narrowed(values, form)
        if options["rows"] is None:
            if fixed:
                width = int(str(form).removeprefix("fixed"))
                return bx.quantize(values, width).dequantize(tensor.dtype), (0, 0)
            return narrow.astype(tensor.dtype), (0, 0)
        layout = channel_first(tensor)
        if self._setting.takes_norms:
            options = options | {"norms": self._norms[tensor.name]}
        pruned = bx.prune(layout.turn(narrow), format=form if fixed else None, **options)
        kept = int(pruned.kept_rows.sum(dtype=np.int64)), pruned.kept_rows.size
        return layout.restore(pruned.values).astype(tensor.dtype), kept


def _narrowed(values: npt.NDArray[Any], form: str) -> npt.NDArray[Any]:
    """Round to a float format."""
    with np.errstate(over="ignore"):
        narrow = values.astype(bx.number_format(form).dtype)
    if not np.isfinite(narrow.astype(np.float64)).all():
        raise OptionError(
            f"weights are beyond what {form} holds; leave the tensor out, or choose another format",
            value=form,
        )
    return narrow
