import json
import re

import numpy as np
import pytest
import safetensors.numpy

import hwmodel as hw
from bitxcore.store import Store


def test_numbers_are_the_librarys(bitx, sample):
    document = bitx.json("simulate", sample, "--size", "N=1")
    network = hw.load_network(sample, sizes={"N": 1})
    run = hw.simulate_network([hw.accelerator("bitx"), hw.accelerator("dadiannao")], network)
    assert len(document["layers"]) == len(run.layers) == 26
    for row, expected in zip(document["layers"], run.layers, strict=True):
        for name, value in expected.columns().items():
            if name != "notes":
                assert row[name] == value
        assert row["notes"] == list(expected.notes)
    bitx_total, dense = document["totals"]
    assert bitx_total["cycles"] == run.totals[0].cycles
    assert bitx_total["speedup_over_dadiannao"] == run.speedup("bitx", "dadiannao")
    assert dense["speedup_over_dadiannao"] is None
    assert bitx_total["peak_macs_per_cycle"] == dense["peak_macs_per_cycle"] == 4096
    assert document["macs"] == network.macs
    assert {n["operation"] for n in document["not_simulated"]} >= {"Relu", "Add"}
    assert document["assumptions"]["bitx"] == list(hw.accelerator("bitx").assumptions)


def test_text(bitx, sample):
    text = bitx("simulate", sample, "--size", "N=1").stdout
    assert "bitx: peak 4,096 MACs per cycle (16 bit)" in text
    assert "digits_resnet: 838,272 MACs, 81,744 weights in 13 layers" in text
    assert "operations not simulated (4)" in text
    assert "not simulated: 10 × Relu" in bitx("simulate", sample, "--size", "N=1", "--notes").stdout
    assert text.splitlines()[-1] == "nothing written; -o STORE.h5 keeps these results"


def numbers(line):
    return [int(n.replace(",", "")) for n in re.findall(r"[\d,]+", line)]


def test_totals_stand_first_and_last(bitx, sample):
    lines = bitx("simulate", sample, "--size", "N=1", "-a", "bitx").stdout.splitlines()
    title = "digits_resnet: 838,272 MACs, 81,744 weights in 13 layers"
    first, last = [at for at, line in enumerate(lines) if line == title]
    assert lines[0].startswith(
        "bitx: 6,760 cycles, 1.48x as fast as unpruned; largest cause: waiting for weights"
    )
    assert first == 2
    assert lines[first : first + 6] == lines[last : last + 6]
    assert any("bitx: peak 4,096" in line for line in lines[first:last])


@pytest.mark.parametrize("explain", [[], ["--explain"]])
def test_summary_has_no_layers(bitx, sample, explain):
    text = bitx("simulate", sample, "--size", "N=1", "-a", "bitx", "--summary", *explain).stdout
    assert "network total" in text
    assert not re.search("^ layer ", text, re.MULTILINE)
    assert ("where its 6,760 cycles go" in text) == bool(explain)
    assert text.count("network total") == (2 if explain else 1)


def test_top_layers_and_the_sum_of_the_others(bitx, sample):
    args = ["simulate", sample, "--size", "N=1", "-a", "bitx", "-a", "dadiannao"]
    rows = [r for r in bitx.json(*args)["layers"] if r["accelerator"] == "bitx"]
    rows.sort(key=lambda r: -r["cycles"])
    lines = bitx(*args, "--top", 3, "--explain").stdout.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith(" layer "))
    assert [line.split()[0] for line in lines[first + 2 : first + 5]] == [r["layer"] for r in rows[:3]]
    others = lines[first + 5]
    assert others.startswith(" (the other 10 layers)")
    cycles, compute = numbers(others.partition(")")[2])[:2]
    assert cycles == sum(r["cycles"] for r in rows[3:])
    assert compute == sum(r["compute_cycles"] for r in rows[3:])
    assert not any(row["layer"] in line for row in rows[6:] for line in lines if line.startswith(" s"))
    # Under the roofs likewise: all work over all cycles.
    roofs = lines[lines.index("bitx: layers under their roofs, in MACs per cycle") :]
    other = (
        next(line for line in roofs if line.startswith(" (the other 10 layers)")).partition(")")[2].split()
    )
    macs = sum(r["macs"] for r in rows[3:])
    assert float(other[3]) == pytest.approx(macs / cycles, rel=1e-3)
    assert float(other[0]) == pytest.approx(macs / sum(r["dram_bytes"] for r in rows[3:]), rel=1e-3)
    everything = bitx(*args, "--top", 13).stdout
    assert everything == bitx(*args).stdout


