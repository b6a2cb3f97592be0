"""Files of state dicts, prepared in the module that a user's own code makes of them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bitxcore.batch import Selection
from bitxcore.checks import shown
from bitxcore.dumps import Dump, Tensor, open_dump, save
from bitxcore.dumps.pytorch import import_torch
from bitxcore.errors import DumpError, OptionError
from bitxcore.files import check_target
from bitxcore.progress import Progress
from bitxcore.torch.module_dump import ModuleDump, ModuleTensor, open_module
from hwmodel.preparation.budget import Budget
from hwmodel.preparation.fitting import PreparationReport
from hwmodel.preparation.modules import prepare_and_write

Array = npt.NDArray[Any]


def module_of(place: str) -> Any:
    """Import a callable and call it: this runs the user's own code.

    Parameters
    ----------
    place : str
        ``package.module:factory``, as of an entry point; without arguments it gives a torch.nn.Module.

    Raises
    ------
    OptionError
        If there is none, or it gives something else.
    MissingExtraError
        If PyTorch is not installed.
    """
    torch = import_torch()
    name, colon, factory = place.partition(":")
    if not (colon and name and factory):
        raise OptionError(f"module must be package.module:factory, got {place!r}", value=place)
    try:
        made: Any = import_module(name)
        for part in factory.split("."):
            made = getattr(made, part)
    except (ImportError, AttributeError) as error:
        raise OptionError(
            f"module {place!r} can't be imported: {error}", value=place, hint="is it on PYTHONPATH?"
        ) from error
    module = made() if callable(made) else made
    if not isinstance(module, torch.nn.Module):
        raise OptionError(f"{place} must give a torch.nn.Module, it gives {shown(module)}", value=place)
    return module


def prepare_state_dict(
    path: str | os.PathLike[str],
    module: Any,
    batches: Sequence[dict[str, Array]],
    out: str | os.PathLike[str],
    budget: Budget | Callable[[str], Budget | None],
    *,
    selection: Selection | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> PreparationReport:
    """Write a state dict again with prepared weights.

    Parameters
    ----------
    path : path-like
        The state dict, in any container that `bitxcore.open_dump` reads: nothing in it is run.
    module : torch.nn.Module
        Takes the state dict's values; afterwards it has the prepared ones.
    batches, budget, selection, progress
        As of `prepare_module`.
    out : path-like
        As of `bitxcore.dumps.save`: all but the prepared tensors stays as it is.
    restart : bool
        Forget layers that an interrupted call has finished.

    Returns
    -------
    PreparationReport

    Raises
    ------
    DumpError
        If the file can't be read, or is not the module's state dict.
    BitxError
        As of `prepare_module`; or if `out` can't be written, or its journal belongs to another preparation.
    """
    target = Path(out)
    with open_dump(path) as dump:
        check_target(target, [str(file.resolve()) for file in dump.files()])
        before = load_state(module, dump)

        def write(prepared: ModuleDump) -> None:
            def replace(tensor: Tensor) -> Array | None:
                after = prepared[tensor.name].read() if tensor.name in prepared else None
                same = after is None or after.tobytes() == before[tensor.name].tobytes()
                return None if same else after

            save(dump, target, replace)

        return prepare_and_write(
            module,
            batches,
            budget,
            selection=selection,
            progress=progress,
            out=target,
            restart=restart,
            write=write,
        )


def load_state(module: Any, dump: Dump) -> dict[str, Array]:
    """Put the tensors of a file into the module of which it is the state dict; return them by name.

    Raises
    ------
    DumpError
        At the first tensor that either of them lacks, or that is of another shape or dtype.
    """
    held = open_module(module)
    lacking = next((name for name in held if name not in dump), None)
    if lacking is not None:
        raise DumpError(f"is no state dict of {held.path}: it has no {lacking!r}", path=dump.path)
    foreign = next((name for name in dump if name not in held and name not in held.ignored), None)
    if foreign is not None:
        raise DumpError(f"is no state dict of {held.path}, which has no {foreign!r}", path=dump.path)
    values: dict[str, Array] = {}
    for name, tensor in held.items():
        stored = dump[name]
        if (stored.shape, stored.dtype) != (tensor.shape, tensor.dtype):
            raise DumpError(
                f"is {stored.dtype} {stored.shape}; in {held.path} it is {tensor.dtype} {tensor.shape}",
                path=dump.path,
                tensor=name,
            )
        values[name] = stored.read()
    for name, tensor in held.items():
        assert isinstance(tensor, ModuleTensor)
        tensor.write(values[name])
    return values


def in_order(module: Any, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Order arrays as the parameters of ``forward``, if all are named so; else leave their order."""
    names = [name for name in inspect.signature(module.forward).parameters if name in arrays]
    return {name: arrays[name] for name in names} if len(names) == len(arrays) else dict(arrays)
