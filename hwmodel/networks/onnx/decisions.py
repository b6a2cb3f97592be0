"""Conditions that constants, sizes or given inputs decide: the branch that runs takes the place of its If."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.networks.onnx.bodies import BRANCHES, LOOP, SCAN, bodies, captured, defined
from hwmodel.networks.onnx.graph import Graph, attributes_of
from hwmodel.networks.onnx.shapes import TensorShape, forget_shapes

_SMALL = 64
"""Elements of a captured value that a body is given, where it is decided: sizes, axes."""

_MOST_ROUNDS = 16
"""Loops and branches behind one another whose shapes are found without a run."""

_DEEPEST = 3
"""Bodies within one another whose results' shapes are found without a run."""


def graph_of(
    path: Path,
    model: Any,
    given: Mapping[str, npt.NDArray[Any]] | None = None,
    outer: Graph | None = None,
) -> Graph:
    """Return the graph of a model, with the shapes that loops and branches result in.

    ONNX infers no shapes of a loop's states, as they could change from run to run.
    """
    graph = Graph(path, model, given, outer)
    for _ in range(_MOST_ROUNDS):
        found = {name: shape for node in graph.nodes for name, shape in _result_shapes(graph, node).items()}
        if not found:
            break
        model = copy.deepcopy(model)
        for name, shape in found.items():
            value = model.graph.value_info.add(name=name)
            value.type.tensor_type.elem_type = _onnx_type(graph.dtypes[name])
            value.type.tensor_type.shape.dim.extend(_dimensions(shape))
        graph = Graph(path, model, given, outer)
    return graph


def _result_shapes(graph: Graph, node: Any) -> dict[str, TensorShape]:
    """Shapes of what control flow results in, where they do not depend on the run or the branch."""
    unknown = {name for name in node.output if name and name not in graph.shapes and name in graph.dtypes}
    if not unknown or node.op_type not in (LOOP, SCAN, BRANCHES) or graph.depth > _DEEPEST:
        return {}
    if node.op_type == SCAN and len(node.input) != len(bodies(node)[0][1].input):  # the first version's
        return {}
    try:
        ends = [
            [inner.shapes.get(value.name) for value in body.output]
            for _, body in bodies(node)
            for inner in [body_graph(graph, node, body)]
        ]
    except TensorError:
        return {}
    if node.op_type == BRANCHES:
        found = [first if first == second else None for first, second in zip(*ends, strict=True)]
    else:
        results = ends[0][1:] if node.op_type == LOOP else ends[0]
        begins = [graph.shapes.get(name) for name in node.input[2 if node.op_type == LOOP else 0 :]]
        states = len(begins) - (len(scan_axes(node)) if node.op_type == SCAN else 0)
        found = [end if end == begin else None for end, begin in zip(results, begins[:states], strict=False)]
    return {
        name: shape
        for name, shape in zip(node.output, found, strict=False)
        if name in unknown and shape is not None
    }


def _onnx_type(dtype: np.dtype[Any]) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype))


def _dimensions(shape: TensorShape) -> list[Any]:
    import onnx

    return [onnx.TensorShapeProto.Dimension(dim_value=n) for n in shape]


def decide_branches(
    path: Path, model: Any, given: Mapping[str, npt.NDArray[Any]] | None = None, outer: Graph | None = None
) -> Any:
    """Return the model with every If that is decided replaced by its branch.

    Parameters
    ----------
    path : pathlib.Path
        Where it was read from.
    model : onnx.ModelProto
        With the sizes of its inputs set.
    given : mapping of str to ndarray, optional
        Inputs whose values are known.
    outer : Graph, optional
        Of which the model is a body.
    """
    undecided: set[str] = set()
    while True:
        places = {
            i: node.input[0]
            for i, node in enumerate(model.graph.node)
            if node.op_type == BRANCHES and node.input and node.output[0] not in undecided
        }
        if not places:
            return model
        values = graph_of(path, model, given, outer).values(dict.fromkeys(places.values()))
        undecided |= {model.graph.node[i].output[0] for i, name in places.items() if name not in values}
        chosen = {i: bool(values[name].any()) for i, name in places.items() if name in values}
        if chosen:
            model = inlined(model, chosen)


