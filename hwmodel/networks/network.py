"""Networks: ordered layers, where their weights are, and what is not simulated.

A network comes from a table of ``data/networks``, from an ONNX graph, or from a dump alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import DumpError, TensorError
from bitxcore.formats import supported
from bitxcore.groups import Layout
from hwmodel.networks.graph_operands import GraphOperand
from hwmodel.networks.layers import OPERATIONS, Layer, Linear

if TYPE_CHECKING:
    from bitxcore.dumps.base import Dump

TABLE_VERSION = 1

NO_TENSOR = "the table names no tensor"
"""Why a table's layer has no weights, where a public state dict with names everybody uses is missing."""


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
        Where the stored tensor has its output channel (of one matrix, if `index` is given).
    index : int, optional
        Which matrix of a stack: all but the last two dimensions counted together.
    weight_missing : str, optional
        Why a layer that has weights names no tensor.
    notes : tuple of str
        Assumptions about this layer, shown with its results.
    reads : tuple of GraphOperand
        Values of an ONNX graph that are its activations, for traces.
    """

    layer: Layer
    weight: str | None = None
    layout: Layout = field(default_factory=Layout)
    index: int | None = None
    weight_missing: str | None = None
    notes: tuple[str, ...] = ()
    reads: tuple[GraphOperand, ...] = field(default=(), compare=False, repr=False)

    def turn(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Bring the stored tensor into the layer's `weight_shape`.

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
                )
            stored = stored.reshape(-1, *stored.shape[-2:])[self.index]
        if stored.ndim == 0:
            raise TensorError("a 0-d tensor can't be the weights of a layer", tensor=self.weight)
        shape, layout = self.layer.weight_shape, self.layout
        if layout.conv_groups > 1 and (stored.ndim < 2 or stored.shape[0] % layout.conv_groups):
            raise TensorError(f"shape {stored.shape} has no {layout.conv_groups} groups", tensor=self.weight)
        turned = layout.turn(stored) if stored.ndim > 1 else stored.reshape(1, -1)
        flat = self.layer.operation == "linear" and turned.size == self.layer.parameters
        if turned.shape == shape or (flat and turned.shape[0] == shape[0]):
            return turned
        raise TensorError(
            f"layer {self.layer.name!r} needs weights of shape {shape}"
            f" (output channel first), the tensor gives {turned.shape}",
            tensor=self.weight,
        )

    def read(self, tensors: Mapping[str, Any]) -> npt.NDArray[Any] | None:
        """Read the weights, output channel first; None if `tensors` has none for this layer."""
        if self.weight is None or self.weight not in tensors:
            return None
        return self.turn(np.asarray(tensors[self.weight]))


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
    """

    name: str
    layers: tuple[NetworkLayer, ...]
    source: str
    path: Path | None = None
    not_simulated: tuple[NotSimulated, ...] = ()
    other_parameters: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [e.layer.name for e in self.layers]
        twice = next((n for n in names if names.count(n) > 1), None) if len(set(names)) < len(names) else None
        if twice is not None:
            raise TensorError(f"network {self.name!r} has two layers called {twice!r}")

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return (e.layer for e in self.layers)

    @property
    def parameters(self) -> int:
        """Weights of all layers; a tensor that several layers share counts once."""
        own = sum(e.layer.parameters for e in self.layers if e.weight is None)
        shared = {(e.weight, e.index): e.layer.parameters for e in self.layers if e.weight is not None}
        return own + sum(shared.values())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(e.layer.macs for e in self.layers)


