"""Bodies of Loop and Scan as graphs, and how often they run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwmodel.networks.graph_operands import GraphOperand
from hwmodel.networks.layers import Linear
from hwmodel.networks.network import NetworkLayer
from hwmodel.networks.onnx.bodies import LOOP, SCAN, live_nodes, reads
from hwmodel.networks.onnx.decisions import scan_axes
from hwmodel.networks.onnx.graph import RANDOM, Graph, name_of

MOST_RUNS = 1_000_000
"""Runs that are counted before a loop is taken not to end."""


@dataclass(frozen=True)
class Trips:
    """How often a body runs.

    Parameters
    ----------
    count : int, optional
        None if that is known at run time only.
    most : int, optional
        What it can't exceed, if `count` is not known.
    """

    count: int | None
    most: int | None = None


def trips(graph: Graph, node: Any, body: Any) -> Trips:
    """Say how often a body runs."""
    if node.op_type == LOOP:
        return _loop_trips(graph, node, body)
    if node.op_type == SCAN and len(node.input) == len(body.input):
        axes = scan_axes(node)
        for name, axis in zip(node.input[len(node.input) - len(axes) :], axes, strict=True):
            if shape := graph.shapes.get(name):
                return Trips(shape[axis % len(shape)])
    return Trips(None)


def _loop_trips(graph: Graph, node: Any, body: Any) -> Trips:
    limit, first = ([*node.input[:2], "", ""])[:2]
    values = graph.values([limit, first])
    most = int(values[limit].reshape(-1)[0]) if limit in values else None
    begins = not first or (first in values and bool(values[first].any()))
    if (most is not None and most < 1) or (first in values and not begins):
        return Trips(0)
    if most is not None and begins and _never_ends_early(graph, body):
        return Trips(most)
    if (limit and most is None) or not begins:
        return Trips(None, most)
    return Trips(_counted(graph, node, body, MOST_RUNS if most is None else min(most, MOST_RUNS)), most)


def _never_ends_early(graph: Graph, body: Any) -> bool:
    """Whether a body hands on the condition that it is given, or one that is always true."""
    made = {name: node for node in body.node for name in node.output}
    name = body.output[0].name
    while name in made and made[name].op_type in ("Identity", "Cast"):
        name = made[name].input[0]
    if len(body.input) > 1 and name == body.input[1].name:
        return True
    tensor = next((t for t in body.initializer if t.name == name), None)
    if name in made and made[name].op_type == "Constant":
        tensor = next((a.t for a in made[name].attribute if a.name == "value"), None)
    if tensor is not None:
        import onnx

        return bool(onnx.numpy_helper.to_array(tensor).all())
    value = graph.value(name) if name not in made else None
    return value is not None and bool(value.all())


def _counted(graph: Graph, node: Any, body: Any, most: int) -> int | None:
    """Run what decides a loop's condition, and count; None if that needs what is not decided."""
    import onnx

    states = range(len(body.input) - 2)
    fixed = [k for k in states if node.input[2 + k] in graph.decided]
    while True:
        known = {value.name for value in (*body.input[:2], *body.initializer)}
        known |= {body.input[2 + k].name for k in fixed} | graph.decided
        for inner in body.node:
            if all(n in known for n in reads(inner)) and not inner.op_type.startswith(RANDOM):
                known.update(inner.output)
        still = [k for k in fixed if body.output[1 + k].name in known]
        if still == fixed:
            break
        fixed = still
    if body.output[0].name not in known:
        return None
    states_kept = [body.output[1 + k] for k in fixed]
    nodes, _ = live_nodes(body.node, [o.name for o in (body.output[0], *states_kept)])
    count = f"{name_of(node)}.runs"
    counting = onnx.GraphProto(name="counting", initializer=body.initializer)
    counting.node.extend(nodes)
    counting.node.append(onnx.helper.make_node("Identity", [body.input[0].name], [count]))
    counting.input.extend([*body.input[:2], *(body.input[2 + k] for k in fixed)])
    counting.output.extend([body.output[0], *states_kept])
    counting.output.append(onnx.helper.make_tensor_value_info(count, onnx.TensorProto.INT64, []))
    condition = node.input[1] if len(node.input) > 1 else ""
    limit = f"{count}.most"
    loop = onnx.helper.make_node(
        LOOP,
        [limit, condition, *(node.input[2 + k] for k in fixed)],
        [*(f"{count}.{k}" for k in fixed), f"{count}.all"],
        body=counting,
    )
    constant = onnx.helper.make_node(
        "Constant", [], [limit], value=onnx.numpy_helper.from_array(np.array(most))
    )
    found = graph.runs.with_nodes([constant, loop], f"{count}.all")
    if found is None or len(found) >= MOST_RUNS:
        return None
    return len(found)


# -- layers of a body ----------------------------------------------------------------------------


def repeated(entry: NetworkLayer, node: Any, count: Trips) -> NetworkLayer:
    """Return a layer of a body as one that does the work of all runs.

    A run may need what the one before found, so the positions of a matrix product fall into steps.
    """
    layer: Any = entry.layer
    n = count.count or 1
    if isinstance(layer, Linear):
        layer = replace(layer, positions=layer.positions * n, steps=layer.steps * n)
    else:
        layer = replace(layer, batch=layer.batch * n)
    where = f"in the body of {node.op_type} {name_of(node)!r}"
    if count.count is not None:
        note = f"{where}, which runs {n} times"
    else:
        at_most = f" (at most {count.most})" if count.most else ""
        note = f"{where}: how often it runs is known at run time only{at_most}, counted once"
    return replace(entry, layer=layer, notes=(*entry.notes, note), reads=_not_recorded(entry, where))


def in_a_branch(entry: NetworkLayer, node: Any) -> NetworkLayer:
    """Return a layer of a branch that is assumed to run."""
    where = f"in a branch of {node.op_type} {name_of(node)!r}"
    return replace(
        entry, notes=(*entry.notes, f"{where} that is assumed to run"), reads=_not_recorded(entry, where)
    )


def _not_recorded(entry: NetworkLayer, where: str) -> tuple[GraphOperand, ...]:
    return tuple(
        GraphOperand((), operand=read.operand, unrecorded=f"{where}: only its results can be fetched")
        for read in entry.reads
    )
