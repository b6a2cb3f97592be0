"""Modules of PyTorch as networks: exported to a temporary ONNX file, which lives as long as the network.

The exporter is PyTorch's older one (``dynamo=False``). It needs PyTorch and nothing else, where the newer one
needs onnxscript. It leaves weights as they are, under the names of the module's parameters; the newer one
stores transposed copies of the matrices of `torch.nn.Linear` as ``val_0``, ``val_7``. It writes down of which
submodule a node is. And it can be told not to merge parameters that happen to be equal, as those of layers
are that were copied and not yet trained. A module that it can't export may be exported with
``torch.onnx.export(..., dynamo=True)`` and loaded from that file.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from bitxcore.dumps.trust import one_line
from bitxcore.errors import BitxError, MissingExtraError, OptionError
from hwmodel.networks.network import Network
from hwmodel.networks.parameter_names import PREFIX, aliases_of, name_values

if TYPE_CHECKING:
    from torch.nn import Module


def is_module(source: object) -> TypeGuard[Module]:
    """Whether `source` is a module of PyTorch, which is not imported for that."""
    torch = sys.modules.get("torch")
    return isinstance(source, getattr(getattr(torch, "nn", None), "Module", ()))


def _is_scripted(module: Module) -> bool:
    import torch

    return any(isinstance(part, torch.jit.ScriptModule) for part in module.modules())


def network_from_module(module: Module, example_inputs: Any) -> Network:
    """Export a module and make a network of it; the parameters are those of `hwmodel.load_network`.

    The module is exported in evaluation mode. Its modes, parameters and buffers are afterwards what they
    were, bit for bit, and random numbers go on as if nothing had been run.

    Returns
    -------
    Network
        Layers are named after the parameters that they multiply by, and weights are those parameters.

    Raises
    ------
    OptionError
        If the module can't be run on the inputs, or can't be exported.
    MissingExtraError
        If the package onnx is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "torch") from error
    from hwmodel.networks.onnx import network_from_onnx

    kind = type(module).__name__
    if example_inputs is None:
        raise OptionError(
            f"module {kind} needs example_inputs: its arguments, whose shapes the layers' follow from"
        )
    if _is_scripted(module):
        raise OptionError(
            f"module {kind} is scripted or traced: the module that it was made of can be exported"
        )
    folder = TemporaryFolder()
    path = folder.path / f"{re.sub(r'[^A-Za-z0-9_-]', '', kind) or 'module'}.onnx"
    try:
        notes = _export(module, example_inputs, path)
    except BitxError:
        raise
    except Exception as error:  # whatever the module's own code or the exporter raises
        raise OptionError(f"module {kind} can't be exported to ONNX: {one_line(error)}") from error
    model = onnx.load(path, load_external_data=False)
    name_values(model.graph, dict(aliases_of(module)))
    onnx.save(model, path)
    network = network_from_onnx(path)
    return replace(
        network,
        name=kind,
        source=f"torch module {type(module).__module__}.{type(module).__qualname__}",
        notes=(*network.notes, *notes),
        held=folder,
    )


