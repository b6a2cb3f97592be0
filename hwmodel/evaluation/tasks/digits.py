"""Handwritten digits: the sample network on the images that were held out when it was trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from bitxcore.data import data_folder
from bitxcore.errors import MissingExtraError
from hwmodel.evaluation.tasks.task_base import Samples, Task, in_batches

SEED = 2021
TEST_SHARE = 0.2


class Digits(Task):
    """360 images of 8 x 8 pixels with labels, from scikit-learn."""

    name: ClassVar[str] = "digits"
    summary: ClassVar[str] = "the sample network on handwritten digits that it has not seen: labels"

    def __init__(self) -> None:
        self.metrics = ("top1", "agreement", "cosine")
        self.title = "handwritten digits: data/samples/digits_resnet.onnx on 360 held-out images"
        self.model = data_folder("samples") / "digits_resnet.onnx"

    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give the test images, those of `docs/recipes/digits_resnet.py`.

        Raises
        ------
        MissingExtraError
            If scikit-learn is missing.
        """
        try:
            from sklearn.datasets import load_digits
            from sklearn.model_selection import train_test_split
        except ImportError as error:
            raise MissingExtraError("scikit-learn", "evaluation") from error
        found = load_digits()
        images = (found.images / 16).astype(np.float32)[:, None]
        _, images, _, labels = train_test_split(
            images, found.target, test_size=TEST_SHARE, stratify=found.target, random_state=SEED
        )
        count = len(images) // 5 if quick else len(images)
        yield from in_batches({"image": images[:count]}, labels[:count].astype(np.int64), 120)
