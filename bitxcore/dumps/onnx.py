"""ONNX: initialisers and Constant nodes, subgraphs included, embedded or in external data files.

The graph is parsed whole (protobuf allows it 2 GiB); external data are read when asked for.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from bitxcore.dumps.base import Dump, Replace, Tensor, TensorProgress
from bitxcore.dumps.onnx_files import own_names, refuse_foreign
from bitxcore.dumps.onnx_graph import Constant, Scope, scopes
from bitxcore.dumps.onnx_nibbles import NIBBLES, NibbleTensor, pack_nibbles, packed_bytes
from bitxcore.dumps.onnx_size import check_objects
from bitxcore.dumps.onnx_weights import Encoding, weight_uses, why_fixed
from bitxcore.dumps.span import SpanTensor
from bitxcore.dumps.trust import Place, Source, declared_bytes, inside, one_line, reading
from bitxcore.dumps.writing import COPY_BYTES, copy_bytes, whole, write_blocks
from bitxcore.errors import DumpError, MissingExtraError, TensorError
from bitxcore.files import atomic_files
from bitxcore.groups import Layout

MAX_BYTES = (1 << 31) - 1  # protobuf's

# onnx.TensorProto.DataType -> dtype, and the field that holds values which are not in raw_data.
_DTYPES: dict[int, tuple[np.dtype[Any], str]] = {
    number: (np.dtype(dtype), field)
    for number, dtype, field in (
        (1, np.float32, "float_data"),
        (2, np.uint8, "int32_data"),
        (3, np.int8, "int32_data"),
        (4, np.uint16, "int32_data"),
        (5, np.int16, "int32_data"),
        (6, np.int32, "int32_data"),
        (7, np.int64, "int64_data"),
        (9, np.bool_, "int32_data"),
        (10, np.float16, "int32_data"),
        (11, np.float64, "double_data"),
        (12, np.uint32, "uint64_data"),
        (13, np.uint64, "uint64_data"),
        (14, np.complex64, "float_data"),
        (15, np.complex128, "double_data"),
        (16, ml_dtypes.bfloat16, "int32_data"),
        (17, ml_dtypes.float8_e4m3fn, "int32_data"),
        (18, ml_dtypes.float8_e4m3fnuz, "int32_data"),
        (19, ml_dtypes.float8_e5m2, "int32_data"),
        (20, ml_dtypes.float8_e5m2fnuz, "int32_data"),
        (24, ml_dtypes.float8_e8m0fnu, "int32_data"),
    )
}
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


class _Embedded(Tensor):
    """A constant whose values are in the graph."""

    whole_because = "its values are in the graph, which is in memory as a whole"

    def __init__(self, constant: Constant, dtype: np.dtype[Any], place: Place, layout: Layout | None) -> None:
        super().__init__(constant.name, constant.shape, dtype, layout, layout is not None)
        self._constant = constant
        self._place = place
        nbytes = declared_bytes(self.shape, dtype)
        held = self._codes().nbytes
        if held != nbytes:
            raise DumpError(f"shape {list(self.shape)} of {dtype} needs {nbytes} bytes, {held} are there")

    def read(self) -> npt.NDArray[Any]:
        """Read all values."""
        return np.array(self._codes().view(self.dtype).reshape(self.shape))

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0."""
        with reading(self._place):
            rows = slice(*self.row_range(start, stop))
            return np.array(self._codes().view(self.dtype).reshape(self.shape)[rows])

    def _codes(self) -> npt.NDArray[Any]:
        """Values as a flat array that can be viewed as the tensor's dtype."""
        proto = self._constant.proto
        if self._constant.attribute_dtype is not None:
            values = {"value_float": [proto.f], "value_int": [proto.i]}.get(proto.name)
            plural = proto.floats if proto.name == "value_floats" else proto.ints
            return np.array(plural if values is None else values, self.dtype)
        if proto.HasField("raw_data"):
            if len(proto.raw_data) % self.dtype.itemsize:
                raise DumpError(f"raw data of {len(proto.raw_data)} bytes are not whole {self.dtype}")
            return np.frombuffer(proto.raw_data, self.dtype.newbyteorder("<")).astype(self.dtype, copy=False)
        field = _DTYPES[proto.data_type][1]
        values = getattr(proto, field)
        if field == "int32_data":
            # float16 and narrower floats are written as their codes.
            return np.array(values, np.int32).astype(f"u{self.dtype.itemsize}")
        scalar = {"float_data": np.float32, "double_data": np.float64, "int64_data": np.int64}.get(field)
        return np.array(values, scalar) if scalar else np.array(values, np.uint64).astype(self.dtype)


