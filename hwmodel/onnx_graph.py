"""ONNX graphs as networks.

Shapes come from ONNX's own inference. Where it finds none (a reshape computed at run time), the
graph is run once on zeros with ONNX Runtime, if that is installed, and the shapes are read off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from bitxcore.errors import DumpError, MissingExtraError, TensorError
from bitxcore.groups import Layout
from hwmodel.graph_inputs import (
    SECOND,
    GraphOperand,
    product_operand,
    product_rows,
    recurrent_operands,
)
from hwmodel.layers import Conv, ConvTranspose, Linear, MatMul
from hwmodel.networks import Network, NetworkLayer, NotSimulated

Shape = tuple[int, ...]

_PASS = ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear")
"""Operators that change how constants are written down, not where they are."""

_STANDARD = ("", "ai.onnx", "com.microsoft")

_UNMODELLED = frozenset(
    [
        "Einsum",
        "DeformConv",
        "QLinearConvTranspose",
        "QGemm",
        "FusedMatMul",
        "MatMulNBits",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
        "Attention",
        "MultiHeadAttention",
        "GroupQueryAttention",
        "QAttention",
        "STFT",
        "DFT",
    ]
)
"""Operators that multiply and accumulate, of which no layer is made."""

_RECURRENT = ("LSTM", "GRU", "RNN")

_CONTROL = ("If", "Loop", "Scan", "SequenceMap")


def network_from_onnx(
    path: Path,
    *,
    input_size: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Network:
    """Turn an ONNX graph into a network; the parameters are those of `hwmodel.load_network`.

    Returns
    -------
    Network
        Layers are named after their nodes (their outputs, where nodes have no name) and weights
        after initialisers or outputs of Constant nodes. Every other operator stands in
        `Network.not_simulated`.
    """
    model = read_model(path)
    assumed = set_input_sizes(path, model, input_size, sizes or {})
    graph = _Graph(path, model)
    layers: list[NetworkLayer] = []
    left_out: Counter[tuple[str, str, bool]] = Counter()
    for node in graph.model.graph.node:
        convert = _CONVERTERS.get(node.op_type) if node.domain in _STANDARD else None
        found = convert(graph, node) if convert else graph.why_not(node)
        if isinstance(found, list):
            layers += found
        else:
            left_out[node.op_type, found.reason, found.multiplies] += 1
    return Network(
        name=path.stem,
        layers=tuple(_unique_names(layers)),
        source=str(path),
        path=path,
        not_simulated=tuple(NotSimulated(op, n, why, macs) for (op, why, macs), n in left_out.items()),
        notes=assumed + graph.notes(),
    )


@dataclass(frozen=True)
class _LeftOut:
    reason: str
    multiplies: bool = False


_Found = list[NetworkLayer] | _LeftOut


def read_model(path: Path) -> Any:
    """Read an ONNX model: functions inlined, external weights left where they are.

    A recurrent node that gives its last state only is given a name for the sequence as well, which
    changes nothing but lets a trace see it.

    Raises
    ------
    DumpError
        If the file can't be read or is no ONNX model.
    MissingExtraError
        If the package onnx is missing.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise DumpError(f"{path}: can't be read: {error.strerror}") from error
    except (DecodeError, ValueError) as error:
        raise DumpError(f"{path}: is no ONNX model: {error}") from error
    if not model.graph.node:
        raise DumpError(f"{path}: is no ONNX model: its graph has no nodes")
    if model.functions:
        from onnx import inliner

        model = inliner.inline_local_functions(model)
    for node in model.graph.node:
        if node.op_type in _RECURRENT and node.output and not node.output[0]:
            node.output[0] = f"{next(filter(None, node.output))}.sequence"
    return model


