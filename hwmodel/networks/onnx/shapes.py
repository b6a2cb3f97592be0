"""Shapes of a graph's values: inferred, or read off a run on zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bitxcore.errors import MissingExtraError, TensorError
from hwmodel.networks.onnx.model_file import run_graph

TensorShape = tuple[int, ...]


def infer(path: Path, model: Any) -> Any:
    """Return the model with the shapes that ONNX infers from its inputs'."""
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise TensorError(f"shapes can't be inferred at these input sizes: {text}", path=path) from error


def written(graph: Any) -> dict[str, TensorShape]:
    """Shapes that stand in the graph whole: of inputs, of values between its nodes, of outputs."""
    return {
        value.name: tuple(d.dim_value for d in tensor.shape.dim)
        for value in [*graph.input, *graph.value_info, *graph.output]
        for tensor in [value.type.tensor_type]
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim)
    }


def run_on_zeros(
    path: Path, model: Any, wanted: Sequence[str], inputs: Mapping[str, TensorShape]
) -> dict[str, TensorShape]:
    """Run a model once on zeros, and read off shapes.

    Parameters
    ----------
    path : pathlib.Path
        Where it was read from.
    model : onnx.ModelProto
    wanted : sequence of str
        Values.
    inputs : mapping of str to tuple of int
        Shapes of its inputs.

    Raises
    ------
    TensorError
        If the run fails.
    MissingExtraError
        If onnxruntime is missing.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    outputs = {o.name for o in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=n) for n in wanted if n not in outputs)
    zeros = {}
    for value in copy.graph.input:
        if value.name in inputs:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            zeros[value.name] = np.zeros(inputs[value.name], dtype)
    try:
        found = run_graph(path, copy, wanted, zeros)
    except MissingExtraError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no base but Exception.
        text = " ".join(str(error).split())
        raise TensorError(f"no shape for {wanted[0]!r}: a run on zeros fails: {text}", path=path) from error
    return {name: tuple(x.shape) for name, x in zip(wanted, found, strict=True)}
