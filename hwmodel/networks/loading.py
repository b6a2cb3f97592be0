"""Networks by name, from a file or a module, or from a dump that tells no shapes but its tensors'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from os import PathLike
from typing import TYPE_CHECKING, Any

from bitxcore.checks import shown
from bitxcore.dumps.roles import no_weights
from bitxcore.errors import OptionError
from bitxcore.formats import supported
from bitxcore.remote.remote_path import as_path
from hwmodel.networks.layers import Linear
from hwmodel.networks.network import Network, NetworkLayer, NotSimulated
from hwmodel.networks.scale_sim import read_topology
from hwmodel.networks.tables import network_names, read_table, table_path
from hwmodel.networks.torch_export import is_module, network_from_module

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch.nn import Module

    from bitxcore.dumps.base import Dump


def load_network(
    source: str | PathLike[str] | Module,
    example_inputs: Any = None,
    *,
    input_size: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    sizes: Mapping[str, int] | None = None,
    inputs: Mapping[str, npt.ArrayLike] | None = None,
) -> Network:
    """Load a network by name, from a file, or from a module of PyTorch.

    Parameters
    ----------
    source : str, path or torch.nn.Module
        One of `network_names`; a path that ends in ``.onnx``, ``.json`` (a table) or ``.csv`` (a topology of
        SCALE-Sim); or a module, which is exported to a temporary ONNX file that lives as long as the network.
    example_inputs : tensor, tuple or mapping, optional
        Arguments with which a module is called: one, several, or named ones. The sizes of the layers follow
        from them.
    input_size : tuple of int, or mapping of input name to tuple of int, optional
        Shape of an ONNX graph's input, batch included.
    sizes : mapping of str to int, optional
        Values of an ONNX graph's named dynamic dimensions. An open batch (axis 0) is 1, and noted.
    inputs : mapping of str to array_like, optional
        Inputs of an ONNX graph whose values are known. They decide which branches run, how often loops run,
        and sizes that depend on values. Inputs that are not given are open; sizes that depend on them are
        those of a run on zeros.

    Returns
    -------
    Network

    Raises
    ------
    DumpError
        If the file is missing or damaged.
    OptionError
        If a name is unknown; if a dynamic dimension has no size (the message names it), or `input_size` or
        `sizes` gives a dimension that the graph does not have or a size that it does not take; if a module
        can't be exported; or if an option does not apply to the source.
    TensorError
        If layers do not go together.
    MissingExtraError
        If the package onnx is needed and missing.

    Examples
    --------
    >>> network = load_network("resnet18")
    >>> len(network), network.parameters, network.macs
    (21, 11678912, 1814073344)
    """
    options = {"input_size and sizes": sizes if input_size is None else input_size, "inputs": inputs}
    given = next((name for name, value in options.items() if value is not None), None)
    if is_module(source):
        if given is not None:
            raise OptionError(f"{given} are for ONNX graphs only; of a module, example_inputs says both")
        return network_from_module(source, example_inputs)
    if not isinstance(source, (str, PathLike)):
        raise OptionError(
            f"a network is a name, a path or a torch.nn.Module, got {shown(source)}", value=source
        )
    if example_inputs is not None:
        raise OptionError("example_inputs are for modules of PyTorch only", path=source)
    path = as_path(source)
    if path.suffix == ".onnx":
        from hwmodel.networks.onnx import network_from_onnx

        return network_from_onnx(path, input_size=input_size, sizes=sizes, inputs=inputs)
    if given is not None:
        raise OptionError(f"{given} are for ONNX graphs only", path=source)
    if path.suffix in _TABLES:
        return _TABLES[path.suffix](path)
    if str(source) in network_names():
        return read_table(table_path(str(source)))
    known = ", ".join(network_names())
    raise OptionError(
        f"network {shown(str(source))} is neither a file (.onnx, .json, .csv) nor one of {known}",
        value=str(source),
    )


_TABLES = {".json": read_table, ".csv": read_topology}
"""Readers of tables by the end of their names."""


def network_from_dump(
    dump: Dump, *, positions: int = 1, exclude: Sequence[str] = (), name: str | None = None
) -> Network:
    """Make a network of a dump from the shapes of its tensors alone.

    Each weight tensor becomes a `Linear` layer with the same number of positions. Results repeat this
    assumption. Where the container does not mark weights, every tensor of two or more dimensions counts as
    weights, except the state of optimisers and the scales of quantised weights.

    Parameters
    ----------
    dump : Dump
    positions : int
        Output positions of every layer.
    exclude : sequence of str
        Patterns (as in `fnmatch`) of tensors that are not layers, e.g. ``"*embeddings*"``.
    name : str, optional
        By default the file's.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from bitxcore import open_dump
    >>> with TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/small.npz", fc=np.ones((10, 64), np.float32))
    ...     with open_dump(f"{folder}/small.npz") as dump:
    ...         [layer.weight_shape for layer in network_from_dump(dump)]
    [(10, 64)]
    """
    layers: list[NetworkLayer] = []
    left_out: dict[str, list[str]] = {}
    for tensor in dump.values():
        if tensor.ndim == 0 or tensor.is_weight is False or (tensor.is_weight is None and tensor.ndim < 2):
            reason = "no weights of a layer"
        elif any(fnmatchcase(tensor.name, pattern) for pattern in exclude):
            reason = "excluded by name"
        elif tensor.is_weight is None and (said := no_weights(tensor.name, dump)):
            reason = said
        elif not supported(tensor.dtype):
            reason = f"dtype {tensor.dtype} has no number format"
        elif not tensor.size:
            reason = "empty"
        else:
            axis = tensor.layout.filter_axis if tensor.ndim > 1 else None
            if tensor.layout.conv_groups > 1:
                filters = tensor.shape[tensor.layout.filter_axis] * tensor.layout.conv_groups
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
