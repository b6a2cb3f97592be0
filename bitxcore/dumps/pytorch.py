"""PyTorch's ``.pt`` and ``.pth``: state dicts, read with ``weights_only`` so that no pickle runs code."""

from __future__ import annotations

import io
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from bitxcore.dumps.base import Dump, Replace, Tensor, TensorProgress
from bitxcore.dumps.mapped import Mappings, read_into
from bitxcore.dumps.torch_sums import Checksums
from bitxcore.dumps.trust import Place, Source, check_expansion, declared_bytes, one_line, reading
from bitxcore.dumps.writing import whole
from bitxcore.errors import DumpError, MissingExtraError
from bitxcore.files import atomic_file

MAX_DEPTH = 100
MAX_OBJECTS = 1_000_000  # shared sub-dicts can name exponentially many
_NOT_NUMPY = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
_FORBIDDEN = re.compile(r"\bGLOBAL ([\w.]+)")
_FAULT = re.compile(r"WeightsUnpickler error: *(.{1,200})")


def import_torch() -> Any:
    """Return PyTorch; an error that names the extra if it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "torch") from error
    return torch


class _StateTensor(Tensor):
    """One tensor of a state dict.

    PyTorch maps the file; values are read past that mapping, where the system tells what it holds, because
    a mapping of a file that is truncated ends the process.
    """

    whole_because = "a state dict of PyTorch is read, and written, by whole tensors"

    def __init__(self, value: Any, dtype: np.dtype[Any], place: Place, file: _File) -> None:
        super().__init__(str(place.tensor), tuple(value.shape), dtype)
        self.value = value
        self._place = place
        self._file = file

    def read(self) -> npt.NDArray[Any]:
        """Read all values."""
        return self._copy(self.value)

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0."""
        with reading(self._place):
            start, stop = self.row_range(start, stop)
        return self._copy(self.value[start:stop])

    def _copy(self, value: Any) -> npt.NDArray[Any]:
        torch = import_torch()
        self._file.check()
        with reading(self._place):
            value, owned = self._file.read(value)
            if self.dtype.type.__module__ != "numpy":
                # torch's .numpy() does not know these; the codes are the same.
                codes = value.contiguous().view(torch.int16 if self.dtype.itemsize == 2 else torch.uint8)
                array = codes.numpy().view(self.dtype)
            else:
                array = value.resolve_conj().resolve_neg().numpy()
            return np.array(array, dtype=self.dtype, order="C", copy=None if owned else True)


class _File:
    """The file of a state dict, whose checksums are tested before values are read."""

    def __init__(self, source: Source, check: Callable[[], None], mapped: bool) -> None:
        self.source = source
        self.check = check
        self._mappings = Mappings(source) if mapped else None

    def read(self, value: Any) -> tuple[Any, bool]:
        """Read a tensor that is mapped; return it, or the one in memory as it is, and whether it was read."""
        if self._mappings is None or not value.numel():
            return value, False
        offset = self._mappings.offset(value.data_ptr())
        if offset is None:
            return value, False
        torch = import_torch()
        reach = 1 + sum((n - 1) * step for n, step in zip(value.shape, value.stride(), strict=True))
        values = torch.empty(reach, dtype=value.dtype)
        read_into(self.source, offset, values.view(torch.uint8).numpy())
        values = values.as_strided(value.shape, value.stride())
        # Bits of the tensor, not of its values.
        values = values.conj() if value.is_conj() else values
        return torch._neg_view(values) if value.is_neg() else values, True


def open_torch(path: Path) -> TorchDump:
    """Open a ``torch.save`` file that holds tensors in (nested) dicts, lists or alone.

    Names are keys joined by dots; a lone tensor is named like the file. Files in the zip format (torch
    1.6 and later) are mapped; older ones are read whole. The checksums of a zip are tested: of what
    describes the tensors at once, of their values when the first is read.

    Raises
    ------
    DumpError
        If unpickling would need more than tensors and plain containers, or a checksum does not match.
    MissingExtraError
        If torch is not installed.
    """
    torch = import_torch()
    source = Source.of(path)
    with reading(path):
        mapped = zipfile.is_zipfile(path)
        sums = Checksums(source) if mapped else None
        if sums:
            sums.check_descriptions()
        # From bytes in memory, a damaged length in an old file can't ask for more than there is.
        file = path if mapped else io.BytesIO(path.read_bytes())
        try:
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
        except UnpicklingError as error:
            # The text begins with advice to load the file unsafely.
            forbidden, fault = _FORBIDDEN.search(str(error)), _FAULT.search(str(error))
            if forbidden:
                raise DumpError(
                    f"its pickle calls {forbidden[1]}; only tensors are read, no code", path=path
                ) from error
            reason = fault[1] if fault else "its pickle needs more than tensors and plain containers"
            raise DumpError(f"can't be read as weights only: {reason}", path=path) from error
        return TorchDump(state, _File(source, sums.check_values if sums else source.check, mapped))


