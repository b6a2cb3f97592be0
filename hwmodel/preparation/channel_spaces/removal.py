"""Channels taken out of a network, with everything that reads them: a smaller dense network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.preparation.channel_spaces.spaces import ChannelSpace, find_spaces, space_named
from hwmodel.preparation.channel_spaces.stored_tensors import StoredTensors


def remove_channels(proto: Any, kept: Mapping[str, Sequence[int] | npt.NDArray[np.integer[Any]]]) -> Any:
    """Remove channels of some spaces from every tensor that holds them.

    What a removed channel added to later sums is dropped. Where it was always zero the outputs are the same
    up to the order of float additions.

    Parameters
    ----------
    proto : onnx.ModelProto
        Is not changed.
    kept : mapping of str to sequence of int
        Channels to keep, in ascending order, by the name of the space (see `find_spaces`).

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    TensorError
        If there is no such space, its channels can't be removed, or those to keep are none of it, are not in
        ascending order, or are none at all.

    Examples
    --------
    >>> from hwmodel.evaluation import task
    >>> from hwmodel.networks.onnx import read_model
    >>> model = read_model(task("digits").model)
    >>> smaller = remove_channels(model, {"stage1.block1.conv1.output": range(12)})
    >>> [s.channels for s in find_spaces(smaller) if s.name == "stage1.block1.conv1.output"]
    [12]
    """
    import onnx

    spaces = find_spaces(proto)
    keeps: dict[tuple[str, int], npt.NDArray[np.bool_]] = {}
    sizes: dict[tuple[int, str | int, int], int] = {}
    for name, channels in kept.items():
        space = space_named(spaces, name)
        keep = _checked(space, channels)
        for holder in space.holders:
            stays = np.where(holder.channels >= 0, keep[holder.channels], True)
            whole = keeps.setdefault((holder.tensor, holder.axis), np.ones(len(stays), bool))
            whole &= stays
        for size in space.sizes:
            gone = int((~keep[size.channels[size.channels >= 0]]).sum())
            key = (size.node, size.where, size.index)
            sizes[key] = sizes.get(key, 0) + gone
    smaller = onnx.ModelProto()
    smaller.CopyFrom(proto)
    stored = StoredTensors(smaller)
    for tensor in {name for name, _ in keeps}:
        values = stored.read(tensor)
        for axis in range(values.ndim):
            if (tensor, axis) in keeps:
                values = np.compress(keeps[tensor, axis], values, axis=axis)
        stored.write(tensor, values)
    _count_less(smaller, stored, sizes)
    # Shapes that the file states between its nodes are those of before.
    del smaller.graph.value_info[:]
    return smaller


def _checked(space: ChannelSpace, channels: Any) -> npt.NDArray[np.bool_]:
    """Return which channels stay."""
    if reason := space.fixed or space.unremovable:
        raise TensorError(f"channels of {space.name!r} can't be removed: {reason}")
    chosen = np.asarray(list(channels), np.int64)
    inside = not len(chosen) or (chosen[0] >= 0 and chosen[-1] < space.channels)
    if not len(chosen) or not inside or (np.diff(chosen) <= 0).any():
        raise TensorError(
            f"channels to keep of {space.name!r} must be some of 0 to {space.channels - 1}, in ascending"
            " order"
        )
    keep = np.zeros(space.channels, bool)
    keep[chosen] = True
    return keep


def _count_less(model: Any, stored: StoredTensors, sizes: Mapping[tuple[int, str | int, int], int]) -> None:
    """Reduce the numbers that count channels; a stored list that several nodes read is copied first."""
    for (index, where, entry), gone in sizes.items():
        node = model.graph.node[index]
        if isinstance(where, str):
            (attribute,) = [a for a in node.attribute if a.name == where]
            if attribute.ints:
                attribute.ints[entry] -= gone
            else:
                attribute.i -= gone
            continue
        values = stored.read(node.input[where]).copy()
        values[entry] -= gone
        own = f"{node.output[0]}.sizes"
        if node.input[where] != own:
            node.input[where] = own
            stored.add(own, values)
        else:
            stored.write(own, values)
