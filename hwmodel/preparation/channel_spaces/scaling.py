"""Channels multiplied by positive factors where they are made, and divided by them where they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.preparation.channel_spaces.spaces import ChannelSpace, find_spaces, space_named
from hwmodel.preparation.channel_spaces.stored_tensors import StoredTensors

Array = npt.NDArray[Any]


def scale_channels(
    proto: Any,
    factors: Mapping[str, Sequence[float] | npt.NDArray[np.floating[Any]]],
    *,
    powers_of_two: bool = False,
) -> Any:
    """Scale channels of some spaces, in every tensor that holds them.

    Weights, biases and shifts that make a channel are multiplied by its factor, weights that read it are
    divided. What multiplies it alone, such as depthwise weights, stays.

    Parameters
    ----------
    proto : onnx.ModelProto
        Is not changed.
    factors : mapping of str to sequence of float
        By the name of the space (see `find_spaces` with ``purpose="scale"``): positive, one per channel.
    powers_of_two : bool
        Round factors to the nearest power of two: then no weight is rounded, and outputs are equal as long as
        no number leaves the range of its format.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    TensorError
        If there is no such space, an operator within does not pass factors on, factors are not positive and
        finite or not as many as channels, or a stored number leaves the range of its format.

    Examples
    --------
    >>> from hwmodel.evaluation import task
    >>> from hwmodel.networks.onnx import read_model
    >>> model = read_model(task("digits").model)
    >>> scaled = scale_channels(model, {"stage1.block1.conv1.output": [0.5] * 16})
    >>> before, after = (StoredTensors(m).read("stage1.block1.conv2.weight") for m in (model, scaled))
    >>> bool((after == 2 * before).all())
    True
    """
    import onnx

    spaces = find_spaces(proto, "scale")
    scaled = onnx.ModelProto()
    scaled.CopyFrom(proto)
    stored = StoredTensors(scaled)
    changed: dict[str, Array] = {}
    for name, given in factors.items():
        space = space_named(spaces, name)
        wanted = _checked(space, given, powers_of_two)
        for holder in space.holders:
            if holder.role == "factor":
                continue
            values = changed.get(holder.tensor)
            values = stored.read(holder.tensor).astype(np.float64) if values is None else values
            along = np.where(holder.channels >= 0, wanted[holder.channels], 1.0)
            along = along.reshape([-1 if axis == holder.axis else 1 for axis in range(values.ndim)])
            changed[holder.tensor] = values / along if holder.role == "consumer" else values * along
    for tensor, values in changed.items():
        before = stored.read(tensor)
        with np.errstate(over="ignore", under="ignore"):
            after = values.astype(before.dtype)
        if not np.isfinite(after).all() or ((after == 0) & (before != 0)).any():
            raise TensorError("scaled numbers leave the range of their format", tensor=tensor)
        stored.write(tensor, after)
    return scaled


def _checked(space: ChannelSpace, given: Any, powers_of_two: bool) -> npt.NDArray[np.float64]:
    if space.fixed:
        raise TensorError(f"channels of {space.name!r} can't be scaled: {space.fixed}")
    wanted = np.asarray(list(given), np.float64)
    if wanted.shape != (space.channels,) or not (np.isfinite(wanted) & (wanted > 0)).all():
        raise TensorError(f"factors of {space.name!r} must be {space.channels} positive numbers")
    return np.exp2(np.rint(np.log2(wanted))) if powers_of_two else wanted
