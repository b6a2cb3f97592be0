"""Write an ONNX graph node by node, and the file with its recipe: what recipes of sample networks share."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import checker, helper, numpy_helper

from bitxcore.files import atomic_file

if TYPE_CHECKING:
    import onnx

MADE_WITH = ("torch", "scikit-learn", "numpy", "onnx", "onnxruntime")


class GraphWriter:
    """Nodes and initializers of a graph in the order in which they run; a node's name is its layer's."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        """Add an initializer of this name, unless it is there, and return the name."""
        array = np.ascontiguousarray(values)
        self.initializers.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def node(
        self, op: str, inputs: list[str], name: str, output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node with one output, which is returned: ``name.output`` if it has no name of its own."""
        output = output or f"{name}.output"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def model(
        self,
        name: str,
        inputs: list[onnx.ValueInfoProto],
        outputs: list[onnx.ValueInfoProto],
        *,
        opset: int,
        ir_version: int,
    ) -> onnx.ModelProto:
        """Put the graph into a model."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, list(self.initializers.values()))
        imports = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, producer_name="bitx")


def outputs_of(model: bytes, inputs: npt.NDArray[Any], batch: int = 32) -> list[npt.NDArray[Any]]:
    """Run a model of one input in ONNX Runtime on one thread of the CPU, a batch at a time."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: inputs[at : at + batch]}) for at in range(0, len(inputs), batch)]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def write(model: onnx.ModelProto, recipe: Mapping[str, str], path: Path) -> None:
    """Check the model and write it whole or not at all, with its recipe, versions and date as metadata."""
    made = {package: version(package) for package in MADE_WITH} | {"python": platform.python_version()}
    record = {
        **recipe,
        "versions": json.dumps(made),
        "date": datetime.now(UTC).date().isoformat(),
        "license": "MIT",
    }
    helper.set_model_props(model, record)
    checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
