"""Reading text: the recogniser of PP-OCRv4 on rendered lines."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bitxcore.errors import MissingExtraError
from hwmodel.evaluation.datasets.rendered_lines import LINES, rendered_line
from hwmodel.evaluation.tasks.task_base import Array, Samples, Task

HEIGHT = 48
BATCH = 10


class Ocr(Task):
    """200 rendered lines of known text, from the package rapidocr-onnxruntime."""

    name: ClassVar[str] = "ocr"
    summary: ClassVar[str] = "the recogniser of PP-OCRv4 on 200 rendered lines: text (extra models)"

    def __init__(self) -> None:
        spec = find_spec("rapidocr_onnxruntime")
        if spec is None or spec.origin is None:
            raise MissingExtraError("rapidocr-onnxruntime", "models")
        self.metrics = ("exact_lines", "cer")
        self.title = f"text: the recogniser of PP-OCRv4 on {LINES} rendered lines"
        self.model = Path(spec.origin).parent / "models" / "ch_PP-OCRv4_rec_infer.onnx"

    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give the lines as the recogniser takes them: 48 pixels high, as wide as the widest of a batch."""
        chosen = range(0, LINES, 5 if quick else 1)
        for start in range(0, len(chosen), BATCH):
            lines = [rendered_line(index) for index in chosen[start : start + BATCH]]
            pictures = [_scaled(line.image) for line in lines]
            widest = max(picture.shape[-1] for picture in pictures)
            x = np.zeros((len(lines), 3, HEIGHT, widest), np.float32)
            for row, picture in zip(x, pictures, strict=True):
                row[:, :, : picture.shape[-1]] = picture
            yield Samples({"x": x}, np.array([line.text for line in lines]))

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
    """Resize a line to `HEIGHT`, and bring its values to -1 ... 1."""
    from PIL import Image

    width = max(1, -(-image.shape[1] * HEIGHT // image.shape[0]))
    picture = Image.fromarray(image).resize((width, HEIGHT), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32) / np.float32(127.5) - np.float32(1)
