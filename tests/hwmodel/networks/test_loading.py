"""Where networks come from: names, tables, graphs, and dumps that tell no shapes."""

import json

import h5py
import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import DumpError, OptionError
from hwmodel.networks.tables import network_to_table


def test_a_name_and_its_table_are_one_network(tmp_path):
    named = hw.load_network("vgg-small")
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(network_to_table(named)))
    assert hw.load_network(path) == hw.load_network(str(path)) == named
    assert named.path is None


@pytest.mark.parametrize("options", [{"input_size": (1, 3, 32, 32)}, {"sizes": {"N": 1}}])
@pytest.mark.parametrize("source", ["vgg-small", "none.json"])
def test_sizes_are_for_graphs(source, options):
    with pytest.raises(OptionError, match="input_size and sizes are for ONNX graphs only") as raised:
        hw.load_network(source, **options)
    assert raised.value.path == source


def test_a_name_that_is_not_known():
    with pytest.raises(OptionError, match="network 'vgg' is neither a file") as raised:
        hw.load_network("vgg")
    assert "vgg16" in str(raised.value)
    assert raised.value.value == "vgg"


def test_what_ends_like_a_file_is_one(tmp_path):
    pytest.importorskip("onnx")
    for name in ("vgg16.onnx", "vgg16.json"):
        with pytest.raises(DumpError, match=r"can't be read|does not exist") as raised:
            hw.load_network(tmp_path / name)
        assert raised.value.path == tmp_path / name


def test_every_weight_of_a_dump_is_a_matrix_product(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, conv=np.ones((8, 4, 3, 3), np.float32), fc=np.ones((5, 16), np.float16), b=np.ones(5))
    with bx.open_dump(path) as dump:
        network = hw.network_from_dump(dump, positions=7, name="mine")
    assert network.name == "mine"
    assert network.path == path
    assert [(x.name, x.in_features, x.out_features, x.positions) for x in network] == [
        ("conv", 36, 8, 7),
        ("fc", 16, 5, 7),
    ]
    assert [(n.operation, n.count, n.reason) for n in network.not_simulated] == [
        ("tensor", 1, "no weights of a layer")
    ]
    assert [e.weight for e in network.layers] == ["conv", "fc"]


def test_kernels_of_keras_are_turned(tmp_path):
    path = tmp_path / "w.h5"
    stored = {
        "conv/conv/kernel:0": np.arange(3 * 3 * 4 * 8, dtype="f4").reshape(3, 3, 4, 8),
        "dw/dw/depthwise_kernel:0": np.arange(3 * 3 * 4 * 2, dtype="f4").reshape(3, 3, 4, 2),
        "up/conv2d_transpose/kernel:0": np.ones((3, 3, 8, 4), "f4"),
        "fc/fc/kernel:0": np.ones((6, 10), "f4"),
        "fc/fc/bias:0": np.ones(10, "f4"),
    }
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        for name, value in stored.items():
            file[name] = value
    with bx.open_dump(path) as dump:
        network = hw.network_from_dump(dump)
        layers = {entry.weight: entry for entry in network.layers}
        turned = {name: entry.turn(dump[name].read()) for name, entry in layers.items()}
    shapes = {name: entry.layer.weight_shape for name, entry in layers.items()}
    assert shapes == {
        "conv/conv/kernel:0": (8, 36),
        "dw/dw/depthwise_kernel:0": (8, 9),
        "fc/fc/kernel:0": (10, 6),
        "up/conv2d_transpose/kernel:0": (8, 36),
    }
    conv, depthwise = stored["conv/conv/kernel:0"], stored["dw/dw/depthwise_kernel:0"]
    assert np.array_equal(
        turned["conv/conv/kernel:0"].reshape(8, 36), conv.transpose(3, 2, 0, 1).reshape(8, 36)
    )
    assert np.array_equal(turned["dw/dw/depthwise_kernel:0"][3].ravel(), depthwise[:, :, 1, 1].ravel())


def test_tensors_are_excluded_by_pattern(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, **{"a.table": np.ones((2, 3)), "a.fc": np.ones((2, 3)), "empty": np.ones((0, 3))})
    with bx.open_dump(path) as dump:
        network = hw.network_from_dump(dump, exclude=["*.table", "nothing"])
    reasons = {n.reason: n.count for n in network.not_simulated}
    assert [layer.name for layer in network] == ["a.fc"]
    assert reasons == {"excluded by name": 1, "empty": 1}


@pytest.mark.parametrize("network", ["resnet20-cifar10", "json", "csv", "npz"])
def test_names_and_paths_are_loaded_where_a_network_is_wanted(tmp_path, network):
    small = hw.Network(layers=[hw.Linear("f", 8, 4)])
    small.save(tmp_path / "mine.json")
    (tmp_path / "mine.csv").write_text("f,1,4,8")
    np.savez(tmp_path / "mine.npz", f=np.ones((4, 8), np.float32))
    for source in (
        [network] if "-" in network else [tmp_path / f"mine.{network}", f"{tmp_path}/mine.{network}"]
    ):
        runs = [
            hw.simulate_network(machine, source) for machine in ("dadiannao", hw.accelerator("dadiannao"))
        ]
        assert runs[0] == runs[1]
        assert runs[0].total("dadiannao").layers == (20 if "-" in network else 1)


@pytest.mark.parametrize(
    "network",
    [
        *("resnet", "", "none.onnx", "none.json", "none.csv", "none.npz", "none", "a\0b", b"resnet18"),
        *(5, None, [], {}, ["resnet18"], np.ones((99, 99)), hw.Linear("f", 2, 2)),
    ],
    ids=lambda given: repr(given)[:12],
)
def test_what_is_no_network_is_an_error_of_one_line(tmp_path, monkeypatch, network):
    monkeypatch.chdir(tmp_path)
    for load in (hw.load_network, lambda given: hw.simulate_network("dadiannao", given)):
        with pytest.raises(bx.errors.BitxError) as raised:
            load(network)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("machine", ["resnet", "", 5, None, [], ["bitx", "bitx"], [5], hw.Linear("f", 2, 2)])
def test_what_is_no_machine_is_an_error_of_one_line(machine):
    with pytest.raises(OptionError) as raised:
        hw.simulate_network(machine, "resnet20-cifar10")
    assert "\n" not in str(raised.value)
