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
from bitxcore.dumps import Tensor, open_dump, save
from bitxcore.errors import TensorError, error_context
from hwmodel.evaluation.runners import StagedRunner
from hwmodel.evaluation.runners.layer_nodes import LayerNode
from hwmodel.preparation.budget import Budget
from hwmodel.preparation.layer_moments import LayerMoments
from hwmodel.preparation.offsets import offset_of

Array = npt.NDArray[Any]
Chosen = Callable[[str], Budget | None]


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
        Of the layer's outputs on the calibration samples, before the offset; None without compensation.
    compensated, offset : bool
        Whether later weights took over errors; whether an offset took over the mean one.
    """

    tensor: str
    ones_max: int
    rows_max: int
    relative_error: float
    output_error: float | None
    compensated: bool
    offset: bool


def prepare_model(
    model: str | os.PathLike[str],
    batches: Sequence[dict[str, Array]],
    out: str | os.PathLike[str],
    budget: Budget | Chosen,
    *,
    selection: Selection | None = None,
) -> list[PreparedTensor]:
    """Write a model whose weights the run-time pruner leaves as they are.

    Parameters
    ----------
    model : path-like
        ONNX.
    batches : sequence of dict of str to ndarray
        Calibration samples, as the model takes them.
    out : path-like
        As of `bitxcore.dumps.save`.
    budget : Budget or callable
        For all chosen tensors; or from a tensor's name to its budget, None for one that stays.
    selection : Selection, optional
        Which tensors are weights.

    Returns
    -------
    list of PreparedTensor
    """
    path = Path(model)
    with open_dump(path) as dump:
        tensors = {t.name: t for t in (selection or Selection()).choose(dump).tensors}
        work = _Work(tensors, budget if callable(budget) else lambda _: budget)
        runner = StagedRunner(path, tensors=set(tensors))
        work.nodes = list(runner.proto.graph.node)
        work.stored = {t.name: tuple(t.dims) for t in runner.proto.graph.initializer}
        work.values = {t.name: t for t in runner.proto.graph.initializer}
        runner.together(batches, work.see)
        work.rest()
        save(dump, out, lambda tensor: work.done.get(tensor.name))
    return work.report


class _Work:
    """Tensors that are done, and those that are left."""

    def __init__(self, tensors: dict[str, Tensor], chosen: Chosen) -> None:
        self._tensors, self._chosen = tensors, chosen
        self.done: dict[str, Array] = {}
        self.report: list[PreparedTensor] = []
        self.nodes: list[Any] = []
        self.stored: dict[str, tuple[int, ...]] = {}
        self.values: dict[str, Any] = {}

    def see(self, layer: LayerNode, activations: list[Array]) -> dict[str, Array]:
        """Prepare a layer's tensor when it is reached."""
        if len(layer.tensors) != 1 or layer.tensors[0] in self.done:
            return {}
        tensor = self._tensors[layer.tensors[0]]
        budget = self._chosen(tensor.name)
        if budget is None:
            return {}
        with error_context(layer=layer.name, tensor=tensor.name):
            return self._prepared(layer, tensor, budget, activations)

    def rest(self) -> None:
        """Prepare what no layer has reached, without second moments."""
        for name, tensor in self._tensors.items():
            budget = self._chosen(name)
            if name not in self.done and budget is not None:
                with error_context(tensor=name):
                    self._finish(tensor, budget, None, None)

    def _prepared(
        self, layer: LayerNode, tensor: Tensor, budget: Budget, activations: list[Array]
    ) -> dict[str, Array]:
        turned = channel_first(tensor).turn(tensor.read())
        moments: LayerMoments | None = LayerMoments(layer, turned)
        try:
            for x in activations:
                moments.add(x)
        except TensorError:
            moments = None
        offset = (
            offset_of(layer, self.nodes, self.stored, len(turned))
            if moments and budget.corrects_bias
            else None
        )
        changed = {tensor.name: self._finish(tensor, budget, moments, offset)}
        if offset is not None and moments is not None:
            import onnx

            after = channel_first(tensor).turn(changed[tensor.name])
            error = (turned.astype(np.float64) - after).reshape(
                len(moments.first), -1, moments.first.shape[1]
            )
            shift = np.einsum("pfr,pr->pf", error, moments.first).reshape(-1)
            stored = onnx.numpy_helper.to_array(self.values[offset.tensor])
            changed[offset.tensor] = offset.shifted(stored, shift)
        self.done |= changed
        return changed

    def _finish(self, tensor: Tensor, budget: Budget, moments: LayerMoments | None, offset: Any) -> Array:
        values = tensor.read()
        layout = channel_first(tensor)
        turned = layout.turn(values)
        hessian = moments.second if moments is not None and budget.compensates else None
        found = bx.prepare(turned, hessian=hessian, **budget.options)
        after = layout.restore(found.values)
        error = found.values.astype(np.float64) - turned
        self.report.append(
            PreparedTensor(
                tensor.name,
                int(bx.essential_bits(found.values).max()),
                int(found.kept_rows.max()),
                float(np.linalg.norm(error) / (np.linalg.norm(turned) or 1)),
                None if moments is None else _output_error(error, turned, moments),
                hessian is not None,
                offset is not None,
            )
        )
        self.done[tensor.name] = after
        return after


def _output_error(error: Array, weights: Array, moments: LayerMoments) -> float:
    """Root of the mean squared error of the outputs, over that of the outputs."""
    second = moments.second

    def power(w: Array) -> float:
        parts = w.reshape(len(second), -1, second.shape[1]).astype(np.float64)
        return float(np.einsum("pfr,prs,pfs->", parts, second, parts, optimize=True))

    whole = power(weights)
    return float(np.sqrt(max(power(error), 0.0) / whole)) if whole > 0 else 0.0