def graph_inputs(model: Any) -> list[tuple[str, tuple[int | str | None, ...], np.dtype[Any]]]:
    """Name, sizes and dtype of each input; the size of an open dimension is its name, or None."""
    import onnx

    stored = {t.name for t in model.graph.initializer}
    return [
        (
            value.name,
            tuple(d.dim_value if d.dim_value > 0 else d.dim_param or None for d in tensor.shape.dim),
            np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)),
        )
        for value in model.graph.input
        if value.name not in stored
        for tensor in [value.type.tensor_type]
    ]


def set_input_sizes(
    path: Path,
    model: Any,
    input_size: Sequence[int] | Mapping[str, Sequence[int]] | None,
    sizes: Mapping[str, int],
) -> tuple[str, ...]:
    """Fix the inputs' shapes in the model, as `hwmodel.load_network` has them.

    Returns
    -------
    tuple of str
        Notes on the sizes that were assumed.
    """
    stored = {t.name for t in model.graph.initializer}
    inputs = {i.name: i for i in model.graph.input if i.name not in stored}
    if input_size is None:
        given: dict[str, tuple[int, ...]] = {}
    elif isinstance(input_size, Mapping):
        given = {name: tuple(shape) for name, shape in input_size.items()}
    elif len(inputs) == 1:
        given = {next(iter(inputs)): tuple(input_size)}
    else:
        raise TensorError(
            f"{path}: the graph has inputs {', '.join(inputs)}; give input_size as a mapping from their names"
        )
    if unknown := set(given) - set(inputs):
        raise TensorError(f"{path}: there is no input {sorted(unknown)[0]!r}; it has {', '.join(inputs)}")
    used = set()
    assumed: dict[str, None] = {}
    for name, value in inputs.items():
        tensor = value.type.tensor_type
        shape = given.get(name)
        if not tensor.HasField("shape") and shape is not None:
            for _ in shape:
                tensor.shape.dim.add()
        dims = tensor.shape.dim
        if not tensor.HasField("shape"):
            raise TensorError(f"{path}: input {name!r} has no shape; give input_size={{{name!r}: (...)}}")
        if shape is not None and len(shape) != len(dims):
            raise TensorError(f"{path}: input {name!r} has {len(dims)} dimensions, input_size gives {shape}")
        for axis, dim in enumerate(dims):
            fixed = dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
            used.add(dim.dim_param)
            size = shape[axis] if shape is not None else sizes.get(dim.dim_param, fixed)
            label = dim.dim_param or "?"
            if size is None and axis == 0:  # the batch, by convention
                size = 1
                assumed[f"the batch dimension {label!r} is open: 1 was assumed"] = None
            if size is None:
                example = tuple(d.dim_value or "…" for d in dims)
                raise TensorError(
                    f"{path}: input {name!r} has the dynamic dimension {label!r} (axis {axis}); set it with"
                    f" sizes={{{label!r}: …}} or input_size={{{name!r}: ({', '.join(map(str, example))})}}"
                )
            if size < 1 or (fixed is not None and size != fixed):
                raise TensorError(
                    f"{path}: input {name!r}, axis {axis}: size {size} is asked for,"
                    f" {'at least 1' if fixed is None else fixed} is needed"
                )
            dim.Clear()
            dim.dim_value = int(size)
    if unused := set(sizes) - used:
        raise TensorError(
            f"{path}: no dynamic dimension is called {sorted(unused)[0]!r}; there are"
            f" {', '.join(sorted(u for u in used if u)) or 'none'}"
        )
    # Shapes written for other sizes would contradict inference.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return tuple(assumed)