def inlined(model: Any, chosen: Mapping[int, bool]) -> Any:
    """Return a copy of a model, in which branches take the place of some Ifs.

    Parameters
    ----------
    model : onnx.ModelProto
    chosen : mapping of int to bool
        Index of the node, and whether its condition is true.
    """
    import onnx

    new = onnx.ModelProto()
    new.CopyFrom(model)
    graph = new.graph
    taken = defined(graph)
    del graph.node[:]
    for i, node in enumerate(model.graph.node):
        if i not in chosen:
            graph.node.add().CopyFrom(node)
            continue
        wanted = "then_branch" if chosen[i] else "else_branch"
        branch = onnx.GraphProto()
        branch.CopyFrom(dict(bodies(node))[wanted])
        own = defined(branch)
        fresh = {name: _fresh(name, taken) for name in sorted(own & taken) if name}
        _rename(branch, fresh)
        taken |= defined(branch)
        graph.initializer.extend(branch.initializer)
        graph.sparse_initializer.extend(branch.sparse_initializer)
        graph.value_info.extend(branch.value_info)
        graph.node.extend(branch.node)
        for inside, outside in zip(branch.output, node.output, strict=True):
            if outside:
                graph.node.append(onnx.helper.make_node("Identity", [inside.name], [outside]))
    return new


def _fresh(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}#{number}" in taken:
        number += 1
    taken.add(f"{name}#{number}")
    return f"{name}#{number}"


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give values other names, in a graph and in the bodies of its nodes."""
    if not names:
        return
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for tensor in graph.sparse_initializer:
        tensor.values.name = names.get(tensor.values.name, tensor.values.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
        for _, body in bodies(node):
            own = defined(body)
            _rename(body, {old: new for old, new in names.items() if old not in own})


# -- bodies as graphs -------------------------------------------------------------------------


def body_graph(graph: Graph, node: Any, body: Any) -> Graph:
    """See a body as a graph of its own, at the sizes of its first run.

    Values that it captures become inputs; small ones that are decided become constants.
    """
    import onnx

    names = captured(node)
    model = onnx.ModelProto(ir_version=graph.model.ir_version, opset_import=graph.model.opset_import)
    model.graph.CopyFrom(body)
    forget_shapes(model.graph)
    for value, shape, source in zip(
        model.graph.input, _input_shapes(graph, node, body), _sources(node, body), strict=True
    ):
        tensor = value.type.tensor_type
        if not tensor.elem_type and source in graph.dtypes:
            tensor.elem_type = _onnx_type(graph.dtypes[source])
        if shape is not None:
            tensor.shape.Clear()
            tensor.shape.dim.extend(_dimensions(shape))
    small = graph.values(name for name in names if _is_small(graph, name))
    for name, value in small.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        if name in graph.tensors:
            model.graph.initializer[-1].doc_string = graph.listed(name)
    for name in names:
        if name not in small and name in graph.dtypes:
            kind = _onnx_type(graph.dtypes[name])
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, graph.shapes.get(name)))
    return graph_of(graph.path, decide_branches(graph.path, model, None, graph), None, graph)


def _is_small(graph: Graph, name: str) -> bool:
    if name not in graph.decided or name not in graph.dtypes or graph.dtypes[name].kind not in "iub":
        return False
    return prod(graph.shapes.get(name, (_SMALL + 1,))) <= _SMALL


def _sources(node: Any, body: Any) -> list[str]:
    """Return the value outside that each input of a body comes from; empty if there is none."""
    if node.op_type == LOOP:
        return ["", "", *node.input[2:]]
    return list(node.input) if len(node.input) == len(body.input) else [""] * len(body.input)


def _input_shapes(graph: Graph, node: Any, body: Any) -> list[TensorShape | None]:
    """Shapes of a body's inputs in the first run; None where they are not known."""
    shapes = [graph.shapes.get(source) for source in _sources(node, body)]
    if node.op_type == LOOP:
        return [(), (), *shapes[2:]]
    if node.op_type == SCAN:
        axes = scan_axes(node)
        for i, axis in zip(range(len(shapes) - len(axes), len(shapes)), axes, strict=True):
            shape = shapes[i]
            if shape:
                axis %= len(shape)
                shapes[i] = shape[:axis] + shape[axis + 1 :]
    return shapes


def scan_axes(node: Any) -> list[int]:
    """Axis of each scanned input along which a Scan goes."""
    attributes = attributes_of(node)
    count = attributes.get("num_scan_inputs", 0)
    return list(attributes.get("scan_input_axes", [0] * count))
