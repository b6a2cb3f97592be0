"""Budgets by tensor: the fewest cycles at which a model's outputs move no more than is allowed.

1. Every tensor is fitted to every budget by the inputs that its layer has in the model as it was, which says
   how far the layer's outputs move, and what its groups cost.
2. Each tensor alone, at the budget in the middle, takes its place in the model: how far the model's outputs
   then move says how much an error of this layer's outputs matters.
3. The two together foretell the squared error of the model's outputs. Errors of several tensors add up.
4. From the least error on, the step that costs least error per saved cycle is taken next (`pruning_path`).
5. The state that is furthest along this path and within the loss is found by preparing whole models, each at
   the state that the last one's error foretells. One budget for all tensors is tried as well.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch import Selection
from bitxcore.batch.selection import channel_first
from bitxcore.dumps import Dump, Tensor, open_dump, save
from bitxcore.errors import OptionError, TensorError, error_context
from bitxcore.files import scratch_folder
from bitxcore.progress import Progress
from bitxcore.weight_ones import weight_ones
from hwmodel.evaluation import pruning_path
from hwmodel.evaluation.runners import OnnxRunner, StagedRunner
from hwmodel.evaluation.runners.layer_nodes import LayerNode
from hwmodel.networks.onnx.convolutions import conv_of
from hwmodel.preparation.budget import Budget
from hwmodel.preparation.fitting import fitted
from hwmodel.preparation.layer_moments import LayerMoments
from hwmodel.preparation.offsets import Offset, Offsets
from hwmodel.preparation.preparation import prepare_model
from hwmodel.preparation.samples import check_samples, in_model_batches

Array = npt.NDArray[Any]

PROBED = 64
"""Samples, at most, by which errors of the outputs are measured [chosen]."""
PREPARED = 6
"""Whole models, at most, that are prepared on the way to a loss [chosen]."""
MOST_MOVED = 1e12
"""In place of an error that is no number."""
UNIT = 1 << 10
"""Cycles are counted in integers, of this part of a cycle."""


@dataclass(frozen=True)
class BudgetsFound:
    """What a search found.

    Attributes
    ----------
    budgets : dict of str to Budget
        By tensor.
    cycles : float
        Of a group: mean over the groups of all positions of all layers.
    loss : float
        Root of the outputs' squared error, over that of the outputs; on the samples that were probed.
    tried : int
        Whole models that were prepared.
    """

    budgets: dict[str, Budget]
    cycles: float
    loss: float
    tried: int


def search_budgets(
    model: str | os.PathLike[str],
    batches: Sequence[dict[str, Array]],
    budgets: Sequence[Budget],
    *,
    loss: float | None = None,
    cycles: float | None = None,
    selection: Selection | None = None,
    progress: Progress | None = None,
) -> BudgetsFound:
    """Find a budget for each tensor of a model.

    Parameters
    ----------
    model : path-like
        ONNX.
    batches : sequence of dict of str to ndarray
        Calibration samples.
    budgets : sequence of Budget
        That a tensor may have.
    loss : float, optional
        How far the model's outputs may move: root of their squared error, over that of the outputs.
    cycles : float, optional
        Most cycles of a group, on average; one of the two is given.
    selection : Selection, optional
        Which tensors are weights.
    progress : callable, optional
        ``progress(done, total, next_step)``; the total is an estimate.

    Returns
    -------
    BudgetsFound

    Raises
    ------
    OptionError
        If none or both of the limits are given, or no choice of budgets meets the limit.
    BitxError
        As of `prepare_model`.

    Examples
    --------
    >>> from hwmodel.evaluation import task
    >>> digits = task("digits")
    >>> batches = [part.feeds for part in digits.calibration(64)]
    >>> found = search_budgets(digits.model, batches, [Budget(1, sweeps=0), Budget(3, sweeps=0)], cycles=2)
    >>> len(found.budgets), found.cycles <= 2, found.loss < 0.2
    (13, True, True)
    """
    if (loss is None) == (cycles is None):
        raise OptionError("a search needs either a loss or cycles")
    if not budgets:
        raise OptionError("a search needs budgets that a tensor may have")
    with scratch_folder() as folder, open_dump(Path(model)) as dump:
        search = _Search(dump, Path(model), batches, budgets, selection or Selection(), folder, progress)
        return search.of_cycles(cycles) if cycles is not None else search.of_loss(float(loss or 0))


@dataclass
class _Fit:
    """A tensor at one budget: what its groups cost, and the squared error of its layer's outputs."""

    budget: Budget
    cycles: int
    error: float


