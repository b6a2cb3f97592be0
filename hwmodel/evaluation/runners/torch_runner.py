"""Modules of PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitxcore.errors import MissingExtraError, TensorError
from hwmodel.evaluation.runners.runner import Array, Runner


class TorchRunner(Runner):
    """A module, run without gradients and in evaluation mode; its own mode comes back after each batch.

    Parameters
    ----------
    module : torch.nn.Module
        Takes its inputs in the order of the samples' feeds; gives a tensor, or a tuple or list of them.

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
        modes = [(part, part.training) for part in self._module.modules()]
        self._module.eval()
        try:
            with self._torch.no_grad():
                given = [self._torch.from_numpy(np.ascontiguousarray(array)) for array in feeds.values()]
                found = self._module(*given)
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            shown = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items())
            said = " ".join(str(error).split())[:200]
            raise TensorError(f"the module does not take the samples: these are {shown}: {said}") from error
        finally:
            for part, mode in modes:
                part.training = mode
        several = found if isinstance(found, (tuple, list)) else (found,)
        return [part.detach().to("cpu").float().numpy() for part in several]