def run_graph(
    path: Path, model: Any, wanted: Sequence[str], feeds: Mapping[str, Any], *, optimised: bool = True
) -> list[Any]:
    """Run a model with ONNX Runtime and return some of its outputs.

    Parameters
    ----------
    path : pathlib.Path
        Where it was read from; external weights lie beside it.
    model : onnx.ModelProto
    wanted : sequence of str
        Outputs of its graph.
    feeds : mapping of str to ndarray
        Its inputs.
    optimised : bool
        Whether operators may be fused; if not, a value does not depend on which others are outputs.

    Raises
    ------
    MissingExtraError
        If onnxruntime is missing.
    Exception
        Whatever ONNX Runtime raises.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.parent.resolve())
    )
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(list(wanted), feeds))


class _Graph:
    """A model with what the converters ask about it."""

    def __init__(self, path: Path, model: Any) -> None:
        import onnx

        self.path = path
        self.ran = False
        try:
            self.model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
            text = " ".join(str(error).split())
            raise TensorError(f"{path}: shapes can't be inferred at these input sizes: {text}") from error
        graph = self.model.graph
        self.producer = {name: node for node in graph.node for name in node.output}
        self.stored: dict[str, Shape] = {t.name: tuple(t.dims) for t in graph.initializer}
        self.values: dict[str, Any] = {t.name: t for t in graph.initializer}
        self.stored |= {t.values.name: tuple(t.dims) for t in graph.sparse_initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                for a in node.attribute:
                    if a.name == "value":
                        self.stored[node.output[0]] = tuple(a.t.dims)
                        self.values[node.output[0]] = a.t
        self.constant = set(self.stored) | {""}
        for node in graph.node:
            if all(i in self.constant for i in node.input) and not node.op_type.startswith("Random"):
                self.constant.update(node.output)
        self.shapes: dict[str, Shape] = dict(self.stored)
        for value in [*graph.input, *graph.value_info, *graph.output]:
            self._note_shape(value)
        wanted = self._wanted()
        if wanted:
            self._run(wanted)

    def _note_shape(self, value: Any) -> None:
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            self.shapes[value.name] = tuple(d.dim_value for d in tensor.shape.dim)

    def _wanted(self) -> list[str]:
        """Values whose shapes a converter needs and inference did not find."""
        nodes = (n for n in self.model.graph.node if n.op_type in _CONVERTERS and n.domain in _STANDARD)
        names = (name for n in nodes for name in [*n.input, n.output[0]] if name)
        return sorted({n for n in names if n not in self.shapes})

    def _run(self, wanted: Sequence[str]) -> None:
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        outputs = {o.name for o in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in wanted if n not in outputs)
        zeros = {}
        for value in model.graph.input:
            if value.name not in self.stored:
                tensor = value.type.tensor_type
                dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
                zeros[value.name] = np.zeros(self.shapes[value.name], dtype)
        try:
            found = run_graph(self.path, model, list(wanted), zeros)
        except MissingExtraError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no base but Exception.
            text = " ".join(str(error).split())
            raise TensorError(
                f"{self.path}: no shape for {wanted[0]!r}: a run on zeros fails: {text}"
            ) from error
        self.shapes |= {name: tuple(x.shape) for name, x in zip(wanted, found, strict=True)}
        self.ran = True

    def notes(self) -> tuple[str, ...]:
        return ("some shapes were read off a run on zeros with ONNX Runtime",) if self.ran else ()

    def shape(self, name: str) -> Shape:
        return self.shapes[name]

    def name(self, node: Any) -> str:
        return str(node.name or node.output[0])

    def attributes(self, node: Any) -> dict[str, Any]:
        import onnx

        values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}

    def bind(
        self,
        node: Any,
        layer: Any,
        operand: int,
        layout: Layout | None = None,
        index: int | None = None,
        zero_point: int | None = None,
    ) -> NetworkLayer:
        """Tie a layer to the tensor its weights come from, following what only rewrites constants."""
        layout = layout or Layout()
        name = node.input[operand]
        notes = self._zero_point_note(node, zero_point)
        if name not in self.constant:
            return NetworkLayer(layer, weight_missing="the weights are computed at run time", notes=notes)
        while name not in self.stored:
            producer = self.producer[name]
            if producer.op_type == "Transpose" and layout.conv_groups == 1:
                perm = self.attributes(producer).get("perm")
                if len(self.shapes.get(name, ())) != 2 or perm == [0, 1]:
                    break
                layout = replace(layout, filter_axis=1 - layout.filter_axis)
            elif producer.op_type in _PASS:
                notes += self._zero_point_note(producer, 2) if producer.op_type == "DequantizeLinear" else ()
            else:
                break
            name = producer.input[0]
        if name not in self.stored:
            why = f"the weights are computed from constants by {self.producer[name].op_type}"
            return NetworkLayer(layer, weight_missing=why, notes=notes)
        return NetworkLayer(layer, name, layout, index, notes=notes)

    def _zero_point_note(self, node: Any, operand: int | None) -> tuple[str, ...]:
        import onnx

        if operand is None or operand >= len(node.input) or node.input[operand] == "":
            return ()
        tensor = self.values.get(node.input[operand])
        if tensor is not None and not tensor.external_data and not onnx.numpy_helper.to_array(tensor).any():
            return ()
        return ("the weights' zero point is not subtracted",)

    def why_not(self, node: Any) -> _LeftOut:
        if node.op_type == "Constant":
            return _LeftOut("holds data")
        if node.op_type in _CONTROL:
            inner = _operators(node)
            multiplies = any(op in _CONVERTERS or op in _UNMODELLED for op in inner)
            return _LeftOut(
                f"control flow: {len(inner)} operators in its bodies are not looked at", multiplies
            )
        if all(i in self.constant for i in node.input) and node.input:
            return _LeftOut("computed from constants before run time")
        if node.op_type in _UNMODELLED:
            return _LeftOut("multiplies and accumulates, but there is no layer for it here", True)
        if node.domain not in _STANDARD:
            return _LeftOut(f"operator of another domain ({node.domain}): what it does is unknown", True)
        return _LeftOut("element-wise, reduction or data movement")


def _operators(node: Any) -> list[str]:
    import onnx

    found = []
    for a in node.attribute:
        for body in (
            [a.g, *a.graphs] if a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) else []
        ):
            for inner in body.node:
                found += [inner.op_type, *_operators(inner)]
    return found


def _unique_names(layers: Sequence[NetworkLayer]) -> list[NetworkLayer]:
    """Give layers whose nodes have the same name a number."""
    seen: Counter[str] = Counter()
    taken = {e.layer.name for e in layers}
    result = []
    for entry in layers:
        name = entry.layer.name
        seen[name] += 1
        if seen[name] > 1:
            while (new := f"{name}#{seen[name]}") in taken:
                seen[name] += 1
            taken.add(new)
            entry = replace(entry, layer=replace(entry.layer, name=new))
        result.append(entry)
    return result


def _same_padding(
    sizes: Shape, kernel: Shape, strides: Shape, dilations: Shape, upper: bool
) -> list[tuple[int, int]]:
    pairs = []
    for i, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-i // s) - 1) * s + d * (k - 1) + 1 - i, 0)
        pairs.append((total // 2, total - total // 2) if upper else (total - total // 2, total // 2))
    return pairs


def _spatial(graph: _Graph, node: Any, weight: int) -> tuple[dict[str, Any], dict[str, Any], Shape, Shape]:
    """Return the attributes, those that Conv and ConvTranspose share as arguments, and the two shapes."""
    attributes = graph.attributes(node)
    x, w = graph.shape(node.input[0]), graph.shape(node.input[weight])
    ndim = len(w) - 2
    if not 1 <= ndim <= 3 or len(x) != len(w):
        raise TensorError(
            f"{graph.path}: node {graph.name(node)!r}: {node.op_type} of {x} with {w} is not 1-D to 3-D"
        )
    arguments = {
        "in_channels": x[1],
        "in_size": x[2:],
        "kernel": w[2:],
        "stride": tuple(attributes.get("strides", [1] * ndim)),
        "dilation": tuple(attributes.get("dilations", [1] * ndim)),
        "groups": attributes.get("group", 1),
        "batch": x[0],
    }
    return attributes, arguments, x, w


def _explicit_padding(attributes: Mapping[str, Any], ndim: int) -> list[tuple[int, int]]:
    pads = attributes.get("pads", [0] * 2 * ndim)
    return list(zip(pads[:ndim], pads[ndim:], strict=True))


def _operand(node: Any, weights_zero_point: int | None, *, index: int = 0, **fields: Any) -> GraphOperand:
    """Operand `index` of a node; quantised operators have the first one's zero point at 2."""
    at = None if weights_zero_point is None else 2 if index == 0 else weights_zero_point
    zero_point = node.input[at] if at is not None and at < len(node.input) else ""
    return GraphOperand((node.input[index],), zero_point=zero_point, **fields)


