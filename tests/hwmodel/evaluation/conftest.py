"""A small model of pictures, and data for it of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

CLASSES = 3


def _write_model(path: Path, batch: int | str = "N", sides: int | str = 8) -> Path:
    """A convolution and a product over 3 x 8 x 8 pictures."""
    onnx = pytest.importorskip("onnx")
    make, numpy = onnx.helper, onnx.numpy_helper
    rng = np.random.default_rng(7)
    graph = make.make_graph(
        [
            make.make_node("Conv", ["image", "conv"], ["c"], name="conv1", pads=[1, 1, 1, 1]),
            make.make_node("Relu", ["c"], ["r"]),
            make.make_node("GlobalAveragePool", ["r"], ["g"]),
            make.make_node("Flatten", ["g"], ["f"]),
            make.make_node("Gemm", ["f", "fc"], ["scores"], name="fc1", transB=1),
        ],
        "tiny",
        [make.make_tensor_value_info("image", 1, [batch, 3, sides, sides])],
        [make.make_tensor_value_info("scores", 1, [batch, CLASSES])],
        [
            numpy.from_array(rng.normal(size=(16, 3, 3, 3)).astype("f4"), "conv"),
            numpy.from_array(rng.normal(size=(CLASSES, 16)).astype("f4"), "fc"),
        ],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def model(tmp_path):
    """A model of `CLASSES` classes, with an open batch."""
    return _write_model(tmp_path / "tiny.onnx")


@pytest.fixture
def data(tmp_path):
    """The same 18 pictures as a folder, a table and arrays; labels are drawn."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(8)
    pixels = rng.integers(0, 256, (18, 8, 8, 3), np.uint8)
    labels = np.sort(rng.integers(0, CLASSES, 18))
    folder, lines = tmp_path / "pictures", ["path,label"]
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        place = folder / "abc"[label] / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(picture).save(place)
        lines.append(f"{place.relative_to(tmp_path)},{label}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    arrays = (pixels / 255).astype("f4").transpose(0, 3, 1, 2)
    np.savez(tmp_path / "arrays.npz", image=arrays, labels=labels)
    return {"folder": folder, "table": tmp_path / "table.csv", "arrays": tmp_path / "arrays.npz"}


@pytest.fixture
def write_model():
    """Write the model with another batch."""
    return _write_model
