"""Channels put in another order, which the layers around them absorb exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.preparation.channel_spaces.ledger import Labels
from hwmodel.preparation.channel_spaces.spaces import ChannelSpace, find_spaces, space_named
from hwmodel.preparation.channel_spaces.stored_tensors import StoredTensors


def permute_channels(proto: Any, orders: Mapping[str, Sequence[int] | npt.NDArray[np.integer[Any]]]) -> Any:
    """Reorder channels of some spaces in every tensor that holds them.

    The outputs are the same up to the order of float additions.

    Parameters
    ----------
    proto : onnx.ModelProto
        Is not changed.
    orders : mapping of str to sequence of int
        By the name of the space (see `find_spaces`): which channel comes to each place.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    TensorError
        If there is no such space, it is fixed, or the order is not a permutation of its channels.

    Examples
    --------
    >>> from hwmodel.evaluation import task
    >>> from hwmodel.networks.onnx import read_model
    >>> model = read_model(task("digits").model)
    >>> turned = permute_channels(model, {"stem.output": range(15, -1, -1)})
    >>> before, after = (StoredTensors(m).read("stem.weight") for m in (model, turned))
    >>> bool((after == before[::-1]).all())
    True
    """
    import onnx

    spaces = find_spaces(proto)
    moves: dict[tuple[str, int], Labels] = {}
    for name, order in orders.items():
        space = space_named(spaces, name)
        wanted = _checked(space, order)
        for holder in space.holders:
            key = (holder.tensor, holder.axis)
            move = moves.setdefault(key, np.arange(len(holder.channels)))
            # The places of each channel in ascending order: (channels, places of a channel).
            inside = np.flatnonzero(holder.channels >= 0)
            places = inside[np.argsort(holder.channels[inside], kind="stable")].reshape(space.channels, -1)
            move[places] = places[wanted]
    turned = onnx.ModelProto()
    turned.CopyFrom(proto)
    stored = StoredTensors(turned)
    for tensor in {name for name, _ in moves}:
        values = stored.read(tensor)
        for axis in range(values.ndim):
            if (tensor, axis) in moves:
                values = np.take(values, moves[tensor, axis], axis=axis)
        stored.write(tensor, values)
    return turned


def _checked(space: ChannelSpace, order: Any) -> Labels:
    if space.fixed:
        raise TensorError(f"channels of {space.name!r} can't be reordered: {space.fixed}")
    wanted = np.asarray(list(order), np.int64)
    if not np.array_equal(np.sort(wanted), np.arange(space.channels)):
        raise TensorError(f"the order of {space.name!r} must be one of its {space.channels} channels")
    return wanted
