"""Train the sample detector of data/samples: a small single-shot network that finds digits in scenes.

    python docs/recipes/digit_detector.py --output data/samples

The held-out digits take no part in training, nor in choosing anything: one run, its last step. With the same
seed, on one thread and with the same versions of PyTorch and CPU, the weights come out the same, bit for bit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from onnx_graph import GraphWriter, outputs_of, write

from hwmodel.evaluation.average_precision import mean_average_precision
from hwmodel.evaluation.datasets.digit_scenes import SIDE, Scene, digit_scenes, scene_images
from hwmodel.evaluation.detections import decode_centres

if TYPE_CHECKING:
    import onnx
    import torch

SEED = 2021
STEPS = 1200
BATCH = 32
RATE = 0.004
STRIDE = 4
CELLS = SIDE // STRIDE
HELD_OUT_SCENES = 500
QUICK_SCENES = 64  # the first ones, whose figure is recorded as well
OPSET = 17
IR_VERSION = 8

CONVOLUTIONS = {
    # name: input channels, output channels, kernel, stride, groups
    "stem": (1, 16, 3, 2, 1),
    "stage1.down": (16, 32, 3, 2, 1),
    "stage1.conv1": (32, 32, 3, 1, 1),
    "stage1.conv2": (32, 32, 3, 1, 1),
    "stage2.down": (32, 64, 3, 2, 1),
    "stage2.conv1": (64, 64, 3, 1, 1),
    "stage2.conv2": (64, 64, 3, 1, 1),
    "stage3.down.expand": (64, 128, 1, 1, 1),
    "stage3.down.depthwise": (128, 128, 3, 2, 128),
    "stage3.down.project": (128, 96, 1, 1, 1),
    "stage3.expand": (96, 192, 1, 1, 1),
    "stage3.depthwise": (192, 192, 3, 1, 192),
    "stage3.project": (192, 96, 1, 1, 1),
    "neck.from3": (96, 48, 1, 1, 1),
    "neck.from2": (64, 48, 1, 1, 1),
    "neck.from1": (32, 48, 1, 1, 1),
    "neck.depthwise": (48, 48, 3, 1, 48),
    "neck.pointwise": (48, 48, 1, 1, 1),
    "head.centres.conv": (48, 48, 3, 1, 1),
    "head.edges.conv": (48, 48, 3, 1, 1),
    # The last two have a bias in place of a batch norm.
    "head.centres.out": (48, 10, 1, 1, 1),
    "head.edges.out": (48, 4, 1, 1, 1),
}
OUTPUTS = ("head.centres.out", "head.edges.out")

Maps = npt.NDArray[np.float32]
Addend = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], "torch.Tensor"]


class TorchGraph:
    """Runs `detector` on tensors."""

    def __init__(self, model: torch.nn.ModuleDict) -> None:
        self.model = model

    def conv(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return self.model[name.replace(".", "-")](x)

    def relu(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return x.relu()

    def add(self, x: torch.Tensor, y: torch.Tensor, name: str) -> torch.Tensor:
        return x + y

    def twice(self, x: torch.Tensor, name: str) -> torch.Tensor:
        import torch

        return torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")


class OnnxGraph:
    """Writes `detector` as nodes; batch norms are folded into the convolutions."""

    def __init__(self, model: torch.nn.ModuleDict) -> None:
        self.model, self.graph = model, GraphWriter()

    def conv(self, x: str, name: str) -> str:
        layer = self.model[name.replace(".", "-")]
        weight, bias = _folded(layer)
        parameters = [
            self.graph.constant(f"{name}.{part}", a) for part, a in (("weight", weight), ("bias", bias))
        ]
        return self.graph.node(
            "Conv",
            [x, *parameters],
            name,
            kernel_shape=list(layer[0].kernel_size),
            strides=list(layer[0].stride),
            pads=list(layer[0].padding) * 2,
            group=layer[0].groups,
        )

    def relu(self, x: str, name: str) -> str:
        return self.graph.node("Relu", [x], name)

    def add(self, x: str, y: str, name: str) -> str:
        return self.graph.node("Add", [x, y], name)

    def twice(self, x: str, name: str) -> str:
        scales = self.graph.constant("neck.scales", np.array([1, 1, 2, 2], np.float32))
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.graph.node("Resize", [x, "", scales], name, **modes)


def detector(on: TorchGraph | OnnxGraph, x: torch.Tensor | str) -> tuple[torch.Tensor | str, ...]:
    """Maps of centres ``(n, 10, CELLS, CELLS)`` and edges ``(n, 4, CELLS, CELLS)`` of images."""

    def conv(x: torch.Tensor | str, name: str) -> torch.Tensor | str:
        return on.relu(on.conv(x, name), f"{name}.relu")

    def residual(x: torch.Tensor | str, stage: str, *convs: str) -> torch.Tensor | str:
        y = x
        for name in convs[:-1]:
            y = conv(y, f"{stage}.{name}")
        y = on.add(x, on.conv(y, f"{stage}.{convs[-1]}"), f"{stage}.add")
        return on.relu(y, f"{stage}.relu")

    x = conv(x, "stem")
    one = residual(conv(x, "stage1.down"), "stage1", "conv1", "conv2")
    two = residual(conv(one, "stage2.down"), "stage2", "conv1", "conv2")
    x = conv(conv(conv(two, "stage3.down.expand"), "stage3.down.depthwise"), "stage3.down.project")
    x = residual(x, "stage3", "expand", "depthwise", "project")
    x = on.twice(on.conv(x, "neck.from3"), "neck.resize3")
    x = on.relu(on.add(x, on.conv(two, "neck.from2"), "neck.add2"), "neck.relu2")
    x = on.twice(x, "neck.resize2")
    x = on.relu(on.add(x, on.conv(one, "neck.from1"), "neck.add1"), "neck.relu1")
    x = conv(conv(x, "neck.depthwise"), "neck.pointwise")
    return tuple(on.conv(conv(x, f"head.{map_}.conv"), f"head.{map_}.out") for map_ in ("centres", "edges"))


def build() -> torch.nn.ModuleDict:
    """Make the convolutions; every one but the last two is followed by a batch norm of its own."""
    from torch import nn

    layers = {}
    for name, (c_in, c_out, kernel, stride, groups) in CONVOLUTIONS.items():
        last = name in OUTPUTS
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=last)
        layers[name.replace(".", "-")] = nn.Sequential(conv, *([] if last else [nn.BatchNorm2d(c_out)]))
    for name, bias in zip(
        OUTPUTS, (-4.0, 1.5), strict=True
    ):  # few cells are centres; a digit's half in cells
        nn.init.constant_(layers[name.replace(".", "-")][0].bias, bias)
    return nn.ModuleDict(layers)


def _folded(layer: torch.nn.Sequential) -> tuple[Maps, Maps]:
    """Weight and bias of one convolution that does its batch norm's work too."""
    conv, *norms = layer.children()
    weight, shift = conv.weight.double(), 0 if conv.bias is None else conv.bias.double()
    for norm in norms:
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = weight * scale[:, None, None, None]
        shift = norm.bias.double() + (shift - norm.running_mean.double()) * scale
    return weight.detach().float().numpy(), shift.detach().float().numpy()


