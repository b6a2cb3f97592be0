"""What each position of a layer reads of its activations."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.networks.layers import Conv, Layer, Linear


def windows(
    layer: Layer, activations: npt.NDArray[Any], chosen: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[Any]:
    """Gather the activations that each position multiplies with one filter.

    Parameters
    ----------
    layer : Conv or Linear
    activations : ndarray
        The layer's input, batch first.
    chosen : int64 ndarray, optional
        Only these positions, of each convolution group; no others are gathered.

    Returns
    -------
    ndarray, shape (conv_groups * positions, channels, *kernel) or (positions, in_features)
        Convolution groups one after another, each with all positions in C order; padding is 0.

    Raises
    ------
    TensorError
        For layers whose positions are not windows of the input.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv("c", in_channels=1, out_channels=4, in_size=(3, 3), kernel=2)
    >>> windows(layer, np.arange(9)).reshape(layer.positions, -1).tolist()
    [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]
    """
    if isinstance(layer, Linear):
        rows = activations.reshape(layer.positions, layer.in_features)
        return rows if chosen is None else rows[chosen]
    if not isinstance(layer, Conv):
        raise TensorError(f"{layer.operation} reads no windows of its input", layer=layer.name)
    assert isinstance(layer.in_size, tuple)
    assert isinstance(layer.kernel, tuple)
    assert isinstance(layer.stride, tuple)
    assert isinstance(layer.dilation, tuple)
    assert isinstance(layer.padding, tuple)
    n = len(layer.in_size)
    x = activations.reshape(layer.batch, layer.in_channels, *layer.in_size)
    x = np.pad(x, ((0, 0), (0, 0), *layer.padding))
    spans = tuple(d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel, strict=True))
    seen = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(2, 2 + n)))
    steps = (slice(None, None, s) for s in (*layer.stride, *layer.dilation))
    seen = seen[(slice(None), slice(None), *steps)]
    seen = seen.reshape(layer.batch, layer.groups, layer.channels, *seen.shape[2:])
    out = tuple(range(3, 3 + n))
    kernel = tuple(range(3 + n, 3 + 2 * n))
    turned = seen.transpose(1, 0, *out, 2, *kernel)
    if chosen is not None:
        places: tuple[Any, ...] = np.unravel_index(chosen, (layer.batch, *layer.out_size))
        turned = turned[(slice(None), *places)]
    positions = turned.size // (layer.channels * prod(layer.kernel))
    return turned.reshape(positions, layer.channels, *layer.kernel)