class TemporaryFolder:
    """A folder that is removed with this object, or when the process ends.

    A copy in another process owns nothing; nor does one that was pickled.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="bitx-"))
        weakref.finalize(self, _remove, self.path, os.getpid())

    def __copy__(self) -> TemporaryFolder:
        return self

    def __deepcopy__(self, memo: Any) -> TemporaryFolder:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


def _nothing() -> None:
    return None


# -- running the exporter ----------------------------------------------------------------------


def _export(module: Module, example_inputs: Any, path: Path) -> tuple[str, ...]:
    """Write the ONNX file, and return notes for results."""
    import torch

    with _unchanged(module), warnings.catch_warnings(record=True) as caught, torch.no_grad(), _quiet():
        warnings.simplefilter("always")
        flat, tensors = _flat(module, example_inputs, {name for name, _ in aliases_of(module)})
        torch.onnx.export(
            flat,
            tuple(tensors.values()),
            str(path),
            input_names=list(tensors),
            dynamo=False,
            verbose=False,
            # The mode is set by us, and folding, fusing or merging would lose the parameters' names:
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            keep_initializers_as_inputs=True,
        )
    own = os.path.dirname(torch.__file__)  # its layers decide by shapes only
    traced = {
        (warning.filename, warning.lineno)
        for warning in caught
        if warning.category.__name__ == "TracerWarning" and not warning.filename.startswith(own)
    }
    if not traced:
        return ()
    return (
        f"exported by tracing: what depends on values, at {len(traced)} line(s) of the module's code, is as"
        " for the example inputs",
    )


def _flat(module: Module, given: Any, own: set[str]) -> tuple[Module, dict[str, Any]]:
    """Make a module that takes and returns nothing but tensors, as the exporter wants it.

    Parameters
    ----------
    module : torch.nn.Module
        Becomes the submodule `PREFIX` of the one that is returned.
    given : tensor, tuple or mapping
        Its arguments.
    own : set of str
        Names that no input may have.

    Returns
    -------
    module : torch.nn.Module
    tensors : dict of str to tensor
        Its arguments by name: copies, as a module may write to them.
    """
    import torch

    tensors: dict[str, Any] = {}

    def cut(value: Any, name: str) -> Any:
        """Take the tensors out of an argument."""
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        if isinstance(value, torch.Tensor):
            name = next(
                new for new in (name + "_" * n for n in range(1 << 16)) if new not in {*own, *tensors}
            )
            tensors[name] = value.detach().clone()
            return _Slot(name)
        return _rebuilt(value, lambda v, place: cut(v, f"{name}.{place}"))

    if isinstance(given, Mapping):
        structure: Any = (), {str(name): cut(value, str(name)) for name, value in given.items()}
    else:
        arguments = given if isinstance(given, (tuple, list)) else (given,)
        structure = tuple(cut(v, f"input.{place}") for place, v in enumerate(arguments)), {}

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, PREFIX, module)
            self.training = False

        def forward(self, *values: Any) -> tuple[Any, ...]:
            found = dict(zip(tensors, values, strict=True))

            def fill(value: Any, _: Any = None) -> Any:
                return found[value.name] if isinstance(value, _Slot) else _rebuilt(value, fill)

            arguments, named = fill(structure)
            return tuple(_tensors(module(*arguments, **named)))

    return Flat(), tensors


@dataclass(frozen=True)
class _Slot:
    """Place of a tensor in a module's arguments."""

    name: str


def _rebuilt(value: Any, change: Callable[[Any, Any], Any]) -> Any:
    """Change what a list, a tuple or a dict holds; anything else is returned as it is."""
    if isinstance(value, dict):
        return {name: change(v, name) for name, v in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [change(v, place) for place, v in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from printing the graph that it failed at, which it does whatever it is told."""
    import torch

    native: Any = torch._C
    log = getattr(native, "_jit_onnx_log", None)
    if log is None:
        yield
        return
    native._jit_onnx_log = lambda *_: None
    try:
        yield
    finally:
        native._jit_onnx_log = log


@contextmanager
def _unchanged(module: Module) -> Iterator[None]:
    """Set a module to evaluation mode, and put back its modes, tensors and the state of random numbers.

    Modes are set one by one, as `train` may be overridden with what changes weights.
    """
    import torch

    parts = list(module.modules())
    modes = [part.training for part in parts]
    kept: list[dict[str, Any]] = [held for part in parts for held in (part._parameters, part._buffers)]
    places = [(held, dict(held)) for held in kept]
    tensors = (*module.parameters(), *module.buffers())
    values = [(t, t.detach().clone()) for t in tensors if not t.is_meta]
    # Fused attention can't be exported; what it is made of can.
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for part in parts:
            part.training = False
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
        for held, before in places:
            if any(held.get(name) is not tensor for name, tensor in before.items()):
                held.update(before)
        for tensor, value in values:
            if not torch.equal(tensor, value):
                tensor.data.copy_(value)  # past autograd, whose graphs of before then still hold


def _tensors(output: Any) -> Iterator[Any]:
    """Find all tensors in what a module returns, however it is packed."""
    import torch

    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from _tensors(value)
    elif is_dataclass(output):
        for field in fields(output):
            yield from _tensors(getattr(output, field.name))
