"""Pruning of arrays on a CUDA device: check, allocate there, call the kernel."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import byte_bounds

from bitxcore.checks import check_one_of, shown
from bitxcore.criteria import ROUNDINGS, Criterion, least_ones
from bitxcore.criteria import criterion as checked_criterion
from bitxcore.cuda.group_functions import FLOAT, SIGN_MAGNITUDE, TWOS_COMPLEMENT, UNSIGNED
from bitxcore.engine import Cut, check_nonfinite, locate_nonfinite, mask_dtype
from bitxcore.errors import BitxError, MissingExtraError, OptionError, TensorError
from bitxcore.formats import NumberFormat, fixed_width, number_format
from bitxcore.groups import Grouping, grid
from bitxcore.pruned import PARTS, Pruned
from bitxcore.pruning import checked_parts
from bitxcore.showing import record_repr

DEVICE_CRITERIA = ("topn", "msb", "threshold")
ENCODINGS = {
    "ieee": FLOAT,
    "finite": FLOAT,
    "sign-magnitude": SIGN_MAGNITUDE,
    "unsigned": UNSIGNED,
    "twos-complement": TWOS_COMPLEMENT,
}


@dataclass(frozen=True, repr=False)
class DevicePruned(Pruned):
    """A pruned tensor on a CUDA device, and what was kept of it.

    The attributes are those of `bitxcore.Pruned`, and stay on the device: `values` is an array of the
    library that the input is from, or `out`; `row_masks`, `exponents` and `kept_rows` are arrays of Numba,
    which CuPy and PyTorch can view (`cupy.asarray`, `torch.as_tensor`). The methods copy them to the host.
    """

    def copy_to_host(self) -> Pruned:
        """Return the same with arrays in the processor's memory."""
        values, dtype = _array_of(self.values, self.format)
        chosen: list[Any] = [self.row_masks, self.exponents, self.kept_rows]
        masks, exponents, kept = (array.copy_to_host() for array in chosen)
        return Pruned(
            values.copy_to_host().view(dtype),
            masks,
            exponents,
            kept,
            nonfinite_groups=self.nonfinite_groups,
            window_limited_groups=self.window_limited_groups,
            **self.cut,
        )

    def __repr__(self) -> str:
        names = ("group", "window", "grouping", "nonfinite_groups", "window_limited_groups")
        return record_repr(self, *names, format=self.format.name, shape=tuple(self.values.shape))

    def _repr_html_(self) -> str:
        return self.copy_to_host()._repr_html_()

    def to_pandas(self) -> Any:
        """See `bitxcore.Pruned.to_pandas`."""
        return self.copy_to_host().to_pandas()

    def to_xarray(self) -> Any:
        """See `bitxcore.Pruned.to_xarray`."""
        return self.copy_to_host().to_xarray()

    def kept_rows_histogram(self) -> npt.NDArray[np.int64]:
        """See `bitxcore.Pruned.kept_rows_histogram`."""
        return self.copy_to_host().kept_rows_histogram()


def prune_on_device(
    x: Any,
    *,
    rows: int | None,
    group: int | None,
    window: int | None,
    format: str | NumberFormat | None,  # noqa: A002
    criterion: str,
    rounding: str,
    grouping: Grouping,
    threshold: float | None,
    budget: float | None,
    norms: Any,
    nonfinite: str,
    statistics: bool,
    parts: Sequence[str],
    out: Any,
) -> DevicePruned:
    """Prune an array on a CUDA device; parameters and errors are those of `bitxcore.prune`.

    Raises
    ------
    MissingExtraError
        If Numba has no CUDA.
    OptionError
        Also for what only the processor can do.
    """
    check_one_of(ROUNDINGS, "rounding", rounding)
    check_nonfinite(nonfinite)
    if fixed_width(format) is not None:
        raise _only_on_host("format", format, "those that a dtype stores")
    if set(checked_parts(parts, {})) != set(PARTS):
        raise _only_on_host("parts", parts, "all of them")
    if isinstance(out, (Mapping, Pruned)):
        raise _only_on_host("out", out, "an array for the values")
    if statistics:
        raise _only_on_host("statistics", statistics, "False")
    array, dtype = _array_of(x, format)
    shape = tuple(array.shape)
    cut = Cut.of(dtype, group, window, format, grouping, shape)
    rule = checked_criterion(criterion, rows, threshold, budget, cut.window, norms)
    if rule.name not in DEVICE_CRITERIA:
        raise _only_on_host("criterion", criterion, ", ".join(DEVICE_CRITERIA))
    values = _empty_like(x, array) if out is None else out
    target, target_dtype = _array_of(values, format, "out")
    if tuple(target.shape) != shape or target_dtype != dtype:
        raise TensorError(f"out must be {shape} {dtype}, got {tuple(target.shape)} {target_dtype}")
    if out is not None:
        (start, end), (to, to_end) = _addresses(array), _addresses(target)
        if start != to and start < to_end and to < end:
            raise TensorError("out overlaps x but is not x")
    chosen, bad, limited = _prune_codes(array, target, cut, rule, nearest=rounding == "nearest")
    if bad and nonfinite == "raise":
        raise locate_nonfinite(array.copy_to_host().view(dtype), cut.format)
    return DevicePruned(values, *chosen, nonfinite_groups=bad, window_limited_groups=limited, **cut.cut)