def _conv(graph: _Graph, node: Any, weight: int = 1, zero_point: int | None = None) -> _Found:
    attributes, arguments, x, w = _spatial(graph, node, weight)
    mode = attributes.get("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        padding = _same_padding(
            x[2:], w[2:], arguments["stride"], arguments["dilation"], mode == "SAME_UPPER"
        )
    else:
        padding = _explicit_padding(attributes, len(w) - 2) if mode == "NOTSET" else [(0, 0)] * (len(w) - 2)
    layer = Conv(graph.name(node), out_channels=w[0], padding=tuple(padding), **arguments)
    _check_output(graph, node, layer.out_size)
    read = _operand(node, zero_point)
    return [replace(graph.bind(node, layer, weight, zero_point=zero_point), reads=(read,))]


def _conv_transpose(graph: _Graph, node: Any) -> _Found:
    attributes, arguments, x, w = _spatial(graph, node, 1)
    ndim = len(w) - 2
    extra = tuple(attributes.get("output_padding", [0] * ndim))
    mode = attributes.get("auto_pad", "NOTSET")
    wanted = attributes.get("output_shape")
    if wanted is None and mode.startswith("SAME"):
        wanted = [i * s for i, s in zip(x[2:], arguments["stride"], strict=True)]
    if wanted is None:
        padding = _explicit_padding(attributes, ndim) if mode == "NOTSET" else [(0, 0)] * ndim
    else:
        padding, grown = [], []
        dimensions = zip(x[2:], w[2:], arguments["stride"], arguments["dilation"], extra, wanted, strict=True)
        for i, k, s, d, e, out in dimensions:
            total = s * (i - 1) + e + d * (k - 1) + 1 - out
            grown.append(e + max(0, -total))
            half = max(0, total) // 2
            pair = (half, max(0, total) - half)
            padding.append(pair if mode == "SAME_UPPER" else pair[::-1])
        extra = tuple(grown)
    groups = arguments["groups"]
    layer = ConvTranspose(
        graph.name(node),
        out_channels=w[1] * groups,
        padding=tuple(padding),
        output_padding=extra,
        **arguments,
    )
    _check_output(graph, node, layer.out_size)
    layout = Layout(filter_axis=1) if groups == 1 else Layout(filter_axis=1, conv_groups=groups)
    return [replace(graph.bind(node, layer, 1, layout), reads=(GraphOperand((node.input[0],)),))]


