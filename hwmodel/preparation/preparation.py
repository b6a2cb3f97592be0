"""A model's weights brought within a budget, layer by layer, each on the inputs of those before it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import bitxcore as bx
from bitxcore.batch import Selection
from bitxcore.batch.selection import channel_first
from bitxcore.dumps import Dump, Tensor, open_dump, save
from bitxcore.errors import OptionError, TensorError, error_context
from bitxcore.policy import Policy, PruningOptions
from bitxcore.progress import Progress
from hwmodel.evaluation.runners import StagedRunner
from hwmodel.evaluation.runners.layer_nodes import LayerNode
from hwmodel.preparation.budget import Budget
from hwmodel.preparation.layer_moments import LayerMoments
from hwmodel.preparation.offsets import Offset, Offsets

Array = npt.NDArray[Any]
Chosen = Callable[[str], Budget | None]

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


def prepare_model(
    model: str | os.PathLike[str],
    batches: Sequence[dict[str, Array]],
    out: str | os.PathLike[str],
    budget: Budget | Chosen,
    *,
    selection: Selection | None = None,
    progress: Progress | None = None,
) -> list[PreparedTensor]:
    """Write a model whose weights the run-time pruner leaves as they are, and whose groups cost few cycles.

    Beyond the paper. The model runs stage by stage on all calibration samples; when a layer is reached, its
    weights are brought within the budget by what its inputs then are, those of the prepared layers before it.

    Parameters
    ----------
    model : path-like
        ONNX.
    batches : sequence of dict of str to ndarray
        Calibration samples, as the model takes them; their activations are held in memory.
    out : path-like
        As of `bitxcore.dumps.save`.
    budget : Budget or callable
        For all chosen tensors; or from a tensor's name to its budget, None for one that stays.
    selection : Selection, optional
        Which tensors are weights.
    progress : callable, optional
        ``progress(done, total, tensor)``.

    Returns
    -------
    list of PreparedTensor
        In the order in which they were prepared.

    Raises
    ------
    DumpError
        If the model can't be read or run, or does not take the samples.
    TensorError
        If a tensor can't be prepared.
    OptionError
        If there are no samples, or a parameter is out of range.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from hwmodel.evaluation import task
    >>> digits = task("digits")
    >>> batches = [part.feeds for part in digits.calibration(64)]
    >>> with TemporaryDirectory() as folder:
    ...     report = prepare_model(digits.model, batches, f"{folder}/p.onnx", Budget(ones=2, rows=6))
    >>> len(report), max(row.ones_max for row in report), max(row.rows_max for row in report)
    (13, 2, 6)
    """
    path = Path(model)
    if not batches:
        raise OptionError("there are no calibration samples", path=path)
    with open_dump(path) as dump:
        tensors = {t.name: t for t in (selection or Selection()).choose(dump).tensors}
        choose = budget if callable(budget) else lambda _: budget
        budgets = {name: choose(name) for name in tensors}
        runner = StagedRunner(path, tensors=set(tensors))
        original = any(b is not None and b.reconstructs for b in budgets.values())
        beside = StagedRunner(path, tensors=set(tensors)) if original else None
        work = _Work(dump, tensors, budgets, Offsets(runner.proto), progress)
        runner.together(batches, work.see, beside)
        work.rest()
        save(dump, out, lambda tensor: work.done.get(tensor.name))
    return work.report


def policy_of(
    report: Sequence[PreparedTensor], budget: Budget, origin: dict[str, str | int | float] | None = None
) -> Policy:
    """Make the policy by which the run-time pruner leaves all prepared tensors as they are.

    Parameters
    ----------
    report : sequence of PreparedTensor
    budget : Budget
        Whose group, grouping and window all of them have.
    origin : dict, optional
        What else to say of where it comes from.
    """
    tensors = {
        row.tensor: PruningOptions(max(row.rows_max, 1), budget.group, budget.grouping, budget.window)
        for row in report
    }
    return Policy(tensors, origin=origin or {})


def _moments(
    layer: LayerNode, filters: Array, activations: list[Array], others: list[Array], *, centred: bool
) -> LayerMoments | None:
    """Add up what a layer reads; None where that can't be gathered."""
    found = LayerMoments(layer, filters, centred=centred)
    try:
        for at, x in enumerate(activations):
            found.add(x, others[at] if others else None)
    except TensorError:
        return None
    return found


class _Work:
    """Tensors that are done, and those that are left."""

    def __init__(
        self,
        dump: Dump,
        tensors: dict[str, Tensor],
        budgets: dict[str, Budget | None],
        offsets: Offsets,
        progress: Progress | None,
    ) -> None:
        self._dump, self._tensors, self._offsets, self._progress = dump, tensors, offsets, progress
        self._budgets = budgets
        self.done: dict[str, Array] = {}
        self.report: list[PreparedTensor] = []

    def see(self, layer: LayerNode, activations: list[Array], originals: list[Array]) -> dict[str, Array]:
        """Prepare a layer's tensor when it is reached; one that is made of several waits for `rest`."""
        (name, *others) = layer.tensors
        budget = self._budgets[name]
        if others or name in self.done or budget is None:
            return {}
        with error_context(path=self._dump.path, tensor=name):
            tensor = self._tensors[name]
            values = tensor.read()
            filters = channel_first(tensor).turn(values)
            offset = self._offsets.of(layer, filters.shape) if budget.corrects_bias else None
            moments = _moments(
                layer,
                filters,
                activations,
                originals if budget.reconstructs else [],
                centred=offset is not None,
            )
            if moments is None:
                offset = None
            after = self._fitted(tensor, values, budget, moments, offset)
        changed = {name: after}
        if offset is not None and moments is not None:
            changed[offset.tensor] = offset.shifted(moments.missing_means(channel_first(tensor).turn(after)))
        self.done |= changed
        return changed

    def rest(self) -> None:
        """Prepare what no layer has alone, without moments."""
        for name, budget in self._budgets.items():
            if name not in self.done and budget is not None:
                tensor = self._tensors[name]
                with error_context(path=self._dump.path, tensor=name):
                    self.done[name] = self._fitted(tensor, tensor.read(), budget, None, None)

    def _fitted(
        self,
        tensor: Tensor,
        values: Array,
        budget: Budget,
        moments: LayerMoments | None,
        offset: Offset | None,
    ) -> Array:
        """Bring one tensor within its budget, and report."""
        if self._progress is not None:
            self._progress(len(self.report), len(self._tensors), tensor.name)
        layout = channel_first(tensor)
        filters = layout.turn(values)
        options, wanted = budget.options, filters
        compensates = moments is not None and budget.compensates
        if moments is not None and budget.compensates:
            options |= {"hessian": moments.second, "damping": budget.damping, "sweeps": budget.sweeps}
            if budget.reconstructs and filters.dtype.kind in "fV":  # V: bfloat16
                wanted = moments.targets(budget.damping).astype(filters.dtype)
        found = bx.prepare(wanted, **options)
        error = found.values.astype(np.float64) - filters
        self.report.append(
            PreparedTensor(
                tensor.name,
                int(bx.essential_bits(found.values).max()),
                int(found.kept_rows.max()),
                float(np.linalg.norm(error) / (np.linalg.norm(filters.astype(np.float64)) or 1)),
                None if moments is None else moments.relative(found.values, corrected=offset is not None),
                compensates,
                None if offset is None else offset.tensor,
            )
        )
        return layout.restore(found.values)