def _prune_codes(
    x: Any, out: Any, cut: Cut, rule: Criterion, *, nearest: bool
) -> tuple[tuple[Any, Any, Any], int, int]:
    """Prune `x` into `out`; return masks, exponents and kept rows, and the tallies of the kernel."""
    cuda = _loaded_cuda()
    from bitxcore.cuda.device_kernel import THREADS, prune_groups

    fmt, whole = cut.format, grid(tuple(x.shape), cut.group, cut.grouping)
    shape, count = (whole.filters, whole.groups), whole.filters * whole.groups
    chosen = [cuda.device_array(count, dtype) for dtype in (mask_dtype(cut.window), np.int16, np.uint8)]
    tallies = cuda.to_device(np.zeros(2, np.int64))
    sizes = (whole.filters, whole.group, whole.length, whole.stride, whole.parts)
    mask = np.uint64(((1 << cut.window) - 1) << (64 - cut.window))
    least = cuda.to_device(least_ones(rule.threshold or 0.0))
    how = (rule.rows, min(rule.wanted, 65), rule.name == "msb", nearest)
    with warnings.catch_warnings():
        # A small tensor does not fill a device, and need not.
        warnings.filterwarnings("ignore", "Grid size .* under-utilization")
        prune_groups[-(-count // THREADS), THREADS](
            *(array.reshape(array.size).view(fmt.storage_dtype) for array in (x, out)),
            *chosen,
            tallies,
            tuple(map(np.int64, sizes)),
            number_of(fmt),
            (mask, np.int64(cut.window), np.int64(_nonfinite_exponent(cut))),
            tuple(map(np.int64, how)),
            least,
        )
    bad, limited = (int(n) for n in tallies.copy_to_host())
    masks, exponents, kept = (array.reshape(shape) for array in chosen)
    return (masks, exponents, kept), bad, limited


def number_of(fmt: NumberFormat) -> tuple[np.int64, np.uint64, np.uint64, np.uint64]:
    """Describe a format to `bitxcore.cuda.group_functions`."""
    widths = np.uint64(fmt.storage_bits), np.uint64(fmt.significand_bits)
    return np.int64(ENCODINGS[fmt.encoding]), *widths, np.uint64(fmt.largest_magnitude_code)


def _nonfinite_exponent(cut: Cut) -> int:
    """Exponent that the processor's kernels give groups which they leave untouched."""
    if not cut.format.is_float:
        return 0
    through_float64 = cut.format.storage_bits == 64 or cut.window > 32
    return cut.format.bias + (1024 if through_float64 else 128)


def _array_of(x: Any, format: str | NumberFormat | None, name: str = "x") -> tuple[Any, np.dtype[Any]]:  # noqa: A002
    """View what is on a device as an array of Numba, and tell the dtype that a number format stores.

    Raises
    ------
    TensorError
        If it is not on a device, or not C-contiguous.
    """
    cuda = _loaded_cuda()
    dtype = None
    if hasattr(x, "is_cuda"):  # PyTorch
        x = x.detach()
        kind = str(x.dtype).removeprefix("torch.")
        if kind in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
            dtype = np.dtype(getattr(ml_dtypes, kind))
            x = x.view(getattr(sys.modules["torch"], f"int{dtype.itemsize * 8}"))
    if not hasattr(x, "__cuda_ndarray__"):
        try:
            x = cuda.as_cuda_array(x)
        except Exception as error:  # of whatever has made x
            said = str(error).partition("\n")[0]
            raise TensorError(f"{name} can't be viewed on the device: {said}") from error
    if not x.is_c_contiguous():
        raise TensorError(f"{name} must be C-contiguous on a device", hint="make a contiguous copy")
    if dtype is None:
        dtype = _dtype_of_codes(np.dtype(x.dtype), format)
    return x, dtype


def addresses_of(x: Any, name: str) -> tuple[int, int]:
    """Return where an array on a device begins, and where it ends.

    Raises
    ------
    TensorError
        If it is not C-contiguous, or can't be viewed; it is called `name` then.
    """
    return _addresses(_array_of(x, None, name)[0])


def _addresses(array: Any) -> tuple[int, int]:
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:  # in the simulator
        return byte_bounds(array._ary)
    start = int(interface["data"][0])
    return start, start + int(array.size) * int(array.dtype.itemsize)


def _dtype_of_codes(dtype: np.dtype[Any], format: str | NumberFormat | None) -> np.dtype[Any]:  # noqa: A002
    """Tell the dtype of a float format whose codes come as unsigned integers or as mere bytes."""
    if format is None:
        return dtype
    fmt = format if isinstance(format, NumberFormat) else number_format(format)
    are_codes = dtype.kind in "uV" and dtype.itemsize == fmt.dtype.itemsize
    return fmt.dtype if fmt.is_float and are_codes else dtype


def _empty_like(x: Any, array: Any) -> Any:
    """Make an array like `x` by the library that it is from, or if that can't, one of Numba like `array`."""
    library = sys.modules.get(type(x).__module__.partition(".")[0])
    make = getattr(library, "empty_like", None)
    return _loaded_cuda().device_array(tuple(array.shape), array.dtype) if make is None else make(x)


def _loaded_cuda() -> Any:
    """Import Numba's CUDA, and find a device."""
    try:
        cuda: Any = import_module("numba.cuda")
    except ImportError as error:
        raise MissingExtraError("numba-cuda", "cuda") from error
    if not cuda.is_available():
        # Without an error there is a device, but no compiler for it.
        said = str(cuda.cuda_error() or "the CUDA toolkit (NVVM) is not found").strip().partition("\n")[0]
        raise BitxError(f"Numba can't use CUDA: {said}")
    return cuda


def _only_on_host(option: str, value: Any, taken: str) -> OptionError:
    """Make the error that names an option of the processor only."""
    return OptionError(
        f"{option} {shown(value)} is not for arrays on a device, which take {taken}",
        value=value,
        hint="copy the array to the host",
    )
