import os
from pathlib import Path

import pytest

import hwmodel as hw
from bitxcore.store import Store

SAMPLE = str(Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx")
VARIED = ["--vary", "rows=4,5", "--vary", "lane_fifo_depth=0:1"]
SMALL = [SAMPLE, "--size", "N=1", "-a", "bitx:dram=none", *VARIED]


def test_points_are_the_librarys(bitx, out):
    document = bitx.json("sweep", *SMALL, "-o", out / "s.h5")
    network = hw.load_network(SAMPLE, sizes={"N": 1})
    found = hw.sweep(network, {"rows": (4, 5), "lane_fifo_depth": (0, 1)}, fixed={"dram": None})
    assert document["points"] == [found.row(i) for i in range(4)]
    assert document["front"] == list(found.front)
    assert document["units"] == found.units
    assert document["varied"] == {"rows": [4, 5], "lane_fifo_depth": [0, 1]}
    assert document["fixed"] == {"dram": None}
    assert os.listdir(out) == ["s.h5"]
    with Store.open(out / "s.h5") as store:
        assert store.table("sweep")["lane_fifo_depth"].tolist() == [0, 1, 0, 1]
        assert store.provenance.parameters["command"] == "sweep"
        assert store.provenance.parameters["sizes"] == {"N": 1}


def test_text(bitx, out):
    text = bitx("sweep", *SMALL, "--vary", "criterion=topn,energy", "-o", out / "s.h5").stdout
    assert "digits_resnet on bitx: 8 points of rows (2) × lane_fifo_depth (2) × criterion (2)" in text
    assert "Pareto front of time × energy × error: " in text
    assert " of 4 points" in text
    assert "not possible: 4 × criterion 'energy' needs budget" in text
    assert text.splitlines()[-1].startswith(f"wrote {out / 's.h5'} (")
    text = bitx("sweep", *SMALL).stdout
    assert text.splitlines()[-1] == "nothing written; -o STORE.h5 keeps these points"


def test_operands_are_those_of_simulate(bitx):
    operands = ["--weights", "synthetic:laplace", "--precisions", "8"]
    swept = bitx.json("sweep", SAMPLE, "--size", "N=1", "--vary", "format=fixed8", *operands)
    run = bitx.json("simulate", SAMPLE, "--size", "N=1", "-a", "bitx:format=fixed8", *operands)
    assert swept["points"][0]["cycles"] == run["totals"][0]["cycles"]
    assert swept["notes"] == run["notes"]
    text = bitx("sweep", SAMPLE, "--size", "N=1", "-a", "pragmatic", "--vary", "tiles=8,16").stdout
    assert "note: stand-in activations in 13 layers: relu-normal" in text
    bitx("sweep", SAMPLE, "--network", "resnet18", "--vary", "rows=3", *operands, code=2)


def test_no_point_is_possible(bitx):
    message = bitx.error("sweep", SAMPLE, "--size", "N=1", "--vary", "criterion=energy,threshold")
    assert message.startswith("no point of the sweep is possible: ")
    assert "criterion 'energy' needs budget" in message
    assert "criterion 'threshold' needs threshold" in message


@pytest.mark.parametrize(
    "vary", ["rows=a", "rows=0", "rows=0:0", "format=none5", "criterion=best", "dram=x,y"]
)
def test_values_that_an_option_never_has(bitx, out, vary):
    message = bitx.error("sweep", SAMPLE, "--size", "N=1", "--vary", vary, "-o", out / "s.h5")
    assert message.startswith("no point of the sweep is possible: ")
    assert os.listdir(out) == []


def test_one_point_is_no_plural(bitx):
    text = bitx("sweep", SAMPLE, "--size", "N=1", "--vary", "rows=4").stdout
    assert "on bitx: 1 point of rows (1)" in text
    assert "1 of 1 point\n" in text
    assert "1 points" not in text


def test_sample(bitx):
    args = [
        SAMPLE,
        "--size",
        "N=1",
        "-a",
        "dadiannao:dram=none",
        "--vary",
        "rows=1:40:3",
        "--vary",
        "tiles=4,8",
    ]
    one, two = (bitx.json("sweep", *args, "--sample", 3, "--seed", seed) for seed in (1, 2))
    assert [p["rows"] for p in one["points"]] != [p["rows"] for p in two["points"]]
    assert len(one["points"]) == 3
    assert {p["rows"] for p in one["points"]} <= set(range(1, 41, 3))
    assert one["points"] == bitx.json("sweep", *args, "--sample", 3, "--seed", 1)["points"]


@pytest.mark.parametrize(
    ("vary", "values"),
    [
        ("fifo_depth=none,2", [None, 2]),
        ("rows=3:5", [3, 4, 5]),
        ("rows=2:8:3,7", [2, 5, 8, 7]),
        ("skip_zero_groups=true,false", [True, False]),
        ("format=none,fixed16", [None, "fixed16"]),
        ("clock_hz=1e9,5e8", [1e9, 5e8]),
    ],
)
def test_values(bitx, vary, values):
    name = vary.partition("=")[0]
    document = bitx.json("sweep", SAMPLE, "--size", "N=1", "-a", "bitx:dram=none", "--vary", vary)
    assert document["varied"] == {name: values}
    assert [p[name] for p in document["points"]] == values


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--vary", "speed=1,2"], "has no option 'speed'; known: "),
        (["--vary", "rows=3,3"], "value 3 is given twice"),
        (["--vary", "rows=3", "-a", "bitx:rows=4"], "'rows' is varied and fixed at once"),
        (["--vary", "rows=3", "-a", "tpu"], "accelerator 'tpu' is not known"),
        (["--vary", "rows=3", "-o", "nowhere/s.h5"], "nowhere is not an existing folder"),
    ],
)
def test_errors(bitx, args, part):
    assert part in bitx.error("sweep", SAMPLE, "--size", "N=1", *args)


