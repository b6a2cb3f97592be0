"""Ones of each weight, before and after pruning: what a machine that is serial over them spends.

BitX takes one essential bit of each weight per cycle, so a group costs the most ones of its weights, and a
perfectly balanced machine their mean (BitX, ICPP 2021, sections 3.4 and 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.bits import essential_bits
from bitxcore.checks import values_of
from bitxcore.engine import locate_nonfinite
from bitxcore.errors import TensorError
from bitxcore.formats import NumberFormat, fixed_width, format_of
from bitxcore.groups import GroupGrid, Grouping, grid
from bitxcore.jit import CHUNK_BYTES, parallel, share
from bitxcore.pruning import prune
from bitxcore.quantization import quantize
from bitxcore.tables import data_frame, data_set, facts_html

BLOCK = 1 << 22
"""Values that are worked on at once."""


@dataclass(frozen=True)
class Ones:
    """Ones of the significands of a tensor.

    Attributes
    ----------
    mean : float
        Per weight, zero weights included.
    largest : float
        Mean over groups of the most ones of a weight.
    """

    mean: float
    largest: float


@dataclass(frozen=True)
class WeightOnes:
    """Ones of the weights of one tensor, before and after pruning.

    Attributes
    ----------
    before, after : Ones
        Before and after pruning. Those before are of whole significands, whatever the window.
    significand_bits : int
        Of a weight, the hidden one included.
    weights, groups : int
    window_limited_groups : int
        As in `Pruned`: a wider window could change them.
    before_histogram, after_histogram : tuple of int
        Entry n: the weights with n ones.

    Examples
    --------
    >>> found = weight_ones(np.array([[1.75, 0.25, -0.5, 0.0078125]], np.float32), rows=2, group=4)
    >>> found.before, found.after
    (Ones(mean=1.5, largest=3.0), Ones(mean=0.75, largest=2.0))
    >>> found.before_histogram[:4], found.after_histogram[:4]
    ((0, 3, 0, 1), (2, 1, 1, 0))
    """

    before: Ones
    after: Ones
    significand_bits: int
    weights: int
    groups: int
    window_limited_groups: int
    before_histogram: tuple[int, ...] = field(default=(), repr=False)
    after_histogram: tuple[int, ...] = field(default=(), repr=False)

    def _repr_html_(self) -> str:
        return facts_html(
            "Ones per weight",
            {
                "before pruning, mean": (self.before.mean, ""),
                "after pruning, mean": (self.after.mean, ""),
                "most per group before pruning, mean": (self.before.largest, ""),
                "most per group after pruning, mean": (self.after.largest, ""),
                "significand": (self.significand_bits, "bit"),
                "weights": (self.weights, ""),
                "groups": (self.groups, ""),
                "window-limited groups": (self.window_limited_groups, ""),
            },
        )

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` with a row per number of ones: the weights before pruning and after.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> frame = weight_ones(np.array([3, 8, -9, 0], np.int8), rows=1, group=4).to_pandas()
        >>> frame.weights_before.tolist()[:3], frame.weights_after.tolist()[:3]
        ([1, 1, 2], [2, 2, 0])
        """
        columns = {
            "ones": np.arange(len(self.before_histogram)),
            "weights_before": np.array(self.before_histogram, np.int64),
            "weights_after": np.array(self.after_histogram, np.int64),
        }
        return data_frame(columns, {"ones": "bit", "weights_before": "1", "weights_after": "1"})

    def to_xarray(self) -> Any:
        """Return an `xarray.Dataset`: weights along ``pruning`` (before, after) and ``ones``, and means.

        Raises
        ------
        MissingExtraError
            If xarray is not installed.

        Examples
        --------
        >>> found = weight_ones(np.array([3, 8, -9, 0], np.int8), rows=1, group=4).to_xarray()
        >>> int(found.weights.sel(pruning="after", ones=1)), float(found["mean"].sel(pruning="after"))
        (2, 0.5)
        """
        histograms = np.array([self.before_histogram, self.after_histogram], np.int64)
        parts = (self.before, self.after)
        variables: dict[str, Any] = {
            "pruning": (["pruning"], ["before", "after"], ""),
            "ones": (["ones"], np.arange(histograms.shape[1]), "bit"),
            "weights": (["pruning", "ones"], histograms, "1"),
            "mean": (["pruning"], [part.mean for part in parts], "bit"),
            "largest": (["pruning"], [part.largest for part in parts], "bit"),
        }
        names = ("significand_bits", "groups", "window_limited_groups")
        return data_set(variables, {name: getattr(self, name) for name in names})

    @property
    def sparsity_increment(self) -> float:
        """Zero bits after pruning over those before: the factor of the paper's Tables 2 and 3."""
        return (self.significand_bits - self.after.mean) / (self.significand_bits - self.before.mean)

    @property
    def work_gain(self) -> float:
        """Ones before over ones after: the gain if lanes were perfectly balanced."""
        return self.before.mean / self.after.mean if self.after.mean else float("inf")

    @property
    def barrier_gain(self) -> float:
        """Gain if a group costs the most ones of its weights, at least one cycle."""
        return self.before.largest / max(self.after.largest, 1.0)


