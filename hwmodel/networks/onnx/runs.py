"""Running parts of a graph: for shapes that are known at run time only, and for values that are decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import MissingExtraError, TensorError
from hwmodel.networks.onnx.bodies import reads
from hwmodel.networks.onnx.model_file import run_graph
from hwmodel.networks.onnx.shapes import TensorShape

if TYPE_CHECKING:
    from hwmodel.networks.onnx.graph import Graph

KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft", "ai.onnx.ml")
MOST_FAULTS = 8
"""Nodes that fail, each of which is searched for; what is still missing then stays unknown."""

_Arrays = dict[str, npt.NDArray[Any]]


class PartRuns:
    """Run parts of a graph, each only as far up as its values need.

    Inputs that are not given are zeros; so is what an operator of another domain writes, where its shape and
    type are known.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._order = {id(node): i for i, node in enumerate(graph.nodes)}
        self._makes = {name: node for node in graph.nodes for name in node.output if name}
        self._initial = {t.name: t for t in graph.model.graph.initializer}
        self._initial |= {t.values.name: t for t in graph.model.graph.sparse_initializer}

    def shapes(
        self, names: Sequence[str], multiplies: Callable[[Any], object]
    ) -> tuple[dict[str, TensorShape], dict[str, str]]:
        """Shapes of values, and why those are missing that can't be computed.

        Parameters
        ----------
        names : sequence of str
        multiplies : callable
            Whether layers are made of a node.

        Raises
        ------
        TensorError
            If a layer's operands, whose sizes follow from the inputs' sizes, do not fit each other.
        MissingExtraError
            If onnxruntime is missing.
        """
        found: dict[str, TensorShape] = {}
        failed: dict[str, str] = {}
        left = [name for name in names if name in self._makes]
        for _ in range(MOST_FAULTS):
            text = ""
            try:
                found |= {name: x.shape for name, x in self._run(left).items()}
                left = []
            except MissingExtraError:
                raise
            except Exception as error:  # ONNX Runtime's errors share no base but Exception.
                text = " ".join(str(error).split())
            if not left:
                break
            text = f"a run on {'the given inputs' if self._graph.given else 'zeros'} fails: {text}"
            faulty = self._first_that_fails(left)
            sized = all(name in self._graph.inferred for name in faulty.input if name)
            if multiplies(faulty) and sized and self._graph.outer is None:
                raise TensorError(f"no shape for {faulty.output[0]!r}: {text}", path=self._graph.path)
            behind = self._behind(faulty)
            failed |= dict.fromkeys((name for name in left if name in behind), text)
            left = [name for name in left if name not in behind]
        return found, failed | dict.fromkeys(left, "too many operators fail in a run")

    def values(self, names: Sequence[str]) -> _Arrays:
        """Values that can be computed from what is decided."""
        try:
            return self._run(names)
        except MissingExtraError:
            raise
        except Exception:  # ONNX Runtime's errors share no base but Exception.
            if len(names) == 1:
                return {}
        return {k: v for name in names for k, v in self.values([name]).items()}

    def with_nodes(self, nodes: Sequence[Any], name: str) -> npt.NDArray[Any] | None:
        """Value that nodes beside the graph's own write; None if it can't be computed."""
        makes, order = dict(self._makes), dict(self._order)
        for node in nodes:
            self._order[id(node)] = len(self._order)
            self._makes |= dict.fromkeys(node.output, node)
        try:
            return self.values([name]).get(name)
        finally:
            self._makes, self._order = makes, order

    def _leaf(self, name: str) -> npt.NDArray[Any] | None:
        """Return what is fed for a value: a known size, a given input, zeros; None if it is computed."""
        graph = self._graph
        if name in graph.given:
            return graph.given[name]
        node = self._makes.get(name)
        if node is not None and node.op_type in ("Shape", "Size") and node.input[0] in graph.shapes:
            return _size(node, graph.shapes[node.input[0]])
        if node is not None and node.domain in KNOWN_DOMAINS:
            return None
        if name in graph.shapes and name in graph.dtypes:
            return np.zeros(graph.shapes[name], graph.dtypes[name])
        return None

    def _part(self, wanted: Iterable[str]) -> tuple[list[Any], _Arrays, list[Any]]:
        """Nodes, inputs and stored tensors that some values need."""
        nodes: dict[int, Any] = {}
        feeds: _Arrays = {}
        stored: dict[str, Any] = {}
        stack, seen = list(wanted), set(wanted)
        while stack:
            name = stack.pop()
            if name in self._initial:
                stored[name] = self._initial[name]
                continue
            if (leaf := self._leaf(name)) is not None:
                feeds[name] = leaf
                continue
            node = self._makes.get(name)
            if node is None or id(node) in nodes:
                continue
            nodes[id(node)] = node
            more = [n for n in reads(node) if n not in seen]
            seen.update(more)
            stack += more
        return sorted(nodes.values(), key=lambda n: self._order[id(n)]), feeds, list(stored.values())

    def _run(self, wanted: Sequence[str]) -> _Arrays:
        import onnx

        if not wanted:
            return {}
        nodes, feeds, stored = self._part(wanted)
        found = {n: feeds[n] for n in wanted if n in feeds}
        found |= {t.name: _array(t) for t in stored if t.name in wanted and _held(t)}
        left = [n for n in dict.fromkeys(wanted) if n not in found]
        if not left:
            return found
        whole = self._graph.model
        model = onnx.ModelProto(ir_version=whole.ir_version, opset_import=whole.opset_import)
        graph = model.graph
        graph.name = "part"
        graph.node.extend(nodes)
        for tensor in stored:
            sparse = isinstance(tensor, onnx.SparseTensorProto)
            (graph.sparse_initializer if sparse else graph.initializer).append(tensor)
        made = {name for node in nodes for name in node.output}
        read = {name for node in nodes for name in reads(node)}
        fed = read & set(feeds)
        if lacking := sorted(read - fed - made - set(self._initial)):
            raise TensorError(f"the shape of {lacking[0]!r} is not known")
        kind = onnx.helper.np_dtype_to_tensor_dtype
        graph.input.extend(
            onnx.helper.make_tensor_value_info(n, kind(feeds[n].dtype), feeds[n].shape) for n in sorted(fed)
        )
        graph.output.extend(onnx.ValueInfoProto(name=n) for n in left)
        results = run_graph(self._graph.path, model, left, {n: feeds[n] for n in fed})
        return found | {n: np.asarray(x) for n, x in zip(left, results, strict=True)}

    def _first_that_fails(self, wanted: Sequence[str]) -> Any:
        """Find by bisection the node that fails: with those before it the graph runs."""
        nodes = self._part(wanted)[0]
        low, high = 0, len(nodes) - 1
        while low < high:
            middle = (low + high) // 2
            before = nodes[: middle + 1]
            read = {name for node in before for name in reads(node)}
            ends = [name for node in before for name in node.output if name and name not in read]
            try:
                self._run(ends)
                low = middle + 1
            except Exception:  # ONNX Runtime's errors share no base but Exception.
                high = middle
        return nodes[low]

    def _behind(self, faulty: Any) -> set[str]:
        """Values that a node writes, or that are computed from these."""
        behind = set(filter(None, faulty.output))
        for node in self._graph.nodes:
            if any(name in behind for name in reads(node)):
                behind.update(filter(None, node.output))
        return behind


def _size(node: Any, shape: TensorShape) -> npt.NDArray[Any]:
    if node.op_type == "Size":
        return np.array(np.prod(shape, dtype=np.int64))
    ends = {a.name: a.i for a in node.attribute}
    return np.array(shape[slice(ends.get("start"), ends.get("end"))], np.int64)


def _held(tensor: Any) -> bool:
    return hasattr(tensor, "raw_data") and not tensor.external_data


def _array(tensor: Any) -> npt.NDArray[Any]:
    import onnx

    return np.asarray(onnx.numpy_helper.to_array(tensor))