@pytest.mark.parametrize(
    "args",
    [[], ["--vary", "rows"], ["--vary", "rows="], ["--vary", "rows=5:3"], ["--vary", "rows=1:9:0"],
     ["--vary", "rows=1:999999999"], ["--vary", "rows=3", "--vary", "rows=4"],
     ["--vary", "rows=3", "--sample", 0], ["--vary", "rows=3", "-j", 0]],
)  # fmt: skip
def test_usage(bitx, args):
    bitx("sweep", SAMPLE, "--size", "N=1", *args, code=2)


def test_the_input_is_not_overwritten(bitx, tmp_path):
    model = tmp_path / "m.onnx"
    model.write_bytes(Path(SAMPLE).read_bytes())
    assert "is the input" in bitx.error("sweep", model, "--size", "N=1", "--vary", "rows=3", "-o", model)
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_another_sweep_is_told_apart(bitx, out):
    from bitxcore.journal import Journal

    with Journal(out / "s.h5.journal", {"accelerator": "other"}) as journal:
        journal.append([{"point": 0}])
    message = bitx.error("sweep", *SMALL, "-o", out / "s.h5")
    assert "holds finished points of another sweep" in message
    document = bitx.json("sweep", *SMALL, "-o", out / "s.h5", "--restart")
    assert document["resumed_points"] == 0
    assert os.listdir(out) == ["s.h5"]


def test_explain(bitx):
    args = ["simulate", SAMPLE, "--size", "N=1", "-a", "bitx", "-a", "dadiannao"]
    text = bitx(*args, "--explain").stdout
    assert "bitx: where its " in text
    assert "dadiannao: changes, each simulated" in text
    assert "helps most if hardware may be added: " in text
    (bitx_found, dense) = bitx.json(*args, "--explain")["explanations"]
    found = hw.explain(hw.accelerator("bitx"), hw.load_network(SAMPLE, sizes={"N": 1}))
    assert bitx_found["cycles"] == found.cycles
    assert [c["saved_cycles"] for c in bitx_found["changes"]] == [t.saved_cycles for t in found.trials]
    assert bitx_found["helps_most"]["hardware"]["options"] == found.best("hardware").change.options
    assert bitx_found["causes"][0]["name"] == found.causes[0].name
    assert len(dense["layers"]) == 13
    assert dense["helps_most"]["accuracy"] is None
    assert "explanations" not in bitx.json(*args)
