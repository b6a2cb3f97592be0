"""Topologies of SCALE-Sim: the layers that SCALE-Sim makes of them, and what is wrong, by its line."""

import re

import pytest

import hwmodel as hw
from bitxcore.errors import DumpError

HEAD = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"


def topology(tmp_path, *lines, end="\n"):
    path = tmp_path / "mine.csv"
    path.write_bytes((end.join(lines) + end).encode())
    return path


def scale_sim_counts(height, width, filter_height, filter_width, channels, filters, *strides):
    """What SCALE-Sim 2 and 3 compute of a row: output height and width, and multiply-accumulates."""
    down, across = (*strides, *strides)[:2]
    out = [-(-(n - k + s) // s) for n, k, s in ((height, filter_height, down), (width, filter_width, across))]
    return (*out, out[0] * out[1] * filter_height * filter_width * channels * filters)


ROWS = [
    (224, 224, 11, 11, 3, 96, 4),
    (27, 27, 5, 5, 96, 256, 1),
    (13, 9, 3, 1, 256, 384, 2),
    (7, 7, 3, 3, 1, 1, 2),
    (1, 1, 1, 1, 1024, 1000, 1),
    (10, 64, 1, 64, 1, 30, 1),
    (30, 31, 4, 5, 6, 7, 3, 2),
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [HEAD, HEAD.rstrip(","), "\ufeff" + HEAD, None])
@pytest.mark.parametrize("comma", [",", "", " , ", ",#remark", ",\t"])
def test_convolutions(tmp_path, header, comma, end):
    lines = [f"\tc{i} , {' ,'.join(map(str, row))}{comma}" for i, row in enumerate(ROWS)]
    lines[2:2] = ["", ",,,,,,,,", "   "]
    network = hw.load_network(topology(tmp_path, *([header] if header else []), *lines, end=end))
    assert network.name == "mine"
    assert [layer.name for layer in network] == [f"c{i}" for i in range(len(ROWS))]
    for layer, row in zip(network, ROWS, strict=True):
        assert (*layer.out_size, layer.macs) == scale_sim_counts(*row)
        assert layer.weight_shape == (row[5], row[4], row[2], row[3])
        assert layer.in_size == row[:2]


def test_products(tmp_path):
    path = topology(tmp_path, "Layer,M,N,K", "QKT,1024,1000,64", " QKTV, 5 ,6, 7 ,")
    layers = list(hw.load_network(path))
    assert layers == [
        hw.Linear("QKT", in_features=64, out_features=1000, positions=1024),
        hw.Linear("QKTV", in_features=7, out_features=6, positions=5),
    ]
    assert list(hw.load_network(topology(tmp_path, "QKT,1024,1000,64", "QKTV,5,6,7,"))) == layers


@pytest.mark.parametrize("cell", ["2:4", "1 : 2", "1"])
@pytest.mark.parametrize(
    ("header", "row"), [(HEAD, "5,5,3,3,2,6,1"), ("Layer Name, M, N, K,", "3,5,16")], ids=["conv", "gemm"]
)
def test_sparsity_is_noted(tmp_path, header, row, cell):
    plain = hw.load_network(topology(tmp_path, header, f"a,{row},", f"b,{row},"))
    network = hw.load_network(topology(tmp_path, f"{header} Sparsity,", f"a,{row},{cell},", f"b,{row},"))
    assert list(network) == list(plain)
    assert network.notes[:-1] == plain.notes
    assert "states for 1 of 2 layers is not used" in network.notes[-1]
    if ":" in cell:  # also where the header does not say
        assert hw.load_network(topology(tmp_path, f"a,{row},{cell}", f"b,{row}")).notes == network.notes


def test_names_with_dp_are_depthwise(tmp_path):
    (layer,) = hw.load_network(topology(tmp_path, HEAD, "Conv2_DP, 12, 12, 3, 3, 32, 1, 1,"))
    assert (layer.groups, layer.filters, layer.macs) == (32, 32, 32 * 9 * 100)


def test_batches_and_tabs(tmp_path):
    columns = HEAD.rstrip(",").replace(",", "\t") + "\tBatch Size"
    (layer,) = hw.load_network(topology(tmp_path, columns, "a\t5\t5\t3\t3\t2\t6\t1\t4\t"))
    assert (layer.batch, layer.stride, layer.positions) == (4, (1, 1), 36)


def test_names_may_come_twice(tmp_path):
    network = hw.load_network(topology(tmp_path, "a,1,2,3", "a,1,2,3", "a,1,2,3"))
    assert [layer.name for layer in network] == ["a", "a#2", "a#3"]


def test_a_topology_is_simulated_by_its_path(tmp_path):
    path = topology(tmp_path, HEAD, "Conv1,9,9,3,3,16,32,1,", "FC,1,1,1,1,64,10,1,")
    run = hw.simulate_network(["bitx", "dadiannao"], path, weights="laplace")
    assert [total.layers for total in run.totals] == [2, 2]
    unknown = hw.simulate_network("bitx", path)
    assert {row.reason for row in unknown.layers} == {"the network names no tensor"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["", HEAD, ""], "is no topology of SCALE-Sim: it has no layer"),
        ([""], "is no topology of SCALE-Sim: it has no layer"),
        (
            [HEAD, "a,9,9,3,3,1,8,1,", "", "b,9,9,x,3,1,8,1,"],
            "line 4: filterheight must be an integer, got 'x'",
        ),
        ([HEAD, "a,9,9,3,3,1,8.5,1,"], "line 2: numfilter must be an integer, got '8.5'"),
        ([HEAD, "a,9,9,3,3,1,-8,1,"], "line 2: numfilter must be an integer, got '-8'"),
        ([HEAD, "a,9,9,3,3,1,0,1,"], "line 2: out_channels must be at least 1, got 0"),
        ([HEAD, "a,9,9,3,3,1,8,0,"], "line 2: stride must be at least 1, got 0"),
        ([HEAD, "a,9,9,3,3,1,8,"], "line 2: has 6 values, 7 are needed (ifmapheight,"),
        ([HEAD, "a,9,9,3,3,1,8,1,1,7,"], "line 2: has a value more than SCALE-Sim reads: '7'"),
        ([HEAD, "a,2,9,3,3,1,8,1,"], "line 2: "),
        ([HEAD, ",9,9,3,3,1,8,1,"], "line 2: a layer's name must be a non-empty string, got ''"),
        ([HEAD, f"a,9,9,3,3,1,{'9' * 5000},1,"], "line 2: numfilter must be an integer, got '999"),
        (["Layer,M,K,N", "a,1,2,3"], "its columns are m, k, n, by place they would be m, n, k"),
        (["Layer,M,N,K", "a,1,2,3,4"], "line 2: has a value more than SCALE-Sim reads: '4'"),
        (["a,1,2"], "line 1: has 2 values, 3 are needed (m, n, k)"),
    ],
)
def test_what_is_wrong_has_its_line(tmp_path, lines, message):
    path = topology(tmp_path, *lines)
    with pytest.raises(DumpError, match=re.escape(message)) as raised:
        hw.load_network(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_what_is_no_text(tmp_path):
    path = tmp_path / "w.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DumpError, match="is no topology of SCALE-Sim: "):
        hw.load_network(path)
    with pytest.raises(DumpError, match="does not exist"):
        hw.load_network(tmp_path / "none.csv")
    with pytest.raises(DumpError, match="is not a regular file"):
        hw.load_network(topology(tmp_path, "a,1,2,3").parent.joinpath("d.csv").mkdir() or tmp_path / "d.csv")
