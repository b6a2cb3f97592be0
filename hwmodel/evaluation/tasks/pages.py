"""Reading pages: the detector and the recogniser of PP-OCRv4, in the pipeline of their own package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bitxcore.errors import MissingExtraError
from hwmodel.evaluation.datasets.rendered_pages import PAGES, rendered_page
from hwmodel.evaluation.runners import Runner
from hwmodel.evaluation.tasks.ocr import HEIGHT, padded_width, recogniser_model
from hwmodel.evaluation.tasks.task_base import Array, Samples, Task

BATCH = 4
DETECTOR = "ch_PP-OCRv4_det_infer.onnx"


class Pages(Task):
    """40 rendered pages of known lines; a detector finds the lines, and a recogniser reads each.

    Both models are pruned. Everything between them is RapidOCR's, with its defaults: scaling, boxes from the
    detector's map, cropping, batches of six lines, and leaving out lines that were read with little
    confidence. The classifier of upside-down text is off.
    """

    name: ClassVar[str] = "pages"
    summary: ClassVar[str] = f"detector and recogniser of PP-OCRv4 on {PAGES} rendered pages (extra models)"

    def __init__(self) -> None:
        self._recogniser = recogniser_model()
        self.model = self._recogniser.with_name(DETECTOR)
        self.metrics = ("exact_lines", "cer")
        self.title = f"text: detector and recogniser of PP-OCRv4 on {PAGES} rendered pages"

    @property
    def models(self) -> tuple[Path, ...]:
        """Detector and recogniser."""
        return self.model, self._recogniser

    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give pages ``(n, side, side, 3)``; a label has a page's lines, with newlines between them.

        Raises
        ------
        MissingExtraError
            If Pillow or OpenCV is missing.
        """
        yield from self._pages(range(0, PAGES, 5 if quick else 1))

    def calibration(self, count: int) -> Iterator[Samples]:
        """Give further pages."""
        yield from self._pages(range(PAGES, PAGES + count))

    def _pages(self, chosen: range) -> Iterator[Samples]:
        for start in range(0, len(chosen), BATCH):
            pages = [rendered_page(index) for index in chosen[start : start + BATCH]]
            images = np.stack([page.image for page in pages])
            texts = np.array(["\n".join(page.lines) for page in pages])
            yield Samples({"page": np.repeat(images[..., None], 3, axis=-1)}, texts)

    def joined(self, runners: Sequence[Runner]) -> Runner:
        """Make a reader of pages of the two."""
        detector, recogniser = runners
        return PageReader(self._engine, detector, recogniser)

    @cached_property
    def _engine(self) -> Any:
        """RapidOCR; the sessions that it opens give way to those of the two runners."""
        try:
            from rapidocr_onnxruntime import RapidOCR
        except ImportError as error:
            raise MissingExtraError("rapidocr-onnxruntime", "models") from error
        return RapidOCR(use_cls=False)


class PageReader(Runner):
    """RapidOCR with other models; gives the text of each page, one line per line that was found.

    Parameters
    ----------
    engine : rapidocr_onnxruntime.RapidOCR
    detector, recogniser : Runner
        Run one page, and batches of lines, by turns.
    """

    def __init__(self, engine: Any, detector: Runner, recogniser: Runner) -> None:
        super().__init__()
        self._engine, self._detector, self._recogniser = engine, detector, recogniser
        self._scaled = type(engine.text_rec).resize_norm_img

    def outputs(self, feeds: dict[str, Array]) -> list[Array]:
        """Read pages ``(n, side, side, 3)``, uint8; give their texts ``(n,)``."""
        reader = self._engine.text_rec
        # The engine is shared by the readers of all settings; each puts in its own models.
        self._engine.text_det.infer = lambda picture: self._detector({"x": picture})
        reader.session = lambda pictures: self._recogniser({"x": pictures})
        reader.resize_norm_img = self._padded
        return [np.array([self._text(page) for page in feeds["page"]])]

    def _padded(self, line: Array, ratio: float) -> Array:
        """Scale a line and pad it to one of a few widths, where RapidOCR would to any."""
        width = padded_width(int(HEIGHT * ratio))
        scaled: Array = self._scaled(self._engine.text_rec, line, (width + 0.5) / HEIGHT)
        return scaled

    def _text(self, page: Array) -> str:
        found, _ = self._engine(page)
        return "\n".join(text.strip() for _, text, _ in found or ())