def _check_output(graph: _Graph, node: Any, size: Shape) -> None:
    inferred = graph.shape(node.output[0])[2:]
    if inferred != size:
        raise TensorError(
            f"{graph.path}: node {graph.name(node)!r}: output size {size} from its attributes,"
            f" {inferred} inferred"
        )


def _gemm(graph: _Graph, node: Any) -> _Found:
    attributes = graph.attributes(node)
    a, b = graph.shape(node.input[0]), graph.shape(node.input[1])
    a_flips, b_flips = bool(attributes.get("transA", 0)), bool(attributes.get("transB", 0))
    a, b = a[::-1] if a_flips else a, b[::-1] if b_flips else b
    return _product(graph, node, 1, a, b, a_flips=a_flips, b_flips=b_flips)


def _matmul(graph: _Graph, node: Any, second: int = 1, zero_point: int | None = None) -> _Found:
    a, b = graph.shape(node.input[0]), graph.shape(node.input[second])
    return _product(graph, node, second, a, b, zero_point=zero_point)


def _product(
    graph: _Graph,
    node: Any,
    second: int,
    a: Shape,
    b: Shape,
    *,
    a_flips: bool = False,
    b_flips: bool = False,
    zero_point: int | None = None,
) -> _Found:
    """Multiply ``(..., rows, inner)`` by ``(..., inner, columns)``; a constant side holds the weights."""
    a_stored, b_stored = node.input[0] in graph.constant, node.input[second] in graph.constant
    if a_stored and b_stored:
        return _LeftOut("computed from constants before run time")
    a, vector_b = (1, *a) if len(a) == 1 else a, len(b) == 1
    b = (*b, 1) if vector_b else b
    rows, inner, columns = a[-2], a[-1], b[-1]
    batch = prod(np.broadcast_shapes(a[:-2], b[:-2]))
    name = graph.name(node)
    if not (a_stored or b_stored):
        outer = np.broadcast_shapes(a[:-2], b[:-2])
        outer_b = outer
        if prod(b[:-2]) == 1:
            rows, batch, outer_b = rows * batch, 1, b[:-2]
        first = partial(
            product_operand, outer=outer, shape=(batch, rows, inner), flips=a_flips, columns=False
        )
        last = partial(
            product_operand, outer=outer_b, shape=(batch, inner, columns), flips=b_flips, columns=True
        )
        reads = (
            _operand(node, zero_point, arrange=first),
            _operand(node, zero_point, index=second, arrange=last, operand=SECOND),
        )
        matmul = MatMul(name, rows=rows, inner=inner, columns=columns, batch=batch)
        return [NetworkLayer(matmul, reads=reads)]
    if a_stored:
        operand, filters, uses, stack = 0, rows, columns, a[:-2]
        layout = Layout(filter_axis=1 if a_flips else 0)
    else:
        operand, filters, uses, stack = second, columns, rows, b[:-2]
        layout = Layout(filter_axis=0 if b_flips or vector_b else 1)
    copies = prod(stack)
    entries = []
    for i in range(copies):
        layer = Linear(
            name if copies == 1 else f"{name}[{i}]",
            in_features=inner,
            out_features=filters,
            positions=uses * batch // copies,
        )
        arrange = partial(
            product_rows,
            stack=stack,
            index=i,
            flips=b_flips if a_stored else a_flips,
            columns=a_stored,
        )
        read = _operand(node, zero_point, index=second if a_stored else 0, arrange=arrange)
        bound = graph.bind(node, layer, operand, layout, i if stack else None, zero_point)
        entries.append(replace(bound, reads=(read,)))
    return entries


