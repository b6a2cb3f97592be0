"""Objects: the sample detector on scenes of digits that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from bitxcore.data import data_folder
from hwmodel.evaluation.datasets.digit_scenes import SIDE, digit_scenes, scene_images
from hwmodel.evaluation.detections import decode_centres, stacked
from hwmodel.evaluation.tasks.task_base import Array, Samples, Task

SCENES = 500
BATCH = 50
MOST_OBJECTS = 8


class Detector(Task):
    """500 scenes of digits with boxes and classes; the digits are scikit-learn's, the last 360."""

    name: ClassVar[str] = "detector"
    summary: ClassVar[str] = f"the sample detector on {SCENES} scenes of digits that it has not seen: boxes"
    sample: ClassVar[str] = "digit_detector.onnx"

    def __init__(self) -> None:
        self.metrics = ("map50", "map")
        self.title = f"objects: data/samples/{self.sample} on {SCENES} held-out scenes"
        self.model = data_folder("samples") / self.sample

    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give the held-out scenes, those of `docs/recipes/digit_detector.py`.

        Labels are ``(scenes, objects, 5)``: left, top, right and bottom edge, class; below 0, it is none.

        Raises
        ------
        MissingExtraError
            If scikit-learn is missing.
        """
        yield from self._scenes("held_out", SCENES // 5 if quick else SCENES)

    def calibration(self, count: int) -> Iterator[Samples]:
        """Give scenes of the kind that the network was trained on, of the digits that it has seen."""
        yield from self._scenes("train", count)

    def _scenes(self, part: str, count: int) -> Iterator[Samples]:
        for first in range(0, count, BATCH):
            scenes = digit_scenes(part, min(BATCH, count - first), first=first)
            labels = np.full((len(scenes), MOST_OBJECTS, 5), -1, np.float32)
            for row, scene in zip(labels, scenes, strict=True):
                row[: len(scene.boxes), :4], row[: len(scene.boxes), 4] = scene.boxes, scene.classes
            yield Samples({"image": scene_images(scenes)}, labels)

    def scored(self, outputs: list[Array]) -> Array:
        """Decode the two maps to boxes, best first."""
        centres, edges = outputs
        return stacked(decode_centres(centres, edges, stride=SIDE // centres.shape[-1]))
