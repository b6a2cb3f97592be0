"""ONNX models in stages, by ONNX Runtime: between two stages, something is done at the layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from bitxcore.errors import BitxError, DumpError, MissingExtraError, TensorError
from hwmodel.evaluation.runners.layer_nodes import LayerNode, layer_nodes
from hwmodel.evaluation.runners.runner import Array, Runner
from hwmodel.networks.onnx import decide_branches, graph_inputs, read_model
from hwmodel.networks.onnx.bodies import bodies, live_nodes, reads
from hwmodel.networks.onnx.graph import Graph

Change = Callable[[LayerNode, Array], Array]
"""From a layer and its activations, as the node reads them, to others of the same shape and dtype."""

Compute = Callable[[LayerNode, list[Array | None]], Array]
"""From a layer and all inputs of its node, None where one is left out, to the node's output."""


See = Callable[[LayerNode, list[Array], list[Array]], dict[str, Array]]
"""From a layer and the activations of all batches to stored tensors that take the place of the model's.

The third are those of the model as it was, if it runs beside; none else.
"""


class StagedRunner(Runner):
    """An ONNX model that is cut before each layer with weights.

    A stage holds all nodes that can run once the layers before them have run, each as often as the whole
    model runs it. Only the edge into a layer is changed: whatever else reads the same value gets it as it is.
    Sessions are made in the first run, and kept.

    Without optimisations, and with `change` and `compute` left out, outputs are the whole model's, bit for
    bit. ONNX Runtime fuses operators, and never over a cut: with optimisations, last bits of the outputs
    may differ from those of a model that runs whole.

    Parameters
    ----------
    model : pathlib.Path
        What is run.
    change : callable, optional
        ``change(layer, activations)`` gives what the layer reads.
    compute : callable, optional
        ``compute(layer, inputs)`` gives what the layer's node writes, in its place; `change` comes first.
    tensors : collection of str, optional
        Only layers with these weights; None: all.
    named : pathlib.Path, optional
        The file that errors name, where `model` is a pruned copy of it.
    optimised : bool
        Whether ONNX Runtime may fuse operators within a stage.

    Attributes
    ----------
    layers : list of LayerNode
    inputs : list of tuple
        Name, sizes and dtype of each input; sizes that are open are not numbers.
    stages : int

    Raises
    ------
    DumpError
        If the model can't be read or run, or does not take what it is given.
    TensorError
        If a layer is where the model can't be cut: in a body of control flow, or in an operator with more
        than a product.
    MissingExtraError
        If onnx or onnxruntime is missing.
    """

    def __init__(
        self,
        model: Path,
        change: Change | None = None,
        *,
        compute: Compute | None = None,
        tensors: Collection[str] | None = None,
        named: Path | None = None,
        optimised: bool = True,
    ) -> None:
        super().__init__()
        self.named = named or model
        self._change, self._compute = change, compute
        try:
            proto = read_model(model)
            if any(bodies(node) for node in proto.graph.node):
                proto = decide_branches(model, proto, {})
            graph = Graph(model, proto)
            proto = graph.model  # whose nodes the stages hold: what `together` stores must reach them
            self.layers = layer_nodes(graph, tensors)
        except BitxError as error:
            error.path = self.named
            raise
        parts = _Cut(graph, self.layers, computes=compute is not None)
        self.proto = proto
        self._stages = [_Stage(model, proto, part, optimised) for part in parts.stages if part.needed]
        self._outputs = [value.name for value in proto.graph.output]
        self._constants = _constants(proto, model, {*parts.inputs_of_layers, *self._outputs})
        held = {tensor.name for tensor in proto.graph.initializer}
        self.inputs = [item for item in graph_inputs(proto) if item[0] not in held]
        fixed = [sizes[0] for _, sizes, _ in self.inputs if sizes and isinstance(sizes[0], int)]
        self.batch = fixed[0] if fixed else None

    def together(
        self, batches: Sequence[dict[str, Array]], see: See, beside: StagedRunner | None = None
    ) -> list[list[Array]]:
        """Run batches stage by stage, all of them in each; what a layer reads is seen before it runs.

        Stored tensors that `see` returns take the place of the model's in this layer's stage and all later
        ones. What earlier stages have run with stays.

        Parameters
        ----------
        batches : sequence of dict of str to ndarray
            As of `outputs`; all values that a later stage reads are held.
        see : callable
            ``see(layer, activations, others)`` gets those of all batches, and gives stored tensors by name.
        beside : StagedRunner, optional
            Of the same model and tensors, which stays as it is: its activations are the others.

        Returns
        -------
        list of list of ndarray
            Outputs of each batch.
        """
        held = [self._begun(feeds) for feeds in batches]
        others = [] if beside is None else [beside._begun(feeds) for feeds in batches]
        for at, stage in enumerate(self._stages):
            for layer in stage.part.layers:
                name = layer.node.input[layer.place]
                found = see(layer, [values[name] for values in held], [values[name] for values in others])
                for tensor, array in found.items():
                    store_tensor(self.proto, tensor, array)
            self._advance(stage, held, batches)
            if beside is not None:
                beside._advance(beside._stages[at], others, batches)
        return [[values[name] for name in self._outputs] for values in held]

    def _advance(
        self, stage: _Stage, held: list[dict[str, Any]], batches: Sequence[dict[str, Array]]
    ) -> None:
        """Run a stage on all batches; values that nobody reads after it are dropped."""
        for values, feeds in zip(held, batches, strict=True):
            given = {_edge(layer): values[layer.node.input[layer.place]] for layer in stage.part.layers}
            values |= self._run(stage, values | given, feeds)
            for name in stage.part.last:
                values.pop(name, None)

    @property
    def stages(self) -> int:
        """Parts that the model runs in."""
        return len(self._stages)

    def outputs(self, feeds: dict[str, Array]) -> list[Array]:
        """Run one batch; sizes and dtypes must be the model's."""
        values: dict[str, Any] = self._begun(feeds)
        for stage in self._stages:
            given = {}
            for layer in stage.part.layers:
                edge = layer.node.input[layer.place]
                x = values[edge]
                if self._change is not None:
                    x = self._change(layer, x)
                if self._compute is None:
                    given[_edge(layer)] = x
                    continue
                inputs = [values[name] if name else None for name in layer.node.input]
                inputs[layer.place] = x
                values[layer.node.output[0]] = self._compute(layer, inputs)
            values |= self._run(stage, values | given, feeds)
            for name in stage.part.last:
                values.pop(name, None)
        return [values[name] for name in self._outputs]

    def _begun(self, feeds: dict[str, Array]) -> dict[str, Any]:
        """Values that are there before the first stage."""
        wanted = {name for name, *_ in self.inputs}
        if wanted != set(feeds):
            raise DumpError(
                f"takes {', '.join(sorted(wanted))}; it was given {', '.join(sorted(feeds))}", path=self.named
            )
        return self._constants | feeds

    def _run(self, stage: _Stage, values: dict[str, Any], feeds: dict[str, Array]) -> dict[str, Array]:
        """Run a stage; errors say what the model was given."""
        try:
            return stage.run(values)
        except (BitxError, MissingExtraError):
            raise
        except Exception as error:  # ONNX Runtime's errors share no base but Exception.
            shown = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items())
            text = shorten(str(error), 200, placeholder=" …")
            raise DumpError(
                f"does not run on the samples: these are {shown}: {text}", path=self.named
            ) from error


