"""Models as other libraries make them: exported, quantised, optimised or kept in a cache."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as oh
from onnx import numpy_helper as on

node = oh.make_node


@dataclass
class Foreign:
    """A model file, inputs that it runs with, and what is to be found in it.

    Parameters
    ----------
    path : pathlib.Path
    feeds : dict of str to ndarray
    layers : int
        That multiply by weights.
    products : int
        Layers without weights.
    runs : bool
        Whether ONNX Runtime knows all its operators.
    sized_by_inputs : int
        Layers that are none on a run on zeros.
    """

    path: Path
    feeds: dict[str, np.ndarray] = field(default_factory=dict)
    layers: int = 1
    products: int = 0
    runs: bool = True
    sized_by_inputs: int = 0


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def floats(*shape: int) -> np.ndarray:
    return rng().standard_normal(shape).astype("f4")


def save(path: Path, nodes, inputs, outputs, stored, opset=17, domains=()) -> Path:
    """Write a graph; inputs and outputs map names to types and shapes."""

    def values(given):
        return [oh.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in given.items()]

    arrays = [on.from_array(np.asarray(value), name) for name, value in stored.items()]
    graph = oh.make_graph(nodes, "g", values(inputs), values(outputs), arrays)
    sets = [oh.make_opsetid("", opset), *(oh.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(oh.make_model(graph, opset_imports=sets, ir_version=10), path)
    return path


# -- PyTorch's exporters ---------------------------------------------------------------------------


def exported(path: Path, module, arguments, names, *, dynamo: bool) -> Path:
    torch = pytest.importorskip("torch")
    if dynamo and find_spec("onnxscript") is None:
        pytest.skip("torch.onnx.export(dynamo=True) needs onnxscript")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(module, arguments, dynamo=True, input_names=names, verbose=False)
            program.save(path)
        else:
            torch.onnx.export(module, arguments, path, dynamo=False, input_names=names, opset_version=17)
    return path


def recurrent(folder: Path, kind: str, *, dynamo: bool) -> Foreign:
    """A recurrent network and a matrix product; both directions make a layer each of either matrix."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)
    both = kind == "GRU"

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.core = getattr(torch.nn, kind)(8, 12, batch_first=True, bidirectional=both)
            self.head = torch.nn.Linear(24 if both else 12, 5)

        def forward(self, x):
            return self.head(self.core(x)[0])

    path = exported(
        folder / f"{kind.lower()}.onnx", Net().eval(), (torch.zeros(1, 6, 8),), ["x"], dynamo=dynamo
    )
    return Foreign(path, {"x": floats(1, 6, 8)}, layers=5 if both else 3)


def voice_detector(folder: Path) -> Foreign:
    """Scripted, with an If on the sampling rate, which is a 0-d input."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)

    class Branch(torch.nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.width = width
            self.conv = torch.nn.Conv1d(1, 16, width, stride=width // 2)
            self.cell = torch.nn.LSTM(16, 16)
            self.head = torch.nn.Linear(16, 1)

        def forward(self, x, h, c):
            y = torch.relu(self.conv(x.unsqueeze(1))).permute(2, 0, 1)
            y, (h, c) = self.cell(y, (h, c))
            return torch.sigmoid(self.head(y[-1])), h, c

    class Detector(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.narrow = Branch(16), Branch(8)

        def forward(self, x, h, c, sr):
            if int(sr) == 16000:
                return self.wide(x, h, c)
            return self.narrow(x, h, c)

    h = torch.zeros(1, 1, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.script(Detector().eval())
    arguments = (torch.zeros(1, 64), h, h, torch.tensor(16000))
    path = exported(folder / "voice.onnx", module, arguments, ["x", "h", "c", "sr"], dynamo=False)
    feeds = {"x": floats(1, 64), "h": floats(1, 1, 16), "c": floats(1, 1, 16), "sr": np.array(16000)}
    return Foreign(path, feeds, layers=4)


# -- ONNX Runtime's quantisers and optimisers ------------------------------------------------------


def small_network(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Two convolutions and a matrix product."""
    stored = {
        "w1": floats(8, 3, 3, 3),
        "b1": floats(8),
        "w2": floats(16, 8, 3, 3),
        "w3": floats(16, 10),
        "b3": floats(10),
    }
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("Conv", ["r1", "w2"], ["c2"], "conv2", strides=[2, 2]),
        node("GlobalAveragePool", ["c2"], ["p"], "pool"),
        node("Flatten", ["p"], ["f"], "flat"),
        node("MatMul", ["f", "w3"], ["m"], "fc"),
        node("Add", ["m", "b3"], ["y"], "bias"),
    ]
    x = (1, 3, 12, 12)
    path = save(folder / "small.onnx", nodes, {"x": (T.FLOAT, x)}, {"y": (T.FLOAT, [1, 10])}, stored)
    return path, {"x": floats(*x)}


