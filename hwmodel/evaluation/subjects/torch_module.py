"""A module of PyTorch: its weights are pruned in place, and put back bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bitxcore.batch import Selection
from bitxcore.errors import OptionError
from bitxcore.torch import open_module
from hwmodel.evaluation.machine_gain import MachineGain
from hwmodel.evaluation.pruned_models import Changes, Norms, Replacement
from hwmodel.evaluation.runners import Runner
from hwmodel.evaluation.runners.torch_runner import TorchRunner
from hwmodel.evaluation.settings import Setting, settled
from hwmodel.evaluation.subjects.subject import Subject


class TorchModule(Subject):
    """A module of PyTorch.

    Parameters
    ----------
    module : torch.nn.Module
    selection : Selection
        Which tensors are weights, by their names in the state dict.
    """

    def __init__(self, module: Any, selection: Selection, norms: Norms | None = None) -> None:
        self._module, self._selection, self._norms = module, selection, norms
        self._identity = open_module(module).sha256()

    @property
    def identity(self) -> str:
        """Of the state dict's names, dtypes, shapes and values."""
        return self._identity

    def settled(self, setting: Setting) -> Setting:
        """Leave out what has no effect."""
        return settled(setting, open_module(self._module), self._selection)

    @contextmanager
    def pruned(self, setting: Setting) -> Iterator[tuple[Runner, Changes | None]]:
        """Prune the weights for the time of a ``with`` block."""
        if setting.activation_rows is not None or setting.aligns_products:
            raise OptionError("what is done at run time needs an ONNX file: export the module")
        if setting.is_unpruned:
            yield TorchRunner(self._module), None
            return
        dump = open_module(self._module)
        tensors = setting.chosen(dump, self._selection)
        replacement = Replacement(setting, dump, tensors, self._norms)
        with dump.replaced(tensors, replacement):
            yield TorchRunner(self._module), sum(replacement.changes.values(), Changes())

    def gains(self, samples: int) -> ModuleGains:
        """There are none of a module."""
        del samples
        return ModuleGains()


class ModuleGains:
    """In place of a machine's gains."""

    def gain(self, setting: Setting) -> MachineGain:
        """Give no cycles, and the reason."""
        del setting
        return MachineGain(reason="a module of PyTorch: export it to ONNX for cycles")