@dataclass(frozen=True, slots=True)
class _Span:
    """Where an external tensor lies."""

    location: str
    source: Source
    offset: int
    length: int


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    return onnx


def open_onnx(path: Path) -> OnnxDump:
    """Open an ONNX model.

    Names are the graph's own; in a subgraph they follow ``<node>.<attribute>/``. Every tensor carries
    the layout of the first layer that multiplies by it, and `is_weight`.

    Raises
    ------
    DumpError
        If the model is damaged, or external data lie outside its folder or beyond their file.
    MissingExtraError
        If onnx is not installed.
    """
    source = Source.of(path)
    return OnnxDump(source, _load(source))


def _load(source: Source) -> Any:
    onnx = _onnx()
    if source.size > MAX_BYTES:
        raise DumpError(f"has {source.size} bytes, more than protobuf's {MAX_BYTES}", path=source.path)
    source.check()
    with reading(source.path):
        data = source.path.read_bytes()
        check_objects(data)
        model = onnx.ModelProto.FromString(data)
    if not model.HasField("graph") or not model.opset_import:
        raise DumpError("holds no graph or no operator set; is it truncated?", path=source.path)
    return model


def _listed(path: Path, model: Any) -> tuple[list[Scope], dict[str, Constant]]:
    """Return the scopes of a model, and its constants by listed name."""
    with reading(path):
        found = list(scopes(model))
        constants: dict[str, Constant] = {}
        for constant in (c for scope in found for same in scope.constants.values() for c in same):
            if constant.name in constants:
                raise DumpError(f"two constants are named {constant.name!r}", path=path)
            constants[constant.name] = constant
    return found, constants