def transformer_layer(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Attention of two heads and a feed-forward part, of width 32."""
    width = 32
    stored = {f"w{name}": floats(width, width) / 6 for name in "qkvo"}
    stored |= {"up": floats(width, 64) / 6, "down": floats(64, width) / 8, "heads": np.array([1, 5, 2, 16])}
    stored |= {"flat": np.array([1, 5, width]), "root": np.float32(4)}
    nodes = []
    for name, order in zip("qkv", ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True):
        nodes += [
            node("MatMul", ["x", f"w{name}"], [f"p{name}"], f"proj_{name}"),
            node("Reshape", [f"p{name}", "heads"], [f"r{name}"], f"reshape_{name}"),
            node("Transpose", [f"r{name}"], [name], f"turn_{name}", perm=order),
        ]
    nodes += [
        node("MatMul", ["q", "k"], ["s"], "scores"),
        node("Div", ["s", "root"], ["d"], "scaled"),
        node("Softmax", ["d"], ["a"], "softmax"),
        node("MatMul", ["a", "v"], ["z"], "context"),
        node("Transpose", ["z"], ["zt"], "back", perm=[0, 2, 1, 3]),
        node("Reshape", ["zt", "flat"], ["zf"], "flatten"),
        node("MatMul", ["zf", "wo"], ["o"], "proj_o"),
        node("MatMul", ["o", "up"], ["u"], "up_proj"),
        node("Relu", ["u"], ["ur"], "relu"),
        node("MatMul", ["ur", "down"], ["y"], "down_proj"),
    ]
    x = [1, 5, width]
    path = save(folder / "layer.onnx", nodes, {"x": (T.FLOAT, x)}, {"y": (T.FLOAT, x)}, stored)
    return path, {"x": floats(*x)}


def quantisation():
    pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("onnxruntime.quantization")


def dynamic(folder: Path) -> Foreign:
    """Dynamically quantised, with weights of uint8 and zero points that are not 0."""
    quant = quantisation()
    path, feeds = small_network(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quant.quantize_dynamic(path, folder / "dynamic.onnx", weight_type=quant.QuantType.QUInt8)
    return Foreign(folder / "dynamic.onnx", feeds, layers=3)


def static(folder: Path, *, qdq: bool = True, floats_kept: bool = False) -> Foreign:
    """Statically quantised with a scale for each channel, as QDQ or as quantised operators.

    Weights are integers, or floats that the graph itself quantises, as training with quantisation does.
    """
    quant = quantisation()
    path, feeds = small_network(folder)

    class Reader(quant.CalibrationDataReader):
        left = 2

        def get_next(self):
            self.left -= 1
            return feeds if self.left >= 0 else None

    target = folder / ("qdq.onnx" if qdq else "qlinear.onnx")
    form = quant.QuantFormat.QDQ if qdq else quant.QuantFormat.QOperator
    extra = {"AddQDQPairToWeight": floats_kept}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quant.quantize_static(
            path, target, Reader(), quant_format=form, per_channel=True, extra_options=extra
        )
    return Foreign(target, feeds, layers=3)


def four_bits(folder: Path, *, qdq: bool, bits: int = 4) -> Foreign:
    """A transformer layer whose matrices are quantised in blocks of 16."""
    quant = quantisation()
    nbits = pytest.importorskip("onnxruntime.quantization.matmul_nbits_quantizer")
    path, feeds = transformer_layer(folder)
    form = quant.QuantFormat.QDQ if qdq else quant.QuantFormat.QOperator
    config = nbits.DefaultWeightOnlyQuantConfig(
        block_size=16, is_symmetric=False, quant_format=form, bits=bits
    )
    quantiser = nbits.MatMulNBitsQuantizer(onnx.load(path), algo_config=config)
    quantiser.process()
    target = folder / f"int{bits}.onnx"
    quantiser.model.save_model_to_file(str(target))
    return Foreign(target, feeds, layers=6, products=2)


def four_bits_by_hand(folder: Path, *, qdq: bool) -> Foreign:
    """The same without the quantiser, whose package may be missing: rows of blocks of 16 codes of uint4."""
    path, feeds = transformer_layer(folder)
    model = onnx.load(path)
    stored, nodes = [], []
    for tensor in model.graph.initializer:
        w = on.to_array(tensor)
        if w.ndim != 2:
            stored.append(tensor)
            continue
        blocks = w.reshape(-1, 16, w.shape[1])
        low, high = np.minimum(blocks.min(axis=1), 0), np.maximum(blocks.max(axis=1), 0)
        scale = ((high - low) / 15).astype("f4")
        zero = np.rint(-low / scale).astype("u1")
        codes = np.clip(np.rint(blocks / scale[:, None]) + zero[:, None], 0, 15).astype("u1").reshape(w.shape)
        name = tensor.name
        if qdq:
            arrays = {"q": codes.astype(ml_dtypes.uint4), "s": scale, "z": zero.astype(ml_dtypes.uint4)}
            names = [f"{name}.{part}" for part in arrays]
            nodes.append(node("DequantizeLinear", names, [name], axis=0, block_size=16))
        else:
            rows, zeros = codes.T, zero.T
            arrays = {
                "q": (rows[:, 0::2] | rows[:, 1::2] << 4).reshape(w.shape[1], -1, 8),
                "s": scale.T.reshape(-1),
                "z": zeros[:, 0::2] | zeros[:, 1::2] << 4,
            }
        stored += [on.from_array(array, f"{name}.{part}") for part, array in arrays.items()]
    for old in model.graph.node:
        if not qdq and old.op_type == "MatMul" and f"{old.input[1]}.q" in {t.name for t in stored}:
            x, w = old.input
            k, n = next(t.dims for t in model.graph.initializer if t.name == w)
            inputs = [x, *(f"{w}.{part}" for part in "qsz")]
            sizes = {"K": k, "N": n, "bits": 4, "block_size": 16}
            old = node("MatMulNBits", inputs, old.output, old.name, domain="com.microsoft", **sizes)
        nodes.append(old)
    x = {"x": (T.FLOAT, [1, 5, 32])}
    y = {"y": (T.FLOAT, [1, 5, 32])}
    arrays = {t.name: on.to_array(t) for t in stored}
    target = save(folder / "blocks.onnx", nodes, x, y, arrays, opset=21, domains=("com.microsoft",))
    return Foreign(target, feeds, layers=6, products=2)


def weight_only(folder: Path) -> Foreign:
    """A transformer layer with its matrices in int8: Cast, Mul by a scale for each column, MatMul."""
    path, feeds = transformer_layer(folder)
    model = onnx.load(path)
    kept, before = [], []
    for tensor in model.graph.initializer:
        w = on.to_array(tensor)
        if w.ndim != 2:
            kept.append(tensor)
            continue
        scale = (np.abs(w).max(axis=0) / 127).astype("f4")
        kept += [
            on.from_array(np.rint(w / scale).astype("i1"), f"{tensor.name}.q"),
            on.from_array(scale, f"{tensor.name}.s"),
        ]
        before += [
            node("Cast", [f"{tensor.name}.q"], [f"{tensor.name}.c"], to=T.FLOAT),
            node("Mul", [f"{tensor.name}.c", f"{tensor.name}.s"], [tensor.name]),
        ]
    nodes = [*before, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.save(model, folder / "int8.onnx")
    return Foreign(folder / "int8.onnx", feeds, layers=6, products=2)


def optimised(folder: Path, make: Callable, level: str) -> Foreign:
    """As ONNX Runtime writes it after its optimisations."""
    ort = pytest.importorskip("onnxruntime")
    made = make(folder)
    path, feeds = made if isinstance(made, tuple) else (made.path, made.feeds)
    counts = (3, 0) if make in (small_network, static) else (6, 2)
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(folder / f"{level.lower()}.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Foreign(Path(options.optimized_model_filepath), feeds, *counts)


# -- made by hand, as others write them -----------------------------------------------------------


def qonnx(folder: Path) -> Foreign:
    """Weights and activations rounded by QONNX's Quant, which ONNX Runtime does not know."""
    domain = "qonnx.custom_op.general"
    stored = {
        "w1": floats(4, 3, 3, 3),
        "w2": floats(144, 5),
        "scale": np.float32(0.125),
        "zero": np.float32(0),
        "bits": np.float32(4),
    }
    arguments = ["scale", "zero", "bits"]
    how = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND", "domain": domain}
    nodes = [
        node("Quant", ["w1", *arguments], ["q1"], "Quant_0", **how),
        node("Conv", ["x", "q1"], ["c"], "conv"),
        node("Relu", ["c"], ["r"]),
        node("Quant", ["r", *arguments], ["a"], "Quant_1", **how),
        node("Flatten", ["a"], ["f"]),
        node("Quant", ["w2", *arguments], ["q2"], "Quant_2", **how),
        node("MatMul", ["f", "q2"], ["y"], "fc"),
    ]
    path = folder / "qonnx.onnx"
    inputs, outputs = {"x": (T.FLOAT, [1, 3, 8, 8])}, {"y": (T.FLOAT, [1, 5])}
    save(path, nodes, inputs, outputs, stored, domains=(domain,))
    model = onnx.load(path)
    shapes = {
        "q1": [4, 3, 3, 3],
        "c": [1, 4, 6, 6],
        "r": [1, 4, 6, 6],
        "a": [1, 4, 6, 6],
        "f": [1, 144],
        "q2": [144, 5],
    }
    model.graph.value_info.extend(oh.make_tensor_value_info(k, T.FLOAT, v) for k, v in shapes.items())
    onnx.save(model, path)
    return Foreign(path, {"x": floats(1, 3, 8, 8)}, layers=2, runs=False)


def detector(folder: Path) -> Foreign:
    """Boxes that are chosen by NonMaxSuppression and NonZero go through one more layer."""
    stored = {
        "w1": floats(8, 3, 3, 3),
        "wb": floats(4, 8, 1, 1),
        "ws": floats(1, 8, 1, 1),
        "w2": floats(4, 6),
        "w3": floats(1, 5),
        "boxes_shape": np.array([1, 4, 64]),
        "scores_shape": np.array([1, 1, 64]),
        "most": np.array([5]),
        "iou": np.array([0.5], "f4"),
        "least": np.array([-10.0], "f4"),
        "last": np.array([2]),
        "flat": np.array([-1]),
        "zero": np.float32(0),
    }
    nodes = [
        node("Conv", ["x", "w1"], ["c"], "stem", pads=[1] * 4),
        node("Relu", ["c"], ["f"]),
        node("Conv", ["f", "wb"], ["b"], "box_head"),
        node("Conv", ["f", "ws"], ["s"], "score_head"),
        node("Reshape", ["b", "boxes_shape"], ["br"]),
        node("Transpose", ["br"], ["boxes"], perm=[0, 2, 1]),
        node("Reshape", ["s", "scores_shape"], ["scores"]),
        node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "least"], ["chosen"]),
        node("Gather", ["chosen", "last"], ["at"], axis=1),
        node("Reshape", ["at", "flat"], ["index"]),
        node("Squeeze", ["boxes", "zero_axis"], ["all"]),
        node("Gather", ["all", "index"], ["few"], axis=0),
        node("MatMul", ["few", "w2"], ["y"], "refine"),
        node("Greater", ["s", "zero"], ["above"]),
        node("NonZero", ["above"], ["places"]),
        node("Transpose", ["places"], ["rows"], perm=[1, 0]),
        node("Cast", ["rows"], ["rf"], to=T.FLOAT),
        node("Gather", ["rf", "last_of"], ["column"], axis=1),
        node("MatMul", ["column", "w3"], ["z"], "count"),
    ]
    stored |= {"zero_axis": np.array([0]), "last_of": np.array([3])}
    inputs = {"x": (T.FLOAT, [1, 3, 8, 8])}
    outputs = {"y": (T.FLOAT, ["n", 6]), "z": (T.FLOAT, ["m", 5])}
    save(folder / "detector.onnx", nodes, inputs, outputs, stored)
    return Foreign(folder / "detector.onnx", {"x": floats(1, 3, 8, 8)}, layers=5, sized_by_inputs=1)


def hub_cache(folder: Path) -> Path:
    """A folder of Hugging Face's cache: what a snapshot shows are links to blobs."""
    numpy = pytest.importorskip("safetensors.numpy")
    root = folder / "models--someone--small"
    snapshot, blobs = root / "snapshots" / "0a1b2c", root / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    tensors = {f"layers.{i}.weight": floats(24, 16) * (i + 1) for i in range(2)}
    numpy.save_file(tensors | {"layers.0.bias": floats(24)}, blobs / "d1e2")
    (blobs / "f3a4").write_text('{"model_type": "small"}')
    for name, blob in (("model.safetensors", "d1e2"), ("config.json", "f3a4")):
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    return snapshot
