"""Objects: the slimmed sample detector on the scenes of the plain one."""

from __future__ import annotations

from typing import ClassVar

from hwmodel.evaluation.tasks.detector import SCENES, Detector


class DetectorSlimmed(Detector):
    """The scenes and metrics of `Detector`; a model with fewer channels, by Network Slimming."""

    name: ClassVar[str] = "detector-slimmed"
    summary: ClassVar[str] = (
        f"the detector with fewer channels, by Network Slimming, on the same {SCENES} scenes"
    )
    sample: ClassVar[str] = "digit_detector_slimmed.onnx"