def targets(scenes: list[Scene]) -> tuple[Maps, Maps, Maps]:
    """Maps to learn: centres with bells around them, edges in cells, and the weight of each cell's edges."""
    centres = np.zeros((len(scenes), 10, CELLS, CELLS), np.float32)
    edges = np.zeros((len(scenes), 4, CELLS, CELLS), np.float32)
    weights = np.zeros((len(scenes), 1, CELLS, CELLS), np.float32)
    middles = np.arange(CELLS) + 0.5
    for image, scene in enumerate(scenes):
        for (left, top, right, bottom), label in zip(scene.boxes / STRIDE, scene.classes, strict=True):
            row, column = int((top + bottom) / 2), int((left + right) / 2)
            deviations = [max(side / 6, 0.4) for side in (bottom - top, right - left)]
            bell = np.exp(
                -(((middles - row - 0.5) / deviations[0]) ** 2)[:, None] / 2
                - ((middles - column - 0.5) / deviations[1]) ** 2 / 2
            ).astype(np.float32)
            np.maximum(centres[image, label], bell, out=centres[image, label])
            own = (bell > 0.1) & (bell > weights[image, 0])
            weights[image, 0][own] = bell[own]
            x, y = np.broadcast_arrays(middles, middles[:, None])
            edges[image][:, own] = np.stack([x - left, y - top, right - x, bottom - y])[:, own]
    return centres, edges, weights


