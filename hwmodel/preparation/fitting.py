"""One weight tensor brought within its budget, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import bitxcore as bx
from bitxcore.batch.selection import channel_first, on_turned, read_numbers
from bitxcore.dumps import Dump, Tensor
from bitxcore.dumps.onnx_weights.encoding import MOST_BITS
from bitxcore.errors import TensorError
from bitxcore.policy import PruningOptions
from bitxcore.pruned import Pruned
from bitxcore.showing import table_repr
from bitxcore.tables import TableCollector, Tables, TabularResult
from hwmodel.preparation.budget import Budget
from hwmodel.preparation.layer_moments import Moments

Array = npt.NDArray[Any]

PREPARE_UNITS = {
    "tensor": "",
    "ones_max": "1",
    "rows_max": "1",
    "relative_error": "1",
    "output_error": "1",
    "compensated": "",
    "offset": "",
}
"""Units of the columns of a report."""

_TRIES = 4
"""Times that codes beyond the stored type are brought back."""


@dataclass(frozen=True)
class PreparedTensor:
    """What was done to one weight tensor.

    Attributes
    ----------
    tensor : str
    ones_max, rows_max : int
        Most ones of a weight, most non-empty rows of a group.
    relative_error : float
        Of the weights.
    output_error : float or None
        Of the layer's outputs on the calibration samples, offset included; against those of the model as it
        was, or of the layer on the same inputs where it is not reconstructed. None where its inputs are not
        known.
    compensated : bool
        Whether later weights took over the error of earlier ones.
    offset : str or None
        Stored vector that took over the mean error of the outputs.
    """

    tensor: str
    ones_max: int
    rows_max: int
    relative_error: float
    output_error: float | None
    compensated: bool
    offset: str | None


class PreparationReport(list[PreparedTensor], TabularResult):
    """What a preparation did: a list with a `PreparedTensor` for each weight tensor."""

    _main_table = "preparation"

    def tables(self) -> Tables:
        """Return the table ``preparation``.

        Examples
        --------
        >>> row = PreparedTensor("conv1.weight", 2, 6, 0.05, None, True, None)
        >>> PreparationReport([row]).tables()["preparation"].columns["ones_max"]
        [2]
        """
        collector = TableCollector()
        collector.write_table("preparation", [vars(row) for row in self], units=PREPARE_UNITS)
        return collector.tables()

    def _shown(self) -> tuple[str, Iterable[str]]:
        return "preparation", PREPARE_UNITS

    def __repr__(self) -> str:
        return table_repr(f"PreparationReport: {len(self):,} tensors", map(vars, self), "all: .to_pandas()")


def fitted(
    dump: Dump, tensor: Tensor, budget: Budget, moments: Moments | None, offset: str | None = None
) -> tuple[Array, PreparedTensor]:
    """Bring one tensor within its budget.

    Parameters
    ----------
    dump : Dump
        That errors name.
    tensor : Tensor
        Of integers that represent weights, what is prepared is their codes, less the zero point.
    budget : Budget
    moments : LayerMoments, optional
        Of what its layer reads; None: each weight goes to its nearest value.
    offset : str, optional
        Stored vector that takes over the mean error, for the report.

    Returns
    -------
    values : ndarray
        As the tensor is stored.
    row : PreparedTensor

    Raises
    ------
    TensorError
        If the tensor can't be prepared; with the index of a value that is none.
    OptionError
        If a parameter is out of range.
    """
    stored, numbers, form = read_numbers(tensor, None)
    layout = channel_first(tensor)
    filters = layout.turn(numbers)
    compensates = moments is not None and budget.compensates
    options, targets = budget.options, None
    second = None if moments is None else moments.second
    if second is not None and not np.isfinite(second).all():
        raise TensorError(
            "what its layer reads on the calibration samples is no number, or too large",
            path=dump.path,
            tensor=tensor.name,
        )
    if moments is not None and budget.compensates:
        options |= {"hessian": second, "damping": budget.damping, "sweeps": budget.sweeps}
        if budget.reconstructs and np.isfinite(filters).all():  # else the error is of the tensor itself
            targets = moments.targets(budget.damping).astype(filters.dtype)

    def prepare(own: Array) -> Pruned:
        return bx.prepare(own if targets is None else targets, format=form, **options)

    found = on_turned(dump, tensor, numbers, prepare, form)
    values = layout.restore(found.values)
    if tensor.encoding is not None and numbers is not stored:
        limited, most = numbers, budget.ones
        for _ in range(_TRIES):
            values = tensor.encoding.stored(layout.restore(found.values), stored)
            ends, _ = tensor.encoding.codes(values)
            beyond = ends != layout.restore(found.values)
            if not beyond.any():
                break
            # The nearest code is beyond the stored type: aim at one below its end.
            limited = np.where(beyond, _leading(ends, most), limited).astype(numbers.dtype)
            found, most = on_turned(dump, tensor, limited, prepare, form), 1
    error = found.values.astype(np.float64) - filters
    return values, PreparedTensor(
        tensor.name,
        int(bx.essential_bits(found.values).max()),
        int(found.kept_rows.max()),
        float(np.linalg.norm(error) / (np.linalg.norm(filters.astype(np.float64)) or 1)),
        None if moments is None else moments.relative(found.values, corrected=offset is not None),
        compensates,
        offset,
    )


def _leading(codes: Array, ones: int | None) -> Array:
    """Keep so many leading ones of each code; all, if None."""
    left, kept = np.abs(codes.astype(np.int64)), np.zeros(codes.shape, np.int64)
    for bit in range(MOST_BITS, -1, -1):
        place = np.int64(1 << bit)
        takes = (left & place > 0) & (True if ones is None else np.bitwise_count(kept) < ones)
        kept |= np.where(takes, place, 0)
    return np.sign(codes) * kept


def options_of(row: PreparedTensor, budget: Budget) -> PruningOptions:
    """Give the options by which the run-time pruner leaves a prepared tensor as it is."""
    return PruningOptions(max(row.rows_max, 1), budget.group, budget.grouping, budget.window)


def check_passes(dump: Dump, tensor: Tensor, values: Array, row: PreparedTensor, budget: Budget) -> None:
    """Raise `TensorError` unless the run-time pruner leaves what will be written as it is, bit for bit.

    Parameters
    ----------
    dump : Dump
    tensor : Tensor
        As it was.
    values : ndarray
        What takes its place.
    row : PreparedTensor
    budget : Budget
        Those that it was prepared by.
    """
    numbers, form = (values, None) if tensor.encoding is None else tensor.encoding.codes(values)
    numbers = np.ascontiguousarray(channel_first(tensor).turn(numbers))
    left = bx.prune(numbers, format=form, **options_of(row, budget).as_dict())
    ones = int(bx.essential_bits(numbers, form).max())
    if left.values.tobytes() == numbers.tobytes() and ones <= (budget.ones or ones):
        return
    reason = (
        "its type can't hold the prepared codes"
        if tensor.encoding
        else "prepared, it does not pass the pruner"
    )
    raise TensorError(reason, path=dump.path, tensor=tensor.name)
