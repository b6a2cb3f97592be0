"""Every entry of DNNsim's tables, but for those where its slips show (data/README.md)."""

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from layer_cases import DNNSIM_LAYERS

import hwmodel as hw

DATA = Path(__file__).parent / "data"
GRID = {"lanes": 16, "columns": 16, "rows": 16, "tiles": 16}

# (activations, weights), the sign bit included.
PRECISIONS = {
    "16": {"conv1": (10, 10), "conv2": (9, 9), "conv3": (8, 9), "fc1": (9, 8)},
    "8": dict.fromkeys(DNNSIM_LAYERS, (8, 8)),
}
TACTICAL = {"BitTactical": None, "TCLp": "p", "TCLe": "e"}
HALO_SLIP = 15 * 15
"""Halo entries of a filter in fully connected layers on DNNsim's SCNN, where all sums meet in one output."""


def machine(experiment):
    """The accelerator that an experiment's name stands for."""
    kind, *options = experiment.split("_")
    chosen = {}
    for option in options:
        chosen |= {
            "minor": {"minor_bit": True},
            "dynw": {"dynamic_weights": True},
            "T": {"pattern": "T"},
            "b0": {"booth": False},
            "b1": {"booth": True},
            "acc1024": {"accumulator_entries": 1024},
        }.get(option, {})
        for prefix, name in (
            ("CR", "column_registers"),
            ("GS", "group_columns"),
            ("psb", "serial_bits"),
            ("L", "first_stage_bits"),
        ):
            if option.startswith(prefix) and option != "L":
                chosen[name] = int(option.removeprefix(prefix))
        if option == "L":
            chosen["pattern"] = "L"
    if kind == "SCNN":
        return hw.accelerator("scnn", rules="dnnsim", **chosen)
    if kind in TACTICAL:
        return hw.accelerator("bit_tactical", back_end=TACTICAL[kind], **GRID, **chosen)
    return hw.accelerator("pragmatic" if kind == "BitPragmatic" else kind.lower(), **GRID, **chosen)


def entries():
    for bits in PRECISIONS:
        with (DATA / f"cycles-{bits}.csv").open() as table:
            for row in csv.DictReader(table):
                experiment, layer = row["experiment"], row["layer"]
                kind = experiment.split("_")[0]
                cycles = int(row["compute_cycles"] or row["total_cycles"])
                if layer == "fc1" and kind == "SCNN":
                    cycles -= DNNSIM_LAYERS[layer].filters * (HALO_SLIP - 1)
                if not (layer == "fc1" and TACTICAL.get(kind)):
                    yield bits, experiment, layer, cycles


@cache
def operands(bits, layer):
    with np.load(DATA / f"operands-{bits}.npz") as file:
        activation_bits, weight_bits = PRECISIONS[bits][layer]
        return hw.Operands(file[f"wgt_{layer}"], file[f"act_{layer}"], weight_bits, activation_bits)


def test_the_tables_are_whole():
    assert len(list(entries())) == 2 * (33 * 4 - 5)


@pytest.mark.parametrize(("bits", "experiment", "layer", "cycles"), list(entries()))
def test_cycles_equal_dnnsim(bits, experiment, layer, cycles):
    assert (
        hw.simulate(machine(experiment), DNNSIM_LAYERS[layer], operands(bits, layer)).compute_cycles == cycles
    )
