"""Precision of every layer's operands: given, or profiled from traces and weights.

A profiled precision is the smallest number of bits at which the relative error of quantising a tensor, the
Euclidean norm of the difference over that of the tensor, stays below a bound. Stripes, Loom and their kin
take precisions found offline by accuracy; this bound on the values needs no labelled data.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitxcore.dumps.trust import parse_json, read_small
from bitxcore.errors import DumpError, OptionError, error_context
from hwmodel.operands.operands import FIXED_POINT_BITS

if TYPE_CHECKING:
    from bitxcore.quantization import FixedPoint

DEFAULT_ERROR = 0.01
PRECISION_NOTE = "precision in fixed point: "
"""How the note on a layer's precision begins."""

_BLOCK = 1 << 16
_FIELDS = ("activation_bits", "weight_bits")
MAX_FILE_BYTES = 16 << 20


@dataclass(frozen=True)
class Precision:
    """Bits of a layer's operands; None where they are not given.

    Parameters
    ----------
    activation_bits, weight_bits : int, optional
        1 to 16. Weights have a sign bit among these, activations only if some are negative.

    Raises
    ------
    OptionError
        For another number of bits.

    Examples
    --------
    >>> Precision(activation_bits=9, weight_bits=8).note
    'precision in fixed point: activations 9 bits, weights 8 bits'
    """

    activation_bits: int | None = None
    weight_bits: int | None = None

    def __post_init__(self) -> None:
        for name in _FIELDS:
            value = getattr(self, name)
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if value is not None and not (whole and 1 <= value <= FIXED_POINT_BITS):
                raise OptionError(
                    f"{name} must be an integer from 1 to {FIXED_POINT_BITS}, got {value!r}", value=value
                )

    @property
    def note(self) -> str:
        """One line for results; empty if nothing is said."""
        parts = [
            f"{what} {bits} bits"
            for what, bits in (("activations", self.activation_bits), ("weights", self.weight_bits))
            if bits is not None
        ]
        return f"{PRECISION_NOTE}{', '.join(parts)}" if parts else ""


@dataclass(frozen=True)
class Profile:
    """A rule to find precisions: the fewest bits within a relative error.

    Parameters
    ----------
    error : float
        Relative error that quantising a tensor may have.

    Raises
    ------
    OptionError
        If it is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> weights, activations = rng.standard_normal((64, 64)), rng.random(1000)
    >>> Profile(error=0.01).of(weights, activations)
    Precision(activation_bits=7, weight_bits=8)
    """

    error: float = DEFAULT_ERROR

    def __post_init__(self) -> None:
        _check_bound(self.error)

    def of(self, weights: npt.NDArray[Any] | None, activations: npt.NDArray[Any] | None) -> Precision:
        """Find the precision of one layer; None for an operand that is not there."""
        return Precision(
            None if activations is None else needed_bits(activations, self.error),
            None if weights is None else needed_bits(weights, self.error, signed=True),
        )


def _check_bound(error: float, given: str = "") -> None:
    """Check a bound; `given`: what it was read from, to begin the message with."""
    if not 0 < error < 1:
        raise OptionError(
            f"{given}the bound on the relative error must be between 0 and 1, got {error!r}", value=error
        )


Precisions = Mapping[str, Precision] | Profile | int | None
"""By layer name; a rule; one number for all operands; or nothing (16)."""


def needed_bits(x: npt.NDArray[Any], error: float = DEFAULT_ERROR, *, signed: bool = False) -> int:
    """Smallest fixed-point precision at which a tensor's relative error stays within a bound.

    Parameters
    ----------
    x : ndarray
        Floats; or integers, which are kept exactly.
    error : float
    signed : bool
        Whether the sign takes a bit even if there are no negative values.

    Returns
    -------
    int
        1 to 16; 16 if no smaller one will do. Integers may need more.

    Raises
    ------
    TensorError
        For a NaN or Inf.

    Examples
    --------
    >>> import numpy as np
    >>> needed_bits(np.array([-3, 100])), needed_bits(np.linspace(0, 1, 100))
    (8, 7)
    """
    signed = signed or bool((x < 0).any())
    if x.dtype.kind in "iu":
        low, high = (int(x.min()), int(x.max())) if x.size else (0, 0)
        magnitude = max(high.bit_length(), (~low).bit_length() if low < 0 else 0)
        return max(1, magnitude + signed)
    if not x.size:
        return 1 + signed
    from bitxcore import quantize

    largest = np.abs(x.reshape(-1)).max(keepdims=True)
    if not np.isfinite(largest).all():
        quantize(x, FIXED_POINT_BITS)  # which names the place
    energy = sum(float(np.square(b).sum()) for b in _blocks(x))
    for bits in range(1 + signed, FIXED_POINT_BITS):
        width = bits + (not signed)
        scale = float(quantize(largest, width).scale)
        if _quantises_within(x, width, scale, error**2 * energy):
            return bits
    return FIXED_POINT_BITS


def _blocks(x: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.float64]]:
    flat = x.reshape(-1)
    return (flat[i : i + _BLOCK].astype(np.float64) for i in range(0, flat.size, _BLOCK))