def _recurrent(graph: _Graph, node: Any) -> _Found:
    """LSTM, GRU and RNN: per direction, the gates' input matrix and their recurrent matrix."""
    attributes = graph.attributes(node)
    x = graph.shape(node.input[0])
    batch, sequence = (x[0], x[1]) if attributes.get("layout", 0) else (x[1], x[0])
    entries = []
    for what, operand, steps in (("input", 1, 1), ("recurrent", 2, sequence)):
        directions, rows, columns = graph.shape(node.input[operand])
        for d in range(directions):
            suffix = what if directions == 1 else f"{what}[{d}]"
            layer = Linear(
                f"{graph.name(node)}.{suffix}",
                in_features=columns,
                out_features=rows,
                positions=sequence * batch,
                steps=steps,
            )
            reads = recurrent_operands(node, attributes, d, sequence)
            bound = graph.bind(node, layer, operand, index=d)
            entries.append(replace(bound, reads=(reads[operand - 1],)))
    return entries


_CONVERTERS: dict[str, Callable[[_Graph, Any], _Found]] = {
    "Conv": _conv,
    "FusedConv": _conv,
    "ConvInteger": lambda g, n: _conv(g, n, 1, zero_point=3),
    "QLinearConv": lambda g, n: _conv(g, n, 3, zero_point=5),
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": lambda g, n: _matmul(g, n, 1, zero_point=3),
    "QLinearMatMul": lambda g, n: _matmul(g, n, 3, zero_point=5),
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
