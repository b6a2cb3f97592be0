"""A module of PyTorch as a dump: the tensors of its state dict, in the memory where the module has them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch import Chosen, grouped
from bitxcore.checks import shown
from bitxcore.dumps import Dump, Tensor
from bitxcore.dumps.pytorch import flatten_state, import_torch, numpy_dtype
from bitxcore.dumps.writing import whole
from bitxcore.errors import BitxError, OptionError, TensorError, error_context
from bitxcore.groups import Layout
from bitxcore.torch.module_roles import made_of, owners, typed_layout, weighs
from bitxcore.torch.shared_memory import TensorMemory, overlapping

if TYPE_CHECKING:
    from torch.nn import Module

Array = npt.NDArray[Any]

_CODES = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}


class ModuleTensor(Tensor):
    """A parameter or a buffer of a module.

    Attributes
    ----------
    value : torch.Tensor
    memory : TensorMemory
        Memory that holds its elements.
    """

    def __init__(self, name: str, value: Any, dtype: np.dtype[Any]) -> None:
        super().__init__(name, tuple(value.shape), dtype)
        self.value = value
        self.memory = TensorMemory.of(value)

    @property
    def live(self) -> Array | None:
        """The values, where the module has them; None if they are not in the processor's memory."""
        return _array(self.value, self.dtype) if in_processor_memory(self.value) else None

    def read(self) -> Array:
        """Copy all values."""
        live = self.live
        return np.array(_array(self.value.cpu(), self.dtype) if live is None else live, order="C")

    def write(self, values: Array) -> None:
        """Put values, of the tensor's shape and dtype, where the module has its own, bit for bit."""
        write_values(self.value, values)

    def mark_changed(self) -> None:
        """Tell PyTorch that values were written through `live`."""
        import_torch().autograd.graph.increment_version(self.value)


def in_processor_memory(value: Any) -> bool:
    """Whether NumPy can view a tensor."""
    return bool(value.device.type == "cpu")


def _array(value: Any, dtype: np.dtype[Any]) -> Array:
    """View a tensor in the processor's memory by its codes, for NumPy has not all dtypes."""
    value = value.detach()
    if dtype.itemsize in _CODES:
        value = value.view(getattr(import_torch(), _CODES[dtype.itemsize]))
    array: Array = value.numpy().view(dtype)
    return array


def write_values(value: Any, values: Array) -> None:
    """Copy an array into a tensor of the same shape and dtype.

    Gradients that were to be computed with the old values then end in PyTorch's own error.
    """
    torch = import_torch()
    codes = np.dtype(f"u{values.dtype.itemsize}")
    if in_processor_memory(value):
        _array(value, values.dtype).view(codes)[...] = values.view(codes)
    else:
        host = np.array(values, order="C").view(_CODES[values.dtype.itemsize])
        value.detach().copy_(torch.from_numpy(host).view(value.dtype))
    torch.autograd.graph.increment_version(value)


@dataclass(frozen=True)
class Tied:
    """One stretch of memory and all names that the state dict has for it.

    Attributes
    ----------
    tensor : ModuleTensor
        Under the first of the names.
    names : tuple of str
    values : tuple of torch.Tensor
        The module's objects.
    """

    tensor: ModuleTensor
    names: tuple[str, ...]
    values: tuple[Any, ...]


