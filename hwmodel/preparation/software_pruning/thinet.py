"""Channels by what the next layer loses with them.

J.-H. Luo, J. Wu, W. Lin: ThiNet: A Filter Level Pruning Method for Deep Neural Network Compression,
ICCV 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

import numpy as np

from bitxcore.errors import OptionError, TensorError, error_context
from hwmodel.evaluation.runners import StagedRunner
from hwmodel.evaluation.runners.layer_nodes import LayerNode
from hwmodel.networks.onnx.convolutions import conv_of
from hwmodel.operands.im2col import windows
from hwmodel.preparation.software_pruning.channel_candidates import ChannelCandidate
from hwmodel.preparation.software_pruning.shares import taken
from hwmodel.preparation.software_pruning.software_method import (
    Array,
    ChannelChoice,
    ChannelMethod,
    ChannelWork,
)

POSITIONS_PER_CHANNEL = 8
"""Of a space, at least: fewer say little about the scales of as many channels [chosen]."""


@dataclass(frozen=True, kw_only=True)
class ThiNet(ChannelMethod):
    """Channels go one by one, each time the one without which the next layer's outputs change least [paper].

    Outputs of the next layer are sampled, each at one position and of one filter; a channel's part of an
    output is a number, and the error of a set that goes is the sum, over the outputs, of the square of its
    parts' sum [paper]. Then the channels that stay are scaled in the next layer by least squares [paper]; of
    several solutions the one nearest to no scaling is taken [chosen]. Layers are done in the order in which
    they run, on what the pruned ones before them give. Only channels that one layer reads are done, as in the
    paper: not those that a residual sum carries on.

    Parameters
    ----------
    positions : int
        Of each sample, at least [paper: 10].
    seed : int
        Of the positions and filters that are drawn.
    """

    positions: int = 10
    seed: int = 0

    name: ClassVar[str] = "thinet"
    summary: ClassVar[str] = "least error of the next layer's outputs, which is then scaled"
    source: ClassVar[str] = "Luo et al., ICCV 2017"
    needs_data: ClassVar[bool] = True
    scopes: ClassVar[tuple[str, ...]] = ("layer",)

    def __post_init__(self) -> None:
        if self.positions < 1 or self.seed < 0:
            raise OptionError("method thinet needs positions from 1 and a seed from 0")

    def choose(self, work: ChannelWork, ratio: float, scope: str) -> ChannelChoice:
        """Prune layer by layer."""
        found = ChannelChoice()
        of_reader: dict[str, list[ChannelCandidate]] = {}
        for channels in work.candidates:
            if len(channels.readers) == 1:
                of_reader.setdefault(next(iter(channels.readers)), []).append(channels)
            else:
                found.reasons[channels.name] = f"{len(channels.readers) or 'no'} layers read its channels"

        def see(layer: LayerNode, activations: list[Array], _: list[Array]) -> dict[str, Array]:
            changed = {}
            for name in layer.tensors:
                for channels in of_reader.pop(name, ()):
                    if len(layer.tensors) > 1 or not _readable(layer):
                        found.reasons[channels.name] = "its next layer is no plain convolution or product"
                        continue
                    with error_context(path=work.path, tensor=name):
                        if work.progress is not None:
                            work.progress(len(found.kept), len(work.candidates), channels.name)
                        values = _values(found, channels, name)
                        sampler = _Sampler(layer, channels, self._rng(channels))
                        parts = sampler.parts(values, activations, self.positions)
                        if not np.isfinite(parts).all():
                            raise TensorError("its inputs have a NaN or Inf")
                        kept = greedy(parts, taken(channels.count, ratio))
                        scales = np.zeros(channels.count)
                        scales[kept] = rescaled(parts, kept)
                        found.kept[channels.name] = kept
                        changed[name] = found.replaced[name] = channels.scaled(name, values, scales)
            return changed

        if of_reader:
            StagedRunner(work.path, tensors=set(of_reader)).together(work.batches, see)
        for left in of_reader.values():
            found.reasons |= dict.fromkeys((c.name for c in left), "its next layer does not run by itself")
        return found

    def _rng(self, channels: ChannelCandidate) -> np.random.Generator:
        return np.random.default_rng([self.seed, crc32(channels.name.encode())])


def greedy(parts: Array, count: int) -> Array:
    """Choose the channels that stay where `count` go, one by one, each with the least squared sum.

    Parameters
    ----------
    parts : ndarray, shape (outputs, channels)
        What each channel adds to each output.
    count : int
        At least one stays.

    Returns
    -------
    ndarray
        Places that stay, rising.
    """
    gram = parts.T @ parts
    alone, with_gone = np.diag(gram).copy(), np.zeros(len(gram))
    stays = np.ones(len(gram), bool)
    for _ in range(min(count, len(gram) - 1)):
        # Of |gone + x|^2 = |gone|^2 + 2 gone x + |x|^2 the first is the same for all.
        errors = np.where(stays, alone + 2 * with_gone, np.inf)
        worst = int(np.argmin(errors))
        stays[worst] = False
        with_gone += gram[worst]
    return np.flatnonzero(stays)


def rescaled(parts: Array, kept: Array) -> Array:
    """Give the scales of the channels that stay by which their sums are nearest to those of all."""
    gone = np.setdiff1d(np.arange(parts.shape[1]), kept)
    x = parts[:, kept]
    # By the normal equations: outputs are many more than channels.
    found: Array = 1 + np.linalg.lstsq(x.T @ x, x.T @ parts[:, gone].sum(axis=1), rcond=None)[0]
    return found


def _values(found: ChannelChoice, channels: ChannelCandidate, name: str) -> Array:
    return found.replaced[name] if name in found.replaced else channels.tensors[name].read()


def _readable(layer: LayerNode) -> bool:
    if layer.node.op_type == "Conv":
        return layer.conv_groups == 1
    return layer.node.op_type in ("Gemm", "MatMul") and layer.place == 0


class _Sampler:
    """Draws outputs of a layer and takes them apart by the channels of a space."""

    def __init__(self, layer: LayerNode, channels: ChannelCandidate, rng: np.random.Generator) -> None:
        self._layer, self._channels, self._rng = layer, channels, rng

    def parts(self, stored: Array, activations: list[Array], least: int) -> Array:
        """Give what each channel adds to each drawn output, ``(outputs, channels)``."""
        (name,) = self._layer.tensors
        filters = self._channels.turned(name, stored).astype(np.float64)
        places = self._channels.reader_places(name)
        count = sum(len(x) for x in activations)
        each = max(least, -(-POSITIONS_PER_CHANNEL * self._channels.count // max(count, 1)))
        found = []
        for x in activations:
            for at in range(len(x)):
                seen = self._seen(x[at : at + 1], filters.shape)
                position = self._rng.integers(0, len(seen), each)
                filter_ = self._rng.integers(0, len(filters), each)
                products = seen[position].astype(np.float64) * filters[filter_]
                by_input = products.reshape(each, filters.shape[1], -1).sum(axis=2)
                found.append(by_input[:, places].sum(axis=2))
        return np.concatenate(found)

    def _seen(self, x: Array, shape: tuple[int, ...]) -> Array:
        """Give what each position of a sample reads, ``(positions, channels, *kernel)``."""
        layer = self._layer
        if layer.node.op_type == "Conv":
            seen = windows(conv_of(layer.name, layer.attributes, x.shape, shape), x)
        else:
            turned = layer.channels_last(x)
            seen = turned.reshape(-1, turned.shape[-1])
        if seen.shape[1] != shape[1]:
            raise TensorError(f"{seen.shape[1]} inputs are read, the filters have {shape[1]}")
        return seen
