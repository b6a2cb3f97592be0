"""Pictures as inputs: read, resized to the input's size, their channels scaled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import DumpError, MissingExtraError, OptionError, TensorError, error_context
from hwmodel.operands.traces.model_inputs import ModelInput

CHANNELS = ("rgb", "bgr")
"""Orders of the channels of a coloured picture."""

IMAGES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Scaling:
    """How the 8-bit channels of a picture become numbers: ``(channel * scale - mean) / std``.

    Parameters
    ----------
    scale : float, optional
        By default 1/255 where the input is of floats, so that numbers are from 0 to 1, and 1 where it is of
        integers.
    mean, std : tuple of float
        One for all channels, or one per channel, in the order of `channels`.
    channels : str
        Order of a coloured picture's channels: ``"rgb"``, or ``"bgr"``, as OpenCV reads them.

    Raises
    ------
    OptionError
        If one is not finite, a std is 0, or the order is neither.

    Examples
    --------
    >>> import numpy as np
    >>> halves = Scaling(mean=(0.5,), std=(0.5,))
    >>> halves.apply(np.array([[[0], [255]]], np.uint8)).tolist()
    [[[-1.0], [1.0]]]
    """

    scale: float | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: str = "rgb"

    def __post_init__(self) -> None:
        scale = 1.0 if self.scale is None else self.scale
        if not all(np.isfinite([scale, *self.mean, *self.std])) or 0 in self.std:
            raise OptionError(
                f"scale, mean and std must be finite, std not 0: got {self.scale}, {self.mean}, {self.std}",
                value=(self.scale, self.mean, self.std),
            )
        if self.channels not in CHANNELS:
            raise OptionError(
                f"channels must be one of {', '.join(CHANNELS)}, got {self.channels!r}", value=self.channels
            )

    def apply(self, pixels: npt.NDArray[np.uint8], usual: float = 1 / 255) -> npt.NDArray[np.float64]:
        """Scale ``(height, width, channels)``, the channels red first; they come in the order of `channels`.

        Parameters
        ----------
        pixels : ndarray of uint8
        usual : float
            The scale, where none is set.

        Raises
        ------
        OptionError
            If there is not one mean, or std, per channel.
        """
        channels = pixels.shape[-1]
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, channels):
                raise OptionError(
                    f"{name} has {count} values, the input has {channels} channels",
                    value=getattr(self, name),
                )
        if self.channels == "bgr":
            pixels = pixels[..., ::-1]
        scale = usual if self.scale is None else self.scale
        scaled: npt.NDArray[np.float64] = (pixels * scale - np.array(self.mean)) / np.array(self.std)
        return scaled


def read_picture(path: Path, item: ModelInput, scaling: Scaling) -> npt.NDArray[Any]:
    """Read a picture, resize it to the input's size, and scale its channels."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "images") from error
    from bitxcore.dumps.trust import Source, reading

    axes = _picture_axes(path, item)
    channels = item.sizes[axes[2]]
    Source.of(path)
    with reading(path), Image.open(path, formats=("PNG", "JPEG")) as opened:
        if opened.mode.startswith(("I", "F")):
            raise DumpError("has more than 8 bits per channel; give an array", path=path)
        size = _picture_size(item, axes, opened.height, opened.width)
        picture = opened.convert("L" if channels == 1 else "RGB")
        if picture.size != size[::-1]:
            picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(picture, np.uint8).reshape(*size, -1)
    with error_context(path=path):
        values = scaling.apply(pixels, 1.0 if item.dtype.kind in "iu" else 1 / 255)
    if item.dtype.kind in "iu":
        info = np.iinfo(item.dtype)
        values = np.clip(np.rint(values), info.min, info.max)
    # Height, width and channels to where the input has them, then the batch, if there is one, between them.
    values = values.transpose(np.argsort(axes))
    if len(item.sizes) == 4:
        values = np.expand_dims(values, next(axis for axis in range(4) if axis not in axes))
    return np.ascontiguousarray(values, item.dtype)


def _picture_axes(path: Path, item: ModelInput) -> tuple[int, int, int]:
    """Axes of height, width and channels."""
    from hwmodel.networks.onnx.sizes import batch_axis

    sizes, found = item.sizes, list(range(len(item.sizes)))
    if len(sizes) == 4:
        # The batch: an open axis called so, else the first; the last, where the three before are a picture.
        batch = batch_axis(sizes)
        before = sizes[0] == 3 or (sizes[0] != 1 and sizes[2] in (1, 3))
        if before and sizes[1] not in (1, 3) and (sizes[3] == 1 or not isinstance(sizes[3], int)):
            batch = 3
        found.remove(batch)
        if isinstance(sizes[batch], int) and sizes[batch] != 1:
            raise TensorError(
                f"input {item.name!r} ({item.shape_text}) takes {sizes[batch]} pictures; give an array",
                path=path,
            )
    if len(found) == 3:
        if sizes[found[0]] in (1, 3):
            return found[1], found[2], found[0]
        if sizes[found[2]] in (1, 3):
            return found[0], found[1], found[2]
    raise TensorError(
        f"input {item.name!r} ({item.shape_text}) is no picture: that has 3 axes, or 4 with its batch,"
        " and 1 or 3 channels before or behind height and width; give an array",
        path=path,
    )


def _picture_size(item: ModelInput, axes: tuple[int, int, int], height: int, width: int) -> tuple[int, int]:
    """Height and width that the input takes; one that is open follows the other, or is the picture's own."""
    high, wide = (item.sizes[axis] for axis in axes[:2])
    if isinstance(high, int):
        return high, wide if isinstance(wide, int) else max(1, round(width * high / height))
    if isinstance(wide, int):
        return max(1, round(height * wide / width)), wide
    return height, width
