"""Checks of option values and of what is given for an array, with one wording for all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError, TensorError

SHOWN = 80
"""Characters of a value that a message shows."""


def shown(value: Any) -> str:
    """Write a value for a message: in one line, and not at length.

    Examples
    --------
    >>> shown("rows"), len(shown(10**5000)) <= SHOWN
    ("'rows'", True)
    """
    try:
        text = repr(value) if isinstance(value, str) else " ".join(repr(value).split())
    except Exception:  # also of an integer with too many digits
        text = f"one of type {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def check_one_of(choices: Sequence[str], option: str, value: Any) -> None:
    """Raise `OptionError` unless `value` is one of the choices.

    Examples
    --------
    >>> check_one_of(("flat", "channel"), "grouping", "rows")
    Traceback (most recent call last):
    bitxcore.errors.OptionError: grouping must be one of flat, channel, got 'rows'
    """
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"{option} must be one of {', '.join(choices)}, got {shown(value)}", value=value)


def is_integer(value: Any) -> bool:
    """Whether `value` is a Python or NumPy integer; truth values are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def checked_integer(most: int, option: str, value: Any, least: int = 1) -> int:
    """Return `value` as an int if it is an integer from `least` to `most`; raise `OptionError` else.

    Examples
    --------
    >>> checked_integer(64, "group", 16)
    16
    """
    if not is_integer(value) or not least <= value <= most:
        rule = f"{option} must be an integer from {least} to {most}"
        raise OptionError(f"{rule}, got {shown(value)}", value=value)
    return int(value)


def checked_share(option: str, value: Any) -> float:
    """Return `value` as a float if it is a number from 0 to 1; raise `OptionError` else.

    Examples
    --------
    >>> checked_share("budget", np.float32(0.5))
    0.5
    """
    # A truth value or a text is more likely an error than a number.
    if not isinstance(value, Real) or isinstance(value, (bool, np.bool_)):
        raise OptionError(f"{option} must be a number from 0 to 1, got {shown(value)}", value=value)
    number: Any = value
    if not 0 <= number <= 1:
        raise OptionError(f"{option} must be from 0 to 1, got {shown(value)}", value=value)
    return float(number)


def on_device(x: Any) -> bool:
    """Whether `x` is an array in the memory of a CUDA device."""
    in_torch = getattr(x, "is_cuda", None)  # whose tensors show no interface where they need gradients
    if in_torch is not None:
        return bool(in_torch)
    # The latter is of Numba's simulator.
    return hasattr(x, "__cuda_array_interface__") or hasattr(x, "__cuda_ndarray__")


def values_of(x: Any) -> npt.NDArray[Any]:
    """Return what is given for a tensor as an array, without a copy where that is possible.

    Parameters
    ----------
    x : array_like
        Also a tensor of PyTorch in the processor's memory, of any dtype that a number format stores, whether
        it needs gradients or not. Of a masked array no value may be masked.

    Raises
    ------
    TensorError
        If no array can be made of it.
    """
    if type(x) is np.ndarray:
        return x
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise TensorError(
            f"{np.count_nonzero(np.ma.getmaskarray(x))} values are masked", hint="give x.filled(...)"
        )
    torch = sys.modules.get("torch")  # a tensor can only come from there
    try:
        if torch is not None and isinstance(x, getattr(torch, "Tensor", ())):
            return _array_of_torch(x)
        return np.asarray(x)
    except Exception as error:  # of whatever has made x
        said = str(error).partition("\n")[0]
        raise TensorError(f"no array can be made of {type(x).__name__}: {said}") from error


def _array_of_torch(x: Any) -> npt.NDArray[Any]:
    """View a tensor of PyTorch as an array; NumPy has no name for some of its dtypes."""
    import ml_dtypes

    x = x.detach()
    name = str(x.dtype).removeprefix("torch.")
    if name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        dtype = np.dtype(getattr(ml_dtypes, name))
        codes = x.view(getattr(sys.modules["torch"], "uint8" if dtype.itemsize == 1 else "int16"))
        return np.asarray(codes.numpy()).view(dtype)
    return np.asarray(x.numpy())