@pytest.mark.parametrize(
    "args", [["--top", 0], ["--top", 2, "--summary"], ["-a", "all", "--top", 2], ["-a", "all", "--explain"]]
)
def test_usage_of_summaries(bitx, sample, args):
    bitx("simulate", sample, "--size", "N=1", *args, code=2)


def test_machines_and_their_options(bitx, sample):
    args = [
        "-a",
        "bitx:rows=4,compute_units=8,format=fixed16",
        "-a",
        "bitx:fifo_depth=none",
        "-a",
        "dadiannao:columns=2",
    ]
    document = bitx.json("simulate", sample, "--size", "N=1", *args)
    machines = document["parameters"]["accelerators"]
    assert list(machines) == [
        "bitx(compute_units=8, rows=4, format=fixed16)",
        "bitx(fifo_depth=None)",
        "dadiannao(columns=2)",
    ]
    text = bitx("simulate", sample, "--size", "N=1", *args).stdout
    assert "the machines differ in peak" in text


def test_shortcuts(bitx, sample):
    short = bitx.json(
        "simulate", sample, "--size", "N=1", "--rows", 4, "--group", 16, "--format", "fixed8",
        "--fifo-depth", "inf", "--lane-fifo-depth", 2,
    )  # fmt: skip
    options = "bitx:rows=4,group=16,format=fixed8,fifo_depth=none,lane_fifo_depth=2"
    long = bitx.json("simulate", sample, "--size", "N=1", "-a", options, "-a", "dadiannao")
    assert short["layers"] == long["layers"]
    both = bitx.json("simulate", sample, "--size", "N=1", "-a", "bitx:rows=3", "--rows", 4, "--group", 16)
    assert list(both["parameters"]["accelerators"]) == ["bitx(rows=3, group=16)"]
    free = bitx.json("simulate", sample, "--size", "N=1", "--lane-fifo-depth", "inf", "--preset", "mild")
    assert list(free["parameters"]["accelerators"]) == ["bitx(rows=10, lane_fifo_depth=None)", "dadiannao"]
    usage = bitx("simulate", sample, "--size", "N=1", "-a", "dadiannao", "--fifo-depth", 0, code=2)
    assert "--fifo-depth is an option of bitx" in usage.stderr


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["-a", "tpu"], "accelerator 'tpu' is not known"),
        (["-a", "bitx:speed=9"], "has no option 'speed'"),
        (["-a", "bitx:compute_units=0"], "compute_units must be an integer of at least 1"),
        (["-a", "bitx:compute_units=two"], "compute_units must be an integer of at least 1"),
        (["-a", "bitx:lanes=2"], "has no option 'lanes'"),
        (["-a", "bitx:rows_per_cycle=2"], "rows_per_cycle=2 needs serial_unit='row'"),
        (["--preset", "mild", "--rows", 4], "preset='mild' sets rows=10; rows=4 can't be given besides"),
        (["-a", "bitx", "-a", "bitx"], "the same accelerator is given twice"),
        (["--size", "N=1", "--size", "M=1"], "no dynamic dimension is called 'M'"),
        (["--input-size", "1x1x8"], "has 4 dimensions"),
        (["--network", "resnet18", "--size", "N=1"], "for ONNX graphs only"),
        (["--network", "resnet18"], "tensor 'conv1.weight': layer 'conv1': is not in the dump"),
    ],
)
def test_errors(bitx, sample, args, part):
    size = [] if {"--size", "--input-size", "--network"} & set(args) else ["--size", "N=1"]
    assert part in bitx.error("simulate", sample, *size, *args)


def test_missing_sizes_are_asked_for_in_the_commands_words(bitx, sample, tmp_path):
    import onnx

    model = onnx.load(sample)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    onnx.save(model, tmp_path / "open.onnx")
    message = bitx.error("simulate", tmp_path / "open.onnx")
    assert "dynamic dimension 'H'" in message
    assert message.endswith("set it with --size H=… or --input-size 1x1x…x8")


