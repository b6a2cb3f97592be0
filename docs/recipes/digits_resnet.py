"""Train the sample network of data/samples: a small ResNet on scikit-learn's handwritten digits.

    python docs/recipes/digits_resnet.py --output data/samples

The test images take no part in training, nor in choosing when to stop. With the same seed, on one thread and
with the same versions of PyTorch and CPU, the weights come out the same, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitxcore.files import atomic_file

if TYPE_CHECKING:
    import onnx
    import torch

SEED = 2021
EPOCHS = 60
BATCH = 64
RATE = 0.01
TEST_SHARE = 0.2
OPSET = 17
IR_VERSION = 8

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
See = Callable[[list[str], "torch.Tensor"], None]
Addend = Callable[["torch.nn.ModuleDict"], "torch.Tensor"]


def _split(seed: int) -> tuple[Images, Images, Labels, Labels]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=TEST_SHARE, stratify=labels, random_state=seed
    )
    return train_x, test_x, train_y, test_y


def train_split(seed: int = SEED) -> tuple[Images, Labels]:
    """Images ``(n, 1, 8, 8)`` scaled to 0..1, and labels, that the network learns from."""
    train_x, _, train_y, _ = _split(seed)
    return train_x, train_y


def test_split(seed: int = SEED) -> tuple[Images, Labels]:  # noqa: PT028 (no test)
    """Images ``(n, 1, 8, 8)`` scaled to 0..1, and labels, that the network never saw."""
    _, test_x, _, test_y = _split(seed)
    return test_x, test_y


def build() -> torch.nn.ModuleDict:
    """Build the network: every convolution is followed by a batch norm of its own."""
    from torch import nn

    def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(c_out),
        )

    return nn.ModuleDict(
        {
            "stem": conv(1, 16),
            "stage1": nn.ModuleDict(
                {"block1": nn.ModuleDict({"conv1": conv(16, 16), "conv2": conv(16, 16)})}
            ),
            "stage2": nn.ModuleDict(
                {
                    "block1": nn.ModuleDict(
                        {
                            "conv1": conv(16, 32, stride=2),
                            "conv2": conv(32, 32),
                            "shortcut": conv(16, 32, 1, 2),
                        }
                    ),
                    "block2": nn.ModuleDict(  # MobileNet's inverted residual, for its depthwise convolution
                        {"conv1": conv(32, 64, 1), "conv2": conv(64, 64, groups=64), "conv3": conv(64, 32, 1)}
                    ),
                }
            ),
            "stage3": nn.ModuleDict(
                {
                    "block1": nn.ModuleDict(
                        {
                            "conv1": conv(32, 64, stride=2),
                            "conv2": conv(64, 64),
                            "shortcut": conv(32, 64, 1, 2),
                        }
                    )
                }
            ),
            "head": nn.Linear(64, 10),
        }
    )


def _blocks(model: torch.nn.ModuleDict) -> Iterator[tuple[str, list[str], bool]]:
    """Name, main convolutions and whether there is a shortcut convolution, of every residual block."""
    for stage in ("stage1", "stage2", "stage3"):
        for block, parts in model[stage].items():
            yield f"{stage}.{block}", sorted(set(parts) - {"shortcut"}), "shortcut" in parts


def forward(model: torch.nn.ModuleDict, x: torch.Tensor, see: See = lambda *_: None) -> torch.Tensor:
    """Logits ``(n, 10)`` of images ``(n, 1, 8, 8)``.

    ``see(names, activations)`` is called after each ReLU, with the convolutions whose sum it takes.
    """
    from torch.nn.functional import relu

    x = relu(model["stem"](x))
    see(["stem"], x)
    for block, convs, has_shortcut in _blocks(model):
        parts = model.get_submodule(block)
        y = x
        for name in convs:
            y = parts[name](y)
            if name != convs[-1]:
                y = relu(y)
                see([f"{block}.{name}"], y)
        x = relu(y + (parts["shortcut"](x) if has_shortcut else x))
        see([f"{block}.{name}" for name in (convs[-1], *["shortcut"] * has_shortcut)], x)
    return model["head"](x.mean(dim=(2, 3)))


def _shifted(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move each image by up to one pixel each way, zeros coming in."""
    import torch

    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    dy, dx = torch.randint(0, 3, (2, len(x), 1, 1), generator=generator)
    rows, columns = dy + torch.arange(8)[:, None], dx + torch.arange(8)
    return padded[torch.arange(len(x))[:, None, None], 0, rows, columns][:, None]


