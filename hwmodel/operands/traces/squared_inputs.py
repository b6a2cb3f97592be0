"""Sums of the squares of what layers read, and the norms that weight tensors have by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch.selection import channel_first
from bitxcore.dumps.onnx_weights import AsStored, evaluate, sources
from bitxcore.errors import BitxError
from hwmodel.networks.graph_operands import FIRST
from hwmodel.networks.network import NetworkLayer
from hwmodel.operands.traces.recorded import NotRecorded
from hwmodel.operands.traces.traced_run import arranged_operand

if TYPE_CHECKING:
    from bitxcore.dumps import Dump


@dataclass(frozen=True, kw_only=True)
class TensorNorms:
    """What a weight tensor meets; a row of the table ``norms``.

    Attributes
    ----------
    tensor : str
    layers : int
        Layers that multiply by it.
    shape : tuple of int
        Of its norms, as `bitxcore.prune` takes them.
    values : int
        Activations that were squared, over all layers and samples.
    lowest, highest, mean : float
        Of the norms.
    """

    tensor: str
    layers: int
    shape: tuple[int, ...]
    values: int
    lowest: float
    highest: float
    mean: float


@dataclass
class _LayerSums:
    """Squares that a layer read, added up by input channel, and how many each sum has."""

    entry: NetworkLayer
    squares: npt.NDArray[np.float64]
    count: int = 0


class SquaredInputs:
    """Squares of all layers that have weights."""

    def __init__(self) -> None:
        self.layers: dict[str, _LayerSums] = {}
        self.failed: dict[str, str] = {}

    def record(self, entry: NetworkLayer, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add up one layer's input."""
        layer = entry.layer
        if not layer.has_weights or entry.weight is None:
            return
        read = next((read for read in entry.reads if read.operand == FIRST), None)
        found = "it is not known what it reads" if read is None else read.unrecorded
        if read is not None and not found:
            arranged = arranged_operand(entry, read, values)
            if not isinstance(arranged, str):
                self._add(entry, arranged)
                return
            found = arranged
        self.failed[layer.name] = found
        self.layers.setdefault(layer.name, _LayerSums(entry, np.zeros(0)))

    def _add(self, entry: NetworkLayer, x: npt.NDArray[Any]) -> None:
        """Add the squares of ``(batch, channels, *size)`` or ``(positions, channels)``."""
        layer = entry.layer
        channels = layer.conv_groups * layer.channels
        sums = self.layers.setdefault(layer.name, _LayerSums(entry, np.zeros(channels)))
        step = max(1, (1 << 20) // max(1, x[0].size))
        for start in range(0, len(x), step):
            part = x[start : start + step].astype(np.float64)
            np.square(part, out=part)
            sums.squares += part.reshape(len(part), channels, -1).sum(axis=(0, 2))
        sums.count += x.size // channels

    @property
    def missing(self) -> list[NotRecorded]:
        """Layers whose input could not be read, or not be brought to their weights."""
        return [NotRecorded(layer=name, operand=FIRST, reason=why) for name, why in self.failed.items()]

    def tensors(self, dump: Dump) -> Iterator[tuple[TensorNorms, npt.NDArray[np.float64]]]:
        """Yield the norms of each weight tensor, in the layers' order; one tensor is worked on at a time."""
        users: dict[str, list[_LayerSums]] = {}
        for sums in self.layers.values():
            for name in _sources(sums.entry):
                users.setdefault(name, []).append(sums)
        for name, layers in users.items():
            if any(sums.entry.layer.name in self.failed for sums in layers):
                continue
            squares = np.zeros(dump[name].shape)
            counts = np.zeros(dump[name].shape, np.int64)
            fits = [_spread(sums, name, dump, squares, counts) for sums in layers]
            for sums, why in zip(layers, fits, strict=True):
                if why:
                    self.failed[sums.entry.layer.name] = why
            if any(fits):
                continue
            # What no layer multiplies has the norm 0.
            norms = np.sqrt(squares / np.maximum(counts, 1))
            norms = _shared(channel_first(dump[name]).turn(norms))
            yield (
                TensorNorms(
                    tensor=name,
                    layers=len(layers),
                    shape=norms.shape,
                    values=sum(sums.count * sums.squares.size for sums in layers),
                    lowest=float(norms.min()),
                    highest=float(norms.max()),
                    mean=float(norms.mean()),
                ),
                norms,
            )


def _sources(entry: NetworkLayer) -> tuple[str, ...]:
    return sources(entry.places) if entry.places is not None else entry.tensors


def _spread(
    sums: _LayerSums,
    name: str,
    dump: Dump,
    squares: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
) -> str | None:
    """Add a layer's squares to every weight that meets them; say why that is not possible, or None."""
    entry, layer = sums.entry, sums.entry.layer
    # Each stored weight is given its number, and the layer's weights are made of the numbers.
    numbers: dict[str, npt.NDArray[np.int64]] = {}
    first = 1
    for source in _sources(entry):
        shape = dump[source].shape
        encoding = dump[source].encoding
        if encoding is not None and encoding.shape != shape:
            return "several of its codes share a byte"
        size = int(np.prod(shape))
        numbers[source] = np.arange(first, first + size).reshape(shape)
        first += size
    try:
        placed = entry.turn(evaluate(entry.places or entry.recipe or AsStored(_sources(entry)[0]), numbers))
    except BitxError as error:
        return f"its weights can't be followed to the stored tensor: {error.message}"
    if placed.dtype.kind not in "iu":
        return "its weights are computed, not moved"
    # (filters, channels, kernel positions), and (filters, channels, 1) of what they meet.
    placed = placed.reshape(layer.filters, layer.channels, -1)
    met = sums.squares.reshape(layer.conv_groups, layer.channels)
    met = np.repeat(met, layer.filters // layer.conv_groups, axis=0)[:, :, None]
    own = numbers[name]
    at = placed - own.reshape(-1)[0]
    inside = (at >= 0) & (at < own.size)
    np.add.at(squares.reshape(-1), at[inside], np.broadcast_to(met, placed.shape)[inside])
    np.add.at(counts.reshape(-1), at[inside], sums.count)
    return None


def _shared(norms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Leave out axes along which norms, output channel first, are equal: of kernels, then of filters."""
    if norms.ndim < 2:
        return norms
    channels = norms[(slice(None), slice(None), *[slice(0, 1)] * (norms.ndim - 2))]
    norms = channels if (norms == channels).all() else norms
    if (norms == norms[:1]).all():
        norms = norms[0].reshape(-1) if norms is channels else norms[0]
    return norms.copy()
