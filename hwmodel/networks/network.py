"""Networks as records: ordered layers, where their weights are, and what is not simulated."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.checks import shown
from bitxcore.dumps.onnx_weights import AsStored, Recipe, evaluate, sources
from bitxcore.errors import OptionError, TensorError
from bitxcore.groups import Layout
from bitxcore.showing import table_repr
from hwmodel.networks.graph_operands import GraphOperand
from hwmodel.networks.layers import Layer
from hwmodel.networks.table_files import NO_TENSOR, save_table


@dataclass(frozen=True)
class NotSimulated:
    """Operators of one kind that are not simulated as layers.

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
        How the weights are computed from stored tensors, where they are not one unchanged tensor; `weight`
        is the first of these.
    places : Recipe, optional
        How the elements of these tensors are moved, whatever happens to their values.
    """

    layer: Layer
    weight: str | None = None
    layout: Layout = field(default_factory=Layout)
    index: int | None = None
    weight_missing: str | None = None
    notes: tuple[str, ...] = ()
    reads: tuple[GraphOperand, ...] = field(default=(), compare=False, repr=False)
    recipe: Recipe | None = field(default=None, compare=False, repr=False)
    places: Recipe | None = field(default=None, compare=False, repr=False)

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

    def real_weights(self, tensors: Mapping[str, Any]) -> npt.NDArray[np.float64] | None:
        """Read what integers represent, scales applied, as `read` has them; None if no integers do.

        Parameters
        ----------
        tensors : Dump or mapping
            Only a dump knows what its integers represent.
        """
        if self.weight is None:
            return None
        first: Any = tensors.get(self.weight)
        encoding = getattr(first, "encoding", None)
        if encoding is not None and encoding.shape != first.shape:  # several codes in a byte
            return self.turn(encoding.weights(first.read()))
        names = sources(self.places) if self.places else self.tensors
        real = {}
        for name in names:
            encoding = getattr(tensors.get(name), "encoding", None)
            if encoding is None:
                return None
            real[name] = encoding.weights(tensors[name].read())
        return self.turn(evaluate(self.places or AsStored(self.weight), real))


@dataclass(frozen=True, init=False)
class Network:
    """Layers in the order in which they run.

    Parameters
    ----------
    name : str
    layers : iterable of NetworkLayer or Layer
        Kept as a tuple of NetworkLayer; a bare layer names no tensor.
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
    held : object, optional
        Object that must exist as long as the network, for example a temporary file at `path`.

    Raises
    ------
    TensorError
        If two layers have one name.
    OptionError
        If `layers` holds anything else.

    Examples
    --------
    >>> from hwmodel import Linear
    >>> network = Network("two layers", [Linear("fc1", 8, 4), Linear("fc2", 4, 2)], source="an example")
    >>> [layer.name for layer in network], network.parameters
    (['fc1', 'fc2'], 40)
    """

    name: str
    layers: tuple[NetworkLayer, ...]
    source: str
    path: Path | None
    not_simulated: tuple[NotSimulated, ...]
    other_parameters: int
    notes: tuple[str, ...]
    input_sizes: Mapping[str, tuple[int, ...]] = field(compare=False, repr=False)
    held: object = field(compare=False, repr=False)

    def __init__(
        self,
        name: str = "network",
        layers: Iterable[NetworkLayer | Layer] = (),
        source: str = "",
        path: Path | None = None,
        not_simulated: Iterable[NotSimulated] = (),
        other_parameters: int = 0,
        notes: Iterable[str] = (),
        input_sizes: Mapping[str, tuple[int, ...]] | None = None,
        held: object = None,
    ) -> None:
        given = {
            "name": name,
            "layers": tuple(_entry(layer) for layer in layers),
            "source": source,
            "path": path,
            "not_simulated": tuple(not_simulated),
            "other_parameters": other_parameters,
            "notes": tuple(notes),
            "input_sizes": {} if input_sizes is None else input_sizes,
            "held": held,
        }
        for field_name, value in given.items():
            object.__setattr__(self, field_name, value)
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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a table, which `hwmodel.load_network` reads back as an equal network.

        The layers are written, and the names of their tensors, not where the tensors are: a network that is
        read back has no `path`. Weights that a graph makes of several tensors, or of codes, have no name.

        Raises
        ------
        OptionError
            If the name does not end in ``.json``.
        BitxError
            If the file can't be written.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> import hwmodel as hw
        >>> network = hw.Network(layers=[hw.Linear("fc1", 8, 4), hw.Linear("fc2", 4, 2)])
        >>> with TemporaryDirectory() as folder:
        ...     network.save(f"{folder}/mine.json")
        ...     hw.load_network(f"{folder}/mine.json") == network
        True
        """
        save_table(self, path)


def _entry(given: NetworkLayer | Layer) -> NetworkLayer:
    if isinstance(given, NetworkLayer):
        return given
    if isinstance(given, Layer):
        return NetworkLayer(given, weight_missing=NO_TENSOR if given.has_weights else None)
    raise OptionError(
        f"layers of a network are layers (hwmodel.Conv, hwmodel.Linear, ...), got {shown(given)}"
    )
