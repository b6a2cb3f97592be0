"""A model's weights brought within a budget, layer by layer, each on the inputs of those before it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bitxcore.batch import Selection
from bitxcore.batch.selection import channel_first
from bitxcore.dumps import Dump, Tensor, open_dump, save
from bitxcore.errors import TensorError, error_context
from bitxcore.files import check_target
from bitxcore.policy import Policy
from bitxcore.progress import Progress
from hwmodel.evaluation.runners import StagedRunner
from hwmodel.evaluation.runners.layer_nodes import LayerNode
from hwmodel.preparation.budget import Budget
from hwmodel.preparation.fitting import PreparationReport, PreparedTensor, check_passes, fitted, options_of
from hwmodel.preparation.kept_layers import KeptLayers, definition_of, kept_beside
from hwmodel.preparation.layer_moments import LayerMoments
from hwmodel.preparation.offsets import Offsets
from hwmodel.preparation.samples import check_samples, in_model_batches

Array = npt.NDArray[Any]
Chosen = Callable[[str], Budget | None]


def prepare_model(
    model: str | os.PathLike[str],
    batches: Sequence[dict[str, Array]],
    out: str | os.PathLike[str],
    budget: Budget | Chosen,
    *,
    selection: Selection | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> PreparationReport:
    """Write a model whose weights the run-time pruner does not change, and whose groups take few cycles.

    Beyond the paper. The model runs stage by stage on all calibration samples. When a layer is reached, its
    weights are changed to meet the budget, by its inputs from the prepared layers before it. Finished
    layers are kept in a journal beside `out`. After a kill, the same call continues with the next layer.

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
    restart : bool
        Forget layers that an interrupted call has finished.
    progress : callable, optional
        ``progress(done, total, tensor)``.

    Returns
    -------
    PreparationReport
        A list of `PreparedTensor`, in the order in which they were prepared.

    Raises
    ------
    DumpError
        If the model can't be read or run, or does not take the samples.
    TensorError
        If a tensor can't be prepared, or a sample holds a NaN.
    OptionError
        If there are no samples, or a parameter is out of range.
    BitxError
        If `out` can't be written, or its journal belongs to another preparation.

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
    path, target, selection = Path(model), Path(out), selection or Selection()
    with open_dump(path) as dump:
        check_target(target, [str(file.resolve()) for file in dump.files()])
        tensors = {t.name: t for t in selection.choose(dump).tensors}
        runner = StagedRunner(path, tensors=set(tensors))
        batches = in_model_batches(batches, runner.inputs)
        check_samples(batches, runner.inputs, path)
        choose = budget if callable(budget) else lambda _: budget
        budgets = {name: choose(name) for name in tensors}
        defined = definition_of(dump, batches, budget, budgets, selection, ("onnxruntime",))
        with kept_beside(target, defined, restart=restart) as kept:
            work = _Work(dump, tensors, budgets, runner, progress, kept)
            original = any(b is not None and b.reconstructs for b in budgets.values())
            beside = StagedRunner(path, tensors=set(tensors)) if original else None
            runner.together(batches, work.see, beside)
            work.rest()
            work.check()
            save(dump, target, lambda tensor: work.done.get(tensor.name))
    return work.report


def policy_of(
    report: Sequence[PreparedTensor], budget: Budget, origin: dict[str, str | int | float] | None = None
) -> Policy:
    """Make the policy with which the run-time pruner does not change any prepared tensor.

    Parameters
    ----------
    report : sequence of PreparedTensor
    budget : Budget
        Whose group, grouping and window all of them have.
    origin : dict, optional
        What else to say of where it comes from.

    Examples
    --------
    >>> len(policy_of([], Budget(ones=2, rows=6)).tensors)
    0
    """
    tensors = {row.tensor: options_of(row, budget) for row in report}
    return Policy(tensors, origin=origin or {})


def _moments(
    layer: LayerNode, filters: Array, activations: list[Array], originals: list[Array], *, centred: bool
) -> LayerMoments | None:
    """Add up what a layer reads; None where that can't be gathered."""
    found = LayerMoments(layer, filters, centred=centred)
    try:
        for at, x in enumerate(activations):
            found.add(x, originals[at] if originals else None)
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
        runner: StagedRunner,
        progress: Progress | None,
        kept: KeptLayers,
    ) -> None:
        self._dump, self._tensors, self._progress = dump, tensors, progress
        self._offsets = Offsets(runner.proto)
        self._uses = Counter(name for layer in runner.layers for name in layer.tensors)
        self._budgets, self._kept = budgets, kept
        self.done: dict[str, Array] = {}
        self.report = PreparationReport()

    def see(self, layer: LayerNode, activations: list[Array], originals: list[Array]) -> dict[str, Array]:
        """Prepare a layer's tensor when it is reached; one that is made of several waits for `rest`."""
        (name, *others) = layer.tensors
        if others or name in self.done or self._budgets[name] is None:
            return {}
        # A layer that shares its weights reads other inputs than the others that do.
        return self._finished(name, layer if self._uses[name] == 1 else None, activations, originals)

    def rest(self) -> None:
        """Prepare what no layer has alone, without moments."""
        for name, budget in self._budgets.items():
            if name not in self.done and budget is not None:
                self._finished(name, None, [], [])

    def check(self) -> None:
        """Raise if the run-time pruner changed a prepared tensor."""
        for row in self.report:
            if (budget := self._budgets[row.tensor]) is not None:
                check_passes(self._dump, self._tensors[row.tensor], self.done[row.tensor], row, budget)

    def _finished(
        self, name: str, layer: LayerNode | None, activations: list[Array], originals: list[Array]
    ) -> dict[str, Array]:
        """Prepare a tensor, or take what an earlier run has made of it; return what changes."""
        if self._progress is not None:
            self._progress(len(self.report), len(self._tensors), name)
        found = self._kept.get(name, self._dump)
        if found is None:
            with error_context(path=self._dump.path, tensor=name):
                found = self._prepared(name, layer, activations, originals)
            self._kept.add(*found)
        changed, row = found
        self.done |= changed
        self.report.append(row)
        return changed

    def _prepared(
        self, name: str, layer: LayerNode | None, activations: list[Array], originals: list[Array]
    ) -> tuple[dict[str, Array], PreparedTensor]:
        tensor, budget = self._tensors[name], self._budgets[name]
        assert budget is not None
        # Moments are those of weights: integers that represent weights are not, without their scales.
        if layer is None or tensor.encoding is not None:
            after, row = fitted(self._dump, tensor, budget, None)
            return {name: after}, row
        filters = channel_first(tensor).turn(tensor.read())
        offset = self._offsets.of(layer, filters.shape) if budget.corrects_bias else None
        if not budget.reconstructs:
            originals = []
        moments = _moments(layer, filters, activations, originals, centred=offset is not None)
        if moments is None or offset is None:
            after, row = fitted(self._dump, tensor, budget, moments)
            return {name: after}, row
        after, row = fitted(self._dump, tensor, budget, moments, offset.tensor)
        missing = moments.missing_means(channel_first(tensor).turn(after))
        return {name: after, offset.tensor: offset.shifted(missing)}, row
