"""Which tensors of a dump are worked on, and how each one is turned for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import numpy as np

from bitxcore.checks import check_one_of
from bitxcore.dumps import Dump, Tensor
from bitxcore.dumps.roles import no_weights
from bitxcore.engine import Array, locate_nonfinite
from bitxcore.errors import OptionError, TensorError, error_context
from bitxcore.formats import CONVERT, NumberFormat, fixed_width, format_of, number_format
from bitxcore.groups import LAYOUTS, Layout

T = TypeVar("T")

LEFT_OUT_BY_NAME = ("excluded", "not included")
"""Reasons for which tensors are left out by patterns of names."""


@dataclass(frozen=True)
class Selection:
    """Which tensors of a dump are worked on.

    Parameters
    ----------
    include, exclude : tuple of str
        Patterns as in `fnmatch`, compared with whole names. Given `include`, those and no others;
        `exclude` always wins.
    min_dims : int
        Dimensions of a tensor that counts as weights, where the container can't tell.

    Notes
    -----
    Without `include`: what the container knows to be weights; where it does not know, every
    tensor of at least `min_dims` dimensions whose name is not that of an optimiser's state or of what
    quantised weights are scaled by; and the tensor of a dump that has no other.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_dims: int = 2

    def choose(self, dump: Dump, format: str | None = None) -> Chosen:  # noqa: A002
        """Split the tensors of a dump.

        Parameters
        ----------
        dump : Dump
        format : str, optional
            Number format the tensors are to be read in; those it does not fit are left out.

        Raises
        ------
        TensorError
            If no tensor is left, or a tensor that can't be worked on (empty, 0-d, of another dtype) is
            included by its whole name or is the only one.
        OptionError
            If a pattern of `include` matches no tensor, or the format is not known.
        """
        if format is not None:
            number_format(format)
        for pattern in self.include:
            if not any(fnmatchcase(name, pattern) for name in dump):
                ignored = next((name for name in dump.ignored if fnmatchcase(name, pattern)), None)
                if ignored is not None:
                    raise TensorError(dump.ignored[ignored], path=dump.path, tensor=ignored)
                raise OptionError(f"no tensor is named like {pattern!r}", path=dump.path)
        alone = len(dump) == 1
        tensors, left_out = [], dict(dump.ignored)
        for name, tensor in dump.items():
            reason = self._unwanted(tensor, dump) or unusable(tensor, format)
            if reason is None:
                tensors.append(tensor)
            elif name in self.include or (alone and name not in self.exclude):
                if format is not None and not fixed_width(format) and unusable(tensor) is None:
                    reason = f"{reason}; {CONVERT}"
                raise TensorError(reason, path=dump.path, tensor=name)
            else:
                left_out[name] = reason
        if not tensors:
            _explain_formats(dump, left_out, format)
            reasons = "; ".join(f"{len(names)} x {why}" for why, names in grouped(left_out).items())
            raise TensorError(f"has no tensor to work on ({reasons or 'it is empty'})", path=dump.path)
        return Chosen(tuple(tensors), left_out)

    def _unwanted(self, tensor: Tensor, dump: Dump) -> str | None:
        if any(fnmatchcase(tensor.name, pattern) for pattern in self.exclude):
            return LEFT_OUT_BY_NAME[0]
        if self.include:
            included = any(fnmatchcase(tensor.name, pattern) for pattern in self.include)
            return None if included else LEFT_OUT_BY_NAME[1]
        if tensor.left_alone:
            return tensor.left_alone
        if tensor.is_weight is False:
            return "no layer multiplies by it"
        if len(dump) == 1 or tensor.is_weight:
            return None
        if reason := no_weights(tensor.name, dump):
            return reason
        return None if tensor.ndim >= self.min_dims else f"fewer than {self.min_dims} dimensions"


def _explain_formats(dump: Dump, left_out: dict[str, str], format: str | None) -> None:  # noqa: A002
    """Raise if all that is wanted is there, and only of another dtype than the format's."""
    misread = {name for name, tensor in dump.items() if left_out[name] == unusable(tensor, format)}
    fit = {name for name in misread if unusable(dump[name]) is None}
    if format is not None and not fixed_width(format) and fit:
        dtypes = sorted({str(dump[name].dtype) for name in fit})
        counted = "1 tensor is" if len(fit) == 1 else f"{len(fit)} tensors are"
        raise TensorError(
            f"format {format} is stored as {number_format(format).dtype}, but {counted} "
            f"{' and '.join(dtypes)}",
            path=dump.path,
            hint=CONVERT,
        )


@dataclass(frozen=True)
class Chosen:
    """Tensors to work on, in order, and why each of the others is not among them."""

    tensors: tuple[Tensor, ...]
    left_out: dict[str, str]


