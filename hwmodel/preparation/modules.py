"""Weights of a PyTorch module brought within a budget, where they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from bitxcore.batch import Selection
from bitxcore.batch.selection import channel_first
from bitxcore.errors import TensorError, error_context
from bitxcore.progress import Progress
from bitxcore.torch.module_dump import ModuleDump, ModuleTensor, Originals, Tied, of_module, open_module
from bitxcore.torch.module_roles import Owners, owners, weighs
from bitxcore.torch.shared_memory import overlapping
from hwmodel.preparation.budget import Budget
from hwmodel.preparation.fitting import PreparationReport, PreparedTensor, check_passes, fitted
from hwmodel.preparation.kept_layers import KeptLayers, definition_of, kept_beside
from hwmodel.preparation.module_layers import ModuleMoments, ModuleRuns, as_array
from hwmodel.preparation.offsets import Offset
from hwmodel.preparation.samples import check_samples

if TYPE_CHECKING:
    from torch.nn import Module

Array = npt.NDArray[Any]
Chosen = Callable[[str], Budget | None]


def prepare_module(
    module: Module,
    batches: Sequence[dict[str, Array]],
    budget: Budget | Chosen,
    *,
    selection: Selection | None = None,
    progress: Progress | None = None,
) -> PreparationReport:
    """Change the weights of a PyTorch module in place to meet a budget.

    Beyond the paper. `prepare_model` for modules: layer by layer in the order in which they run, each by the
    inputs that the prepared layers before it give. The module runs as far as each layer, for each of them.

    Parameters
    ----------
    module : torch.nn.Module
        On any device; it runs without gradients and in evaluation mode, and gets its own mode back.
    batches : sequence of dict of str to ndarray
        Calibration samples, in the order of the module's inputs; floats take the dtype of its parameters.
    budget : Budget or callable
        For all chosen tensors; or from a tensor's name to its budget, None for one that stays.
    selection : Selection, optional
        Which tensors of the state dict are weights.
    progress : callable, optional
        ``progress(done, total, tensor)``.

    Returns
    -------
    PreparationReport
        In the order in which they were prepared. ``bx.torch.prune_(module, layout="module")`` with as many
        rows leaves the weights as they are.

    Raises
    ------
    TensorError
        If a tensor can't be prepared, the module does not take the samples, or a sample holds a NaN.
    OptionError
        If there are no samples, `module` is none, or a parameter is out of range.
    MissingExtraError
        If PyTorch is not installed.

    Notes
    -----
    After an error the module is unchanged. Linear layers and convolutions that run once have second
    moments. All other weights get the nearest values: those that are tied, of transposed convolutions, and
    of layers that run several times or as parts of larger ones. A mean error goes into the layer's bias, or
    into the running mean of a batch normalisation that alone reads the layer's outputs.

    Examples
    --------
    >>> import numpy as np, torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    >>> samples = np.random.default_rng(1).standard_normal((64, 16)).astype("f4")
    >>> report = prepare_module(module, [{"x": samples}], Budget(ones=2, rows=5))
    >>> [(row.tensor, row.ones_max, row.offset) for row in report]
    [('0.weight', 2, '0.bias'), ('2.weight', 2, '2.bias')]
    """
    return prepare_and_write(module, batches, budget, selection=selection, progress=progress)


def prepare_and_write(
    module: Module,
    batches: Sequence[dict[str, Array]],
    budget: Budget | Chosen,
    *,
    selection: Selection | None = None,
    progress: Progress | None = None,
    out: Path | None = None,
    restart: bool = False,
    write: Callable[[ModuleDump], None] | None = None,
) -> PreparationReport:
    """Prepare a module as `prepare_module` does; then write it.

    Parameters
    ----------
    module, batches, budget, selection, progress
        As of `prepare_module`.
    out : pathlib.Path, optional
        File beside which finished layers are kept until it is written.
    restart : bool
        Forget layers that an interrupted call has finished.
    write : callable, optional
        Writes the prepared module.
    """
    selection = selection or Selection()
    dump = open_module(module, layout="module")
    with of_module(dump):
        check_samples(batches, None, dump.path)
        tied, _ = dump.tied(selection.choose(dump))
        choose = budget if callable(budget) else lambda _: budget
        budgets = {each.tensor.name: choose(each.tensor.name) for each in tied}
        defined = definition_of(dump, batches, budget, budgets, selection, ("torch",)) if out else {}
        with kept_beside(out, defined, restart=restart) if out else nullcontext(KeptLayers()) as kept:
            work = _ModuleWork(dump, [each for each in tied if budgets[each.tensor.name]], budgets, kept)
            try:
                work.run(batches, progress)
                if write is not None:
                    write(dump)
            except BaseException:
                work.originals.put_back()
                raise
    return work.report


class _ModuleWork:
    """Tensors of a module, and what was done to them."""

    def __init__(
        self, dump: ModuleDump, tied: Sequence[Tied], budgets: dict[str, Budget | None], kept: KeptLayers
    ) -> None:
        self._dump, self._budgets, self._kept = dump, budgets, kept
        self._tied = {each.tensor.name: each for each in tied}
        self._of_value = {id(t.value): t for t in dump.values() if isinstance(t, ModuleTensor)}
        memories = {t.memory for t in self._of_value.values() if t.size}
        self._shared = {memory for pair in overlapping(memories) for memory in pair}
        found = owners(dump.module)
        self._held = Counter(
            self._of_value[key].memory
            for key, holders in found.of.items()
            if key in self._of_value
            for _ in holders
        )
        self._layers = self._of_one_layer(found)
        self.originals = Originals()
        self.report = PreparationReport()
        self._before: tuple[ModuleRuns, dict[Any, Any]]

    def run(self, batches: Sequence[dict[str, Array]], progress: Progress | None) -> None:
        """Prepare all tensors, those that no layer reads by itself first, and check them."""
        module = self._dump.module
        runs = ModuleRuns(module, list(self._layers.values()), batches)
        if any(self._budgets[name].reconstructs for name in self._layers):  # type: ignore[union-attr]
            copied = deepcopy(module)
            twins = dict(zip(module.modules(), copied.modules(), strict=True))
            self._before = ModuleRuns(copied, [], batches), twins
        names = {layer: name for name, layer in self._layers.items()}
        reached = [names[layer] for layer in runs.order]
        for name in [*(name for name in self._tied if name not in reached), *reached]:
            if progress is not None:
                progress(len(self.report), len(self._tied), name)
            found = self._kept.get(name, self._dump)
            if found is None:
                with error_context(path=self._dump.path, tensor=name):
                    found = self._prepared(name, runs)
                self._kept.add(*found)
            changed, row = found
            for changes, values in changed.items():
                self._write(changes, values)
            self.report.append(row)
        for row in self.report:
            budget, tensor = self._budgets[row.tensor], self._dump[row.tensor]
            assert budget is not None
            check_passes(self._dump, tensor, tensor.read(), row, budget)

    def _prepared(self, name: str, runs: ModuleRuns) -> tuple[dict[str, Array], PreparedTensor]:
        tensor, budget = self._tied[name].tensor, self._budgets[name]
        assert budget is not None
        layer, moments, offset = self._layers.get(name), None, None
        filters = channel_first(tensor).turn(tensor.read())
        if layer is not None and layer in runs.once:
            if budget.corrects_bias:
                offset = self._offset(layer, runs.normalised.get(layer), len(filters))
            moments = self._moments(layer, filters, runs, budget, centred=offset is not None)
        if moments is None or offset is None:
            after, row = fitted(self._dump, tensor, budget, moments)
            return {name: after}, row
        after, row = fitted(self._dump, tensor, budget, moments, offset.tensor)
        missing = moments.missing_means(channel_first(tensor).turn(after))
        return {name: after, offset.tensor: offset.shifted(missing)}, row

    def _moments(
        self, layer: Any, filters: Array, runs: ModuleRuns, budget: Budget, *, centred: bool
    ) -> ModuleMoments | None:
        """Add up what a layer reads; None where that can't be gathered."""
        found = ModuleMoments(layer, filters, centred=centred)
        before: Iterable[Any] = repeat(None)
        if budget.reconstructs:
            others, twins = self._before
            before = others.inputs(twins[layer])
        for value, other in zip(runs.inputs(layer), before, strict=False):
            try:
                found.add(as_array(value), None if other is None else as_array(other))
            except TensorError:
                return None
        return found

    def _of_one_layer(self, found: Owners) -> dict[str, Any]:
        """Layers by the names of weights that no other layer has."""
        layers = {}
        for name, each in self._tied.items():
            layer, what = found.of.get(id(each.values[0]), [(None, "")])[0]
            if what == "weight" and weighs(layer, what) and not self._overlaps(each.tensor):
                layers[name] = layer
        return layers

    def _overlaps(self, tensor: ModuleTensor) -> bool:
        """Whether other tensors lie in the same memory."""
        return tensor.memory in self._shared or self._held[tensor.memory] > 1

    def _offset(self, layer: Any, norm: Any, filters: int) -> Offset | None:
        """Find what shifts a layer's outputs, and nothing else."""
        value, sign = (layer.bias, 1) if norm is None else (norm.running_mean, -1)
        tensor = self._of_value.get(id(value))
        if tensor is None or self._overlaps(tensor) or tensor.shape != (filters,):
            return None
        return Offset(tensor.name, tensor.read(), sign)

    def _write(self, name: str, values: Array) -> None:
        tensor = self._dump[name]
        assert isinstance(tensor, ModuleTensor)
        each = self._tied.get(name) or Tied(tensor, (name,), (tensor.value,))
        self.originals.keep(each)
        tensor.write(values)
