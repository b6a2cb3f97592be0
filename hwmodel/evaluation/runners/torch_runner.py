"""Modules of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from bitxcore.errors import MissingExtraError, TensorError
from hwmodel.evaluation.runners.runner import Array, Runner

T = TypeVar("T")


class TorchRunner(Runner):
    """A module, run without gradients and in evaluation mode; its own mode comes back after each batch.

    Parameters
    ----------
    module : torch.nn.Module
        Takes its inputs in the order of the samples' feeds, floats in the dtype of its first parameter of
        floats; gives a tensor, or a tuple, list or dict of them.

    Raises
    ------
    MissingExtraError
        If torch is missing.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("torch", "torch") from error
        self._torch, self._module = torch, module

    def outputs(self, feeds: dict[str, Array]) -> list[Array]:
        """Run one batch."""
        return self.run(feeds, self._arrays)

    def run(self, feeds: dict[str, Array], read: Callable[[Any], T]) -> T:
        """Run one batch; `read` makes the result of what the module gives.

        Raises
        ------
        TensorError
            If the module does not take the samples, or `read` what it gives.
        """
        modes = [(part, part.training) for part in self._module.modules()]
        self._module.eval()
        try:
            with self._torch.no_grad():
                return read(self._module(*map(self._tensor, feeds.values())))
        except Exception as error:  # whatever a module raises that does not take these samples
            shown = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items())
            said = " ".join(str(error).split())[:200]
            raise TensorError(f"the module does not take the samples: these are {shown}: {said}") from error
        finally:
            for part, mode in modes:
                part.training = mode

    def _arrays(self, found: Any) -> list[Array]:
        several = found.values() if isinstance(found, Mapping) else found
        parts = [found] if isinstance(found, self._torch.Tensor) else list(several)
        return [part.detach().to("cpu").float().numpy() for part in parts]

    def _tensor(self, array: Array) -> Any:
        """Make an input: on the module's device, floats in its dtype."""
        given = self._torch.from_numpy(np.ascontiguousarray(array))
        floats = (part for part in self._module.parameters() if part.is_floating_point())
        first = next(floats, None)
        if first is None:
            return given
        return given.to(first.device, first.dtype if given.is_floating_point() else given.dtype)
