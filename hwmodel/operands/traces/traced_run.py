"""A model that runs for any of its values, in slices of layers, and hands each layer's over.

A slice's inputs become the outputs of the graph, ONNX Runtime runs, and every array is let go as soon as it
is dealt with: memory is bounded by the slice, whatever the depth of the model, and time is one run per slice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bitxcore.errors import BitxError, DumpError, OptionError, TensorError
from hwmodel.networks.graph_operands import FIRST, GraphOperand, without_zero_point
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.operands.operands import activation_shape

SLICE_BYTES = 1 << 28


class HasNetwork(Protocol):
    """A workload, as far as this package knows it."""

    @property
    def network(self) -> Network:
        """Whose layers are traced."""


class TakesLayers(Protocol):
    """What is done with the values of a layer."""

    def record(self, entry: NetworkLayer, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take one layer's values, by their names in the graph."""


def file_of_model(
    model: str | os.PathLike[str] | Network | HasNetwork,
) -> tuple[Path, Mapping[str, Sequence[int]] | None]:
    """Find the file of a model, and the input sizes that a loaded one has."""
    if isinstance(model, (str, os.PathLike)):
        return Path(model), None
    network = model if isinstance(model, Network) else model.network
    if network.path is None:
        raise OptionError(f"network {network.name!r} comes from no file: only ONNX models can be traced")
    return network.path, network.input_sizes or None


def check_model(path: Path, slice_bytes: int) -> None:
    """Raise unless a model can be run in slices of that size."""
    if path.suffix != ".onnx":
        raise DumpError("only ONNX models can be traced (.onnx)", path=path)
    if isinstance(slice_bytes, bool) or not isinstance(slice_bytes, int) or slice_bytes < 1:
        raise OptionError(
            f"slice_bytes must be an integer of at least 1, got {slice_bytes!r}", value=slice_bytes
        )


def slices_of(layers: Sequence[NetworkLayer], slice_bytes: int) -> Iterator[list[NetworkLayer]]:
    """Cut the layers into runs of consecutive ones, by the bytes of their inputs as float32."""
    part: list[NetworkLayer] = []
    size = 0
    for entry in layers:
        nbytes = 4 * entry.layer.input_count
        if part and size + nbytes > slice_bytes:
            yield part
            part, size = [], 0
        part.append(entry)
        size += nbytes
    if part:
        yield part


class TracedRun:
    """A model, ready to run for any of its values."""

    def __init__(
        self, path: Path, shapes: Mapping[str, Sequence[int]], feeds: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        from hwmodel.networks.onnx import decide_branches, forget_shapes, read_model, set_input_sizes

        self.path = path
        self.feeds = feeds
        model = read_model(path)
        set_input_sizes(path, model, shapes, {})
        # Values of a branch that runs become values of the graph, as the layers name them.
        self.model = decide_branches(path, model, feeds)
        forget_shapes(self.model.graph)
        del self.model.graph.value_info[:]

    def record(self, part: Sequence[NetworkLayer], recorder: TakesLayers) -> None:
        """Run the model for the inputs of some layers and hand them over, layer by layer."""
        wanted = dict.fromkeys(
            name for entry in part for read in entry.reads if not read.unrecorded for name in read.names
        )
        values = self._values(list(wanted))
        left = [name for entry in part for read in entry.reads for name in read.names]
        for entry in part:
            recorder.record(entry, values)
            for read in entry.reads:
                for name in read.names:
                    left.remove(name)
                    if name not in left:
                        values.pop(name, None)

    def _values(self, names: list[str]) -> dict[str, npt.NDArray[Any]]:
        import onnx

        from hwmodel.networks.onnx import run_graph

        if not names:
            return {}
        del self.model.graph.output[:]
        self.model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        try:
            found = run_graph(self.path, self.model, names, self.feeds, optimised=False)
        except BitxError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no base but Exception.
            text = " ".join(str(error).split())
            raise TensorError(f"does not run on these inputs: {text}", path=self.path) from error
        return dict(zip(names, map(np.asarray, found), strict=True))


def arranged_operand(
    entry: NetworkLayer, read: GraphOperand, values: Mapping[str, npt.NDArray[Any]]
) -> npt.NDArray[Any] | str:
    """Bring an operand into its layer's shape; or say why that is not possible."""
    arrays = [values[name] for name in read.values]
    if read.zero_point:
        zero_point = values[read.zero_point]
        if zero_point.size != 1:
            return "one zero point per row"
        arrays[0] = without_zero_point(arrays[0], zero_point.reshape(()))
    if any(x.dtype.kind not in "fiu" for x in arrays):
        return f"values of dtype {arrays[0].dtype}"
    layer = entry.layer
    needed = activation_shape(layer) if read.operand == FIRST else None
    try:
        found = read.arrange(*arrays)
    except ValueError:
        found = None
    if found is None or (needed is not None and (prod(needed) != found.size)):
        return f"its shape {arrays[0].shape} is not the one that was found for the layer before the run"
    if not (finite := np.isfinite(found)).all():
        index = int(np.argmin(finite))
        value = found.reshape(-1)[index]
        raise TensorError(
            f"{read.operand}: {value} at flat index {index}", layer=layer.name, index=index, value=value
        )
    return found if needed is None else found.reshape(needed)