def weight_ones(
    x: npt.ArrayLike,
    *,
    rows: int | None = 6,
    group: int | None = 8,
    window: int | None = None,
    format: str | NumberFormat | None = None,  # noqa: A002
    grouping: Grouping = "flat",
    **options: Any,
) -> WeightOnes:
    """Count the ones of every weight, before and after pruning.

    Parameters
    ----------
    x, rows, group, window, format, grouping
        As for `prune`.
    **options
        Further options of `prune`: criterion, rounding, threshold, budget.

    Returns
    -------
    WeightOnes

    Raises
    ------
    TensorError
        If the tensor can't be grouped, or holds a value outside its format, a NaN or Inf included.
    OptionError
        If a parameter is out of range.

    Notes
    -----
    Further memory is bounded by one filter, or by 4 M values if that is more.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> kernels = rng.standard_normal((64, 64, 3, 3), np.float32)
    >>> wild = weight_ones(kernels, rows=6, grouping="kernel", group=None)
    >>> round(wild.sparsity_increment, 2), round(wild.after.mean, 1)
    (1.85, 2.5)
    """
    source = values_of(x)
    cut = grid(source.shape, group, grouping)
    if width := fixed_width(format):  # one scale for the whole tensor
        source, format = quantize(source, width).codes, f"int{width}"  # noqa: A001
    largest, bits, limited = np.zeros(2, np.int64), 0, 0
    histograms = np.zeros((2, 65), np.int64)
    for start, block in _blocks(source, cut):
        try:
            pruned = prune(
                block, rows=rows, group=cut.group, window=window, format=format, grouping=grouping, **options
            )
        except TensorError as error:
            if not start or error.index is None:
                raise
            fmt = format_of(source.dtype, format)  # the index is the block's: say the tensor's
            raise locate_nonfinite(np.ascontiguousarray(source, dtype=fmt.dtype), fmt) from None
        bits, limited = pruned.format.significand_bits, limited + pruned.window_limited_groups
        for at, values in enumerate((block, pruned.values)):
            most, histogram = _tally(essential_bits(values, format), cut, bits)
            largest[at] += most
            histograms[at, : bits + 1] += histogram
    sums = histograms @ np.arange(histograms.shape[1])
    groups = cut.filters * cut.groups
    before, after = (Ones(int(s) / source.size, int(m) / groups) for s, m in zip(sums, largest, strict=True))
    counts = [tuple(histogram[: bits + 1].tolist()) for histogram in histograms]
    return WeightOnes(before, after, bits, source.size, groups, limited, *counts)


def joined_ones(parts: Sequence[WeightOnes]) -> WeightOnes:
    """Add up the ones of the pieces of a tensor, all of whole groups.

    Examples
    --------
    >>> x = np.array([3, 8, -9, 0, 1, 1, 1, 1], np.int8)
    >>> found = joined_ones([weight_ones(part, rows=1, group=4) for part in (x[:4], x[4:])])
    >>> found.before, found == weight_ones(x, rows=1, group=4)
    (Ones(mean=1.125, largest=1.5), True)
    """
    weights, groups = sum(part.weights for part in parts), sum(part.groups for part in parts)
    found: dict[str, Any] = {}
    for name in ("before", "after"):
        histogram = np.sum([getattr(part, f"{name}_histogram") for part in parts], axis=0)
        ones = int(histogram @ np.arange(histogram.size))
        # Means of integers far below 2**53, which come back exactly.
        most = sum(round(getattr(part, name).largest * part.groups) for part in parts)
        found |= {name: Ones(ones / weights, most / groups), f"{name}_histogram": tuple(histogram.tolist())}
    limited = sum(part.window_limited_groups for part in parts)
    return replace(parts[0], weights=weights, groups=groups, window_limited_groups=limited, **found)


def ones_histogram(x: npt.NDArray[Any], format: NumberFormat) -> npt.NDArray[np.int64]:  # noqa: A002
    """Count values by the ones of their significands; entry n: those with n ones.

    Examples
    --------
    >>> from bitxcore.formats import number_format
    >>> ones_histogram(np.array([3, 8, -9, 0], np.int8), number_format("int8")).tolist()
    [1, 1, 2, 0, 0, 0, 0, 0]
    """
    ones = essential_bits(x, format).reshape(-1)
    bits = format.significand_bits
    group = 1 if ones.size % 8 else 8  # whose most is not used: the faster kernel
    return _tally(ones, GroupGrid(ones.size // group, group, group, 1), bits)[1]


def _blocks(x: npt.NDArray[Any], cut: GroupGrid) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield filters and the first one's index, a bounded number of values at a time; 1-D is one filter."""
    if x.ndim == 1:
        yield 0, x
        return
    step = max(1, BLOCK // cut.reduction)
    for start in range(0, len(x), step):
        yield start, x[start : start + step]


def _tally(ones: npt.NDArray[np.uint8], cut: GroupGrid, bits: int) -> tuple[int, npt.NDArray[np.int64]]:
    """Sum over groups of the most ones of a weight, and the weights by their ones, at most `bits`."""
    from bitxcore.kernels.tallying import tally_kernel

    part = cut.length * cut.stride
    flat = ones.reshape(-1)
    whole = cut.stride == 1 and cut.length % cut.group == 0 and cut.group & (cut.group - 1) == 0
    tally = tally_kernel(cut.group if whole else 1)

    def work(first: int, last: int) -> tuple[int, npt.NDArray[np.int64]]:
        histogram = np.zeros(bits + 1, np.int64)
        here = flat[first * part : last * part]
        return int(tally(here, histogram, cut.group, cut.length, cut.stride)), histogram

    parts = flat.size // part
    found = parallel(work, parts, share(parts, max(1, CHUNK_BYTES // part)))
    return sum(most for most, _ in found), np.sum([histogram for _, histogram in found], axis=0)
