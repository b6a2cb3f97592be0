"""Compositions: the arithmetic of rows against plain sums, products that must be 1, and what is refused."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import OptionError, TensorError
from hwmodel.evaluation import Estimate, ModuleTask, task
from hwmodel.evaluation.tasks.labelled import Labelled
from hwmodel.studies.composition import (
    COMPOSED_UNITS,
    MACHINE_UNITS,
    READINGS,
    ComposedRow,
    PreparedModel,
    compose,
)
from hwmodel.studies.composition.composing import with_gains
from hwmodel.studies.composition.weight_files import pruned_at_run_time, share_of_zeros

onnx = pytest.importorskip("onnx")

INPUTS = 64
RNG = np.random.default_rng(13)


def model(path, *layers, inputs=INPUTS):
    """Write fully connected layers with ReLUs between them; each ``(outputs, inputs)``."""
    nodes, value = [], "x"
    for at, _ in enumerate(layers):
        last = at == len(layers) - 1
        nodes.append(onnx.helper.make_node("Gemm", [value, f"w{at}"], [f"y{at}"], name=f"fc{at}", transB=1))
        if not last:
            nodes.append(onnx.helper.make_node("Relu", [f"y{at}"], [f"r{at}"]))
        value = f"r{at}"
    sizes = (("x", inputs), (f"y{len(layers) - 1}", len(layers[-1])))
    ends = [onnx.helper.make_tensor_value_info(name, 1, ["N", size]) for name, size in sizes]
    stored = [onnx.numpy_helper.from_array(w, f"w{at}") for at, w in enumerate(layers)]
    graph = onnx.helper.make_graph(nodes, "made", ends[:1], ends[1:], stored)
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, path)
    return path


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def masked(x, share):
    return np.where(np.abs(x) < np.quantile(np.abs(x), share), np.float32(0), x)


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=drawn(6, INPUTS))
    return path


def labelled(path, data, metrics=("cosine",)):
    return Labelled(path, data, metrics=metrics)


def ones(weight):
    """Ones of a float32's significand, on Python integers."""
    word = int(np.float32(weight).view(np.uint32))
    exponent, fraction = word >> 23 & 255, word & (1 << 23) - 1
    return (fraction | (exponent > 0) << 23).bit_count()


def plain_cycles(weights, rows, packed):
    """Cycles of one filter, group by group, and its ones; without fills."""
    kept = [w for w in weights.reshape(-1) if w or not packed]
    if rows is not None:
        kept = bx.prune(np.array([kept], np.float32), rows=rows).values.reshape(-1)
    counts = [ones(w) for w in kept]
    groups = [counts[at : at + 8] for at in range(0, len(counts), 8)]
    return sum(max(1, *group) for group in groups), sum(counts)


