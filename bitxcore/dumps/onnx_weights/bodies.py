"""Nodes that hold graphs, nodes whose results are needed, and who reads a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def bodies_of(node: Any) -> list[tuple[str, Any]]:
    """Graphs that a node holds, each with its attribute's name."""
    found = []
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found.append((attribute.name, attribute.g))
        found += [(f"{attribute.name}.{i}", graph) for i, graph in enumerate(attribute.graphs)]
    return found


def live_nodes(nodes: Sequence[Any], outputs: set[str]) -> set[int]:
    """Places of the nodes that `outputs` need, directly or not.

    No node is held: protobuf makes an object of it each time that it is asked for.
    """
    wanted = set(outputs)
    live: set[int] = set()
    for place in range(len(nodes) - 1, -1, -1):
        node = nodes[place]
        if not any(name in wanted for name in node.output if name):
            continue
        live.add(place)
        wanted.update(read_by(node))
    return live


def read_by(node: Any) -> Iterator[str]:
    """Names that a node reads, also in its bodies; some of them may be a body's own."""
    yield from filter(None, node.input)
    for _, body in bodies_of(node):
        yield from (output.name for output in body.output)
        for inner in body.node:
            yield from read_by(inner)


class Readers:
    """Who reads the values of some nodes, in their own graph.

    Parameters
    ----------
    nodes : sequence of onnx.NodeProto
    """

    def __init__(self, nodes: Sequence[Any]) -> None:
        self._nodes = nodes
        self._of: dict[str, list[Any]] | None = None
        self._makes: dict[str, Any] = {}

    def _look(self) -> dict[str, list[Any]]:
        if self._of is None:
            self._of = {}
            for node in self._nodes:
                for name in filter(None, node.input):
                    self._of.setdefault(name, []).append(node)
                self._makes.update(dict.fromkeys(filter(None, node.output), node))
        return self._of

    def only(self, name: str) -> Any:
        """Return the node that alone reads a value; None if there is none, or several."""
        found = self._look().get(name, [])
        return found[0] if len(found) == 1 else None

    def maker(self, name: str) -> Any:
        """Return the node that writes a value; None if it comes from outside."""
        self._look()
        return self._makes.get(name)
