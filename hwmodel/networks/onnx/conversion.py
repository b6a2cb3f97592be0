"""Making a network of an ONNX graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bitxcore.dumps.trust import reading
from bitxcore.errors import TensorError
from hwmodel.networks.layers import TooLargeError
from hwmodel.networks.network import Network, NetworkLayer, NotSimulated
from hwmodel.networks.onnx.bodies import BRANCHES, bodies, kept_outputs, live_nodes, reads
from hwmodel.networks.onnx.control import Trips, in_a_branch, repeated, trips
from hwmodel.networks.onnx.decisions import body_graph, decide_branches, graph_of, inlined
from hwmodel.networks.onnx.graph import Found, Graph, LeftOut, name_of
from hwmodel.networks.onnx.left_out import multiplies_inside, why_not
from hwmodel.networks.onnx.model_file import read_model
from hwmodel.networks.onnx.operators import converter_of
from hwmodel.networks.onnx.shapes import UnknownShapeError
from hwmodel.networks.onnx.sizes import given_arrays, input_sizes, set_input_sizes


def network_from_onnx(
    path: Path,
    *,
    input_size: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    sizes: Mapping[str, int] | None = None,
    inputs: Mapping[str, npt.ArrayLike] | None = None,
) -> Network:
    """Turn an ONNX graph into a network; the parameters are those of `hwmodel.load_network`.

    Returns
    -------
    Network
        Layers are named after their nodes (their outputs, where nodes have no name) and weights
        after initialisers or outputs of Constant nodes, as dumps list them. Every other operator stands in
        `Network.not_simulated`.
    """
    model = read_model(path)
    with reading(path):
        given = given_arrays(path, model, inputs or {})
        assumed = set_input_sizes(path, model, input_size, sizes or {}, given)
        shapes = input_sizes(model)
        model = decide_branches(path, model, given)
        part = _layers(graph_of(path, model, given), {o.name for o in model.graph.output})
    return Network(
        name=path.stem,
        layers=tuple(_unique_names(part.layers)),
        source=str(path),
        path=path,
        not_simulated=tuple(NotSimulated(op, n, why, macs) for (op, why, macs), n in part.left_out.items()),
        notes=(*assumed, *dict.fromkeys(part.notes)),
        input_sizes=shapes,
    )


@dataclass
class _Part:
    """What was found in one graph: layers, operators that are none, and notes."""

    layers: list[NetworkLayer] = field(default_factory=list)
    left_out: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def macs(self) -> int:
        return sum(e.layer.macs for e in self.layers)

    def leave_out(self, node: Any, why: LeftOut) -> None:
        self.left_out[node.op_type, why.reason, why.multiplies] += 1

    def add(self, other: _Part, layers: Iterable[NetworkLayer]) -> None:
        self.layers += layers
        self.left_out += other.left_out
        self.notes += other.notes


_MOST_ASSUMED = 3
"""Ifs within one another of which a branch is assumed before what is behind them is looked at."""


def _layers(graph: Graph, outputs: set[str], rounds: int = _MOST_ASSUMED) -> _Part:
    """Go through a graph, of whose outputs some matter."""
    live, wanted = live_nodes(graph.nodes, outputs)
    entered = [node for node in live if multiplies_inside(node) and not _constant(graph, node)]
    if rounds and (other := _with_assumed_branches(graph, entered, wanted)):
        graph, notes = other
        part = _layers(graph, outputs, rounds - 1)
        part.notes[:0] = notes
        return part
    needed = {v for node in live if converter_of(node) for v in (*node.input, node.output[0])}
    graph.need(needed.union(*map(reads, entered)), converter_of)
    alive, inside = {id(node) for node in live}, {id(node) for node in entered}
    part = _Part()
    for node in graph.nodes:
        if id(node) in inside:
            _enter(graph, node, wanted, part, rounds)
            continue
        found = _found(graph, node) if id(node) in alive or node.op_type == "Constant" else _DEAD
        if isinstance(found, LeftOut):
            part.leave_out(node, found)
        else:
            part.layers += found
    part.notes += graph.notes
    return part


_DEAD = LeftOut("nobody reads its results")


def _constant(graph: Graph, node: Any) -> bool:
    return all(name in graph.constant for name in reads(node))


def _found(graph: Graph, node: Any) -> Found:
    """Make layers of a node, or say why not; what is wrong with one node leaves the others alone."""
    convert = converter_of(node)
    if convert is None or _constant(graph, node):
        return why_not(graph, node)
    empty = next((n for n in (node.input[0], node.output[0]) if n and 0 in graph.shapes.get(n, ())), None)
    if empty is not None:
        if empty in graph.inferred:
            return LeftOut(f"the shape of {empty!r} is {graph.shapes[empty]}: nothing to multiply")
        return LeftOut("its size depends on values, and is 0 on a run on zeros", multiplies=True)
    try:
        return convert(graph, node)
    except TooLargeError:
        raise  # a size that was asked for
    except (UnknownShapeError, TensorError, ValueError) as error:
        return LeftOut(str(error), multiplies=True)


def _with_assumed_branches(
    graph: Graph, entered: Sequence[Any], wanted: set[str]
) -> tuple[Graph, list[str]] | None:
    """Let branches that are assumed to run take the place of Ifs whose results' sizes depend on the branch.

    So the sizes behind such an If are those of the branch whose layers are counted.
    """
    places = {id(node): i for i, node in enumerate(graph.nodes)}
    sized = [
        node
        for node in entered
        if node.op_type == BRANCHES and any(o in wanted and o not in graph.inferred for o in node.output)
    ]
    graph.need({name for node in sized for name in reads(node)}, converter_of)
    chosen: dict[int, bool] = {}
    notes: list[str] = []
    for node in sized:
        if choices := _choices(graph, node, wanted, 0):
            attribute, _ = _largest(choices)
            chosen[places[id(node)]] = attribute == "then_branch"
            notes.append(_assumed(node, attribute))
    if not chosen:
        return None
    return graph_of(graph.path, inlined(graph.model, chosen), graph.given, graph.outer), notes


def _choices(graph: Graph, node: Any, wanted: set[str], rounds: int) -> list[tuple[str, _Part]]:
    """Find what is in each body of a node; one whose shapes contradict each other is left out."""
    found = []
    for attribute, body in bodies(node):
        try:
            inner = body_graph(graph, node, body)
        except TensorError:
            continue
        # Branches inside that were decided hand their results on under the same names.
        found.append((attribute, _layers(inner, kept_outputs(node, body, wanted), rounds)))
    return found


def _largest(choices: Sequence[tuple[str, _Part]]) -> tuple[str, _Part]:
    return max(choices, key=lambda choice: (choice[1].macs, choice[0] == "then_branch"))


def _assumed(node: Any, attribute: str) -> str:
    return (
        f"which branch of If {name_of(node)!r} runs depends on values: {attribute}, which has the"
        " most multiply-accumulates, is assumed"
    )


def _enter(graph: Graph, node: Any, wanted: set[str], part: _Part, rounds: int) -> None:
    """Make layers of the bodies of a node."""
    count = Trips(1)
    if node.op_type != BRANCHES:
        count = trips(graph, node, bodies(node)[0][1])
    if count.count == 0:
        part.leave_out(node, LeftOut("control flow whose body never runs"))
        return
    choices = _choices(graph, node, wanted, rounds)
    if not choices:
        part.leave_out(node, LeftOut("control flow: shapes in its bodies can't be inferred", multiplies=True))
    elif node.op_type == BRANCHES:
        attribute, taken = _largest(choices)
        part.leave_out(node, LeftOut("control flow: the layers of one branch are layers"))
        part.add(taken, (in_a_branch(entry, node) for entry in taken.layers))
        part.notes.append(_assumed(node, attribute))
    else:
        part.leave_out(node, LeftOut("control flow: the layers of its body are layers"))
        for _, found in choices:
            part.add(found, (repeated(entry, node, count) for entry in found.layers))


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
