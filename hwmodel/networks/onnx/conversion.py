"""Making a network of an ONNX graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hwmodel.networks.network import Network, NetworkLayer, NotSimulated
from hwmodel.networks.onnx.graph import Graph
from hwmodel.networks.onnx.left_out import why_not
from hwmodel.networks.onnx.model_file import read_model
from hwmodel.networks.onnx.operators import converter_of
from hwmodel.networks.onnx.sizes import input_sizes, set_input_sizes


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
    converted = [node for node in model.graph.node if converter_of(node)]
    graph = Graph(path, model, {v for node in converted for v in (*node.input, node.output[0]) if v})
    layers: list[NetworkLayer] = []
    left_out: Counter[tuple[str, str, bool]] = Counter()
    for node in graph.nodes:
        convert = converter_of(node)
        found = convert(graph, node) if convert else why_not(graph, node)
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
        notes=assumed + graph.notes,
        input_sizes=input_sizes(model),
    )


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
