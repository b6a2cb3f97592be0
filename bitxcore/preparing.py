"""Weights prepared before deployment: what the run-time pruner leaves as it is, and what costs few cycles.

What costs a group its cycles is the weight with the most ones, so a budget counts ones beside rows. No
machine changes for it: prepared weights pass the pruner, at the same number of rows, bit for bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitxcore.checks import checked_integer, values_of
from bitxcore.engine import Cut, check_subnormals, codes_of, locate_nonfinite
from bitxcore.errors import OptionError, TensorError
from bitxcore.formats import NumberFormat, fixed_width
from bitxcore.groups import GroupGrid, Grouping, grid
from bitxcore.jit import parallel, share
from bitxcore.pruned import Pruned
from bitxcore.pruning import prune
from bitxcore.quantization import quantize
from bitxcore.second_order import damped_factors

FORMATS = ("float32", "float16", "bfloat16")
"""Floats that can be prepared, besides integers of sign and magnitude."""
MOST_SWEEPS = 1000
_STEP = 64
"""Filters of one call of the kernel, at most."""


def prepare(
    x: npt.ArrayLike,
    *,
    ones: int | None = None,
    rows: int | None = None,
    group: int = 8,
    window: int | None = None,
    format: str | NumberFormat | None = None,  # noqa: A002
    grouping: Grouping = "flat",
    hessian: npt.ArrayLike | None = None,
    damping: float = 0.01,
    sweeps: int = 0,
) -> Pruned:
    """Change weights to meet a budget of ones per weight and of rows per group.

    Beyond the paper: an offline step. Afterwards the run-time pruner with the same number of rows changes
    nothing, and a group takes at most `ones` cycles.

    Parameters
    ----------
    x : array_like
        Weights, output channel on axis 0; a 1-D array is one filter.
    ones : int, optional
        Most ones of a weight.
    rows : int, optional
        Most non-empty rows of a group; at least one of the two is given.
    group, window, format, grouping
        As in `prune`, without whole kernels: floats of `FORMATS`, integers of sign and magnitude, unsigned
        ones, and ``"fixed<N>"``.
    hessian : array_like, optional
        Of the inputs X, ``X.T @ X`` up to a factor: ``(reduction, reduction)``, reduction in C order; or
        ``(parts, reduction, reduction)`` where as many parts of the filters read different inputs (grouped
        convolutions). The weights that follow a weight then compensate its error.
    damping : float
        Added to the diagonal of the Hessian, as a share of its mean.
    sweeps : int
        With a Hessian: the largest number of sweeps. In a sweep, each weight moves to the value on the rows
        of its group that best compensates the errors of all others.

    Returns
    -------
    Pruned
        Result of pruning the prepared weights; `values` are these weights.

    Raises
    ------
    TensorError
        If the tensor can't be grouped, or holds a NaN, an Inf or an integer outside the format.
    OptionError
        If a parameter is out of range.

    Notes
    -----
    The rows of a group are chosen when it is reached. Each weight is first taken as the nearest value with
    at most `ones` ones. Of these, the group keeps the `rows` most significant rows; if there are fewer, the
    highest empty rows are added. Each weight then moves to the nearest value on the kept rows, and on a tie
    to the smaller one. Unlike with ``prune(rounding="nearest")``, this can be the next power of two above
    it. The order of weights, and the error that later weights take over, are those of GPTQ (Frantar et al.,
    ICLR 2023); sweeps are the coordinate descent of QuantEase (Behdin et al., 2023).

    Examples
    --------
    >>> x = np.array([[1.75, 0.9, -0.4375, 0.01]], np.float32)
    >>> prepare(x, ones=1, group=4).values.tolist()
    [[2.0, 1.0, -0.5, 0.0078125]]
    >>> prepare(x, ones=2, rows=3, group=4).values.tolist()
    [[1.5, 1.0, -0.5, 0.0]]
    """
    source = values_of(x)
    fixed = quantize(source, width) if (width := fixed_width(format)) else None
    numbers = source if fixed is None else fixed.codes
    cut = Cut.of(
        numbers.dtype, group, window, format if fixed is None else f"int{width}", grouping, numbers.shape
    )
    fmt = cut.format
    if (fmt.name not in FORMATS) if fmt.is_float else fmt.encoding == "twos-complement":
        raise OptionError(f"{fmt} can't be prepared; take {', '.join(FORMATS)} or fixed<N>", value=fmt.name)
    if ones is None and rows is None:
        raise OptionError("needs a budget: ones of a weight, rows of a group, or both")
    wanted = cut.window if rows is None else checked_integer(cut.window, "rows", rows)
    most = fmt.significand_bits if ones is None else checked_integer(fmt.significand_bits, "ones", ones)
    native = np.ascontiguousarray(numbers, dtype=fmt.dtype)
    bad = (
        ~np.isfinite(numbers.astype(np.float64))
        if fmt.is_float
        else np.abs(numbers.astype(np.int64)) > fmt.max_magnitude
    )
    if bad.any():
        raise locate_nonfinite(native, fmt)
    scale = 1.0 if fixed is None else float(fixed.scale)
    whole = grid(source.shape, cut.group, grouping)
    order, lengths = _in_groups(whole)
    targets = source.reshape(whole.filters, whole.reduction).astype(np.float64) / scale
    if fmt.is_float:
        check_subnormals(np.count_nonzero(codes_of(native, fmt) << 1), targets)
    laid_out = np.ascontiguousarray(targets[:, order])
    again = checked_integer(MOST_SWEEPS, "sweeps", sweeps, least=0)
    damped = factors = np.empty((0, 0, 0))
    if hessian is not None:
        damped, factors = damped_factors(hessian, whole.filters, order, damping)
    elif again:
        raise OptionError("sweeps need a Hessian", value=sweeps)
    _fit(laid_out, lengths, damped, factors, again, most, wanted, cut)
    fitted = np.empty_like(targets)
    fitted[:, order] = laid_out
    if fixed is not None:
        fitted = fitted * scale + 0.0  # a code has no zero below zero
    values = fitted.reshape(source.shape).astype(source.dtype)
    check_subnormals(np.count_nonzero(fitted), values)
    passed = prune(values, rows=wanted, group=cut.group, window=window, format=format, grouping=grouping)
    if passed.values.tobytes() != values.tobytes():
        raise TensorError("prepared weights do not pass the pruner")  # a mistake of ours
    return passed


def _fit(
    weights: npt.NDArray[np.float64],
    lengths: npt.NDArray[np.int64],
    damped: npt.NDArray[np.float64],
    factors: npt.NDArray[np.float64],
    sweeps: int,
    ones: int,
    rows: int,
    cut: Cut,
) -> None:
    """Work on all filters, in place, on all threads."""
    from bitxcore.kernels.budget import PLACES, fit_filters

    fmt = cut.format
    filters = len(weights)
    if fmt.is_float:
        normal = 1 - fmt.bias
        highest = (1 << fmt.exponent_bits) - 2 - fmt.bias
        lowest = normal - (fmt.significand_bits - 1)
        places = (min(cut.window, PLACES), fmt.significand_bits, lowest, normal, highest)
    else:
        places = (fmt.significand_bits, 0, 0, 0, fmt.significand_bits - 1)
    shared = filters // len(factors) if len(factors) else 1

    def work(start: int, stop: int) -> None:
        part = weights[start:stop]
        fit_filters(part, lengths, factors, damped, start, shared, sweeps, ones, rows, *places)

    parallel(work, filters, share(filters, _STEP))


def _in_groups(whole: GroupGrid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places of a filter's weights, group after group, and the members of each group."""
    places = np.arange(whole.reduction).reshape(whole.parts, whole.length, whole.stride)
    order = places.transpose(0, 2, 1).reshape(-1)
    lane = np.full(whole.blocks, whole.group, np.int64)
    lane[-1] = whole.length - (whole.blocks - 1) * whole.group
    return order, np.tile(lane, whole.parts * whole.stride)