def unusable(tensor: Tensor, format: str | None = None) -> str | None:  # noqa: A002
    """Say why a tensor can't be cut into groups of `format`, or return None if it can."""
    if not tensor.shape:
        return "a 0-d tensor has no filters"
    if not tensor.size:
        return f"the tensor is empty: shape {tensor.shape}"
    if tensor.encoding is not None:
        if tensor.encoding.unknown:
            return f"its zero point is not known: {tensor.encoding.unknown}"
        if tensor.encoding.bits < 8 and not fixed_width(format):
            return None
    try:
        if fixed_width(format):
            if not format_of(tensor.dtype).is_float:
                return f"{format} is made from floats, but the array is {tensor.dtype}"
        else:
            format_of(read_dtype(tensor, format), format)
    except TensorError as error:
        return error.message  # without the hint, a list of all formats
    return None


def grouped(left_out: dict[str, str]) -> dict[str, list[str]]:
    """Gather names by reason, the most frequent reason first.

    Examples
    --------
    >>> grouped({"a": "empty", "b": "0-d", "c": "empty"})
    {'empty': ['a', 'c'], '0-d': ['b']}
    """
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return dict(sorted(reasons.items(), key=lambda item: -len(item[1])))


def read_dtype(tensor: Tensor, format: str | NumberFormat | None) -> np.dtype[Any]:  # noqa: A002
    """Return the dtype to read a tensor in: raw bytes (NumPy's ``V2``) that a format fits are of its dtype.

    NumPy writes bfloat16 and most float8 so.
    """
    raw = tensor.dtype.kind == "V" and tensor.dtype.type is np.void and not tensor.dtype.names
    if raw and format is not None and not fixed_width(format) and not tensor.dtype.subdtype:
        form = number_format(format) if isinstance(format, str) else format
        if form.dtype.itemsize == tensor.dtype.itemsize:
            return form.dtype
    return tensor.dtype


def read_values(tensor: Tensor, format: str | NumberFormat | None) -> Array:  # noqa: A002
    """Read a tensor in the dtype of `read_dtype`."""
    values = tensor.read()
    dtype = read_dtype(tensor, format)
    return values if dtype == values.dtype else values.view(dtype)


def read_numbers(
    tensor: Tensor,
    format: str | NumberFormat | None,  # noqa: A002
) -> tuple[Array, Array, str | NumberFormat | None]:
    """Read what is pruned or counted: of integers that represent weights the codes, less their zero point.

    Parameters
    ----------
    tensor : Tensor
    format : str or NumberFormat, optional
        As of `prune`; codes have the narrowest that holds them.

    Returns
    -------
    stored : ndarray
        The tensor's values.
    numbers : ndarray
        What is pruned; the same array, unless integers represent weights.
    format : str, NumberFormat or None
        To read the numbers in.

    Raises
    ------
    TensorError
        If codes are wider than 16 bits, or do not fit the format.
    """
    stored = read_values(tensor, format)
    if tensor.encoding is None or fixed_width(format):
        return stored, stored, format
    codes, own = tensor.encoding.codes(stored)
    if format is None:
        return stored, codes, own
    form = number_format(format) if isinstance(format, str) else format
    wider = codes.astype(form.dtype)
    return stored, wider if form.dtype.kind in "iu" and (wider == codes).all() else codes, form


def channel_first(tensor: Tensor, layout: str | None = None) -> Layout:
    """Return the layout to turn a tensor by; one of a single dimension is one filter as it is.

    Parameters
    ----------
    tensor : Tensor
    layout : str, optional
        A name of `LAYOUTS`, in place of what the container tells.

    Raises
    ------
    OptionError
        If no layout has that name.
    """
    if layout is not None:
        check_one_of(tuple(LAYOUTS), "layout", layout)
    if tensor.ndim < 2:
        return Layout()
    return tensor.layout if layout is None else LAYOUTS[layout]


def on_turned(
    dump: Dump,
    tensor: Tensor,
    stored: Array,
    work: Callable[[Array], T],
    format: str | NumberFormat | None,  # noqa: A002
    layout: str | None = None,
) -> T:
    """Call `work` with the output channel on axis 0.

    Parameters
    ----------
    dump, tensor
        What errors name.
    stored : ndarray
        The tensor's values.
    work : callable
        From the turned values to a result.
    format : str or NumberFormat, optional
        What `work` reads them in.
    layout : str, optional
        As of `channel_first`.

    Raises
    ------
    TensorError
        Those of `work`, with file and tensor; an index is that of the value as stored.
    """
    first = channel_first(tensor, layout)
    try:
        return work(first.turn(stored))
    except TensorError as error:
        with error_context(path=dump.path, tensor=tensor.name):
            if error.index is None or first == Layout():
                raise
            fmt = format_of(stored.dtype, None if fixed_width(format) else format)
            raise locate_nonfinite(np.ascontiguousarray(stored), fmt) from error


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape as ``64x3x7x7``."""
    return "x".join(map(str, shape))


def share_of(part: float, whole: float) -> float | None:
    """Return ``part / whole``, or None if there is no whole."""
    return part / whole if whole else None
