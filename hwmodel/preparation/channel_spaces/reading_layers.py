"""Layers that read a channel space: how far alignment shifts their weights, and how large these are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.groups import Grouping, grid
from hwmodel.preparation.channel_spaces.spaces import ChannelSpace, Holder
from hwmodel.preparation.channel_spaces.stored_tensors import StoredTensors

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def mean_shift(weights: Array, group: int | None, grouping: Grouping) -> tuple[float, int]:
    """Bits by which alignment shifts a non-zero weight, on average, and how many such weights there are.

    Parameters
    ----------
    weights : ndarray, shape (filters, channels, ...)
    group, grouping
        As of `bitxcore.prune`.

    Examples
    --------
    >>> mean_shift(np.array([[1.0, 0.25, 0.0, 8.0]]), 2, "flat")
    (0.6666666666666666, 3)
    """
    cut = grid(weights.shape, group, grouping)
    _, exponents = np.frexp(weights.reshape(cut.filters, -1).astype(np.float64))
    there = weights.reshape(cut.filters, -1) != 0
    low = np.iinfo(np.int32).min // 2
    parts = np.where(there, exponents, low).reshape(cut.filters * cut.parts, cut.length, cut.stride)
    padded = np.full((parts.shape[0], cut.blocks * cut.group, cut.stride), low, np.int64)
    padded[:, : cut.length] = parts
    groups = padded.reshape(parts.shape[0], cut.blocks, cut.group, cut.stride)
    shifts = groups.max(axis=2, keepdims=True) - groups
    count = int(there.sum())
    return float(shifts[groups > low].sum() / max(count, 1)), count


@dataclass(frozen=True, eq=False)
class ReadingLayer:
    """Weights that read a space, ``(filters, input channels, kernel...)``, and the channel of each input."""

    weights: Array
    channels: npt.NDArray[np.int64]

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Inputs of each channel, in ascending order: ``(channels, inputs of a channel)``."""
        inside = np.flatnonzero(self.channels >= 0)
        found: npt.NDArray[np.int64] = inside[np.argsort(self.channels[inside], kind="stable")]
        return found.reshape(int(self.channels.max()) + 1, -1)

    def scaled(self, factors: Floats) -> ReadingLayer:
        """Return weights multiplied by a factor for each channel."""
        along = np.where(self.channels >= 0, factors[self.channels], 1.0)
        shape = [-1 if axis == 1 else 1 for axis in range(self.weights.ndim)]
        return ReadingLayer(self.weights * along.reshape(shape), self.channels)

    def reordered(self, order: npt.NDArray[np.int64]) -> ReadingLayer:
        """Return weights with channels in another order."""
        move = np.arange(len(self.channels))
        move[self.places] = self.places[order]
        return ReadingLayer(self.weights[:, move], self.channels)


def reader_of(holder: Holder, stored: StoredTensors) -> ReadingLayer:
    """Return the weights of a holder that is a ``"consumer"``."""
    assert holder.filter_axis is not None
    values = stored.read(holder.tensor)
    return ReadingLayer(np.moveaxis(values, (holder.filter_axis, holder.axis), (0, 1)), holder.channels)


def shift_of(readers: list[ReadingLayer], group: int | None, grouping: Grouping) -> float:
    """Mean shift over all weights that read a space."""
    found = [mean_shift(reader.weights, group, grouping) for reader in readers]
    return sum(mean * count for mean, count in found) / max(sum(count for _, count in found), 1)


def levels_of(space: ChannelSpace, readers: list[ReadingLayer]) -> list[Floats]:
    """Sizes of the weights for each channel, as logarithms to base 2; -inf where all are zero."""
    squares, largest = np.zeros(space.channels), np.zeros(space.channels)
    logs, counts = np.zeros(space.channels), np.zeros(space.channels)
    for reader in readers:
        inside = reader.channels >= 0
        wide = np.moveaxis(reader.weights, 1, 0)[inside].astype(np.float64)
        wide = np.abs(wide.reshape(len(wide), -1))
        at, there = reader.channels[inside], wide > 0
        np.add.at(squares, at, (wide**2).sum(axis=1))
        np.maximum.at(largest, at, wide.max(axis=1))
        np.add.at(logs, at, np.where(there, np.log2(np.where(there, wide, 1)), 0).sum(axis=1))
        np.add.at(counts, at, there.sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(counts > 0, logs / counts, -np.inf)
        return [0.5 * np.log2(squares), mean, np.log2(largest)]


def room_of(space: ChannelSpace, stored: StoredTensors) -> tuple[Floats, Floats]:
    """Return how often each channel can be doubled, at least and at most, so that no number is rounded.

    Numbers stay normal; where one is subnormal it can only grow.
    """
    lowest, highest = np.full(space.channels, -np.inf), np.full(space.channels, np.inf)
    for holder in space.holders:
        values = stored.read(holder.tensor)
        if holder.role == "factor" or values.dtype.kind != "f":
            continue
        inside, limits = holder.channels >= 0, np.finfo(values.dtype)
        rows = np.moveaxis(values, holder.axis, 0)[inside].reshape(int(inside.sum()), -1)
        exponents = np.frexp(rows.astype(np.float64))[1].astype(np.float64)
        least = np.where(rows != 0, exponents, np.inf).min(axis=1)
        most = np.where(rows != 0, exponents, -np.inf).max(axis=1)
        down, up = np.minimum(limits.minexp + 1 - least, 0), np.maximum(limits.maxexp - most, 0)
        if holder.role == "consumer":
            down, up = -up, -down
        np.maximum.at(lowest, holder.channels[inside], down)
        np.minimum.at(highest, holder.channels[inside], up)
    return lowest, highest


def neighbours(space: ChannelSpace, readers: list[ReadingLayer], group: int) -> npt.NDArray[np.int64]:
    """Order channels group by group: the largest that is left, and those most like it in all filters."""
    rows = []
    for reader in readers:
        wide = np.moveaxis(reader.weights, 1, 0)[reader.places].astype(np.float64)
        rows.append(np.abs(wide).reshape(space.channels, -1))
    sizes = np.concatenate(rows, axis=1)
    floor = sizes[sizes > 0].min() if (sizes > 0).any() else 1.0
    logs = np.log2(np.maximum(sizes, floor)).astype(np.float32)
    powers, means = (logs**2).sum(axis=1), logs.mean(axis=1)
    left = list(np.argsort(-means, kind="stable"))
    order: list[int] = []
    while left:
        at = np.asarray(left)
        far = powers[at] - 2 * (logs[at] @ logs[left[0]])
        far[0] = -np.inf
        chosen = np.argsort(far, kind="stable")[:group]
        order += [left[i] for i in chosen]
        gone = set(chosen.tolist())
        left = [channel for i, channel in enumerate(left) if i not in gone]
    return np.asarray(order, np.int64)
