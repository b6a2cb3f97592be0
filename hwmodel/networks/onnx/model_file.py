"""Reading ONNX models, and running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitxcore.errors import DumpError, MissingExtraError

_RECURRENT = ("LSTM", "GRU", "RNN")


def read_model(path: Path) -> Any:
    """Read an ONNX model: functions inlined, external weights left where they are.

    A recurrent node that gives its last state only is given a name for the sequence as well, which
    changes nothing but lets a trace see it.

    Raises
    ------
    DumpError
        If the file can't be read or is no ONNX model.
    MissingExtraError
        If the package onnx is missing.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise DumpError(f"can't be read: {error.strerror}", path=path) from error
    except (DecodeError, ValueError) as error:
        raise DumpError(f"is no ONNX model: {error}", path=path) from error
    if not model.graph.node:
        raise DumpError("is no ONNX model: its graph has no nodes", path=path)
    if model.functions:
        from onnx import inliner

        model = inliner.inline_local_functions(model)
    for node in model.graph.node:
        if node.op_type in _RECURRENT and node.output and not node.output[0]:
            node.output[0] = f"{next(filter(None, node.output))}.sequence"
    return model


def run_graph(
    path: Path, model: Any, wanted: Sequence[str], feeds: Mapping[str, Any], *, optimised: bool = True
) -> list[Any]:
    """Run a model with ONNX Runtime and return some of its outputs.

    Parameters
    ----------
    path : pathlib.Path
        Where it was read from; external weights lie beside it.
    model : onnx.ModelProto
    wanted : sequence of str
        Outputs of its graph.
    feeds : mapping of str to ndarray
        Its inputs.
    optimised : bool
        Whether operators may be fused; if not, a value does not depend on which others are outputs.

    Raises
    ------
    MissingExtraError
        If onnxruntime is missing.
    Exception
        Whatever ONNX Runtime raises.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.parent.resolve())
    )
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(list(wanted), feeds))