@pytest.mark.parametrize(
    "args",
    [
        ["--size", "N=0"],
        ["--size", "N"],
        ["--input-size", "1xx8"],
        ["-a", "bitx:"],
        ["-a", "bitx:rows=1,rows=2"],
        ["--fifo-depth", "-1"],
        ["--positions", 3],
    ],
)
def test_usage(bitx, sample, args):
    bitx("simulate", sample, *args, code=2)


def test_input_size(bitx, sample):
    by_size = bitx.json("simulate", sample, "--size", "N=2")
    by_shape = bitx.json("simulate", sample, "--input-size", "2x1x8x8")
    by_name = bitx.json("simulate", sample, "--input-size", "image=2x1x8x8")
    assert by_size["layers"] == by_shape["layers"] == by_name["layers"]


def test_dimensions_without_a_name_are_set_by_input_and_axis(bitx, sample, tmp_path):
    import onnx

    model = onnx.load(sample)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].Clear()
    onnx.save(model, tmp_path / "open.onnx")
    message = bitx.error("simulate", tmp_path / "open.onnx")
    assert message.endswith("set them with --size image.2=… --size image.3=… or --input-size 1x1x…x…")
    sizes = ["--size", "image.2=8", "--size", "image.3=8"]
    found = bitx.json("simulate", tmp_path / "open.onnx", *sizes)
    assert found["layers"] == bitx.json("simulate", sample, "--size", "N=1")["layers"]
    wrong = bitx.error("simulate", tmp_path / "open.onnx", "--size", "heigth=8")
    assert "no dynamic dimension is called 'heigth'; there are N, image.2, image.3" in wrong
    assert "axis 2" in bitx.error("simulate", tmp_path / "open.onnx", *sizes[2:])