def test_rows_are_plain_sums(tmp_path, data):
    weights = drawn(1, INPUTS)
    sparse = masked(weights, 0.6)
    given = labelled(model(tmp_path / "plain.onnx", weights), data)
    found = compose(given, model(tmp_path / "sparse.onnx", sparse), machines=(), resamples=2)
    rows = {(r.weights, r.instance, r.packed): r for r in found.bitx}
    names = ("unpruned", "mild", "wild")
    assert list(rows) == [
        *(("plain", name, False) for name in names),
        *(("software-pruned", name, packed) for packed in (False, True) for name in names),
    ]
    base = rows["plain", "unpruned", False]
    fill = base.on_chip_cycles - plain_cycles(weights, None, packed=False)[0]
    assert 0 < fill < 10
    for (label, _, packed), row in rows.items():
        cycles, every = plain_cycles(weights if label == "plain" else sparse, row.rows, packed)
        assert row.on_chip_cycles == cycles + fill
        assert row.work_cycles == -(-every // 8)
        for reading, gain in READINGS.items():
            assert getattr(row, gain) == getattr(base, reading) / getattr(row, reading)
            product = getattr(row, gain.replace("gain", "product"))
            if label == "plain" or row.rows is None:
                assert product is None
                continue
            software = rows[label, "unpruned", packed]
            alone = [getattr(other, gain) for other in (software, rows["plain", row.instance, False])]
            assert product == pytest.approx(getattr(row, gain) / prod(alone), rel=1e-15)
    assert found.macs == {"plain": INPUTS, "software-pruned": INPUTS}
    assert (found.samples, found.machines) == (6, ())
    assert base.scores["cosine"].value == pytest.approx(1)
    assert set(base.columns()) == {*COMPOSED_UNITS, "cosine"}


def test_what_is_scored_is_what_the_machine_computes_with(tmp_path):
    """With zeros left out a group is of other weights, and keeps other rows."""
    sparse = masked(drawn(5, INPUTS), 0.6)
    path = model(tmp_path / "sparse.onnx", sparse)
    for packed in (False, True):
        out = pruned_at_run_time(path, tmp_path / "out.onnx", 4, packed=packed)
        with bx.open_dump(out) as dump:
            found = dump["w0"].read()
        for row, filter_ in zip(found, sparse, strict=True):
            kept = filter_[filter_ != 0] if packed else filter_
            pruned = bx.prune(kept[None], rows=4).values.reshape(-1)
            assert (row[filter_ != 0] == (pruned if packed else pruned[filter_ != 0])).all()
            assert not row[filter_ == 0].any()
    assert share_of_zeros(path) == np.mean(sparse == 0)
    assert pruned_at_run_time(path, tmp_path / "none.onnx", None, packed=True) == path


def check_that_nothing_changed(found):
    """Products are exactly 1, and each row is that of the plain model."""
    assert len(found.bitx) == 6
    for name in ("mild", "wild"):
        row, alone = found.row("software-pruned", name), found.row("plain", name)
        assert (row.product, row.on_chip_product, row.work_product) == (1, 1, 1)
        assert repr(row.scores) == repr(alone.scores)  # of which some are NaN
        changed = {"weights": "plain", "scores": alone.scores}
        none = dict.fromkeys(("product", "on_chip_product", "work_product"))
        assert replace(row, **changed, **none) == alone


def test_pruning_that_changes_nothing_gives_products_of_one(tmp_path, data):
    plain = model(tmp_path / "plain.onnx", drawn(8, INPUTS), drawn(4, 8))
    found = compose(labelled(plain, data), plain, machines=("eie",), resamples=2)
    check_that_nothing_changed(found)
    assert [(r.weights, r.rows, r.gain) for r in found.machines] == [
        (weights, rows, 1) for weights in ("plain", "software-pruned") for rows in (None, 10, 6)
    ]
    assert found.activations.endswith("of the plain model")
    assert set(found.machines[0].columns()) == {*MACHINE_UNITS}


@pytest.mark.slow
def test_a_network_of_which_a_machine_runs_a_layer():
    digits = task("digits")
    found = compose(digits, digits.model, machines=("eie", "cnvlutin"), quick=True, resamples=2)
    check_that_nothing_changed(found)
    layers = {(r.accelerator, r.layers, r.not_applicable, r.common_layers, r.gain) for r in found.machines}
    assert layers == {("eie", 1, 12, 1, 1), ("cnvlutin", 13, 0, 13, 1)}
    none = compose(digits, digits.model, machines=("ese",), metrics=["top1"], quick=True, resamples=2)
    assert none.metrics == ("top1",)


def test_channels_that_are_gone(tmp_path, data):
    first, second = drawn(32, INPUTS), drawn(4, 32)
    plain = model(tmp_path / "plain.onnx", first, second)
    half = model(tmp_path / "half.onnx", first[:16], second[:, :16])
    found = compose(labelled(plain, data), half, machines=("dadiannao", "ese", "eie"), resamples=2)
    assert {r.packed for r in found.bitx} == {False}  # nothing is zero
    assert found.macs == {"plain": 32 * INPUTS + 4 * 32, "software-pruned": 16 * INPUTS + 4 * 16}
    assert found.activations.endswith("of each model its own")
    for name in ("dadiannao", "ese", "eie"):
        rows = [r for r in found.machines if r.accelerator == name]
        machine = hw.accelerator(name, **hw.accelerators.accelerator_class(name).comparison)
        loads = [hw.load_network(path, sizes={"N": 1}) for path in (plain, half)]
        assert rows[0].gain == 1
        if name != "eie":  # whose cycles depend on what was traced
            totals = [hw.simulate_network(machine, load).totals[0] for load in loads]
            assert [rows[0].cycles, rows[3].cycles] == [total.cycles for total in totals]
        assert rows[3].gain == rows[0].cycles / rows[3].cycles


def test_activations_of_a_distribution(tmp_path, data):
    plain = model(tmp_path / "plain.onnx", drawn(8, INPUTS))
    given = labelled(plain, data)
    found = compose(given, plain, machines="eie", activations="relu-normal:zeros=0.5", resamples=2)
    run = hw.simulate_network(
        hw.accelerator("eie", **hw.accelerators.accelerator_class("eie").comparison),
        hw.load_network(plain, sizes={"N": 1}), activations="relu-normal:zeros=0.5",
    )  # fmt: skip
    assert found.machines[0].cycles == run.totals[0].cycles
    assert found.activations.startswith("drawn: relu-normal")


def test_prepared_models_have_rows(tmp_path, data):
    weights = drawn(4, INPUTS)
    plain = model(tmp_path / "plain.onnx", weights)
    prepared = model(tmp_path / "prepared.onnx", bx.prepare(weights, ones=2, rows=6).values)
    given = [PreparedModel(path=prepared, rows=6, label="2 ones")]
    found = compose(labelled(plain, data), plain, prepared=given, machines=(), resamples=2)
    row = found.bitx[-1]
    assert (row.weights, row.instance, row.rows, row.product) == ("2 ones", "prepared", 6, None)
    assert row.on_chip_gain > found.row("plain", "wild").on_chip_gain
    assert found.row("2 ones", "prepared") is row


def test_a_layer_without_work_gains_without_end():
    score = Estimate(1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    row = ComposedRow(
        weights="plain", instance="unpruned", rows=None, packed=False, zeros=1.0, scores={"top1": score},
        cycles=8, on_chip_cycles=4, work_cycles=0, gain=1.0, on_chip_gain=1.0, work_gain=1.0,
    )  # fmt: skip
    assert with_gains([row])[0].work_gain == float("inf")


class TwoModels(type(task("digits"))):
    @property
    def models(self):
        return (self.model, self.model)


def test_errors_are_of_one_line(tmp_path, data):
    digits = task("digits").model
    plain = model(tmp_path / "plain.onnx", drawn(4, INPUTS))
    short = model(tmp_path / "short.onnx", drawn(4, 32), inputs=32)
    deep = model(tmp_path / "deep.onnx", drawn(4, INPUTS), drawn(4, 4))
    with pytest.raises(OptionError, match="'nothing'") as unknown:
        compose("nothing", digits)
    with pytest.raises(OptionError, match="'nothing'") as machine:
        compose("digits", digits, machines=["nothing"])
    with pytest.raises(
        TensorError, match=r"takes x float32 .x32, and the plain model takes x float"
    ) as other:
        compose(labelled(plain, data), short)
    with pytest.raises(TensorError, match="gives y1, and the plain model gives y0") as named:
        compose(labelled(plain, data), deep)
    with pytest.raises(OptionError, match="runs 2 models; a composition is of one") as several:
        compose(TwoModels(), digits)
    with pytest.raises(OptionError, match="can't be called 'plain'") as label:
        PreparedModel(path=digits, rows=6, label="plain")
    with pytest.raises(OptionError, match="the task is of a module: export it") as module:
        compose(object.__new__(ModuleTask), digits)
    for error in (unknown, module, machine, other, named, several, label):
        assert "\n" not in str(error.value)
    found = compose(labelled(plain, data), plain, machines=(), resamples=2)
    with pytest.raises(OptionError, match="no row of plain weights, wild, zeros left out"):
        found.row("plain", "wild", packed=True)
