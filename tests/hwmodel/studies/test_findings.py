"""What a comparison has found, in sentences that hold whatever the numbers are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.store import Store
from hwmodel.accelerators.cycle_attribution import CAUSES
from hwmodel.studies.comparison.findings import SPENT, comparison_findings, findings, machine_finding

SAMPLE = Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx"


def row(name, cycles, speedup=None, layers=3, **more):
    base = {"accelerator": name, "label": name, "layers": layers, "not_applicable": 3 - layers}
    return base | {"cycles": cycles, "speedup": speedup, "reason": None} | more


def total(name, **causes):
    return {"accelerator": name, "cycles": sum(causes.values()), **causes}


def test_every_cause_has_words():
    assert set(SPENT) == set(CAUSES)


def test_both_formats_of_bitx():
    rows = [
        row("dadiannao", 400),
        row("bitx", 500, 0.8),
        row("bitx(format=fixed16)", 200, 2.0),
        row("unpu", 100, 4.0),
        row("eie", 1, 9.0, layers=1),
    ]
    totals = [
        total("unpu", compute_cycles=60, fill_cycles=40),
        total("bitx", weight_wait_cycles=400, compute_cycles=100),
        total("bitx(format=fixed16)", weight_wait_cycles=150, compute_cycles=50),
    ]
    assert comparison_findings(rows, totals) == [
        "unpu is fastest of 4 machines that run 3 layers: 4.00x DaDianNao.",
        "bitx ranks 4 of 4 at 0.80x DaDianNao; bitx(format=fixed16) ranks 2 of 4 at 2.00x DaDianNao.",
        "The largest cause of cycles: computing (unpu 60%); waiting for weights from memory (bitx 80%,"
        " bitx(format=fixed16) 75%).",
    ]


def test_bitx_itself_is_fastest_and_named_once():
    rows = [row("dadiannao", 400), row("bitx", 100, 4.0)]
    assert comparison_findings(rows, [total("bitx", compute_cycles=100)]) == [
        "bitx is fastest of 2 machines: 4.00x DaDianNao.",
        "bitx ranks 1 of 2 at 4.00x DaDianNao.",
        "The largest cause of cycles: computing (bitx 100%).",
    ]


def test_the_baseline_is_fastest():
    said = comparison_findings([row("dadiannao", 100), row("unpu", 200, 0.5)], [])
    assert said == ["dadiannao is fastest of 2 machines: 100 cycles."]


def test_ties():
    rows = [row("dadiannao", 300), *(row(name, 100, 3.0) for name in ("a", "b", "bitx", "c"))]
    assert comparison_findings(rows, [])[:2] == [
        "a, b, bitx and 1 more are equally fast, and fastest of 5 machines: 3.00x DaDianNao.",
        "bitx ranks 1 of 5, with 3 others, at 3.00x DaDianNao.",
    ]


def test_without_a_baseline():
    assert comparison_findings([row("unpu", 200), row("bitx", 300)], []) == [
        "unpu is fastest of 2 machines: 200 cycles.",
        "bitx ranks 2 of 2.",
    ]


def test_who_takes_no_part():
    absent = {"cycles": None, "layers": None, "reason": "needs weights, which are not given"}
    rows = [row("dadiannao", 100), row("bitx", 0) | absent]
    assert comparison_findings(rows, []) == [
        "dadiannao is the only machine: 100 cycles.",
        "bitx is not compared: needs weights, which are not given.",
    ]
    both = comparison_findings([*rows, row("bitx(format=fixed16)", 0) | absent], [])
    assert both[1] == "bitx and bitx(format=fixed16) are not compared: needs weights, which are not given."
    assert comparison_findings([row("bitx", 0) | absent], []) == ["No machine has a result for this network."]
    assert comparison_findings([], []) == ["No machine has a result for this network."]


def test_bitx_runs_fewer_layers():
    said = comparison_findings([row("dadiannao", 100), row("bitx", 10, 2.0, layers=1)], [])
    assert said == [
        "dadiannao is the only machine of those that run 3 layers: 100 cycles.",
        "bitx is not ranked, for running 1 layer only.",
    ]


def test_one_layer_and_no_cycles():
    rows = [row("dadiannao", 0, layers=1), row("bitx", 0, layers=1)]
    assert comparison_findings(rows, [total("bitx", compute_cycles=0)])[0].startswith(
        "dadiannao and bitx are"
    )


def test_rows_of_a_store_say_the_same(tmp_path):
    network = hw.load_network(SAMPLE, sizes={"N": 1})
    result = hw.compare(
        network, accelerators=["dadiannao", "bitx", "eie", "stripes"], store=tmp_path / "run.h5"
    )
    with Store.open(tmp_path / "run.h5") as store:
        tables = [
            [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            for columns in map(store.table, ("comparison", "networks"))
        ]
    said = findings(result)
    assert comparison_findings(*tables) == said
    best = min((r for r in result.rows if r.layers == 13), key=lambda r: r.cycles)
    assert said[0].startswith(f"{best.accelerator} is fastest of ")
    assert any("bitx(format=fixed16) ranks" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"cycles": None}, "m: runs no layer of this network."),
        ({"cycles": np.ma.masked}, "m: runs no layer of this network."),
        ({"cycles": 1, "compute_cycles": 1}, "m: 1 cycle; largest cause: computing, 100%."),
        (
            {"cycles": 1000, "speedup_over_unpruned": float("nan"), "speedup_over_all_rows": 2.0},
            "m: 1,000 cycles, 2.00x as fast as unpruned with every row.",
        ),
    ],
)
def test_one_machine(columns, said):
    assert machine_finding({"accelerator": "m", **columns}) == said
