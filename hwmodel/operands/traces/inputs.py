"""What a traced model is fed with: arrays, files of arrays, pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import DumpError, MissingExtraError, TensorError

IMAGES = (".png", ".jpg", ".jpeg")

Given = str | os.PathLike[str] | npt.ArrayLike
"""An array; or a file: a picture, or any dump (its tensor of the input's name, or its only one)."""


@dataclass(frozen=True)
class Input:
    """An input of a model.

    Parameters
    ----------
    name : str
    sizes : tuple of int, str or None
        Of each axis; a name or None where it is open.
    dtype : numpy.dtype
    """

    name: str
    sizes: tuple[int | str | None, ...]
    dtype: np.dtype[Any]

    @property
    def shape_text(self) -> str:
        """The sizes as text, ``1x3x?x?``."""
        return "x".join("?" if size is None else str(size) for size in self.sizes)


@dataclass(frozen=True)
class Scaling:
    """How the 8-bit channels of a picture become numbers: ``(channel * scale - mean) / std``.

    Parameters
    ----------
    scale : float
    mean, std : tuple of float
        One for all channels, or one a channel.
    """

    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not all(np.isfinite([self.scale, *self.mean, *self.std])) or 0 in self.std:
            raise TensorError(
                f"scale, mean and std must be finite, std not 0: got {self.scale}, {self.mean}, {self.std}"
            )

    def apply(self, where: str, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Scale ``(height, width, channels)``."""
        channels = pixels.shape[-1]
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, channels):
                raise TensorError(f"{where}: {name} has {count} values, the input has {channels} channels")
        scaled: npt.NDArray[np.float64] = (pixels * self.scale - np.array(self.mean)) / np.array(self.std)
        return scaled


def read_inputs(
    where: str, inputs: Sequence[Input], given: Given | Mapping[str, Given], scaling: Scaling
) -> dict[str, npt.NDArray[Any]]:
    """Read every input of a model.

    Parameters
    ----------
    where : str
        The model, for errors.
    inputs : sequence of Input
        With the sizes that are asked for.
    given : Given or mapping of str to Given
    scaling : Scaling
        Of pictures.

    Returns
    -------
    dict of str to ndarray
        In the inputs' dtypes.

    Raises
    ------
    TensorError
        If an input is missing, unknown, or of another shape or kind.
    DumpError
        If a file can't be read.
    """
    by_name = {item.name: item for item in inputs}
    if not isinstance(given, Mapping):
        if len(inputs) != 1:
            raise TensorError(f"{where}: has inputs {', '.join(by_name)}; name the one that is given")
        given = {inputs[0].name: given}
    if unknown := next((name for name in given if name not in by_name), None):
        raise TensorError(f"{where}: there is no input {unknown!r}; it has {', '.join(by_name)}")
    if missing := next((name for name in by_name if name not in given), None):
        raise TensorError(f"{where}: input {missing!r} ({by_name[missing].shape_text}) is not given")
    return {name: _read(item, given[name], scaling) for name, item in by_name.items()}


def _read(item: Input, given: Given, scaling: Scaling) -> npt.NDArray[Any]:
    if not isinstance(given, (str, os.PathLike)):
        return _fitting(f"input {item.name!r}", item, np.asarray(given))
    path = Path(given)
    if path.suffix.lower() in IMAGES:
        return _picture(path, item, scaling)
    from bitxcore.dumps import open_dump

    with open_dump(path) as dump:
        name = item.name if item.name in dump else next(iter(dump), None)
        if name is None or (name != item.name and len(dump) > 1):
            raise TensorError(f"has no tensor {item.name!r}, which the model's input is called", path=path)
        return _fitting(f"{path}: input {item.name!r}", item, dump[name].read())


def _fitting(where: str, item: Input, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    fits = values.ndim == len(item.sizes) and all(
        not isinstance(size, int) or size == found
        for size, found in zip(item.sizes, values.shape, strict=True)
    )
    if not fits:
        found = "x".join(map(str, values.shape))
        raise TensorError(f"{where}: shape {found or '()'} is given, the model takes {item.shape_text}")
    if not values.size:
        raise TensorError(f"{where}: is empty")
    if not np.can_cast(values.dtype, item.dtype, "same_kind"):
        raise TensorError(f"{where}: holds {values.dtype}, the model takes {item.dtype}")
    return np.ascontiguousarray(values, item.dtype)


def _picture(path: Path, item: Input, scaling: Scaling) -> npt.NDArray[Any]:
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
    values = scaling.apply(str(path), pixels)
    if item.dtype.kind in "iu":
        info = np.iinfo(item.dtype)
        values = np.clip(np.rint(values), info.min, info.max)
    values = np.moveaxis(values, (0, 1, 2), tuple(axis - 1 for axis in axes))
    return np.ascontiguousarray(values[None], item.dtype)


def _picture_axes(path: Path, item: Input) -> tuple[int, int, int]:
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


def _picture_size(item: Input, axes: tuple[int, int, int], height: int, width: int) -> tuple[int, int]:
    """Height and width that the input takes; one that is open follows the other, or is the picture's own."""
    high, wide = (item.sizes[axis] for axis in axes[:2])
    if isinstance(high, int):
        return high, wide if isinstance(wide, int) else max(1, round(width * high / height))
    if isinstance(wide, int):
        return max(1, round(height * wide / width)), wide
    return height, width
