"""Train the sample transformer of data/samples: a small decoder on the characters of Python's help topics.

    python docs/recipes/pydoc_transformer.py --output data/samples

The held-out topics take no part in training, nor in choosing when to stop: one run, its last step. Rates,
batch and first weights were chosen in six runs of at most 1.3 epochs, where training loss and held-out figure
gave the same order. With the same seed, on one thread and with the same versions of Python, PyTorch and CPU,
the weights come out the same, bit for bit.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx_graph import GraphWriter, outputs_of, write

from hwmodel.evaluation.datasets.pydoc_text import (
    ALPHABET,
    VOCABULARY,
    TextWindows,
    encode,
    held_out_windows,
    pydoc_text,
)

if TYPE_CHECKING:
    import onnx
    import torch

SEED = 2021
STEPS = 3000
BATCH = 16
CONTEXT = 128
WIDTH = 112
HEADS = 4
QUICK_WINDOWS = 48  # the first ones, whose figure is recorded as well
BLOCKS = 4
DROPOUT = 0.05
MATRIX_RATE = 0.04  # Muon's
OTHER_RATE = 0.012  # AdamW's: embeddings, biases, norms
OPSET = 20  # the first with Gelu
IR_VERSION = 9
EPSILON = 1e-5
MASKED = -1e9

PARTS = {
    "attention_norm": (WIDTH,),
    "attention.query": (WIDTH, WIDTH),
    "attention.key": (WIDTH, WIDTH),
    "attention.value": (WIDTH, WIDTH),
    "attention.output": (WIDTH, WIDTH),
    "mlp_norm": (WIDTH,),
    "mlp.expand": (WIDTH, 4 * WIDTH),
    "mlp.contract": (4 * WIDTH, WIDTH),
}
"""Layers of a block: a norm's width, or a matrix's inputs and outputs."""


def build(seed: int) -> dict[str, torch.Tensor]:
    """Draw the weights, by the names that the file has. Matrices are ``(inputs, outputs)``."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, deviation: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * deviation

    weights = {
        "embedding.weight": normal(VOCABULARY, WIDTH, deviation=0.1),
        "position.weight": normal(CONTEXT, WIDTH, deviation=0.02),
    }
    layers = {f"block{b}.{part}": shape for b in range(1, BLOCKS + 1) for part, shape in PARTS.items()}
    for name, shape in {**layers, "final_norm": (WIDTH,)}.items():
        if len(shape) == 1:
            weights[f"{name}.weight"] = torch.ones(shape)
        else:
            # What a block adds is nothing at first, so that the embedding reaches the head.
            adds = name.endswith((".output", ".contract"))
            weights[f"{name}.weight"] = normal(*shape, deviation=0.0 if adds else 1 / math.sqrt(shape[0]))
        weights[f"{name}.bias"] = torch.zeros(shape[-1])
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def forward(weights: dict[str, torch.Tensor], ids: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
    """Logits ``(batch, length, VOCABULARY)`` of the character after each of `ids`, ``(batch, length)``."""
    from torch.nn import functional

    batch, length = ids.shape

    def drop(x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, dropout) if dropout else x

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], EPSILON)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)

    x = drop(weights["embedding.weight"][ids] + weights["position.weight"][:length])
    for b in range(1, BLOCKS + 1):
        attention, mlp = f"block{b}.attention", f"block{b}.mlp"
        y = norm(x, f"{attention}_norm")
        query, key, value = (heads(linear(y, f"{attention}.{part}")) for part in ("query", "key", "value"))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + drop(linear(mixed.transpose(1, 2).reshape(batch, length, WIDTH), f"{attention}.output"))
        y = functional.gelu(linear(norm(x, f"{mlp}_norm"), f"{mlp}.expand"))
        x = x + drop(linear(y, f"{mlp}.contract"))
    return norm(x, "final_norm") @ weights["embedding.weight"].T