class ModuleDump(Dump):
    """A module, read as `bitxcore.open_dump` reads the file of its state dict.

    Attributes
    ----------
    module : torch.nn.Module
    ignored : dict of str to str
        Entries of the state dict that have no values, or none that the module computes with.
    """

    def __init__(self, module: Module, *, by_type: bool = False) -> None:
        torch = import_torch()
        if not isinstance(module, torch.nn.Module):
            raise OptionError(
                f"module must be a torch.nn.Module, got {shown(module)}",
                hint="bitxcore.prune takes tensors, bitx prune files",
            )
        self.module = module
        found = owners(module)
        memories = {_memory(value) for value in found.values} - {None}
        tensors: dict[str, Tensor] = {}
        ignored: dict[str, str] = {}
        path = Path(type(module).__name__)
        for name, value in flatten_state(path, module.state_dict(keep_vars=True)):
            reason = _unreadable(torch, value)
            if reason is None and not (id(value) in found.of or _memory(value) in memories):
                reason = "the module makes it when its state is asked for, and computes with something else"
            if reason is not None:
                ignored[name] = reason
                continue
            tensor = ModuleTensor(name, value, numpy_dtype(torch, value.dtype) or np.dtype("V"))
            owned = found.of.get(id(value), [])
            tensor.left_alone = made_of(found, value)
            if tensor.memory.repeats:
                tensor.left_alone = (
                    "its elements share memory with each other, as those of an expanded tensor"
                )
            if any(weighs(owner, attribute) for owner, attribute in owned) and tensor.ndim > 1:
                tensor.is_weight = True
            if by_type:
                layouts = {typed_layout(owner, attribute) for owner, attribute in owned}
                tensor.layout = layouts.pop() if len(layouts) == 1 else Layout()
            tensors[name] = tensor
        super().__init__(path, "torch module", tensors)
        self.ignored = ignored

    def files(self) -> list[Path]:
        """Return none: a module is not a file."""
        return []

    def sha256(self) -> str:
        """SHA-256 over names, dtypes, shapes and values, in hexadecimal."""
        digest = hashlib.sha256()
        for name, tensor in self.items():
            digest.update(f"{name}\0{tensor.dtype}\0{tensor.shape}\0".encode())
            digest.update(tensor.read().tobytes())
        return digest.hexdigest()

    def tied(self, chosen: Chosen) -> tuple[list[Tied], dict[str, str]]:
        """Join chosen tensors that are the same memory.

        A tensor that is excluded keeps its values: so do all that share memory with it. Of tensors that
        share memory in another shape, the first is worked on.

        Parameters
        ----------
        chosen : Chosen
            Of this dump.

        Returns
        -------
        tied : list of Tied
            In the order of their first names.
        left_out : dict of str to str
            The other names, and why.

        Raises
        ------
        TensorError
            If nothing is left.
        """
        tensors = [tensor for tensor in self.values() if isinstance(tensor, ModuleTensor)]
        names: dict[TensorMemory, list[ModuleTensor]] = {}
        for tensor in tensors:
            if tensor.size:
                names.setdefault(tensor.memory, []).append(tensor)
        near: dict[TensorMemory, list[TensorMemory]] = {}
        for first, second in overlapping(names):
            near.setdefault(first, []).append(second)
            near.setdefault(second, []).append(first)
        left_out = dict(chosen.left_out)
        kept = {tensor.memory: tensor.name for tensor in tensors if left_out.get(tensor.name) == "excluded"}
        asked = {tensor.name for tensor in chosen.tensors}
        taken: dict[TensorMemory, str] = {}
        for tensor in tensors:
            if tensor.name not in asked:
                continue
            around = [tensor.memory, *near.get(tensor.memory, ())]
            barred = next((kept[memory] for memory in around if memory in kept), None)
            other = next((taken[memory] for memory in around[1:] if memory in taken), None)
            if barred is not None:
                left_out[tensor.name] = f"shares memory with {barred!r}, which is excluded"
            elif other is not None:
                left_out[tensor.name] = f"shares memory with {other!r}, in another shape"
            else:
                taken.setdefault(tensor.memory, tensor.name)
        result = []
        for memory in taken:
            those = names[memory]
            result.append(Tied(those[0], tuple(t.name for t in those), tuple(t.value for t in those)))
            for tensor in those:
                left_out.pop(tensor.name, None)
        if not result:
            reasons = "; ".join(f"{len(which)} x {why}" for why, which in grouped(left_out).items())
            raise TensorError(f"has no tensor to work on ({reasons})", path=self.path)
        return result, left_out

    @contextmanager
    def replaced(
        self, tensors: tuple[Tensor, ...], replace: Callable[[Tensor], Array | None]
    ) -> Iterator[list[Tied]]:
        """Give tensors other values for the time of a ``with`` block, then the old ones, bit for bit.

        Parameters
        ----------
        tensors : tuple of Tensor
            Of this dump; what is one memory is asked for once.
        replace : callable
            From a tensor to an array of its shape and dtype, or None to leave it; as for
            `bitxcore.dumps.save`.

        Yields
        ------
        list of Tied
        """
        left = {name: "not asked for" for name in self if name not in {tensor.name for tensor in tensors}}
        tied, _ = self.tied(Chosen(tensors, left))
        originals = Originals()
        try:
            for each in tied:
                with error_context(tensor=each.tensor.name):
                    if (values := replace(each.tensor)) is not None:
                        originals.keep(each)
                        each.tensor.write(np.asarray(whole(each.tensor, values)))
            yield tied
        finally:
            originals.put_back()


