"""Handwritten digits: the sample network on the images that were held out when it was trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

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
        _, images, _, labels = _split()
        yield from _first(len(images) // 5 if quick else len(images), images, labels)

    def calibration(self, count: int) -> Iterator[Samples]:
        """Give the first of the images that the network was trained on."""
        images, _, labels, _ = _split()
        yield from _first(count, images, labels)


def _split() -> list[npt.NDArray[Any]]:
    """Images to train and to test with, and the labels of both."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "evaluation") from error
    found = load_digits()
    images = (found.images / 16).astype(np.float32)[:, None]
    parts: list[npt.NDArray[Any]] = train_test_split(
        images, found.target, test_size=TEST_SHARE, stratify=found.target, random_state=SEED
    )
    return parts


def _first(count: int, images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Iterator[Samples]:
    return in_batches({"image": images[:count]}, labels[:count].astype(np.int64), 120)