class TorchDump(Dump):
    """One ``torch.save`` file."""

    def __init__(self, state: Any, file: _File) -> None:
        torch = import_torch()
        source = file.source
        tensors: dict[str, _StateTensor] = {}
        ignored: dict[str, str] = {}
        for name, value in flatten_state(source.path, state):
            name = name or source.path.stem
            place = Place(source.path, name)
            if name in tensors or name in ignored:
                raise DumpError("two entries flatten to this name", path=source.path, tensor=name)
            if not isinstance(value, torch.Tensor):
                ignored[name] = f"not a tensor: {type(value).__name__}"
            elif value.is_meta:
                ignored[name] = "meta tensor, without values"
            elif value.layout is not torch.strided or value.is_quantized:
                ignored[name] = f"{value.layout} {value.dtype} tensor"
            elif (dtype := numpy_dtype(torch, value.dtype)) is None:
                ignored[name] = f"dtype {value.dtype}"
            else:
                with reading(place):
                    check_expansion(declared_bytes(tuple(value.shape), dtype), source.size)
                tensors[name] = _StateTensor(value.detach(), dtype, place, file)
        super().__init__(source.path, "torch", tensors)
        self.ignored = ignored
        self._state = state
        self._stored = tensors

    def rewrite(self, out: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Write the objects of the file again, in the same nesting, with other tensors in their places.

        All values are in memory before they are written. Tensors that were one, as tied weights are, stay so.
        """
        torch = import_torch()
        news: dict[str, Any] = {}
        made: dict[tuple[Any, ...], Any] = {}
        with atomic_file(out, inputs=self.files()) as temporary:
            for name, tensor in self._stored.items():
                new = replace(tensor)
                values = tensor.read() if new is None else whole(tensor, new)
                old = tensor.value
                found = _of_numpy(torch, values, old.dtype)
                if old.numel():
                    place = (old.data_ptr(), old.dtype, old.shape, old.stride())
                    found = made.setdefault(place, found)
                news[name] = found
                if progress:
                    progress(tensor)
            state = _rebuilt("", self._state, lambda name, old: news.get(name or self.path.stem, old))
            # Into an open file: from a name, PyTorch makes that of the archive's folder.
            with temporary.open("wb") as file:
                try:
                    torch.save(state, file)
                except RuntimeError as error:
                    raise DumpError(f"can't be written: {one_line(error)}", path=out) from error


def flatten_state(path: Path, state: Any) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, leaf) of nested containers, in order."""
    stack = [("", 0, state)]
    objects = 0
    while stack:
        name, depth, value = stack.pop()
        objects += 1
        if objects > MAX_OBJECTS or depth > MAX_DEPTH:
            raise DumpError(f"nests more than {MAX_DEPTH} levels or {MAX_OBJECTS} objects", path=path)
        if isinstance(value, Mapping):
            items = [(str(key), child) for key, child in value.items()]
        elif isinstance(value, (list, tuple)):
            items = [(str(index), child) for index, child in enumerate(value)]
        else:
            yield name, value
            continue
        stack.extend((f"{name}.{key}" if name else key, depth + 1, child) for key, child in reversed(items))


def _rebuilt(name: str, value: Any, leaf: Callable[[str, Any], Any]) -> Any:
    """Copy nested containers; `leaf` gives what stands at a dotted name, from what stood there."""

    def child(key: Any, item: Any) -> Any:
        return _rebuilt(f"{name}.{key}" if name else str(key), item, leaf)

    if isinstance(value, Mapping):
        items = [(key, child(key, item)) for key, item in value.items()]
        if not isinstance(value, OrderedDict):
            return dict(items)
        ordered = OrderedDict(items)
        vars(ordered).update(vars(value))  # the versions of modules, in state dicts
        return ordered
    if isinstance(value, (list, tuple)):
        made = [child(index, item) for index, item in enumerate(value)]
        return made if isinstance(value, list) else type(value)(made)
    return leaf(name, value)


def _of_numpy(torch: Any, values: npt.NDArray[Any], dtype: Any) -> Any:
    """Make a tensor of values; of dtypes that NumPy has not, by their codes."""
    if values.dtype.type.__module__ == "numpy":
        return torch.from_numpy(np.array(values, order="C"))
    codes = values.view(np.int16 if values.dtype.itemsize == 2 else np.uint8)
    return torch.from_numpy(np.array(codes, order="C")).view(dtype)


def numpy_dtype(torch: Any, dtype: Any) -> np.dtype[Any] | None:
    """Return the dtype of arrays for one of PyTorch; None if there is none."""
    name = str(dtype).removeprefix("torch.")
    found: np.dtype[Any]
    try:
        if name in _NOT_NUMPY:
            found = np.dtype(getattr(ml_dtypes, name))
        else:
            found = torch.empty(0, dtype=dtype).numpy().dtype
        return found
    except (TypeError, RuntimeError):
        return None
