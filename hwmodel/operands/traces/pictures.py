"""Pictures as inputs: read, resized to the input's size, their channels scaled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import DumpError, MissingExtraError, OptionError, TensorError, error_context
from hwmodel.operands.traces.model_inputs import ModelInput

IMAGES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Scaling:
    """How the 8-bit channels of a picture become numbers: ``(channel * scale - mean) / std``.

    Parameters
    ----------
    scale : float
    mean, std : tuple of float
        One for all channels, or one per channel.

    Raises
    ------
    OptionError
        If one is not finite, or a std is 0.

    Examples
    --------
    >>> import numpy as np
    >>> halves = Scaling(mean=(0.5,), std=(0.5,))
    >>> halves.apply(np.array([[[0], [255]]], np.uint8)).tolist()
    [[[-1.0], [1.0]]]
    """

    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not all(np.isfinite([self.scale, *self.mean, *self.std])) or 0 in self.std:
            raise OptionError(
                f"scale, mean and std must be finite, std not 0: got {self.scale}, {self.mean}, {self.std}",
                value=(self.scale, self.mean, self.std),
            )

    def apply(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Scale ``(height, width, channels)``.

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
        scaled: npt.NDArray[np.float64] = (pixels * self.scale - np.array(self.mean)) / np.array(self.std)
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
            raise DumpError("has more than 8 bits a channel; give an array", path=path)
        size = _picture_size(item, axes, opened.height, opened.width)
        picture = opened.convert("L" if channels == 1 else "RGB")
        if picture.size != size[::-1]:
            picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(picture, np.uint8).reshape(*size, -1)
    with error_context(path=path):
        values = scaling.apply(pixels)
    if item.dtype.kind in "iu":
        info = np.iinfo(item.dtype)
        values = np.clip(np.rint(values), info.min, info.max)
    values = np.moveaxis(values, (0, 1, 2), tuple(axis - 1 for axis in axes))
    return np.ascontiguousarray(values[None], item.dtype)


def _picture_axes(path: Path, item: ModelInput) -> tuple[int, int, int]:
    """Axes of height, width and channels."""
    sizes = item.sizes
    if len(sizes) == 4 and sizes[1] in (1, 3):
        axes = (2, 3, 1)
    elif len(sizes) == 4 and sizes[3] in (1, 3):
        axes = (1, 2, 3)
    else:
        raise TensorError(
            f"input {item.name!r} ({item.shape_text}) is no picture: that has 4 axes,"
            " and 1 or 3 channels on the second or the last; give an array",
            path=path,
        )
    if isinstance(sizes[0], int) and sizes[0] != 1:
        raise TensorError(
            f"input {item.name!r} ({item.shape_text}) takes {sizes[0]} pictures; give an array", path=path
        )
    return axes


def _picture_size(item: ModelInput, axes: tuple[int, int, int], height: int, width: int) -> tuple[int, int]:
    """Height and width that the input takes; one that is open follows the other, or is the picture's own."""
    high, wide = (item.sizes[axis] for axis in axes[:2])
    if isinstance(high, int):
        return high, wide if isinstance(wide, int) else max(1, round(width * high / height))
    if isinstance(wide, int):
        return max(1, round(height * wide / width)), wide
    return height, width
