"""Scenes are the same everywhere, and what is held out is kept apart."""

from __future__ import annotations

import hashlib
import sys
from itertools import combinations

import numpy as np
import pytest

from bitxcore.errors import MissingExtraError, OptionError
from hwmodel.evaluation.datasets import digit_scenes as module
from hwmodel.evaluation.datasets.digit_scenes import (
    SIDE,
    TRAIN_DIGITS,
    Scene,
    digit_scene,
    digit_scenes,
    scene_images,
)


def digest(scenes: list[Scene]) -> str:
    parts = (a for s in scenes for a in (s.image, s.boxes.astype("<f4"), s.classes.astype("<i8")))
    return hashlib.sha256(b"".join(a.tobytes() for a in parts)).hexdigest()


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("train", "0aadfa4cb9346d73d58915922a9bcc19bbf7d40c18da4621e3565111cc4b2eda"),
        ("held_out", "ee151934eebc340ae2fcdda7dbef72607cea0af646128491a7efdc15df14f246"),
    ],
)
def test_scenes_are_these(part: str, expected: str) -> None:
    assert digest(digit_scenes(part, 16)) == expected


def test_a_scene_depends_on_no_other() -> None:
    assert digest(digit_scenes("train", 2, first=5)) == digest(digit_scenes("train", 7)[5:])
    assert digest(digit_scenes("train", 1)) != digest(digit_scenes("train", 1, seed=1))


def test_digits_of_the_parts_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = module._digits()
    assert (len(labels), len(labels) - TRAIN_DIGITS) == (1797, 360)
    monkeypatch.setattr(module, "_digits", lambda: (images, np.arange(len(labels))))
    train, held_out = (np.concatenate([s.classes for s in digit_scenes(part, 40)]) for part in module.PARTS)
    assert train.max() < TRAIN_DIGITS <= held_out.min()
    assert len(np.unique(held_out)) > 100


def test_objects_are_inside_and_nearly_apart() -> None:
    scenes = digit_scenes("held_out", 60)
    assert {len(s.classes) for s in scenes} == {3, 4, 5, 6, 7, 8}
    assert set(np.concatenate([s.classes for s in scenes])) == set(range(10))
    sides = np.concatenate([s.boxes[:, 2:] - s.boxes[:, :2] for s in scenes])
    assert sides.min() >= 2
    assert sides.max() == 24
    for scene in scenes:
        assert scene.image.shape == (SIDE, SIDE)
        assert scene.image.dtype == np.uint8
        assert scene.boxes.shape == (len(scene.classes), 4)
        assert scene.boxes.min() >= 0
        assert scene.boxes.max() <= SIDE
        for a, b in combinations(scene.boxes, 2):
            shared = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
            assert shared <= 0.1 * min((x[2:] - x[:2]).prod() for x in (a, b)) + 1e-6


def test_enlarged_digits_are_bilinear() -> None:
    digit = module._digits()[0][3]
    np.testing.assert_array_equal(module._enlarged(digit, 8), digit * 16**2)
    for size in (9, 16, 23):
        found = module._enlarged(digit, size) / (2 * size) ** 2
        for row, column in np.ndindex(size, size):
            y, x = (np.clip((place + 0.5) * 8 / size - 0.5, 0, 7) for place in (row, column))
            near = [np.interp(x, np.arange(8), digit[int(line)]) for line in (y, min(y + 1, 7))]
            assert found[row, column] == pytest.approx(near[0] + (near[1] - near[0]) * (y % 1))


def test_images_for_a_network() -> None:
    scenes = digit_scenes("train", 2)
    images = scene_images(scenes)
    assert (images.shape, images.dtype) == ((2, 1, SIDE, SIDE), np.float32)
    np.testing.assert_array_equal(np.rint(images[1, 0] * 255), scenes[1].image)


def test_what_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="part must be one of train, held_out, not 'test'"):
        digit_scene("test", 0)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setattr(module, "_digits", module._digits.__wrapped__)
    with pytest.raises(MissingExtraError, match=r"scikit-learn.*bitx\[evaluation\]"):
        digit_scene("train", 0)
