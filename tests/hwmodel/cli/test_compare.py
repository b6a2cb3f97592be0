"""``bitx simulate -a all``: one table of every machine."""

import csv

import pytest

import hwmodel as hw
from bitxcore.store import Store
from hwmodel.studies.comparison import COMPARISON_COLUMNS, conditions, contenders, entries
from hwmodel.studies.comparison.findings import findings
from hwmodel.studies.published import averages


@pytest.fixture(scope="module")
def field():
    return contenders(entries(), conditions())


def test_every_machine_is_in_the_table(bitx, sample, out, field):
    document = bitx.json(
        "simulate", sample, "--size", "N=1", "-a", "all", "-o", out / "run.h5", "--published", "--csv",
        out / "run.csv",
    )  # fmt: skip
    rows = document["comparison"]["rows"]
    assert [row["accelerator"] for row in rows] == [c.name for c in field]
    assert all(set(row) == {c.name for c in COMPARISON_COLUMNS} and row["reason"] is None for row in rows)
    assert document["comparison"]["conditions"] == conditions()
    network = hw.load_network(sample, sizes={"N": 1})
    result = hw.compare(network)
    for row, expected in zip(rows, result.rows, strict=True):
        assert row["cycles"] == expected.cycles
        assert row["speedup"] == expected.speedup
    beside = document["comparison"]["published_averages"]
    assert len(beside) == len(averages())
    stripes = next(b for b in beside if b["accelerator"] == "stripes")
    assert stripes["ours"] == pytest.approx(result.row("stripes").speedup_on_chip)
    assert stripes["ratio"] == pytest.approx(stripes["ours"] / 1.92)
    assert document["comparison"]["findings"] == findings(result)
    with open(out / "run.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["accelerator"] for line in lines] == [c.name for c in field]
    assert set(lines[0]) == {c.name for c in COMPARISON_COLUMNS}
    with Store.open(out / "run.h5") as store:
        assert list(store.table("comparison")["accelerator"]) == [c.name for c in field]
        assert store.table("simulation")["cycles"].size == len(field) * len(network)


def test_text(bitx, sample):
    text = bitx("simulate", sample, "--size", "N=1", "-a", "all", "--published", "--notes").stdout
    assert "equal for all: 4,096 MACs per cycle at 16 bit, 1,000 MHz, cost_basis=aladdin" in text
    for name in hw.accelerator_names():
        assert f"\n {name} " in text
    assert "stand-in activations" in text
    assert "not applicable: runs fully connected layers only: eie 12 x" in text
    assert "eie: 1 of 13 layers in common with DaDianNao" in text
    assert "DaDianNao: 6.7% of its multipliers are at work while it computes" in text
    assert "why stripes differs" in text
    assert "1.92 (1.3–4.51)" in text
    assert (
        text.splitlines()[0] == "cambricon_s is fastest of 25 machines that run 13 layers: 1.66x DaDianNao."
    )
    assert "bitx ranks 22 of 25 at 0.79x DaDianNao; bitx(format=fixed16) ranks 8 of 25 at" in text
    assert text.splitlines()[-1] == "nothing written; -o STORE.h5 keeps these results"


def test_conditions_and_further_machines(bitx, sample):
    options = ["-a", "all:dram=none,clock_hz=8e8", "-a", "bitx:rows=3", "--lane-fifo-depth", 2]
    document = bitx.json("simulate", sample, "--size", "N=1", *options)
    found = document["comparison"]
    assert (found["conditions"]["dram"], found["conditions"]["clock_hz"]) == (None, 8e8)
    names = [row["accelerator"] for row in found["rows"]]
    assert [n for n in names if n.startswith("bitx")] == [
        "bitx(lane_fifo_depth=2)",
        "bitx(lane_fifo_depth=2, format=fixed16)",
        "bitx(lane_fifo_depth=2, rows=3)",
    ]
    assert all(row["speedup"] == row["speedup_on_chip"] for row in found["rows"])


def test_a_table_without_weights_is_for_those_that_need_none(bitx):
    text = bitx("simulate", "resnet20-cifar10", "-a", "all").stdout
    assert "takes no part, bitx: needs weights, which are not given" in text
    assert "\n dadiannao" in text


def test_a_table_with_synthetic_weights_is_for_everybody(bitx, field):
    document = bitx.json("simulate", "resnet20-cifar10", "-a", "all", "--weights", "synthetic")
    rows = document["comparison"]["rows"]
    assert [row["accelerator"] for row in rows] == [c.name for c in field]
    assert not any(row["reason"] for row in rows)
    assert any("synthetic weights" in note for note in document["notes"])


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["-a", "all:rows=3"], "'rows' is not an option of every accelerator"),
        (["-a", "all:dram=ddr9"], "dram: "),
    ],
)
def test_errors(bitx, sample, args, part):
    assert part in bitx.error("simulate", sample, "--size", "N=1", *args)


@pytest.mark.parametrize("args", [["-a", "all", "-a", "all"], ["-a", "all", "--explain"]])
def test_usage(bitx, sample, args):
    bitx("simulate", sample, "--size", "N=1", *args, code=2)
