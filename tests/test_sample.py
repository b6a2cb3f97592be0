"""The embedded sample network is what its recipe says."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "data" / "samples" / "digits_resnet.onnx"
SCRIPT = ROOT / "docs" / "recipes" / "digits_resnet.py"
PREFIXES = [
    "stem",
    "stage1.block1.conv1",
    "stage1.block1.conv2",
    "stage2.block1.conv1",
    "stage2.block1.conv2",
    "stage2.block1.shortcut",
    "stage2.block2.conv1",
    "stage2.block2.conv2",
    "stage2.block2.conv3",
    "stage3.block1.conv1",
    "stage3.block1.conv2",
    "stage3.block1.shortcut",
    "head",
]


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("digits_resnet", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(SAMPLE)


def properties(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def test_accuracy_is_the_recorded_one(recipe: ModuleType, model: onnx.ModelProto) -> None:
    recorded = properties(model)
    images, labels = recipe.test_split(int(recorded["seed"]))
    right = recipe.correct(SAMPLE.read_bytes(), images, labels)
    assert (right, len(labels)) == (int(recorded["test_correct"]), int(recorded["test_images"]))
    assert recorded["test_accuracy"] == f"{right / len(labels):.4f}"
    assert right / len(labels) > 0.98


def test_the_page_says_the_same(model: onnx.ModelProto) -> None:
    recorded = properties(model)
    page = (SAMPLE.parent / "README.md").read_text("utf-8")
    weights = sum(int(np.prod(t.dims)) for t in model.graph.initializer)
    for fact in (
        f"{recorded['test_correct']} of {recorded['test_images']}",
        f"{weights:,} parameters",
        f"seed {recorded['seed']}",
        f"{recorded['epochs']} epochs",
        recorded["date"],
        *(f"{name} {found}" for name, found in json.loads(recorded["versions"]).items()),
    ):
        assert fact in page


def test_splits_are_apart_and_fixed(recipe: ModuleType) -> None:
    train, train_labels = recipe.train_split()
    test, test_labels = recipe.test_split()
    assert (train.shape, test.shape) == ((1437, 1, 8, 8), (360, 1, 8, 8))
    assert train.dtype == test.dtype == np.float32
    assert test_labels[:8].tolist() == recipe.test_split()[1][:8].tolist()
    assert np.bincount(train_labels).sum() + np.bincount(test_labels).sum() == 1797
    assert not {x.tobytes() for x in train} & {x.tobytes() for x in test}


def test_the_file(model: onnx.ModelProto) -> None:
    assert SAMPLE.stat().st_size < 500_000
    onnx.checker.check_model(model, full_check=True)
    names = [t.name for t in model.graph.initializer]
    assert names == [f"{prefix}.{part}" for prefix in PREFIXES for part in ("weight", "bias")]
    assert {t.data_type for t in model.graph.initializer} == {onnx.TensorProto.FLOAT}
    assert {node.op_type for node in model.graph.node} == {
        "Conv", "Relu", "Add", "GlobalAveragePool", "Flatten", "Gemm",
    }  # fmt: skip
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    attributes = [{a.name: onnx.helper.get_attribute_value(a) for a in n.attribute} for n in convolutions]
    assert any(a["strides"] == [2, 2] and a["kernel_shape"] == [1, 1] for a in attributes)
    assert any(a["group"] == 64 for a in attributes)


@pytest.mark.models
@pytest.mark.slow
def test_the_script_trains_the_same_twice(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for folder in ("a", "b"):
        command = [sys.executable, str(SCRIPT), "--epochs", "1", "--output", str(tmp_path / folder)]
        subprocess.run(command, check=True, capture_output=True, env=environment)
    models = [onnx.load(tmp_path / folder / "digits_resnet.onnx") for folder in ("a", "b")]
    assert models[0].graph == models[1].graph
    assert properties(models[0])["epochs"] == "1"
    onnx.checker.check_model(models[0], full_check=True)