def load_network(
    source: str | PathLike[str],
    *,
    input_size: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Network:
    """Load a network by name, or from a file.

    Parameters
    ----------
    source : str or path
        One of `network_names`; or a path that ends in ``.onnx`` or ``.json`` (a table).
    input_size : tuple of int, or mapping of input name to tuple of int, optional
        Shape of an ONNX graph's input, batch included.
    sizes : mapping of str to int, optional
        Values of an ONNX graph's named dynamic dimensions. An open batch (axis 0) is 1, and noted.

    Returns
    -------
    Network

    Raises
    ------
    DumpError
        If the file is missing or damaged.
    TensorError
        If a name is unknown, or a dynamic dimension has no size (the message names it).
    MissingExtraError
        If the package onnx is needed and missing.
    """
    path = Path(source)
    if path.suffix == ".onnx":
        from hwmodel.networks.onnx import network_from_onnx

        return network_from_onnx(path, input_size=input_size, sizes=sizes)
    if input_size is not None or sizes is not None:
        raise TensorError(f"{fspath(source)}: input_size and sizes are for ONNX graphs only")
    if path.suffix == ".json":
        return _read_table(path)
    if str(source) in network_names():
        return _read_table(_tables() / f"{source}.json")
    known = ", ".join(network_names())
    raise TensorError(f"network {str(source)!r} is neither a file (.onnx, .json) nor one of {known}")


def network_names() -> list[str]:
    """Names of the tables in ``data/networks``, sorted."""
    return sorted(p.stem for p in _tables().glob("*.json"))


def network_from_dump(
    dump: Dump, *, positions: int = 1, exclude: Sequence[str] = (), name: str | None = None
) -> Network:
    """Make a network of a dump that tells no shapes but its tensors'.

    Each weight tensor becomes a `Linear` layer of the same number of positions, an assumption
    that results repeat. Where the container can't tell weights apart, every tensor of two or
    more dimensions counts as weights.

    Parameters
    ----------
    dump : Dump
    positions : int
        Output positions of every layer.
    exclude : sequence of str
        Patterns (as in `fnmatch`) of tensors that are no layers, e.g. ``"*embeddings*"``.
    name : str, optional
        By default the file's.
    """
    layers: list[NetworkLayer] = []
    left_out: dict[str, list[str]] = {}
    for tensor in dump.values():
        if tensor.ndim == 0 or tensor.is_weight is False or (tensor.is_weight is None and tensor.ndim < 2):
            reason = "no weights of a layer"
        elif any(fnmatchcase(tensor.name, pattern) for pattern in exclude):
            reason = "excluded by name"
        elif not supported(tensor.dtype):
            reason = f"dtype {tensor.dtype} has no number format"
        elif not tensor.size:
            reason = "empty"
        else:
            axis = tensor.layout.filter_axis if tensor.ndim > 1 else None
            if tensor.layout.conv_groups > 1:
                filters = tensor.shape[1] * tensor.layout.conv_groups
            else:
                filters = 1 if axis is None else tensor.shape[axis]
            linear = Linear(
                tensor.name, in_features=tensor.size // filters, out_features=filters, positions=positions
            )
            layers.append(NetworkLayer(linear, tensor.name, tensor.layout))
            continue
        left_out.setdefault(reason, []).append(tensor.name)
    return Network(
        name=name or dump.path.stem,
        layers=tuple(layers),
        source=str(dump.path),
        path=dump.path,
        not_simulated=tuple(NotSimulated("tensor", len(n), r) for r, n in left_out.items()),
        notes=(
            f"no layer shapes: {positions} output position(s) assumed for every weight tensor,"
            " all filters of a tensor taken to share their activations",
        ),
    )


def _tables() -> Path:
    """Folder of the tables: package data when installed, the checkout's otherwise."""
    spec = find_spec("bitxdata")
    for root in (spec.submodule_search_locations or []) if spec else []:
        if (Path(root) / "networks").is_dir():
            return Path(root) / "networks"
    return Path(__file__).resolve().parents[1] / "data" / "networks"


def network_to_table(network: Network) -> dict[str, Any]:
    """Return the JSON object that `load_network` reads back."""
    layers = []
    for entry in network.layers:
        layer = entry.layer
        row: dict[str, Any] = {"operation": layer.operation}
        row |= {f.name: getattr(layer, f.name) for f in fields(layer) if getattr(layer, f.name) != f.default}
        if entry.weight is not None:
            row["weight"] = entry.weight
        if entry.layout != Layout():
            row["layout"] = {f.name: getattr(entry.layout, f.name) for f in fields(entry.layout)}
        layers.append(row)
    return {
        "version": TABLE_VERSION,
        "name": network.name,
        "source": network.source,
        "other_parameters": network.other_parameters,
        "notes": list(network.notes),
        "not_simulated": [{f.name: getattr(n, f.name) for f in fields(n)} for n in network.not_simulated],
        "layers": layers,
    }


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _read_table(path: Path) -> Network:
    try:
        table = json.loads(path.read_bytes())
    except OSError as error:
        raise DumpError(f"can't be read: {error.strerror}", path=path) from error
    except ValueError as error:
        raise DumpError(f"is not JSON: {error}", path=path) from error
    try:
        if table["version"] != TABLE_VERSION:
            raise DumpError(
                f"table version {table['version']!r}, this release reads {TABLE_VERSION}", path=path
            )
        layers = []
        for row in table["layers"]:
            row = dict(row)
            weight, layout = row.pop("weight", None), Layout(**row.pop("layout", {}))
            operation = row.pop("operation")
            if operation not in OPERATIONS:
                raise DumpError(f"operation {operation!r} is none of {', '.join(OPERATIONS)}", path=path)
            layer = OPERATIONS[operation](**{k: _tuples(v) for k, v in row.items()})
            missing = NO_TENSOR if weight is None and layer.has_weights else None
            layers.append(NetworkLayer(layer, weight, layout, weight_missing=missing))
        return Network(
            name=table["name"],
            layers=tuple(layers),
            source=table["source"],
            not_simulated=tuple(NotSimulated(**n) for n in table["not_simulated"]),
            other_parameters=table["other_parameters"],
            notes=tuple(table["notes"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DumpError(f"is no table of a network: {error}", path=path) from error
    except TensorError as error:
        raise DumpError(f"{error}", path=path) from error
