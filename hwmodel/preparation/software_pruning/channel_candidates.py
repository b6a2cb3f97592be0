"""Channels that can be taken away, with all that is stored of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch.selection import channel_first
from bitxcore.dumps import Tensor
from bitxcore.errors import TensorError

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class StoredChannels:
    """Where a stored tensor holds channels.

    Parameters
    ----------
    tensor : str
    axis : int
    places : ndarray of int64, shape (channels, repeat)
        Along the axis, of each channel: several where the channel's positions were flattened into it.
    role : {"writer", "reader", "gamma", "offset", "other"}
        Weights that compute the channels, weights that they are multiplied by, scales of batch
        normalisations, what is added to the channels, and all else.
    """

    tensor: str
    axis: int
    places: Array
    role: str

    def by_channel(self, values: Array) -> Array:
        """Give what is stored of each channel, ``(channels, numbers of each)``."""
        first = np.moveaxis(values, self.axis, 0)[self.places.reshape(-1)]
        return first.reshape(len(self.places), -1)

    def zeroed(self, values: Array, kept: Array) -> Array:
        """Put zeros where channels are not kept."""
        return self.scaled(values, np.isin(np.arange(len(self.places)), kept))

    def scaled(self, values: Array, scales: Array) -> Array:
        """Multiply each channel by a number; 0 gives zeros, 1 leaves values as they are."""
        found = values.copy()
        view = np.moveaxis(found, self.axis, 0)
        for places, scale in zip(self.places, scales, strict=True):
            if scale == 0:
                view[places] = 0
            elif scale != 1:
                view[places] = (view[places].astype(np.float64) * scale).astype(values.dtype)
        return found


@dataclass(frozen=True, eq=False)
class ChannelCandidate:
    """Channels of one space: what one layer, or several that are added up, write, and what others read.

    Parameters
    ----------
    name : str
        Of the space.
    count : int
        Channels.
    stored : tuple of StoredChannels
    tensors : mapping of str to Tensor
        Of the dump.
    seen : list of ndarray
        What `ChannelRanking.of_samples` gave, ``(samples, channels)`` for each value behind a writer.
    """

    name: str
    count: int
    stored: tuple[StoredChannels, ...]
    tensors: Mapping[str, Tensor]
    seen: list[Array] = field(default_factory=list)

    @cached_property
    def writers(self) -> dict[str, Array]:
        """Weights ``(channels, ...)`` that compute each channel, by tensor; of depthwise layers, too."""
        return self._by_channel("writer")

    @cached_property
    def readers(self) -> dict[str, Array]:
        """Weights ``(channels, ...)`` that each channel is multiplied by, by tensor."""
        return self._by_channel("reader")

    @cached_property
    def gammas(self) -> dict[str, Array]:
        """Scales ``(channels, ...)`` of batch normalisations behind the writers, by tensor."""
        return self._by_channel("gamma")

    def of_role(self, role: str) -> list[StoredChannels]:
        """Give where the tensors of a role hold the channels."""
        return [held for held in self.stored if held.role == role]

    def reader_places(self, tensor: str) -> Array:
        """Give the input channels of a reader's filters that are of each channel, ``(channels, repeat)``."""
        return next(held.places for held in self.of_role("reader") if held.tensor == tensor)

    def scaled(self, tensor: str, values: Array, scales: Array) -> Array:
        """Scale the channels of a reader."""
        held = next(held for held in self.of_role("reader") if held.tensor == tensor)
        return held.scaled(values, scales)

    def turned(self, tensor: str, values: Array) -> Array:
        """Turn weights so that filters are first and input channels second."""
        return channel_first(self.tensors[tensor]).turn(values)

    def _by_channel(self, role: str) -> dict[str, Array]:
        found = {}
        for held in self.of_role(role):
            values = self.tensors[held.tensor].read()
            if not np.isfinite(values.astype(np.float64)).all():
                raise TensorError("has a NaN or Inf, which can't be scored", tensor=held.tensor)
            found[held.tensor] = held.by_channel(values)
        return found