def train(seed: int, steps: int) -> dict[str, torch.Tensor]:
    """Train on what is not held out: Muon for matrices, AdamW for the rest, rates that fall to zero."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    codes = torch.from_numpy(encode(pydoc_text().train))
    weights = build(seed)
    matrices = [w for name, w in weights.items() if name.startswith("block") and w.ndim == 2]
    others = [w for name, w in weights.items() if not (name.startswith("block") and w.ndim == 2)]
    optimizers = [
        torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.05),
        torch.optim.AdamW(others, lr=OTHER_RATE, weight_decay=0.01, betas=(0.9, 0.98)),
    ]
    warm_up = max(1, steps // 20)

    def share(step: int) -> float:  # of the full learning rate
        return min((step + 1) / warm_up, (steps - step) / (steps - warm_up + 1))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, share) for optimizer in optimizers]
    mean, begin = 0.0, time.perf_counter()
    for step in range(steps):
        starts = torch.randint(len(codes) - CONTEXT, (BATCH, 1), generator=generator)
        stretch = codes[starts + torch.arange(CONTEXT + 1)]
        logits = forward(weights, stretch[:, :-1], DROPOUT)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), stretch[:, 1:].flatten())
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        mean += (loss.item() / math.log(2) - mean) / min(step + 1, 50)
        if (step + 1) % 50 == 0:
            seconds = time.perf_counter() - begin
            print(f"step {step + 1}: {mean:.3f} bits per character, {seconds:.0f} s", flush=True)
    return weights


def to_onnx(weights: dict[str, torch.Tensor]) -> onnx.ModelProto:
    """Write the transformer as ONNX: ``ids`` int64 ``(N, CONTEXT)`` to ``logits``, `N` free."""
    from onnx import TensorProto, helper

    graph = GraphWriter()
    node = graph.node

    def constant(name: str) -> str:
        return graph.constant(name, weights[name].detach().numpy())

    def norm(x: str, name: str) -> str:
        inputs = [x, constant(f"{name}.weight"), constant(f"{name}.bias")]
        return node("LayerNormalization", inputs, name, axis=-1, epsilon=EPSILON)

    def linear(x: str, name: str) -> str:
        product = node("MatMul", [x, constant(f"{name}.weight")], name)
        return node("Add", [product, constant(f"{name}.bias")], f"{name}.add")

    def heads(x: str, name: str, order: list[int]) -> str:
        split = graph.constant("heads.shape", np.array([0, CONTEXT, HEADS, WIDTH // HEADS]))
        return node("Transpose", [node("Reshape", [x, split], f"{name}.split")], f"{name}.heads", perm=order)

    mask = graph.constant("mask", np.triu(np.full((CONTEXT, CONTEXT), MASKED, np.float32), 1))
    scale = graph.constant("scale", np.float32(1 / math.sqrt(WIDTH // HEADS)))
    joined = graph.constant("joined.shape", np.array([0, CONTEXT, WIDTH]))
    x = node("Gather", [constant("embedding.weight"), "ids"], "embedding")
    x = node("Add", [x, constant("position.weight")], "position")
    for b in range(1, BLOCKS + 1):
        attention, mlp = f"block{b}.attention", f"block{b}.mlp"
        y = norm(x, f"{attention}_norm")
        query = heads(linear(y, f"{attention}.query"), f"{attention}.query", [0, 2, 1, 3])
        key = heads(linear(y, f"{attention}.key"), f"{attention}.key", [0, 2, 3, 1])
        value = heads(linear(y, f"{attention}.value"), f"{attention}.value", [0, 2, 1, 3])
        scores = node(
            "MatMul", [node("Mul", [query, scale], f"{attention}.scale"), key], f"{attention}.scores"
        )
        shares = node(
            "Softmax", [node("Add", [scores, mask], f"{attention}.mask")], f"{attention}.softmax", axis=-1
        )
        mixed = node("MatMul", [shares, value], f"{attention}.mix")
        mixed = node("Transpose", [mixed], f"{attention}.back", perm=[0, 2, 1, 3])
        mixed = node("Reshape", [mixed, joined], f"{attention}.join")
        x = node("Add", [x, linear(mixed, f"{attention}.output")], f"{attention}.residual")
        y = linear(norm(x, f"{mlp}_norm"), f"{mlp}.expand")
        y = node("Gelu", [y], f"{mlp}.gelu")
        x = node("Add", [x, linear(y, f"{mlp}.contract")], f"{mlp}.residual")
    transposed = node("Transpose", [constant("embedding.weight")], "head.transpose", perm=[1, 0])
    node("MatMul", [norm(x, "final_norm"), transposed], "head", "logits")
    return graph.model(
        "pydoc_transformer",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", CONTEXT])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CONTEXT, VOCABULARY])],
        opset=OPSET,
        ir_version=IR_VERSION,
    )


def bits_per_character(logits: npt.NDArray[Any], windows: TextWindows) -> float:
    """Mean of -log2 of the probability of each character that is scored, in float64."""
    wide = logits[windows.scored].astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    own = np.take_along_axis(wide, windows.targets[windows.scored][:, None], axis=-1)[:, 0]
    return float(np.mean(np.log(np.exp(wide).sum(axis=-1)) - own) / math.log(2))


def make(output: Path, *, seed: int = SEED, steps: int = STEPS) -> Path:
    """Train, check, and write ``pydoc_transformer.onnx`` with its recipe into the folder `output`."""
    text = pydoc_text()
    begin = time.perf_counter()
    model = to_onnx(train(seed, steps))
    seconds = time.perf_counter() - begin
    windows = held_out_windows(encode(text.held_out), CONTEXT)
    (logits,) = outputs_of(model.SerializeToString(), windows.inputs)
    bits = bits_per_character(logits, windows)
    quick = bits_per_character(
        logits[:QUICK_WINDOWS], TextWindows(*(array[:QUICK_WINDOWS] for array in windows))
    )
    path = output / "pydoc_transformer.onnx"
    recipe = {
        "recipe": "docs/recipes/pydoc_transformer.py",
        "data": "pydoc_data.topics of Python 3.11.7, hwmodel.evaluation.datasets.pydoc_text",
        "split": "topics whose name's SHA-256 starts with a byte below 32 are held out",
        **{f"{part}_sha256": digest for part, digest in text.fingerprint.items()},
        "alphabet": ALPHABET,
        "seed": str(seed),
        "steps": str(steps),
        "train_characters": str(len(text.train)),
        "held_out_characters": str(int(windows.scored.sum())),
        "held_out_bits_per_character": f"{bits:.4f}",
        "quick_windows": str(QUICK_WINDOWS),
        "quick_bits_per_character": f"{quick:.4f}",
    }
    write(model, recipe, path)
    print(f"{path}: {path.stat().st_size} bytes, {bits:.4f} bits per character held out, {seconds:.0f} s")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the sample transformer of data/samples.")
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder to write into")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    make(arguments.output, seed=arguments.seed, steps=arguments.steps)


if __name__ == "__main__":
    main()