def branching(folder):
    """A model whose branch, and whose layers with it, an input of one number decides."""
    from onnx import TensorProto, helper, numpy_helper

    def branch(name):
        node = helper.make_node("MatMul", ["x", name], [f"y_{name}"])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"y_{name}", 1, None)])

    weights = [numpy_helper.from_array(np.ones((8, n), np.float32), name) for name, n in (("a", 2), ("b", 5))]
    graph = helper.make_graph(
        [
            helper.make_node("Equal", ["sr", "rate"], ["fast"]),
            helper.make_node("If", ["fast"], ["y"], then_branch=branch("a"), else_branch=branch("b")),
        ],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8]),
            helper.make_tensor_value_info("sr", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [*weights, numpy_helper.from_array(np.int64(16000), "rate")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "branching.onnx").write_bytes(model.SerializeToString())
    return folder / "branching.onnx"


def test_inputs_that_are_known_decide_branches_and_sizes(bitx, tmp_path):
    path = branching(tmp_path)
    args = ["simulate", path, "-a", "dadiannao"]
    for rate, filters in ((16000, 2), (8000, 5)):
        found = bitx.json(*args, "--input", f"sr={rate}")
        assert found["macs"] == 8 * filters
        np.savez(tmp_path / "all.npz", x=np.ones((3, 8), np.float32), sr=np.int64(rate))
        assert bitx.json(*args, "--input", tmp_path / "all.npz")["macs"] == 3 * 8 * filters
    assert "there is no input 'rate'; it has x, sr" in bitx.error(*args, "--input", "rate=1")
    np.savez(tmp_path / "other.npz", z=np.ones(3))
    assert "has no tensor 'x'; the model has inputs x, sr" in bitx.error(
        *args, "--input", tmp_path / "other.npz"
    )
    assert "is not of the form" in bitx(*args, "--input", "sr=", code=2).stderr
    assert "--input" in bitx("simulate", "resnet18", "-a", "dadiannao", "--input", "x=1", code=2).stderr


def test_one_file_feeds_every_input_of_a_trace(bitx, tmp_path, out):
    path = branching(tmp_path)
    np.savez(tmp_path / "all.npz", x=np.ones((3, 8), np.float32), sr=np.int64(8000))
    together = bitx.json("trace", path, "--input", tmp_path / "all.npz", "-o", out / "t.h5")
    assert together["input_sizes"] == {"x": [3, 8], "sr": []}
    np.save(tmp_path / "x.npy", np.ones((3, 8), np.float32))
    apart = ["--input", f"x={tmp_path / 'x.npy'}", "--input", "sr=8000"]
    assert bitx.json("trace", path, *apart, "-o", out / "u.h5")["operands"] == together["operands"]
    np.savez(tmp_path / "some.npz", x=np.ones((3, 8), np.float32))
    assert "has no tensor 'sr'" in bitx.error(
        "trace", path, "--input", tmp_path / "some.npz", "-o", out / "v.h5"
    )


def test_tables_need_a_dump(bitx):
    dense = bitx.json("simulate", "resnet18", "-a", "dadiannao")
    assert dense["macs"] == hw.load_network("resnet18").macs
    usage = bitx("simulate", "resnet18", code=2)
    assert "bitx simulate DUMP --network resnet18" in usage.stderr
    message = bitx.error("simulate", "resnet17")
    assert "network 'resnet17' is neither a file (.onnx, .json, .csv) nor one of" in message


def table(tmp_path):
    """A table of two layers whose tensors are in the test dumps."""
    from hwmodel.networks.network import Network, NetworkLayer
    from hwmodel.networks.tables import network_to_table

    conv = hw.Conv("c", in_channels=4, out_channels=8, in_size=(6, 6), kernel=(3, 3), padding=1)
    fc = hw.Linear("f", in_features=72, out_features=10)
    network = Network("two", (NetworkLayer(conv, "conv"), NetworkLayer(fc, "fc")), "made up")
    (tmp_path / "two.json").write_text(json.dumps(network_to_table(network)))
    return tmp_path / "two.json"


@pytest.mark.parametrize("kind", ["npz", "safetensors", "h5", "pt"])
def test_dump_with_a_table(bitx, write, tmp_path, out, kind):
    path, shapes = write(kind), table(tmp_path)
    document = bitx.json("simulate", path, "--network", shapes, "-o", out / "s.h5")
    assert [row["layer"] for row in document["layers"]] == ["c", "c", "f", "f"]
    assert document["layers"][0]["macs"] == 8 * 36 * 36
    with Store.open(out / "s.h5") as store:
        assert [item.path for item in store.provenance.inputs] == [str(path), str(shapes)]
        assert store.table("simulation")["cycles"].tolist() == [row["cycles"] for row in document["layers"]]
        assert store.provenance.parameters["accelerators"]["bitx"]["rows"] == 6


def test_dump_alone_says_what_is_assumed(bitx, write, out):
    path = write("npz")
    text = bitx("simulate", path, "--positions", 36, "-o", out / "s.h5").stdout
    assert "note: no layer shapes: 36 output position(s) assumed" in text
    assert text.splitlines()[-1].startswith(f"wrote {out / 's.h5'} (")
    document = bitx.json("simulate", path, "--exclude", "c*")
    assert [row["layer"] for row in document["layers"]] == ["fc", "fc"]
    assert document["layers"][0]["macs"] == 720
    assert "has no layer to simulate" in bitx.error("simulate", path, "--exclude", "*")


def test_pruned_by_us_is_pruned_already(bitx, sample, out):
    """The machine that prunes at run time finds nothing more to prune."""
    bitx("prune", sample, "-o", out / "p.onnx", "--rows", 4, "--group", 8)
    before = bitx.json("simulate", sample, "--size", "N=1", "--rows", 4)
    after = bitx.json("simulate", out / "p.onnx", "--size", "N=1", "--rows", 4)
    assert [r["compute_cycles"] for r in before["layers"]] == [r["compute_cycles"] for r in after["layers"]]


def test_a_graph_without_layers(bitx, tmp_path):
    onnx = pytest.importorskip("onnx")
    make = onnx.helper
    graph = make.make_graph(
        [make.make_node("Relu", ["x"], ["y"])],
        "g",
        [make.make_tensor_value_info("x", 1, [2, 3])],
        [make.make_tensor_value_info("y", 1, [2, 3])],
    )
    onnx.save(make.make_model(graph), tmp_path / "r.onnx")
    message = bitx.error("simulate", tmp_path / "r.onnx")
    assert "has no layer to simulate (1 x Relu" in message


def test_products_of_activations_are_not_applicable(bitx, tmp_path):
    values = {}
    for entry in hw.load_network("minilm-l6").layers:
        if entry.weight:
            values[entry.weight] = np.ones(entry.layer.weight_shape, "f2")
    safetensors.numpy.save_file(values, tmp_path / "m.safetensors")
    text = bitx("simulate", tmp_path / "m.safetensors", "--network", "minilm-l6").stdout
    assert "not applicable on bitx: 12 × both operands are activations" in text
    assert "36/48" in text
