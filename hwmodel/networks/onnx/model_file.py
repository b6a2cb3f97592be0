"""Reading ONNX models, and running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bitxcore.dumps.onnx_graph import scopes
from bitxcore.dumps.onnx_size import check_objects
from bitxcore.dumps.trust import reading
from bitxcore.errors import DumpError, MissingExtraError
from hwmodel.networks.onnx.bodies import bodies

_RECURRENT = ("LSTM", "GRU", "RNN")


def read_model(path: Path) -> Any:
    """Read an ONNX model: functions inlined, external weights left where they are.

    A recurrent node that gives its last state only is given a name for the sequence as well, which
    changes nothing but lets a trace see it.

    Raises
    ------
    DumpError
        If the file can't be read or is not an ONNX model.
    MissingExtraError
        If the package onnx is missing.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    try:
        data = Path(path).read_bytes()
        with reading(path):
            check_objects(data)
        model = onnx.load_model_from_string(data)
        del data
    except OSError as error:
        raise DumpError(f"can't be read: {error.strerror}", path=path) from error
    except (DecodeError, ValueError) as error:
        raise DumpError(f"is no ONNX model: {error}", path=path) from error
    if not model.graph.node:
        raise DumpError("is no ONNX model: its graph has no nodes", path=path)
    with reading(path):
        _keep_names(model)
        if model.functions:
            from onnx import inliner

            _check_expansion(model)
            _state_defaults(model)
            model = inliner.inline_local_functions(model)
        _name_sequences(model.graph)
        _make_padding_explicit(model.graph, {})
    return model


def _keep_names(model: Any) -> None:
    """Write into every stored tensor the name that dumps list it by, to have it wherever the tensor goes."""
    for scope in scopes(model):
        for constant in (c for same in scope.constants.values() for c in same):
            constant.proto.doc_string = constant.name


MOST_NODES = 1 << 20
"""Of a model whose functions are expanded."""


def _check_expansion(model: Any) -> None:
    """Raise if functions within functions expand to more nodes than any network has."""
    functions = {(f.domain, f.name): f for f in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def count(nodes: Any, depth: int) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            total += 1 + sum(count(body.node, depth) for _, body in bodies(node))
            if key in functions:
                if key not in counts:
                    if depth > len(functions):
                        raise DumpError(f"function {node.op_type!r} calls itself")
                    counts[key] = count(functions[key].node, depth + 1)
                total += counts[key]
        return total

    if (nodes := count(model.graph.node, 0)) > MOST_NODES:
        raise DumpError(f"its functions stand for {nodes:.3g} nodes, at most {MOST_NODES:.3g} are read")


def _state_defaults(model: Any) -> None:
    """Write defaults of attributes into each call of a function: inlining forgets them."""
    defaults = {(f.domain, f.name): f.attribute_proto for f in model.functions}
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while nodes:
        node = nodes.pop()
        given = {a.name for a in node.attribute}
        for attribute in defaults.get((node.domain, node.op_type), ()):
            if attribute.name not in given:
                node.attribute.append(attribute)
        nodes += [inner for _, body in bodies(node) for inner in body.node]


def _name_sequences(graph: Any) -> None:
    for node in graph.node:
        if node.op_type in _RECURRENT and node.output and not node.output[0]:
            node.output[0] = f"{next(filter(None, node.output))}.sequence"
        for _, body in bodies(node):
            _name_sequences(body)


def _make_padding_explicit(graph: Any, outer: Mapping[str, Sequence[int]]) -> None:
    """Write padding as numbers where ONNX's inference misreads its name.

    An empty `auto_pad` is none. A transposed convolution of SAME_UPPER or SAME_LOWER crops to the
    input's size times the stride, whatever the input's size; where it has less, ONNX Runtime adds nothing.
    """
    import onnx

    shapes = {**outer, **{t.name: t.dims for t in graph.initializer}}
    for node in graph.node:
        for _, body in bodies(node):
            _make_padding_explicit(body, shapes)
        attributes = {a.name: a for a in node.attribute}
        mode = attributes["auto_pad"].s.decode() if "auto_pad" in attributes else ""
        if "auto_pad" in attributes and not mode:
            node.attribute.remove(attributes["auto_pad"])
        if node.op_type != "ConvTranspose" or not mode.startswith("SAME") or "output_shape" in attributes:
            continue
        kernel = attributes["kernel_shape"].ints if "kernel_shape" in attributes else ()
        kernel = kernel or tuple(shapes.get(node.input[1], ()))[2:]
        if not kernel:
            continue
        ones, zeros = [1] * len(kernel), [0] * len(kernel)
        lists = (("strides", ones), ("dilations", ones), ("output_padding", zeros))
        given = [attributes[n].ints if n in attributes else usual for n, usual in lists]
        pairs = [
            transposed_padding(extra + d * (k - 1) + 1 - s, mode)
            for k, s, d, extra in zip(kernel, *given, strict=True)
        ]
        for name in {"auto_pad", "pads"} & set(attributes):
            node.attribute.remove(attributes[name])
        pads = [before for before, _ in pairs] + [after for _, after in pairs]
        node.attribute.append(onnx.helper.make_attribute("pads", pads))


def transposed_padding(total: int, mode: str) -> tuple[int, int]:
    """Split what a transposed convolution crops; SAME_UPPER crops the odd one at the beginning."""
    half, rest = max(0, total) // 2, -(-max(0, total) // 2)
    return (rest, half) if mode == "SAME_UPPER" else (half, rest)


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
    if optimised:
        # Where a fusion of ONNX Runtime's fails, the operators by themselves may do.
        with suppress(Exception):
            return _run(ort, path, model, wanted, feeds, optimised=True)
    return _run(ort, path, model, wanted, feeds, optimised=False)


def _run(
    ort: Any, path: Path, model: Any, wanted: Sequence[str], feeds: Mapping[str, Any], *, optimised: bool
) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.parent.resolve())
    )
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(list(wanted), feeds))
