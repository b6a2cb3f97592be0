"""Networks as records: ordered layers, where their weights are, and what is not simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bitxcore.dumps.onnx_weights import AsStored, Recipe, evaluate, sources
from bitxcore.errors import TensorError
from bitxcore.groups import Layout
from bitxcore.showing import table_repr
from hwmodel.networks.graph_operands import GraphOperand
from hwmodel.networks.layers import Layer


@dataclass(frozen=True)
class NotSimulated:
    """Operators of one kind that are no layers here.

    Parameters
    ----------
    operation : str
        Operator type, or the name of what was left out.
    count : int
    reason : str
    multiplies : bool
        Whether multiply-accumulates are missing from the totals because of it.
    """

    operation: str
    count: int
    reason: str
    multiplies: bool = False


@dataclass(frozen=True)
class NetworkLayer:
    """A layer and its weights' place in a dump.

    Parameters
    ----------
    layer : Layer
    weight : str, optional
        Tensor's name; None where there are none, or where they were not found.
    layout : Layout
        Where the stored tensor, or what `recipe` makes of it, has its output channel (of one matrix, if
        `index` is given).
    index : int, optional
        Which matrix of a stack: all but the last two dimensions counted together.
    weight_missing : str, optional
        Why a layer that has weights names no tensor.
    notes : tuple of str
        Assumptions about this layer, shown with its results.
    reads : tuple of GraphOperand
        Values of an ONNX graph that are its activations, for traces.
    recipe : Recipe, optional
        How the weights are made of stored tensors, where they are not one as it is; `weight` is the first.
    """

    layer: Layer
    weight: str | None = None
    layout: Layout = field(default_factory=Layout)
    index: int | None = None
    weight_missing: str | None = None
    notes: tuple[str, ...] = ()
    reads: tuple[GraphOperand, ...] = field(default=(), compare=False, repr=False)
    recipe: Recipe | None = field(default=None, compare=False, repr=False)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all tensors that the weights are made of."""
        if self.recipe is not None:
            return sources(self.recipe)
        return () if self.weight is None else (self.weight,)

    @property
    def place(self) -> tuple[object, ...]:
        """What tells apart layers of other weights; equal for those that share them."""
        return (self.weight, self.index, None if self.recipe is None else id(self.recipe))

    def turn(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Bring the stored tensor, or what is made of it, into the layer's `weight_shape`.

        Raises
        ------
        TensorError
            If it has other dimensions.
        """
        if self.index is not None:
            if stored.ndim < 3:
                raise TensorError(
                    f"layer {self.layer.name!r} takes one of a stack of matrices,"
                    f" but the shape is {stored.shape}",
                    tensor=self.weight,
                    value=stored.shape,
                )
            stored = stored.reshape(-1, *stored.shape[-2:])[self.index]
        if stored.ndim == 0:
            raise TensorError("a 0-d tensor can't be the weights of a layer", tensor=self.weight)
        shape, layout = self.layer.weight_shape, self.layout
        if layout.conv_groups > 1 and (
            stored.ndim < 2 or stored.shape[layout.channel_axis or 0] % layout.conv_groups
        ):
            raise TensorError(
                f"shape {stored.shape} has no {layout.conv_groups} groups",
                tensor=self.weight,
                value=stored.shape,
            )
        turned = layout.turn(stored) if stored.ndim > 1 else stored.reshape(1, -1)
        flat = self.layer.operation == "linear" and turned.size == self.layer.parameters
        if turned.shape == shape or (flat and turned.shape[0] == shape[0]):
            return turned
        raise TensorError(
            f"layer {self.layer.name!r} needs weights of shape {shape}"
            f" (output channel first), the tensor gives {turned.shape}",
            tensor=self.weight,
            value=turned.shape,
        )

    def read(self, tensors: Mapping[str, Any]) -> npt.NDArray[Any] | None:
        """Read the weights, output channel first; None if `tensors` has none for this layer."""
        if self.weight is None or not all(name in tensors for name in self.tensors):
            return None
        return self.turn(evaluate(self.recipe or AsStored(self.weight), tensors))


@dataclass(frozen=True)
class Network:
    """Layers in the order in which they run.

    Parameters
    ----------
    name : str
    layers : tuple of NetworkLayer
    source : str
        The publication or file that the shapes come from.
    path : pathlib.Path, optional
        Dump that holds the weights, if the network came with one.
    not_simulated : tuple of NotSimulated
    other_parameters : int
        Trained values that no layer multiplies by (biases, normalisation), if known.
    notes : tuple of str
        Assumptions, shown with results.
    input_sizes : mapping of str to tuple of int
        Shapes of an ONNX graph's inputs, as the layers' sizes follow from them.

    Raises
    ------
    TensorError
        If two layers have one name.

    Examples
    --------
    >>> from hwmodel import Linear
    >>> layers = (NetworkLayer(Linear("fc1", 8, 4)), NetworkLayer(Linear("fc2", 4, 2)))
    >>> network = Network("two layers", layers, source="an example")
    >>> [layer.name for layer in network], network.parameters
    (['fc1', 'fc2'], 40)
    """

    name: str
    layers: tuple[NetworkLayer, ...]
    source: str
    path: Path | None = None
    not_simulated: tuple[NotSimulated, ...] = ()
    other_parameters: int = 0
    notes: tuple[str, ...] = ()
    input_sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        names = [e.layer.name for e in self.layers]
        twice = next((n for n in names if names.count(n) > 1), None) if len(set(names)) < len(names) else None
        if twice is not None:
            raise TensorError(f"network {self.name!r} has two layers called {twice!r}", value=twice)

    def __repr__(self) -> str:
        names = ("name", "operation", "macs", "parameters")
        rows = ({name: getattr(layer, name) for name in names} for layer in self)
        head = f"Network: {self.name}, {len(self)} layers, {self.macs:,} MACs, {self.parameters:,} weights"
        return table_repr(head, rows, f"source: {self.source}")

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return (e.layer for e in self.layers)

    @property
    def parameters(self) -> int:
        """Weights of all layers; a tensor that several layers share counts once."""
        own = sum(e.layer.parameters for e in self.layers if e.weight is None)
        shared = {e.place: e.layer.parameters for e in self.layers if e.weight is not None}
        return own + sum(shared.values())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(e.layer.macs for e in self.layers)