def train(seed: int, epochs: int, more: Addend | None = None) -> torch.nn.ModuleDict:
    """Train a new model on `train_split`; see `fit`."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    return fit(build(), seed, epochs, more=more)


def fit(
    model: torch.nn.ModuleDict,
    seed: int,
    epochs: int,
    *,
    rate: float = RATE,
    more: Addend | None = None,
    after: Callable[[], None] | None = None,
) -> torch.nn.ModuleDict:
    """Train a model in place on `train_split`: AdamW, one cycle, label smoothing, shifts by one pixel.

    ``more(model)`` is added to the loss, `after` is called after each step.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.from_numpy(a) for a in train_split(seed))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    steps = epochs * (-(-len(x) // BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=generator).split(BATCH):
            logits = forward(model, _shifted(x[batch], generator))
            loss = torch.nn.functional.cross_entropy(logits, y[batch], label_smoothing=0.05)
            if more is not None:
                loss = loss + more(model)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if after is not None:
                after()
    return model.eval()


def _fold(conv_bn: torch.nn.Module) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weight and bias of one convolution that does its batch norm's work too."""
    conv, bn = conv_bn.children()
    scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    weight = conv.weight.double() * scale[:, None, None, None]
    bias = bn.bias.double() - bn.running_mean.double() * scale
    return weight.detach().float().numpy(), bias.detach().float().numpy()


def to_onnx(model: torch.nn.ModuleDict) -> onnx.ModelProto:
    """Write the trained network as ONNX: batch norms folded, the batch dimension ``N`` free."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers = [], []

    def node(op: str, inputs: list[str], name: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{name}.output"
        nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def parameters(name: str, weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> list[str]:
        for part, value in (("weight", weight), ("bias", bias)):
            initializers.append(numpy_helper.from_array(value, f"{name}.{part}"))
        return [f"{name}.weight", f"{name}.bias"]

    def conv(x: str, name: str) -> str:
        layer = model.get_submodule(f"{name}.0")
        return node(
            "Conv",
            [x, *parameters(name, *_fold(model.get_submodule(name)))],
            name,
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            pads=list(layer.padding) * 2,
            group=layer.groups,
        )

    x = node("Relu", [conv("image", "stem")], "stem.relu")
    for block, convs, has_shortcut in _blocks(model):
        y = x
        for name in convs:
            y = conv(y, f"{block}.{name}")
            if name != convs[-1]:
                y = node("Relu", [y], f"{block}.{name}.relu")
        shortcut = conv(x, f"{block}.shortcut") if has_shortcut else x
        x = node("Relu", [node("Add", [y, shortcut], f"{block}.add")], f"{block}.relu")
    x = node("Flatten", [node("GlobalAveragePool", [x], "pool")], "flatten", axis=1)
    head = model["head"]
    weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
    node("Gemm", [x, *parameters("head", weight, bias)], "head", "logits", transB=1)

    graph = helper.make_graph(
        nodes,
        "digits_resnet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        initializers,
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="bitx")


def correct(model: bytes, images: Images, labels: Labels) -> int:
    """Images that ONNX Runtime, on one CPU thread, puts in the right class."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": images})
    return int((logits.argmax(axis=1) == labels).sum())


def make(output: Path, *, seed: int = SEED, epochs: int = EPOCHS) -> Path:
    """Train, check, and write ``digits_resnet.onnx`` with its recipe into the folder `output`."""
    import onnx

    model = to_onnx(train(seed, epochs))
    images, labels = test_split(seed)
    right = correct(model.SerializeToString(), images, labels)
    recipe = {
        "recipe": "docs/recipes/digits_resnet.py",
        "data": "sklearn.datasets.load_digits, pixels / 16",
        "split": f"train_test_split(test_size={TEST_SHARE}, stratify=labels, random_state={seed})",
        "seed": str(seed),
        "epochs": str(epochs),
        "train_images": str(len(train_split(seed)[1])),
        "test_images": str(len(labels)),
        "test_correct": str(right),
        "test_accuracy": f"{right / len(labels):.4f}",
        "versions": json.dumps(
            {p: version(p) for p in ("torch", "scikit-learn", "numpy", "onnx", "onnxruntime")}
            | {"python": platform.python_version()}
        ),
        "date": datetime.now(UTC).date().isoformat(),
        "license": "MIT",
    }
    onnx.helper.set_model_props(model, recipe)
    onnx.checker.check_model(model, full_check=True)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "digits_resnet.onnx"
    with atomic_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    print(f"{path}: {path.stat().st_size} bytes, {right} of {len(labels)} test images right")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the sample network of data/samples.")
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder to write into")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    make(arguments.output, seed=arguments.seed, epochs=arguments.epochs)


if __name__ == "__main__":
    main()