def _quantises_within(x: npt.NDArray[Any], bits: int, scale: float, limit: float) -> bool:
    """Whether the squared error of `bitxcore.quantize` stays within `limit`; stops where it does not."""
    top = (1 << bits - 1) - 1
    spent = 0.0
    for block in _blocks(x):
        rest = np.clip(np.rint(block / scale), -top, top) * scale - block
        spent += float(np.square(rest, out=rest).sum())  # BLAS would wake threads for each block
        if spent > limit:
            return False
    return True


def fixed_point(x: npt.NDArray[Any], bits: int, *, signed: bool = False) -> FixedPoint:
    """Quantise floats to a precision, as machines with a precision per layer store them.

    Values that are all from 0 need no sign, and take all of `bits`; a word of 16 bits has its sign anyway.

    Parameters
    ----------
    x : ndarray of float
    bits : int
    signed : bool
        Whether the sign takes a bit even if there are no negative values.
    """
    from bitxcore import quantize

    signless = not signed and bits < FIXED_POINT_BITS and not (x < 0).any()
    return quantize(x, bits + signless)


def precisions_of(given: Precisions | str | os.PathLike[str]) -> Precisions:
    """Read what may be given as precisions.

    Parameters
    ----------
    given : mapping, Profile, int, str, path or None
        ``"profile"`` or ``"profile:0.005"``, a number, or a file for `read_precisions`; all else as it is.

    Raises
    ------
    DumpError, OptionError
        For a file that can't be read, a number that is not a precision.
    """
    if isinstance(given, str):
        name, _, bound = given.partition(":")
        if name == "profile":
            place = f"precisions {given!r}: "
            try:
                error = float(bound) if bound else DEFAULT_ERROR
            except ValueError as reason:
                raise OptionError(f"{place}{reason}", value=bound) from reason
            _check_bound(error, place)
            return Profile(error)
        if given.isdecimal():
            given = int(given)
    if isinstance(given, (str, os.PathLike)):
        return read_precisions(given)
    if isinstance(given, int):
        Precision(given, given)
    elif isinstance(given, Mapping):
        for layer, value in given.items():
            if not isinstance(value, Precision):
                raise OptionError(
                    f"precisions: layer {layer!r}: a hwmodel.Precision is needed, got {value!r}", value=value
                )
    elif given is not None and not isinstance(given, Profile):
        raise OptionError(
            f"precisions must be a mapping of layers to Precision, a Profile, a number or a path, got"
            f" {given!r}",
            value=given,
        )
    return given


def read_precisions(path: str | os.PathLike[str]) -> dict[str, Precision]:
    """Read precisions from a file.

    Parameters
    ----------
    path : str or path-like
        ``.json``: ``{"conv1": {"activation_bits": 9, "weight_bits": 8}, ...}``; ``.csv``: columns ``layer``,
        ``activation_bits``, ``weight_bits``. An entry may be left out (JSON) or empty (CSV).

    Returns
    -------
    dict of str to Precision

    Raises
    ------
    DumpError
        If the file can't be read, or has another form.
    OptionError
        For a value that is not a precision, naming the layer.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "precisions.json")
    ...     _ = path.write_text('{"conv1": {"activation_bits": 9, "weight_bits": 8}}')
    ...     read_precisions(path)
    {'conv1': Precision(activation_bits=9, weight_bits=8)}
    """
    path = Path(path)
    readers = {".json": _from_json, ".csv": _from_csv}
    if path.suffix.lower() not in readers:
        raise DumpError("precisions are a .json or a .csv file, profile, or a number", path=path)
    try:
        text = read_small(path, "a file of precisions", MAX_FILE_BYTES).decode()
    except UnicodeDecodeError as error:
        raise DumpError("can't be read: is not UTF-8", path=path) from error
    found: dict[str, Precision] = {}
    for layer, entry in readers[path.suffix.lower()](path, text):
        if not isinstance(entry, dict) or set(entry) - set(_FIELDS):
            raise DumpError(
                f"must have {' and '.join(_FIELDS)}, got {entry!r}", path=path, layer=layer, value=entry
            )
        if layer in found:
            raise DumpError(f"layer {layer!r} is there twice", path=path)
        with error_context(path=path, layer=layer):
            found[layer] = Precision(**entry)
    return found


def _from_json(path: Path, text: str) -> list[tuple[str, Any]]:
    try:
        table = parse_json(text, partial(json.loads, object_pairs_hook=_Pairs))
    except ValueError as error:
        raise DumpError(f"is not JSON: {error}", path=path) from error
    if not isinstance(table, _Pairs):
        raise DumpError("must be a JSON object, layer by layer", path=path)
    return [(layer, dict(e) if isinstance(e, _Pairs) else e) for layer, e in table]


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, in which a key can be there twice."""


def _from_csv(path: Path, text: str) -> list[tuple[str, Any]]:
    rows = list(csv.reader(io.StringIO(text)))
    head = ["layer", *_FIELDS]
    if not rows or sorted(rows[0]) != sorted(head):
        raise DumpError(f"the first line must be {','.join(head)}", path=path)
    entries: list[tuple[str, Any]] = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(head):
            raise DumpError(f"line {number} has {len(row)} fields, not {len(head)}", path=path)
        cells = dict(zip(rows[0], row, strict=True))
        layer = cells.pop("layer")
        values = {name: cell.strip() for name, cell in cells.items() if cell.strip()}
        entries.append((layer, {name: int(v) if v.isdecimal() else v for name, v in values.items()}))
    return entries