# -- where a graph is cut ----------------------------------------------------------------------


@dataclass
class _Part:
    """Nodes of a stage; values that it needs and hands on; values that nobody reads after it."""

    nodes: list[Any] = field(default_factory=list)
    layers: list[LayerNode] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)

    @property
    def needed(self) -> bool:
        return bool(self.nodes or self.layers)


class _Cut:
    """A graph's nodes by stage: each in the first one in which all that it reads is there.

    What is computed from stored tensors alone is computed in every stage that reads it, so that it is as
    constant there as in the whole graph: ONNX Runtime packs constant operands, which decides last bits.
    """

    def __init__(self, graph: Graph, layers: list[LayerNode], *, computes: bool) -> None:
        proto = graph.model.graph
        self._stored = {t.name for t in proto.initializer}
        self._stored |= {t.values.name for t in proto.sparse_initializer}
        outputs = [value.name for value in proto.output]
        nodes, _ = live_nodes(proto.node, outputs)
        self._constant = [n for n in nodes if n.output[0] in graph.constant]
        made_of_constants = {name for node in self._constant for name in node.output}
        by_output = {layer.node.output[0]: layer for layer in layers}
        self.inputs_of_layers = {
            name for layer in layers for name in (layer.node.input if computes else ()) if name
        }
        # These are handed on as values.
        wanted = made_of_constants & (self.inputs_of_layers | set(outputs))
        stage_of = {value.name: 0 for value in proto.input if value.name not in self._stored}
        stage_of |= dict.fromkeys(wanted, 0)
        read_in: dict[str, int] = {}
        placed: list[tuple[int, Any, LayerNode | None]] = []
        for node in nodes:
            if node.output[0] in graph.constant:
                continue
            layer = by_output.get(node.output[0])
            names = [name for name in reads(node) if name in stage_of]
            stage = max((stage_of[name] for name in names), default=0)
            if layer is not None:
                cut = names if computes else [node.input[layer.place]]
                stage = max([stage, *(stage_of[name] + 1 for name in cut)])
            stage_of |= {name: stage for name in node.output if name}
            read_in |= {name: max(stage, read_in.get(name, 0)) for name in names}
            placed.append((stage, node, layer))
        count = max((stage for stage, *_ in placed), default=0) + 1
        read_in |= dict.fromkeys(outputs, count)
        self.stages = [_Part() for _ in range(count)]
        made: list[set[str]] = [set() for _ in range(count)]
        made[0] |= wanted
        for stage, node, layer in placed:
            part = self.stages[stage]
            if layer is not None:
                part.layers.append(layer)
            if layer is not None and computes:
                continue
            part.nodes.append(node if layer is None else _reading_its_edge(layer))
            made[stage] |= {name for name in node.output if name}
        for stage, part in enumerate(self.stages):
            part.outputs = sorted(name for name in made[stage] if read_in.get(name, 0) > stage)
            own = self._constants_of(part)
            part.nodes[:0] = own
            read = {name for node in part.nodes for name in reads(node)}
            part.inputs = sorted(read - made[stage] - self._stored - {n for node in own for n in node.output})
            part.last = [name for name, until in read_in.items() if until == stage]

    def _constants_of(self, part: _Part) -> list[Any]:
        """Nodes that compute the constants that a part reads or hands on."""
        wanted = {name for node in part.nodes for name in reads(node)} | set(part.outputs)
        found = []
        for node in reversed(self._constant):
            if wanted.intersection(node.output):
                found.append(node)
                wanted.update(reads(node))
        return found[::-1]


