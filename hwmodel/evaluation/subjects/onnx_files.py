"""ONNX files: pruned copies of them are written and run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

from bitxcore.batch import Selection
from bitxcore.dumps import open_dump
from bitxcore.errors import OptionError
from bitxcore.files import scratch_folder
from hwmodel.evaluation.machine_gain import MachineGain, MachineGains
from hwmodel.evaluation.pruned_models import Changes, Norms, write_pruned
from hwmodel.evaluation.runners import OnnxRunner, Runner
from hwmodel.evaluation.settings import Setting, settled
from hwmodel.evaluation.staged_settings import runner_of
from hwmodel.evaluation.subjects.subject import Subject


class OnnxFiles(Subject):
    """One model of ONNX or several, which are pruned alike.

    Parameters
    ----------
    models : sequence of pathlib.Path
    joined : callable
        Makes one runner of the models' runners.
    selection : Selection
        Which tensors are weights.
    norms : mapping of str to ndarray, optional
        By tensor, of criterion ``"calibrated"``.
    """

    def __init__(
        self,
        models: Sequence[Path],
        joined: Callable[[Sequence[Runner]], Runner],
        selection: Selection,
        norms: Norms | None = None,
    ) -> None:
        self._models, self._joined, self._selection = tuple(models), joined, selection
        self._norms = norms
        self._unpruned: list[OnnxRunner] = []
        self.files = ()
        digests = []
        for model in self._models:
            with open_dump(model) as dump:
                self.files += tuple(dump.files())
                digests.append(dump.sha256())
        self._identity = digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()

    @property
    def identity(self) -> str:
        """Of the file; of several, of their sums."""
        return self._identity

    def settled(self, setting: Setting) -> Setting:
        """Leave out what has no effect on any of the models."""
        found = []
        for model in self._models:
            with open_dump(model) as dump:
                found.append(settled(setting, dump, self._selection))
        return found[0] if len(set(found)) == 1 else setting

    @contextmanager
    def pruned(self, setting: Setting) -> Iterator[tuple[Runner, Changes | None]]:
        """Write the models as `bitx prune` does, and open them; cut, where something is done at run time."""
        if setting.is_unpruned:
            self._unpruned = [OnnxRunner(model) for model in self._models]
            yield self._joined(self._unpruned), None
            return
        if setting.policy is not None and len(self._models) > 1:
            raise OptionError("a policy is for one model; this task has several")
        with ExitStack() as stack:
            changes, runners = Changes(), []
            for model in self._models:
                dump = stack.enter_context(open_dump(model))
                path = model
                if not setting.stored.is_unpruned:
                    path = stack.enter_context(scratch_folder()) / model.name
                    by_tensor = write_pruned(dump, path, setting.stored, self._selection, self._norms)
                    changes = sum(by_tensor.values(), changes)
                tensors = {tensor.name for tensor in setting.chosen(dump, self._selection)}
                runner, counted = runner_of(path, setting, tensors, named=model)
                changes += Changes(products=counted)
                runners.append(runner)
            nothing = setting.stored.is_unpruned and not changes.products
            yield self._joined(runners), None if nothing else changes

    def changes(self, setting: Setting) -> dict[str, Changes]:
        """Prune the one model for what that changes, tensor by tensor."""
        (model,) = self._models
        with scratch_folder() as folder, open_dump(model) as dump:
            return write_pruned(dump, folder / model.name, setting, self._selection, self._norms)

    def tensor_cycles(self, setting: Setting) -> dict[tuple[str, ...], int]:
        """Simulate the one model: cycles of each set of tensors, those of one layer together.

        Inputs have the shape that most samples have.

        Raises
        ------
        OptionError
            If no machine prunes so.
        """
        ((model, runner),) = zip(self._models, self._unpruned, strict=True)
        return MachineGains(model, runner.shapes, self._selection, norms=self._norms).by_tensors(setting)

    def gains(self, samples: int) -> OnnxGains:
        """Simulate each model as often as it was run per sample, in every shape of its inputs.

        A model of a fixed batch is simulated on a batch, of which a sample has its share.
        """
        return OnnxGains(
            [
                (
                    MachineGains(model, dict(shapes), self._selection, runner.first[shapes], self._norms),
                    runs / samples / (runner.batch or 1),
                )
                for model, runner in zip(self._models, self._unpruned, strict=True)
                for shapes, runs in runner.shape_runs.items()
            ]
        )


class OnnxGains:
    """Gains of one model or several, each with its runs per sample."""

    def __init__(self, parts: list[tuple[MachineGains, float]]) -> None:
        self._parts = parts

    def gain(self, setting: Setting) -> MachineGain:
        """Add up the models' cycles; without those of one, there are none, and its reason."""
        return MachineGain.of_runs([(part.gain(setting), runs) for part, runs in self._parts])
