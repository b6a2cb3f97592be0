"""Tables: what is written is read back, and a damaged file is named."""

import json
import os

import pytest

import hwmodel as hw
from bitxcore.errors import DumpError, OptionError
from bitxcore.groups import Layout
from hwmodel.networks.tables import NO_TENSOR, network_to_table, read_table, table_path

NETWORK = hw.Network(
    "n",
    (
        hw.NetworkLayer(
            hw.Conv("c", 4, 8, in_size=(6, 7), kernel=3, stride=(1, 2), padding=((0, 1), (2, 0)), groups=2),
            "c.weight",
        ),
        hw.NetworkLayer(
            hw.ConvTranspose("t", 8, 4, in_size=5, kernel=2, stride=2, output_padding=1, groups=2),
            "t.weight",
            Layout(filter_axis=1, conv_groups=2),
        ),
        hw.NetworkLayer(hw.Linear("f", 12, 5, positions=6, steps=3), weight_missing=NO_TENSOR),
        hw.NetworkLayer(hw.MatMul("m", 3, 4, 5, batch=2)),
    ),
    source="a test",
    not_simulated=(hw.NotSimulated("Softmax", 2, "element-wise"), hw.NotSimulated("X", 1, "unknown", True)),
    other_parameters=17,
    notes=("an assumption",),
)


def write(tmp_path, table):
    path = tmp_path / "n.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    return path


def test_a_network_comes_back_as_it_was(tmp_path):
    assert read_table(write(tmp_path, network_to_table(NETWORK))) == NETWORK


def test_fields_that_equal_their_defaults_are_left_out():
    rows = network_to_table(NETWORK)["layers"]
    assert rows[3] == {"operation": "matmul", "name": "m", "rows": 3, "inner": 4, "columns": 5, "batch": 2}
    assert not {"batch", "layout"} & set(rows[0])
    assert "steps" in rows[2]
    assert rows[1]["layout"] == {"filter_axis": 1, "conv_groups": 2}