def store_tensor(proto: Any, name: str, array: Array) -> None:
    """Put other values into a stored tensor of a model.

    Raises
    ------
    TensorError
        If the model stores none of that name.
    """
    import onnx

    made = onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(made)
            return
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            next(item for item in node.attribute if item.name == "value").t.CopyFrom(made)
            return
    raise TensorError("is no stored tensor of the model", tensor=name)


def _edge(layer: LayerNode) -> str:
    """Name of a layer's activations after the change."""
    return f"{layer.node.output[0]}/activations"


def _reading_its_edge(layer: LayerNode) -> Any:
    import onnx

    node = onnx.NodeProto()
    node.CopyFrom(layer.node)
    node.input[layer.place] = _edge(layer)
    return node


def _constants(model: Any, path: Path, wanted: set[str]) -> dict[str, Array]:
    """Read stored tensors that no stage reads from a session: of layers that are computed, and outputs."""
    import onnx

    folder = str(path.parent)
    return {
        tensor.name: np.asarray(onnx.numpy_helper.to_array(tensor, folder))
        for tensor in model.graph.initializer
        if tensor.name in wanted
    }


# -- sessions ----------------------------------------------------------------------------------


class _Stage:
    """A part of a model, with a session that is made when its inputs' types are known: in the first run."""

    def __init__(self, path: Path, model: Any, part: _Part, optimised: bool) -> None:
        self.part = part
        self._path, self._model, self._optimised = path, model, optimised
        self._session: Any = None

    def run(self, values: dict[str, Any]) -> dict[str, Array]:
        """Run the part on the values that it needs, of all that there are."""
        if not self.part.outputs:
            return {}
        feeds = {name: values[name] for name in self.part.inputs}
        if self._session is None:
            self._session = self._made(feeds)
        return dict(zip(self.part.outputs, self._session.run(self.part.outputs, feeds), strict=True))

    def _made(self, feeds: dict[str, Any]) -> Any:
        import onnx

        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnx") from error
        whole = self._model
        # From version 4 on, stored tensors need not be inputs.
        model = onnx.ModelProto(ir_version=max(4, whole.ir_version), opset_import=whole.opset_import)
        graph = model.graph
        graph.name = "stage"
        graph.node.extend(self.part.nodes)
        read = {name for node in self.part.nodes for name in reads(node)}
        graph.initializer.extend(t for t in whole.graph.initializer if t.name in read)
        graph.sparse_initializer.extend(t for t in whole.graph.sparse_initializer if t.values.name in read)
        kind = onnx.helper.np_dtype_to_tensor_dtype
        for name, x in feeds.items():
            if not isinstance(x, np.ndarray):
                raise TensorError(f"can't be cut: {name!r} is no tensor, but {type(x).__name__}")
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind(x.dtype), [None] * x.ndim))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.part.outputs)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if not self._optimised:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Every session has its threads; those that have no work must not keep the cores busy.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(self._path.parent.resolve())
        )
        content = model.SerializeToString()
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
