"""HDF5 files of Keras: which datasets are kernels, and where the output channel sits in them.

Keras stores ``(height, width, in, out)``, transposed convolutions ``(height, width, out, in)`` and depthwise
ones ``(height, width, in, multiplier)`` (https://keras.io/api/layers/convolution_layers). Two kinds of files
are plain: ``.h5`` of Keras 1 and 2, which have the attribute ``layer_names`` or ``keras_version``, and
``.weights.h5`` of Keras 3, whose datasets are all named ``<layer>/vars/<number>``.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from bitxcore.groups import LAYOUTS, Layout

_VARIABLE = re.compile(r"(?:^|/)vars/\d+$")
_FIRST_VARIABLE = re.compile(r"(?:^|/)vars/0$")
_KERNEL = re.compile(r"(?:^|/|_)kernel(?:_\d+)?(?::\d+)?$")
_TRANSPOSED = Layout(filter_axis=-2, channel_axis=-1)


def is_keras(attributes: Collection[str], datasets: Collection[str]) -> bool:
    """Whether an HDF5 file is plainly one of Keras.

    Parameters
    ----------
    attributes : collection of str
        Names of the attributes of its root.
    datasets : collection of str
        Their names.
    """
    if "layer_names" in attributes or "keras_version" in attributes:
        return True
    return bool(datasets) and all(_VARIABLE.search(name) for name in datasets)


def keras_layout(name: str, shape: tuple[int, ...]) -> Layout | None:
    """Return the layout of a dataset of a Keras file, or None if no layer multiplies by it."""
    if len(shape) < 2 or name.startswith(("optimizer_weights/", "optimizer/")):
        return None
    layer = name.lower()
    if _VARIABLE.search(name):
        # The variables of a layer are numbered: convolutions and dense layers have their kernel first.
        if not _FIRST_VARIABLE.search(name) and "separable" not in layer and not _is_recurrent(layer):
            return None
        if "embedding" in layer:
            return None
    elif not _KERNEL.search(name):
        return None
    depthwise = "depthwise" in layer or (_FIRST_VARIABLE.search(name) and "separable" in layer)
    if depthwise and len(shape) > 2 and shape[-2]:
        return Layout(filter_axis=-1, conv_groups=shape[-2], channel_axis=-2)
    if "transpose" in layer and len(shape) > 2:
        return _TRANSPOSED
    return LAYOUTS["hwio"]


def _is_recurrent(layer: str) -> bool:
    return any(word in layer for word in ("lstm", "gru", "rnn", "cell"))