def test_every_name_has_a_table():
    names = hw.network_names()
    assert names == sorted(names)
    assert "resnet18" in names
    assert all(read_table(table_path(name)).name == name for name in names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no table of a network"),
        ("{}", "is no table of a network: 'version'"),
        ('{"version": 2}', "table version 2, this release reads 1"),
        ('{"version": 1, "layers": [{"operation": "linear", "name": "f"}]}', "is no table of a network"),
        ('{"version": 1, "layers": [{"operation": "linear", "size": 3}]}', "is no table of a network"),
        ('{"version": 1, "layers": []}', "is no table of a network: 'name'"),
    ],
)
def test_damaged_tables_are_named(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DumpError, match=message) as raised:
        read_table(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert raised.value.path == path


def test_a_missing_table(tmp_path):
    with pytest.raises(DumpError, match=r"none\.json: does not exist"):
        read_table(tmp_path / "none.json")


def test_an_operation_that_is_not_known(tmp_path):
    path = write(tmp_path, {"version": 1, "layers": [{"operation": "pool", "name": "p"}]})
    with pytest.raises(OptionError) as raised:
        read_table(path)
    error = raised.value
    assert str(error) == f"{path}: operation 'pool' is none of conv, conv_transpose, linear, matmul"
    assert (error.path, error.value) == (path, "pool")


def test_a_layer_that_can_not_be_is_damage_of_the_file(tmp_path):
    table = network_to_table(NETWORK)
    table["layers"][2]["in_features"] = 0
    path = write(tmp_path, table)
    with pytest.raises(DumpError) as raised:
        read_table(path)
    error = raised.value
    assert str(error) == f"{path}: layer 'f': in_features must be at least 1, got 0"
    assert (error.path, error.layer, error.value) == (path, "f", 0)


def test_two_layers_of_one_name_are_damage_too(tmp_path):
    table = network_to_table(NETWORK)
    table["layers"].append(table["layers"][0])
    path = write(tmp_path, table)
    with pytest.raises(DumpError, match=r"n\.json: network 'n' has two layers called 'c'"):
        read_table(path)


def test_a_network_from_python_is_saved_and_loaded(tmp_path):
    layers = [hw.Conv("c", 3, 8, in_size=(9, 9), kernel=3), hw.MatMul("m", 3, 4, 5), hw.Linear("f", 12, 5)]
    network = hw.Network(layers=layers)
    assert list(network) == layers
    assert (network.name, network.source, network.path) == ("network", "", None)
    assert [e.weight_missing for e in network.layers] == [NO_TENSOR, None, NO_TENSOR]
    network.save(tmp_path / "mine.json")
    network.save(str(tmp_path / "mine.json"))
    assert os.listdir(tmp_path) == ["mine.json"]
    assert hw.load_network(tmp_path / "mine.json") == network


def test_everything_that_a_network_compares_is_saved(tmp_path):
    entries = (
        *NETWORK.layers,
        hw.NetworkLayer(hw.Linear("stack", 4, 5), "w", Layout(filter_axis=1), index=3, notes=("a", "b")),
        hw.NetworkLayer(hw.Linear("late", 4, 5), weight_missing="computed at run time"),
        hw.NetworkLayer(hw.Linear("silent", 4, 5)),
        hw.NetworkLayer(hw.Linear("été \ud800\0\n", 4, 5), "w\u2028"),
        hw.NetworkLayer(hw.Conv("dw", 4, 4, in_size=9, kernel=3, groups=4), "k", Layout(2, 4, 3)),
    )
    network = hw.Network("n", entries, source="s", other_parameters=3, notes=("x",))
    network.save(tmp_path / "mine.json")
    assert hw.load_network(tmp_path / "mine.json") == network


def test_graphs_are_saved_but_for_where_they_are(tmp_path):
    pytest.importorskip("onnx")
    from dataclasses import replace
    from pathlib import Path

    sample = Path(__file__).parents[3] / "data/samples/digits_resnet.onnx"
    network = hw.load_network(sample)
    network.save(tmp_path / "digits.json")
    again = hw.load_network(tmp_path / "digits.json")
    assert again == replace(network, path=None)
    ours, theirs = (
        hw.simulate_network("bitx", *given) for given in ([network], [hw.Workload.of(again, dump=sample)])
    )
    assert ours.layers == theirs.layers


@pytest.mark.parametrize("name", hw.network_names())
def test_tables_are_saved_as_they_are(tmp_path, name):
    hw.load_network(name).save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == table_path(name).read_text()


def test_what_a_network_is_made_of():
    for wrong in ("conv1", 5, None, ("f", 3, 4)):
        with pytest.raises(OptionError, match=r"layers of a network are layers \(hwmodel\.Conv") as raised:
            hw.Network(layers=[hw.Linear("f", 3, 4), wrong])
        assert "\n" not in str(raised.value)


def test_a_table_is_known_by_its_name(tmp_path):
    with pytest.raises(OptionError, match=r"mine\.onnx: the name of a table ends in \.json"):
        NETWORK.save(tmp_path / "mine.onnx")
    assert not list(tmp_path.iterdir())


WRONG = [
    ("name", 5, "name can't be 5"),
    ("source", None, "source can't be None"),
    ("other_parameters", 1.5, "other_parameters can't be 1.5"),
    ("other_parameters", -1, "other_parameters can't be -1"),
    ("other_parameters", True, "other_parameters can't be True"),
    ("notes", "text", "notes must be a list of texts, got 'text'"),
    ("notes", [5], "notes must be a list of texts"),
    ("not_simulated", [{"operation": "X", "count": "1", "reason": "r"}], "count can't be '1'"),
    ("not_simulated", [{"operation": "X"}], "is no table"),
    ("not_simulated", 5, "is no table"),
    ("layers", 5, "is no table"),
    ("layers", [5], "is no table"),
    ("layers", ["conv"], "is no table"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_values_of_other_types_are_damage(tmp_path, key, value, message):
    path = write(tmp_path, network_to_table(NETWORK) | {key: value})
    with pytest.raises(DumpError, match="is no table of a network: ") as raised:
        read_table(path)
    assert message in str(raised.value)


WRONG_ROWS = [
    ("weight", 5, "weight can't be 5"),
    ("index", "1", "index can't be '1'"),
    ("index", -1, "index can't be -1"),
    ("weight_missing", 5, "weight_missing can't be 5"),
    ("notes", "text", "notes must be a list of texts"),
    ("layout", 5, "is no table"),
    ("layout", {"filter_axis": "1"}, "filter_axis of a layout must be an integer, got '1'"),
    ("layout", {"axis": 1}, "is no table"),
    ("name", 5, "a layer's name must be a non-empty string, got 5"),
    ("rows", 1.5, "rows must be an integer, got 1.5"),
    ("rows", 10**400, "rows must be at most"),
    ("unknown", 1, "is no table"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG_ROWS)
def test_values_of_other_types_in_layers_are_damage(tmp_path, key, value, message):
    table = network_to_table(NETWORK)
    table["layers"][3][key] = value
    with pytest.raises(DumpError) as raised:
        read_table(write(tmp_path, table))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("operation", [[], {}, 5, None])
def test_an_operation_that_is_no_text(tmp_path, operation):
    table = network_to_table(NETWORK)
    table["layers"][0]["operation"] = operation
    with pytest.raises(OptionError, match="is none of conv, conv_transpose, linear, matmul"):
        read_table(write(tmp_path, table))


def test_a_table_is_a_regular_file_of_a_sane_size(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DumpError, match=r"pipe\.json: is not a regular file"):
        hw.load_network(tmp_path / "pipe.json")
    with pytest.raises(DumpError, match="is no table of a network: it is nested too deeply"):
        hw.load_network(write(tmp_path, "[" * 100_000))
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DumpError, match="a network's table has at most 16777216 bytes"):
        hw.load_network(path)
