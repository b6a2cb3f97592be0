"""Reading text: the recogniser of PP-OCRv4 on rendered lines."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bitxcore.errors import MissingExtraError
from hwmodel.evaluation.datasets.rendered_lines import LINES, rendered_line
from hwmodel.evaluation.tasks.task_base import Array, Samples, Task

HEIGHT = 48
BATCH = 10
LEAST_WIDTH = 320
WIDTH_STEP = 80


def padded_width(width: float) -> int:
    """Round a picture's width up to one of a few, so that cycles are those of all shapes that are run.

    The package pads the pictures of a batch to the widest, and to 320 pixels at least.

    Examples
    --------
    >>> padded_width(100), padded_width(321.5), padded_width(400)
    (320, 400, 400)
    """
    return max(LEAST_WIDTH, -(-ceil(width) // WIDTH_STEP) * WIDTH_STEP)


def recogniser_model() -> Path:
    """Find the recogniser in the package; the detector is beside it.

    Raises
    ------
    MissingExtraError
        If the package is missing.
    """
    spec = find_spec("rapidocr_onnxruntime")
    if spec is None or spec.origin is None:
        raise MissingExtraError("rapidocr-onnxruntime", "models")
    return Path(spec.origin).parent / "models" / "ch_PP-OCRv4_rec_infer.onnx"


class Ocr(Task):
    """200 rendered lines of known text, from the package rapidocr-onnxruntime."""

    name: ClassVar[str] = "ocr"
    summary: ClassVar[str] = "the recogniser of PP-OCRv4 on 200 rendered lines: text (extra models)"

    def __init__(self) -> None:
        self.model = recogniser_model()
        self.metrics = ("exact_lines", "cer")
        self.title = f"text: the recogniser of PP-OCRv4 on {LINES} rendered lines"

    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give the lines as the package gives them to the recogniser, narrow ones first.

        Raises
        ------
        MissingExtraError
            If Pillow or OpenCV is missing.
        """
        yield from self._lines(range(0, LINES, 5 if quick else 1))

    def calibration(self, count: int) -> Iterator[Samples]:
        """Give further lines."""
        yield from self._lines(range(LINES, LINES + count))

    def _lines(self, chosen: range) -> Iterator[Samples]:
        lines = [rendered_line(index) for index in chosen]
        lines.sort(key=lambda line: line.image.shape[1] / line.image.shape[0])
        for start in range(0, len(lines), BATCH):
            some = lines[start : start + BATCH]
            pictures = [_scaled(line.image) for line in some]
            x = np.zeros((len(some), 3, HEIGHT, padded_width(pictures[-1].shape[-1])), np.float32)
            for row, picture in zip(x, pictures, strict=True):
                row[:, :, : picture.shape[-1]] = picture
            yield Samples({"x": x}, np.array([line.text for line in some]))

    def scored(self, outputs: list[Array]) -> Array:
        """Read the text: of equal neighbours one counts, blanks do not (CTC, best path); no space at ends."""
        codes = outputs[0].argmax(axis=-1)
        kept = codes > 0
        kept[:, 1:] &= codes[:, 1:] != codes[:, :-1]
        lines = ("".join(self._characters[row[keep]]) for row, keep in zip(codes, kept, strict=True))
        return np.array([line.strip() for line in lines])

    @cached_property
    def _characters(self) -> npt.NDArray[np.str_]:
        """Characters by code; code 0 is the blank, the last one the space."""
        from hwmodel.networks.onnx import read_model

        entries = {entry.key: entry.value for entry in read_model(self.model).metadata_props}
        return np.array(["", *entries["character"].splitlines(), " "])


def _scaled(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Resize a line to `HEIGHT`, and bring its values to -1 ... 1, with the package's own steps."""
    import cv2

    height, width = image.shape
    scaled = cv2.resize(image, (ceil(HEIGHT * (width / height)), HEIGHT))
    return np.asarray((scaled.astype(np.float32) / 255 - 0.5) / 0.5, np.float32)
