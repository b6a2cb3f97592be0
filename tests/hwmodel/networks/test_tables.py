"""Tables: what is written is read back, and a damaged file is named."""

import json

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