class Originals:
    """Values of tensors as they were, to be put back."""

    def __init__(self) -> None:
        self._kept: list[tuple[Tied, Array]] = []

    def keep(self, tied: Tied) -> Array:
        """Copy the values of a tensor, and return them."""
        values = tied.tensor.read()
        self._kept.append((tied, values))
        return values

    def put_back(self) -> None:
        """Write all values back, the last ones first, also where a tensor was moved or cast since then."""
        failed: BaseException | None = None
        while self._kept:
            tied, values = self._kept.pop()
            for value in tied.values:
                try:
                    _put_back(value, values, tied.tensor)
                except Exception as error:  # the others go back first
                    failed = error
        if failed is not None:
            raise failed


def _put_back(value: Any, values: Array, tensor: ModuleTensor) -> None:
    if tuple(value.shape) == tensor.shape and str(value.dtype) == tensor.memory.dtype and not value.is_meta:
        write_values(value, values)
        return
    torch = import_torch()  # as .half() and alike do: the object stays, its memory is another
    codes = torch.from_numpy(np.array(values, order="C").view(_CODES[values.dtype.itemsize]))
    dtype = getattr(torch, tensor.memory.dtype.removeprefix("torch."))
    value.data = codes.view(dtype).to("cpu" if value.is_meta else value.device)


def _memory(value: Any) -> tuple[str, int] | None:
    """Return where the storage of a tensor lies; None if it has none."""
    try:
        return str(value.device), int(value.untyped_storage().data_ptr())
    except (AttributeError, RuntimeError, NotImplementedError, ValueError):
        return None


def _unreadable(torch: Any, value: Any) -> str | None:
    """Say why an entry of a state dict has no values to work on; None if it has."""
    if not isinstance(value, torch.Tensor):
        return f"not a tensor: {type(value).__name__}"
    if torch.nn.parameter.is_lazy(value):
        return "not initialised yet: run the module once"
    if value.is_meta:
        return "meta tensor, without values"
    if value.is_quantized or value.layout is not torch.strided:
        return f"{value.layout} {value.dtype} tensor"
    if numpy_dtype(torch, value.dtype) is None:
        return f"dtype {value.dtype}"
    if type(value.detach()) is not torch.Tensor or value.is_nested:
        return f"a tensor of the kind {type(value.detach()).__name__}, whose memory is not known"
    if value.is_neg() or value.is_conj():
        return "a negated or conjugated view"
    return None


@contextmanager
def of_module(dump: ModuleDump) -> Iterator[None]:
    """Let errors name the module, which is not a file."""
    try:
        yield
    except BitxError as error:
        if error.path == dump.path:
            error.path = None
            if error.tensor is None and error.part is None:
                error.part = f"the module {dump.path}"
        raise


def open_module(module: Module, *, layout: str | None = None) -> ModuleDump:
    """Read a module as `bitxcore.open_dump` reads the file of its state dict, without a copy.

    Parameters
    ----------
    module : torch.nn.Module
    layout : {"module"}, optional
        With ``"module"`` the types of layers tell where the output channel sits; else it is axis 0, as in
        the file of a state dict, which does not tell.

    Returns
    -------
    ModuleDump
        A mapping from the names of the state dict to tensors. It does not follow a module that gets other
        tensors later.

    Raises
    ------
    OptionError
        If `module` is none, or the layout is not known.
    MissingExtraError
        If PyTorch is not installed.

    Examples
    --------
    >>> import torch
    >>> dump = open_module(torch.nn.Linear(16, 4))
    >>> list(dump), dump["weight"].shape
    (['weight', 'bias'], (4, 16))
    """
    import_torch()
    if layout not in (None, "module"):
        raise OptionError(f"layout must be module or None, got {shown(layout)}", value=layout)
    return ModuleDump(module, by_type=layout == "module")
