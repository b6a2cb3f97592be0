"""Layers of a PyTorch module as they run: their order, what they read, and what follows them directly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.dumps.pytorch import import_torch
from bitxcore.errors import TensorError
from hwmodel.evaluation.runners.torch_runner import TorchRunner
from hwmodel.networks.layers import Conv
from hwmodel.operands.im2col import windows
from hwmodel.preparation.layer_moments import Moments, in_groups, spread

Array = npt.NDArray[Any]

PADDING = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""NumPy's names of PyTorch's modes."""


class ModuleMoments(Moments):
    """Of a layer of PyTorch.

    Parameters
    ----------
    layer : torch.nn.Module
    filters : ndarray, shape (filters, ...)
    centred : bool
    """

    def __init__(self, layer: Any, filters: Array, *, centred: bool = False) -> None:
        super().__init__(filters, int(getattr(layer, "groups", 1)), centred=centred)
        self._layer = layer

    def _read(self, x: Array) -> Array:
        nn, layer = import_torch().nn, self._layer
        if isinstance(layer, nn.Linear):
            return x.reshape(1, -1, x.shape[-1])
        if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            raise TensorError(f"inputs of {type(layer).__name__} are not gathered")
        dims = len(layer.kernel_size)
        x = x if x.ndim == dims + 2 else x[None]
        # Of the last axis first, two numbers per axis; of padding by name, too.
        both = layer._reversed_padding_repeated_twice
        pads = [tuple(both[2 * axis : 2 * axis + 2]) for axis in reversed(range(dims))]
        mode: Any = PADDING[layer.padding_mode]
        padded = np.pad(x, [(0, 0), (0, 0), *pads], mode)
        record = Conv(
            type(layer).__name__,
            in_channels=layer.in_channels,
            out_channels=layer.out_channels,
            in_size=padded.shape[2:],
            kernel=layer.kernel_size,
            stride=layer.stride,
            dilation=layer.dilation,
            groups=layer.groups,
            batch=len(padded),
        )
        return in_groups(windows(record, padded, spread(record.positions)), layer.groups)


class ModuleRuns:
    """A module that runs over all calibration samples, without gradients and in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
    batches : sequence of dict of str to ndarray
        In the order of the module's inputs.

    Attributes
    ----------
    order : list of torch.nn.Module
        Layers in the order in which they run first.
    once : set of torch.nn.Module
        Of these, those that no batch runs more than once.
    normalised : dict of torch.nn.Module to torch.nn.Module
        Layers whose output nothing reads but one batch normalisation, which runs once itself.

    Raises
    ------
    TensorError
        If the module does not take the samples.
    """

    def __init__(self, module: Any, layers: Sequence[Any], batches: Sequence[Mapping[str, Array]]) -> None:
        self._runner, self._batches = TorchRunner(module), [dict(feeds) for feeds in batches]
        self.order: list[Any] = []
        self._several: set[Any] = set()
        self._not_behind: set[Any] = set()
        self.normalised: dict[Any, Any] = {}
        norms = [part for part in module.modules() if _normalises(part)]
        for feeds in self._batches:
            self._scout(feeds, layers, norms)
        self.once = set(self.order) - self._several
        self.normalised = {
            layer: norm
            for layer, norm in self.normalised.items()
            if layer not in self._not_behind and norm not in self._several
        }

    def inputs(self, layer: Any) -> Iterator[Any]:
        """Give what a layer reads of each batch, as the module now is; it runs no further than there."""
        seen: list[Any] = []

        def stop(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(_first(args, kwargs))
            raise _Reached

        for feeds in self._batches:
            handle = layer.register_forward_pre_hook(stop, with_kwargs=True)
            try:
                self._runner.run(feeds, lambda _: None)
            except _Reached:
                yield seen.pop()
            finally:
                handle.remove()

    def _scout(self, feeds: dict[str, Array], layers: Sequence[Any], norms: Sequence[Any]) -> None:
        """Run one batch, and look which layers run and what reads their outputs."""
        calls: Counter[Any] = Counter()
        written: dict[int, tuple[Any, Any]] = {}  # outputs are held, so that no other gets their identity
        uses: Counter[int] = Counter()
        read_by: dict[Any, Any] = {}

        def count(layer: Any, *_: Any) -> None:
            calls[layer] += 1

        def write(layer: Any, _: Any, output: Any) -> None:
            written[id(output)] = (layer, output)
            uses.pop(id(output), None)  # of a tensor that is gone

        def read(norm: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls[norm] += 1
            x = _first(args, kwargs)
            if id(x) in written:
                read_by[written[id(x)][0]] = norm

        def finish(found: Any) -> None:
            from torch.utils._pytree import tree_leaves

            uses.update(id(leaf) for leaf in tree_leaves(found))

        with ExitStack() as stack:
            for layer in layers:
                stack.callback(layer.register_forward_pre_hook(count).remove)
                if layer.bias is None:
                    stack.callback(layer.register_forward_hook(write).remove)
            for norm in norms:
                stack.callback(norm.register_forward_pre_hook(read, with_kwargs=True).remove)
            with _counted(uses):
                self._runner.run(feeds, finish)
        self.order += [layer for layer in calls if layer not in {*self.order, *norms}]
        self._several |= {layer for layer, n in calls.items() if n > 1}
        for key, (layer, _) in written.items():
            norm = read_by.get(layer)
            if norm is None or uses[key] != 1 or self.normalised.setdefault(layer, norm) is not norm:
                self._not_behind.add(layer)


class _Reached(BaseException):
    """A layer is reached; no module catches it by catching all errors."""


@contextmanager
def _counted(uses: Counter[int]) -> Iterator[None]:
    """Count by identity the tensors that PyTorch's operators read."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Counting(TorchDispatchMode):  # type: ignore[misc, no-untyped-call, unused-ignore]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            uses.update(id(leaf) for leaf in tree_leaves((args, kwargs)))
            return func(*args, **(kwargs or {}))

    with Counting():  # type: ignore[no-untyped-call, unused-ignore]
        yield


def _normalises(part: Any) -> bool:
    nn = import_torch().nn
    ours = type(part).__module__.startswith("torch.nn.modules.")
    return bool(ours and isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None)


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else kwargs.get("input")


def as_array(value: Any) -> Array:
    """Give what a layer reads as an array, in float64 or float32.

    Raises
    ------
    TensorError
        If it is not a tensor of floats.
    """
    torch = import_torch()
    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or not value.ndim:
        raise TensorError("its input is no tensor of floats")
    value = value.detach()
    found: Array = (value if value.dtype == torch.float64 else value.float()).cpu().numpy()
    return found