class OnnxDump(Dump):
    """One ONNX model, and its external data files."""

    def __init__(self, source: Source, model: Any) -> None:
        path = source.path
        self._source = source
        self._spans: dict[str, _Span] = {}
        self._sources: dict[str, Source] = {}
        found, constants = _listed(path, model)
        with reading(path):
            outputs = [output.name for output in model.graph.output]
            uses, stopped = weight_uses(found, model.functions, outputs)
        ignored = {name: why for scope in found for name, why in scope.ignored.items()}
        tensors: dict[str, Tensor] = {}
        for name, constant in constants.items():
            with reading(place := Place(path, name)):
                use = uses.get(name)
                tensor = self._tensor(constant, place, use.layout if use else None)
            if tensor is None:
                ignored[name] = f"data type {_type_name(constant.proto.data_type)}"
            else:
                tensors[name] = tensor
        super().__init__(path, "onnx", tensors)
        self.ignored = ignored
        for name, operator in stopped.items():
            if name in tensors and name not in uses:
                tensors[name].left_alone = f"a layer multiplies by what {operator} makes of it"
        for name, use in uses.items():
            if name in tensors:
                tensors[name].left_alone = why_fixed(use.part.constant)
            floats = name in tensors and tensors[name].dtype.kind in "fc"
            if name in tensors and use.coded and (use.part.ends is not None or not floats):
                tensors[name].encoding = Encoding(use.part, self)

    def _tensor(self, constant: Constant, place: Place, layout: Layout | None) -> Tensor | None:
        if constant.attribute_dtype is not None:
            return _Embedded(constant, np.dtype(constant.attribute_dtype), place, layout)
        nibbles = NIBBLES.get(constant.proto.data_type)
        dtype, _ = _DTYPES.get(constant.proto.data_type, (nibbles, ""))
        nbytes = None if dtype is None else declared_bytes(constant.shape, dtype)
        if nibbles is not None:
            nbytes = packed_bytes(constant.shape)
        if constant.proto.HasField("segment"):
            raise DumpError("comes in segments, which are not supported")
        if constant.proto.data_location == 1:
            span = self._spans[constant.name] = self._span(constant, nbytes)
            if dtype is None:
                return None
            if nibbles is not None:
                load = partial(_read_span, span)
                return NibbleTensor(constant.name, constant.shape, nibbles, place, layout, load)
            stored = dtype.newbyteorder("<")
            return SpanTensor(
                span.source,
                span.offset,
                constant.name,
                constant.shape,
                stored,
                "C",
                layout,
                layout is not None,
            )
        if nibbles is not None:
            load = partial(_nibble_bytes, constant.proto)
            tensor = NibbleTensor(constant.name, constant.shape, nibbles, place, layout, load)
            if (held := load().size) != nbytes:
                raise DumpError(
                    f"shape {list(tensor.shape)} of {dtype} needs {nbytes} bytes, {held} are there"
                )
            return tensor
        return None if dtype is None else _Embedded(constant, dtype, place, layout)

    def _span(self, constant: Constant, nbytes: int | None) -> _Span:
        entries = {entry.key: entry.value for entry in constant.proto.external_data}
        location = os.path.normpath(entries.get("location", ""))
        target = inside(self._source.path.parent, entries.get("location", ""), self._source.path)
        if location not in self._sources:
            self._sources[location] = Source.of(target)
        source = self._sources[location]
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or (source.size - offset if nbytes is None else nbytes))
        if nbytes is not None and length != nbytes:
            raise DumpError(f"external data of {length} bytes, its shape needs {nbytes}")
        if offset < 0 or length < 0 or offset + length > source.size:
            raise DumpError(
                f"external data {offset}..{offset + length} reach outside {location!r} of {source.size} bytes"
            )
        return _Span(location, source, offset, length)

    def files(self) -> list[Path]:
        """Return the model, then its external data files."""
        return [self.path, *(source.path for source in self._sources.values())]

    def rewrite(self, out: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Write the model again; external data files go beside it.

        They keep their relative names; where these are the input's own files, they are called after `out`.

        Raises
        ------
        BitxError
            If a data file would replace the input's, or one that belongs to another model.
        """
        self._refuse_overlaps(out)
        renamed = own_names(out, self._sources, self.files())
        names = list(self._sources)
        targets = [out.parent / renamed[name] for name in names]
        for target in targets:
            if target == out:
                raise DumpError("is also the name of an external data file; choose another output", path=out)
        refuse_foreign(out, targets, self.files(), lambda path: open_onnx(path).files())
        _, constants = _listed(self.path, model := _load(self._source))
        for name, span in self._spans.items():
            for entry in constants[name].proto.external_data:
                if entry.key == "location" and renamed[span.location] != span.location:
                    entry.value = renamed[span.location]
        with ExitStack() as stack:
            for target in targets:
                _make_folder(stack, out, target.parent)
            temporaries = stack.enter_context(atomic_files([*targets, out], inputs=self.files()))
            with ExitStack() as opened:
                files = {
                    name: opened.enter_context(temporary.open("r+b"))
                    for name, temporary in zip(names, temporaries[:-1], strict=True)
                }
                for name, source in self._sources.items():
                    with source.path.open("rb") as original:
                        copy_bytes(source.path, original, files[name], source.size)
                self._replace(constants, files, replace, progress)
            try:
                text = model.SerializeToString()
            except Exception as error:
                raise DumpError(f"the new model can't be written: {one_line(error)}", path=out) from error
            temporaries[-1].write_bytes(text)

    def _replace(
        self,
        constants: dict[str, Constant],
        files: Mapping[str, IO[bytes]],
        replace: Replace,
        progress: TensorProgress | None,
    ) -> None:
        shared: dict[tuple[str, int, int], tuple[str, bytes]] = {}
        twins = Counter((span.location, span.offset, span.length) for span in self._spans.values())
        for name, constant in constants.items():
            tensor, span = self.get(name), self._spans.get(name)
            new = replace(tensor) if tensor is not None else None
            if span is not None:
                file = files[span.location]
                if isinstance(tensor, NibbleTensor) and new is not None:
                    file.seek(span.offset)
                    file.write(pack_nibbles(whole(tensor, new)).tobytes())
                elif tensor is not None and new is not None:
                    file.seek(span.offset)
                    write_blocks(file, tensor, new, tensor.dtype.newbyteorder("<"))
                if span.length and twins[span.location, span.offset, span.length] > 1:
                    self._agree(shared, name, span, file, changed=new is not None)
            elif tensor is not None and new is not None:
                _store(constant, whole(tensor, new))
            if tensor is not None and progress:
                progress(tensor)

    def _agree(
        self,
        shared: dict[tuple[str, int, int], tuple[str, bytes]],
        name: str,
        span: _Span,
        file: IO[bytes],
        changed: bool,
    ) -> None:
        """Raise if tensors that share their bytes were given different values."""
        key = (span.location, span.offset, span.length)
        if changed:
            file.flush()
            digest = _digest(file, span)
        else:
            with span.source.path.open("rb") as original:
                digest = _digest(original, span)
        first, expected = shared.setdefault(key, (name, digest))
        if digest != expected:
            raise TensorError(
                f"tensors {first!r} and {name!r} share their bytes, but have different new values"
            )

    def _refuse_overlaps(self, out: Path) -> None:
        spans = sorted(
            {(s.location, s.offset, s.offset + s.length) for s in self._spans.values() if s.length}
        )
        for (location, _, end), (after, start, _) in pairwise(spans):
            if location == after and start < end:
                raise DumpError(
                    f"tensors overlap at byte {start} of {location!r}; can't write them apart", path=out
                )


def is_readable(constant: Constant) -> bool:
    """Whether a dump lists a constant as a tensor."""
    return constant.attribute_dtype is not None or constant.proto.data_type in {*_DTYPES, *NIBBLES}


def _nibble_bytes(proto: Any) -> npt.NDArray[np.uint8]:
    if proto.HasField("raw_data"):
        return np.frombuffer(proto.raw_data, np.uint8)
    return np.array(proto.int32_data, np.int64).astype(np.uint8)


def _read_span(span: _Span) -> npt.NDArray[np.uint8]:
    with span.source.path.open("rb") as file:
        file.seek(span.offset)
        return np.frombuffer(file.read(span.length), np.uint8)


def _type_name(number: int) -> str:
    with suppress(ValueError):
        return str(_onnx().TensorProto.DataType.Name(number))
    return str(number)


def _digest(file: IO[bytes], span: _Span) -> bytes:
    digest = hashlib.sha256()
    file.seek(span.offset)
    left = span.length
    while left and (chunk := file.read(min(COPY_BYTES, left))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.digest()


def _make_folder(stack: ExitStack, out: Path, folder: Path) -> None:
    """Make a folder below that of `out`; it goes again if nothing was put in."""
    missing = [p for p in (folder, *folder.parents) if out.parent in p.parents and not p.exists()]
    for path in reversed(missing):
        with suppress(OSError):  # atomic_files names the cause
            path.mkdir()
            stack.callback(_remove_if_empty, path)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _store(constant: Constant, values: npt.NDArray[Any]) -> None:
    proto = constant.proto
    if constant.attribute_dtype is None:
        for field in _FIELDS:
            proto.ClearField(field)
        if proto.data_type in NIBBLES:
            values = pack_nibbles(values)
        proto.raw_data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    elif proto.name == "value_float":
        proto.f = values.item()
    elif proto.name == "value_int":
        proto.i = values.item()
    else:
        field = proto.floats if proto.name == "value_floats" else proto.ints
        field[:] = values.tolist()
