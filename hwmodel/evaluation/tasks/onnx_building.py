"""ONNX models of checkpoints: nodes added one by one, stored tensors under their own names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitxcore.errors import MissingExtraError


class OnnxBuilder:
    """Collects the nodes of a graph, and the tensors that they read.

    Parameters
    ----------
    stored : mapping of str to array
        Tensors of the checkpoint, and constants; of these, those are kept that a node reads.

    Raises
    ------
    MissingExtraError
        If onnx is missing.
    """

    def __init__(self, stored: Mapping[str, Any]) -> None:
        try:
            from onnx import helper
        except ImportError as error:
            raise MissingExtraError("onnx", "onnx") from error
        self._helper, self._stored = helper, stored
        self._nodes: list[Any] = []
        self._used: dict[str, Any] = {}

    def add(self, operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node, which is called like its output; return that name."""
        self._used.update({name: self._stored[name] for name in inputs if name in self._stored})
        self._nodes.append(self._helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def serialized(
        self,
        name: str,
        inputs: Mapping[str, tuple[int, Sequence[int | str]]],
        output: tuple[str, Sequence[int | str]],
        *,
        opset: int,
        ir_version: int,
    ) -> bytes:
        """Make the model.

        Parameters
        ----------
        name : str
            Of the graph.
        inputs : mapping of str to (int, sizes)
            ONNX's number of the type, and the sizes; a name where one is open.
        output : (str, sizes)
            Of float32.
        opset, ir_version : int

        Returns
        -------
        bytes
            The same for the same tensors, on every machine.
        """
        from onnx import numpy_helper

        typed = self._helper.make_tensor_value_info
        graph = self._helper.make_graph(
            self._nodes,
            name,
            [typed(key, kind, list(sizes)) for key, (kind, sizes) in inputs.items()],
            [typed(output[0], 1, list(output[1]))],
            [numpy_helper.from_array(np.asarray(array), key) for key, array in self._used.items()],
        )
        opsets = [self._helper.make_opsetid("", opset)]
        model = self._helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
        found: bytes = model.SerializeToString(deterministic=True)
        return found