class _Search:
    def __init__(
        self,
        dump: Dump,
        path: Path,
        batches: Sequence[dict[str, Array]],
        budgets: Sequence[Budget],
        selection: Selection,
        folder: Path,
        progress: Progress | None,
    ) -> None:
        self._dump, self._path, self._folder, self._selection = dump, path, folder, selection
        self._tensors = {t.name: t for t in selection.choose(dump).tensors}
        runner = StagedRunner(path, tensors=set(self._tensors))
        self._batches = in_model_batches(batches, runner.inputs)
        check_samples(self._batches, runner.inputs, path)
        self._samples = sum(len(next(iter(feeds.values()))) for feeds in self._batches)
        self._budgets, self._progress = list(budgets), progress
        self._steps = len(self._tensors) + PREPARED
        self._done = self._tried = 0
        self._groups = 0
        self._fits: dict[str, list[_Fit]] = {}
        self._offsets = Offsets(runner.proto)
        self._uses = Counter(name for layer in runner.layers for name in layer.tensors)
        self._weights: dict[str, float] = {}
        self._probed = list(_first(self._batches, PROBED))
        self._outputs = self._run(path)
        runner.together(self._batches, self._fit)
        for name, tensor in self._tensors.items():
            if name not in self._fits:
                self._fit_tensor(tensor, None, None, 1)
        choices = self._choices()
        self._costs = {(n, fit.budget): fit.cycles for n, some in self._fits.items() for fit in some}
        self._errors = {(n, c.options): c.error for (n,), some in choices.items() for c in some}
        self._path_of_states = list(pruning_path.path(choices))
        same = [dict.fromkeys(self._tensors, budget) for budget in self._budgets]
        self._one_for_all = sorted(same, key=lambda state: (self._cycles(state), -self._foretold(state)))

    def of_cycles(self, cycles: float) -> BudgetsFound:
        """Take the least error within so many cycles."""
        one_for_all = [state for state in self._one_for_all if self._cycles(state) <= cycles]
        for state in self._path_of_states:
            if self._cycles(state) <= cycles:
                # Errors foretold are not errors: one budget for all may still be better.
                tried = [state, *one_for_all[-1:]] if state not in one_for_all else [state]
                best = min((self._tried_out(each) for each in tried), key=lambda found: found.loss)
                return replace(best, tried=self._tried)
        least = self._cycles(self._path_of_states[-1])
        raise OptionError(
            f"no budgets take {cycles:g} cycles per group; the least is {least:.3g}", value=cycles
        )

    def of_loss(self, loss: float) -> BudgetsFound:
        """Take the fewest cycles within a loss."""
        states, foretold = self._path_of_states, [self._foretold(state) for state in self._path_of_states]
        good, bad, best = -1, len(states), None
        scale = 1.0
        while bad - good > 1 and self._tried < PREPARED:
            wished = int(np.searchsorted(np.array(foretold) * scale, loss**2, side="right")) - 1
            # Never the same again, and nearer by a quarter at least, should errors not add up.
            quarter = max((bad - good) // 4, 1)
            at = min(max(wished, good + quarter), bad - quarter)
            found = self._tried_out(states[at])
            if found.loss <= loss:
                good, best = at, found
            else:
                bad = at
            if foretold[at] > 0:
                scale = found.loss**2 / foretold[at]
        fewer = [s for s in self._one_for_all if best is None or self._cycles(s) < best.cycles]
        if fewer and (found := self._tried_out(fewer[-1])).loss <= loss:
            best = found
        if best is None:
            raise OptionError(
                f"no budgets were found that move the outputs by {100 * loss:g} % at most", value=loss
            )
        return replace(best, tried=self._tried)

    # -- the model as it was -----------------------------------------------------------------------

    def _fit(self, layer: LayerNode, activations: list[Array], _: list[Array]) -> dict[str, Array]:
        """Fit a layer's tensor to all budgets; the model stays as it is."""
        (name, *others) = layer.tensors
        if others or name in self._fits or self._uses[name] > 1 or self._tensors[name].encoding is not None:
            return {}
        tensor = self._tensors[name]
        filters = channel_first(tensor).turn(tensor.read())
        corrects = any(budget.corrects_bias for budget in self._budgets)
        offset = self._offsets.of(layer, filters.shape) if corrects else None
        moments: LayerMoments | None = LayerMoments(layer, filters, centred=offset is not None)
        with error_context(path=self._path, tensor=name):
            try:
                for x in activations:
                    moments.add(x)  # type: ignore[union-attr]
            except TensorError:
                moments = None
        positions = _positions(layer, filters, activations, self._samples)
        self._fit_tensor(tensor, moments, None if moments is None else offset, positions)
        return {}

    def _fit_tensor(
        self, tensor: Tensor, moments: LayerMoments | None, offset: Offset | None, positions: float
    ) -> None:
        self._step(tensor.name)
        layout = channel_first(tensor)
        fits = []
        for budget in self._budgets:
            name = None if offset is None else offset.tensor
            values, row = fitted(self._dump, tensor, budget, moments, name)
            filters = layout.turn(values)
            ones = weight_ones(filters, rows=64, window=64, group=budget.group, grouping=budget.grouping)
            changed = {tensor.name: values}
            if offset is not None and moments is not None:
                changed[offset.tensor] = offset.shifted(moments.missing_means(filters))
            error = row.output_error if row.output_error is not None else row.relative_error
            cost = round(UNIT * ones.before.largest * ones.groups * positions)
            fits.append((_Fit(budget, cost, error**2), changed))
        self._groups += round(ones.groups * positions)
        self._fits[tensor.name] = [fit for fit, _ in fits]
        # In the middle: the largest error may be one after which outputs move no further.
        middle, changed = sorted(fits, key=lambda fit: fit[0].error)[len(fits) // 2]
        weight = 0.0
        if middle.error > 0:
            probe = self._folder / "probe.onnx"
            self._save(changed, probe)
            weight = self._moved(probe) / middle.error
        self._weights[tensor.name] = weight

    def _choices(self) -> dict[pruning_path.Names, list[pruning_path.Choice[Budget]]]:
        """Foretell what each tensor does to the model's outputs, at each budget."""
        return {
            (name,): [
                pruning_path.Choice(fit.budget, fit.cycles, self._weights[name] * fit.error) for fit in fits
            ]
            for name, fits in self._fits.items()
        }

    def _save(self, changed: Mapping[str, Array], out: Path) -> None:
        out.unlink(missing_ok=True)
        save(self._dump, out, lambda tensor: changed.get(tensor.name))

    # -- whole models ------------------------------------------------------------------------------

    def _tried_out(self, state: dict[str, Budget]) -> BudgetsFound:
        """Prepare a model, and see how far its outputs move."""
        self._step("a whole model")
        self._tried += 1
        made = self._folder / "made.onnx"
        made.unlink(missing_ok=True)
        prepare_model(self._path, self._batches, made, state.get, selection=self._selection)
        return BudgetsFound(state, self._cycles(state), float(np.sqrt(self._moved(made))), self._tried)

    def _moved(self, model: Path) -> float:
        """Squared error of the outputs, over that of the outputs; all outputs count alike."""
        shares = []
        for own, other in zip(self._run(model), self._outputs, strict=True):
            whole = float(np.square(other).sum())
            error = float(np.square(own - other).sum())
            shares.append(error / whole if whole > 0 else error)
        found = float(np.mean(shares))
        return found if np.isfinite(found) else MOST_MOVED

    def _run(self, model: Path) -> list[Array]:
        runner = OnnxRunner(model, named=self._path)
        parts = [runner.outputs(feeds) for feeds in self._probed]
        return [
            np.concatenate([np.ravel(x).astype(np.float64) for x in output])
            for output in zip(*parts, strict=True)
        ]

    def _cycles(self, state: Mapping[str, Budget]) -> float:
        total = sum(
            fit.cycles for name, fits in self._fits.items() for fit in fits if fit.budget == state[name]
        )
        return total / UNIT / self._groups

    def _foretold(self, state: Mapping[str, Budget]) -> float:
        return sum(self._errors[item] for item in state.items())

    def _step(self, name: str) -> None:
        if self._progress is not None:
            self._progress(min(self._done, self._steps), self._steps, name)
        self._done += 1


def _first(batches: Sequence[dict[str, Array]], count: int) -> Iterator[dict[str, Array]]:
    for feeds in batches:
        if count <= 0:
            return
        yield feeds
        count -= len(next(iter(feeds.values())))


def _positions(layer: LayerNode, filters: Array, activations: Sequence[Array], samples: int) -> float:
    """Positions of a layer's outputs, per sample."""
    if layer.node.op_type == "Conv":
        seen = [conv_of(layer.name, layer.attributes, x.shape, filters.shape).positions for x in activations]
    else:
        seen = [x.size // filters[0].size for x in activations]
    return sum(seen) / samples
