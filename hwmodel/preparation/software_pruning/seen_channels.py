"""What calibration samples make of channels: the values behind the layers that write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import BitxError, DumpError, TensorError
from hwmodel.evaluation.runners.layer_nodes import SPATIAL, LayerNode, layer_nodes
from hwmodel.networks.onnx import decide_branches, graph_inputs, read_model, run_graph
from hwmodel.networks.onnx.bodies import bodies
from hwmodel.networks.onnx.graph import Graph
from hwmodel.preparation.software_pruning.channel_candidates import ChannelCandidate

Array = npt.NDArray[Any]

ACTIVATIONS = (
    "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Sigmoid", "HardSigmoid",
    "HardSwish", "Swish", "Mish", "Softplus", "Softsign", "Tanh", "Gelu", "Erf",
)  # fmt: skip
"""Operators that end the way from a layer to its activations."""

PASSED = ("BatchNormalization", "Add", "Sub", "Mul", "Div", "Identity", "Dropout", "Cast")
"""Operators on that way, which work channel by channel."""

MOST_SAMPLES = 4
"""That run at once, where a model leaves the batch open: all values behind layers are then in memory."""


class SeenChannels:
    """A model that is run for the activations of its layers.

    The value behind a layer is what its next activation function gives; where there is none before the
    channels are read by several operators, or by another layer, it is what these read.

    Parameters
    ----------
    path : pathlib.Path
        ONNX.
    tensors : collection of str
        Weights whose layers are seen.

    Raises
    ------
    TensorError
        If the model has layers in bodies of control flow.
    """

    def __init__(self, path: Path, tensors: Sequence[str]) -> None:
        self._path = path
        proto = read_model(path)
        if any(bodies(node) for node in proto.graph.node):
            proto = decide_branches(path, proto, {})
        graph = Graph(path, proto)
        self._proto = graph.model
        self._readers: dict[str, list[Any]] = {}
        for node in graph.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        wanted = set(tensors)
        self._behind: dict[str, list[tuple[str, int]]] = {}
        for layer in layer_nodes(graph, wanted):
            for name in wanted.intersection(layer.tensors):
                self._behind.setdefault(name, []).append((self._value_behind(layer), _channel_axis(layer)))
        self.batch_open = not any(
            sizes and isinstance(sizes[0], int)
            for name, sizes, _ in graph_inputs(proto)
            if name not in graph.stored
        )

    def of(self, tensor: str) -> list[tuple[str, int]]:
        """Values behind the layers of a tensor, and the axes of their channels."""
        return self._behind.get(tensor, [])

    def run(
        self,
        batches: Sequence[Mapping[str, Array]],
        wanted: Sequence[tuple[str, int]],
        reduce: Callable[[Array], Array],
    ) -> dict[str, Array]:
        """Run all samples and reduce each value, ``(samples, channels, positions)``, at once.

        Parameters
        ----------
        batches : sequence of mapping of str to ndarray
        wanted : sequence of (str, int)
            Values and the axes of their channels.
        reduce : callable
            To ``(samples, channels)``.

        Returns
        -------
        dict of str to ndarray
            Of all samples, by value.

        Raises
        ------
        DumpError
            If the model does not take the samples.
        TensorError
            If activations have a NaN or Inf.
        """
        import onnx

        axes = dict(wanted)
        names = list(axes)
        del self._proto.graph.output[:]
        self._proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        found: dict[str, list[Array]] = {name: [] for name in names}
        for feeds in self._parts(batches):
            for name, x in zip(names, self._values(names, feeds), strict=True):
                turned = np.moveaxis(x, axes[name], 1)
                found[name].append(reduce(turned.reshape(*turned.shape[:2], -1)))
        joined = {name: np.concatenate(parts) for name, parts in found.items()}
        for name, x in joined.items():
            if not np.isfinite(x).all():
                raise TensorError(f"activations {name!r} of the samples have a NaN or Inf", path=self._path)
        return joined

    def _parts(self, batches: Sequence[Mapping[str, Array]]) -> Iterator[dict[str, Array]]:
        for feeds in batches:
            counts = {x.shape[:1] for x in feeds.values()}
            if not self.batch_open or len(counts) > 1 or () in counts:
                yield dict(feeds)
                continue
            for start in range(0, counts.pop()[0], MOST_SAMPLES):
                yield {name: x[start : start + MOST_SAMPLES] for name, x in feeds.items()}

    def _values(self, names: list[str], feeds: dict[str, Array]) -> list[Array]:
        try:
            return list(run_graph(self._path, self._proto, names, feeds, optimised=False))
        except BitxError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no base but Exception.
            shown = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items())
            text = shorten(str(error), 200, placeholder=" …")
            raise DumpError(
                f"does not run on the samples: these are {shown}: {text}", path=self._path
            ) from error

    def _value_behind(self, layer: LayerNode) -> str:
        value: str = layer.node.output[0]
        while True:
            readers = self._readers.get(value, [])
            if len(readers) != 1 or readers[0].op_type not in (*PASSED, *ACTIVATIONS):
                return value
            value = readers[0].output[0]
            if readers[0].op_type in ACTIVATIONS:
                return value


def see_channels(
    path: Path,
    candidates: Sequence[ChannelCandidate],
    batches: Sequence[Mapping[str, Array]],
    reduce: Callable[[Array], Array],
) -> dict[str, str]:
    """Fill `seen` of channels: of each value behind a layer that writes them, once.

    Returns
    -------
    dict of str to str
        Reasons of spaces whose activations can't be seen.
    """
    seen = SeenChannels(path, [held.tensor for c in candidates for held in c.of_role("writer")])
    wanted = [value for c in candidates for held in c.of_role("writer") for value in seen.of(held.tensor)]
    found = seen.run(batches, wanted, reduce) if wanted else {}
    reasons = {}
    for channels in candidates:
        of_value: dict[str, Array] = {}
        for held in channels.of_role("writer"):
            for name, _ in seen.of(held.tensor):
                if name not in of_value and found[name].shape[1] > held.places.max():
                    of_value[name] = found[name][:, held.places].mean(axis=2)
        channels.seen.extend(of_value.values())
        if not of_value:
            reasons[channels.name] = "the activations behind it are not seen"
    return reasons


def _channel_axis(layer: LayerNode) -> int:
    if layer.node.op_type in SPATIAL:
        return -1 if layer.attributes.get("channels_last") else 1
    return -1 if layer.place == 0 else -2
