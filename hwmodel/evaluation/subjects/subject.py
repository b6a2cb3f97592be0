"""What an evaluation prunes and runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from bitxcore.errors import OptionError
from hwmodel.evaluation.machine_gain import MachineGain
from hwmodel.evaluation.pruned_models import Changes
from hwmodel.evaluation.runners import Runner
from hwmodel.evaluation.settings import Setting


class SettingGains(Protocol):
    """What a machine gains by a setting."""

    def gain(self, setting: Setting) -> MachineGain:
        """Simulate one setting; what can't be simulated has the reason."""


class ScoresOnly:
    """In place of a machine, where only scores are wanted."""

    def gain(self, setting: Setting) -> MachineGain:
        """Give no cycles, and that as the reason."""
        del setting
        return MachineGain(reason="cycles were not asked for")


class Subject(ABC):
    """A model, or the models of a task together.

    Attributes
    ----------
    files : tuple of pathlib.Path
        What it is read from.
    """

    files: tuple[Path, ...] = ()

    @property
    @abstractmethod
    def identity(self) -> str:
        """SHA-256 of what it computes with."""

    @abstractmethod
    def settled(self, setting: Setting) -> Setting:
        """Write a setting in one way only, so that what is the same runs once."""

    @abstractmethod
    def pruned(self, setting: Setting) -> AbstractContextManager[tuple[Runner, Changes | None]]:
        """Give the model with pruned weights, ready to run, and what that changed; None if nothing."""

    @abstractmethod
    def gains(self, samples: int) -> SettingGains:
        """Get ready to simulate, after the unpruned model has run over so many samples."""

    def changes(self, setting: Setting) -> dict[str, Changes]:
        """Prune for what that changes, tensor by tensor."""
        raise OptionError("rows by tensor are searched for an ONNX file", value=setting.label)

    def tensor_cycles(self, setting: Setting) -> dict[tuple[str, ...], int]:
        """Simulate: cycles of each set of tensors, those of one layer together."""
        raise OptionError("rows by tensor are searched for an ONNX file", value=setting.label)
