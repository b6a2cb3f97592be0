"""Bodies of control flow: what they read from outside, and which of their nodes matter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bitxcore.dumps.onnx_weights import bodies_of as bodies

__all__ = [
    "BRANCHES",
    "LOOP",
    "SCAN",
    "bodies",
    "captured",
    "defined",
    "kept_outputs",
    "live_nodes",
    "reads",
]

LOOP, SCAN, BRANCHES = "Loop", "Scan", "If"


def defined(graph: Any) -> set[str]:
    """Names that a graph gives a value itself."""
    own = {value.name for value in (*graph.input, *graph.initializer)}
    own |= {tensor.values.name for tensor in graph.sparse_initializer}
    return own.union(*(node.output for node in graph.node))


def captured(node: Any) -> list[str]:
    """Values from outside that the bodies of a node read, each once."""
    names: dict[str, None] = {}
    for _, body in bodies(node):
        read = [name for inner in body.node for name in reads(inner)]
        own = defined(body)
        names |= dict.fromkeys(n for n in (*read, *(o.name for o in body.output)) if n not in own)
    return list(names)


def reads(node: Any) -> list[str]:
    """Every value that a node reads: its inputs, and what its bodies capture."""
    return [*filter(None, node.input), *captured(node)]


def live_nodes(nodes: Sequence[Any], outputs: Iterable[str]) -> tuple[list[Any], set[str]]:
    """Nodes that `outputs` need, in order, and every value that is read on the way.

    Parameters
    ----------
    nodes : sequence of onnx.NodeProto
        In the order in which they run.
    outputs : iterable of str
        Values that are wanted.
    """
    wanted = set(outputs)
    live = []
    for node in reversed(nodes):
        if any(name in wanted for name in node.output if name):
            live.append(node)
            wanted.update(filter(None, node.input))
            for _, body in bodies(node):
                _, inside = live_nodes(body.node, kept_outputs(node, body, wanted))
                wanted |= inside - defined(body)
    return live[::-1], wanted


def kept_outputs(node: Any, body: Any, wanted: set[str]) -> set[str]:
    """Return the outputs of a body that matter, if of its node's outputs those in `wanted` do.

    A state of a loop matters if it is read after the last run, or within a run that matters.
    """
    results = [output.name for output in body.output]
    first_state, first_result, states = _states(node, body)
    needed = [results[first_result + i] for i, name in enumerate(node.output) if name in wanted]
    kept = {*results[:first_result], *needed}
    if not states:
        return kept
    while True:
        _, inside = live_nodes(body.node, kept)
        more = {
            results[first_result + i]
            for i in range(states)
            if body.input[first_state + i].name in inside | kept
        }
        if more <= kept:
            return kept
        kept |= more


def _states(node: Any, body: Any) -> tuple[int, int, int]:
    """Return where states begin in the body's inputs and outputs, and how many there are."""
    if node.op_type == LOOP:
        return 2, 1, len(body.input) - 2
    if node.op_type == SCAN:
        scanned = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0)
        return 0, 0, len(body.input) - scanned
    return 0, 0, 0