def loss(
    centres: torch.Tensor, edges: torch.Tensor, wanted: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Focal loss of CornerNet for the centres, and the distance of the edges where a digit's middle is."""
    from torch.nn.functional import logsigmoid

    bells, true_edges, weights = wanted
    probability = centres.sigmoid()
    is_centre = bells == 1
    hits = (1 - probability) ** 2 * logsigmoid(centres) * is_centre
    misses = probability**2 * logsigmoid(-centres) * (1 - bells) ** 4
    focal = -(hits + misses).sum() / is_centre.sum().clamp(min=1)
    distance = ((edges - true_edges).abs() * weights).sum() / weights.sum().clamp(min=1)
    return focal + distance


def fix(seed: int) -> None:
    """Make PyTorch's numbers the same each time: one thread, one seed."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def train(seed: int, steps: int) -> torch.nn.ModuleDict:
    """Train on scenes that are new at every step."""
    fix(seed)
    return fit(build(), seed, steps)


def fit(
    model: torch.nn.ModuleDict, seed: int, steps: int, *, first: int = 0, more: Addend | None = None
) -> torch.nn.ModuleDict:
    """Train a model in place: AdamW, one cycle of the learning rate, each scene once.

    Scenes are those from number `first` on; ``more(images, centres, edges)`` is added to the loss.
    """
    import torch

    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps, pct_start=0.15)
    mean, begin = 0.0, time.perf_counter()
    for step in range(steps):
        scenes = digit_scenes("train", BATCH, first=first + step * BATCH, seed=seed)
        wanted = tuple(map(torch.from_numpy, targets(scenes)))
        images = torch.from_numpy(scene_images(scenes))
        found = detector(TorchGraph(model), images)
        error = loss(*found, wanted)
        if more is not None:
            error = error + more(images, *found)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        mean += (error.item() - mean) / min(step + 1, 50)
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}: loss {mean:.3f}, {time.perf_counter() - begin:.0f} s", flush=True)
    return model.eval()


def to_onnx(model: torch.nn.ModuleDict, name: str = "digit_detector") -> onnx.ModelProto:
    """Write the detector as ONNX: ``image`` to ``centres`` and ``edges``, the batch dimension ``N`` free."""
    from onnx import TensorProto, helper

    writer = OnnxGraph(model)
    detector(writer, "image")
    graph = writer.graph
    for node, output in zip((n for n in graph.nodes if n.name in OUTPUTS), ("centres", "edges"), strict=True):
        node.output[0] = output
    return graph.model(
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", channels, CELLS, CELLS])
            for output, channels in (("centres", 10), ("edges", 4))
        ],
        opset=OPSET,
        ir_version=IR_VERSION,
    )


def precisions(model: bytes, scenes: list[Scene], overlaps: Sequence[float] = (0.5,)) -> list[float]:
    """Mean average precision at each overlap, in ONNX Runtime on one CPU thread."""
    centres, edges = outputs_of(model, scene_images(scenes))
    found = decode_centres(centres, edges, stride=STRIDE)
    truths = [(scene.boxes, scene.classes) for scene in scenes]
    return [mean_average_precision(found, truths, overlap) for overlap in overlaps]


def figures(model: bytes, scenes: int) -> dict[str, str]:
    """Mean average precision on the first held-out scenes, as a file records it."""
    held_out = digit_scenes("held_out", scenes)
    maps = precisions(model, held_out, [round(0.5 + 0.05 * i, 2) for i in range(10)])
    return {
        "held_out_scenes": str(scenes),
        "held_out_map_50": f"{maps[0]:.4f}",
        "held_out_map_50_95": f"{np.mean(maps):.4f}",
        "quick_scenes": str(QUICK_SCENES),
        "quick_map_50": f"{precisions(model, held_out[:QUICK_SCENES])[0]:.4f}",
    }


def make(output: Path, *, seed: int = SEED, steps: int = STEPS, scenes: int = HELD_OUT_SCENES) -> Path:
    """Train, check, and write ``digit_detector.onnx`` with its recipe into the folder `output`."""
    begin = time.perf_counter()
    model = to_onnx(train(seed, steps))
    seconds = time.perf_counter() - begin
    found = figures(model.SerializeToString(), scenes)
    recipe = {
        "recipe": "docs/recipes/digit_detector.py",
        "data": "hwmodel.evaluation.datasets.digit_scenes of sklearn.datasets.load_digits",
        "split": "the last 360 digits are in held-out scenes only",
        "seed": str(seed),
        "steps": str(steps),
        "train_scenes": str(steps * BATCH),
        **found,
    }
    path = output / "digit_detector.onnx"
    write(model, recipe, path)
    print(
        f"{path}: {path.stat().st_size} bytes, mAP {found['held_out_map_50']} at 0.5 and "
        f"{found['held_out_map_50_95']} at 0.5:0.95 on {scenes} held-out scenes, {seconds:.0f} s"
    )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the sample detector of data/samples.")
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder to write into")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    make(arguments.output, seed=arguments.seed, steps=arguments.steps)


if __name__ == "__main__":
    main()
