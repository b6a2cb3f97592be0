"""Against runs of DRAMSys 5.1, figures of which are in dramsys-5.1.csv; no parameter was fitted to them."""

import csv
import random
from pathlib import Path

import numpy as np
import pytest

from hwmodel.dram import load_part, simulate_trace

LINES = (Path(__file__).parent / "dramsys-5.1.csv").read_text().splitlines()
ROWS = list(csv.DictReader(line for line in LINES if not line.startswith("#")))
# In DRAMSys 5.1, PREA of DDR3 may follow WR without write recovery. JESD79-3 asks for it, and so do we.
NO_WRITE_RECOVERY = {("DDR3-1600_x64_brc", "seq_write"), ("DDR3-1600_x64_brc", "seq_mix16")}


def trace(part, kind, n):
    i = np.arange(n)
    if kind.startswith("rand"):
        bits = 30 if part.standard == "DDR3" else 32
        draw = random.Random(1)
        address = np.array([draw.randrange((1 << bits) // 64) * 64 for _ in range(n)])
    else:
        address = i * 64
    write = {"seq_write": True, "seq_mix16": i // 16 % 2 == 1}.get(kind, False)
    return address, write, i * (200e-9 if kind.endswith("idle") else 1e-9)


def test_all_rows_are_there():
    assert len(ROWS) == 18


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['mem']}-{row['kind']}")
def test_row(row):
    part = load_part(row["mem"])
    got = simulate_trace(part, *trace(part, row["kind"], int(row["n"])))
    differs = (row["mem"], row["kind"]) in NO_WRITE_RECOVERY
    assert got.total_s * 1e9 == pytest.approx(float(row["total_ns"]), rel=5e-3 if differs else 1e-5)
    assert got.bandwidth_bytes_per_s / 1e9 == pytest.approx(float(row["bw_GBs"]), rel=5e-3)
    assert got.energy_j * 1e6 == pytest.approx(float(row["energy_uJ"]), rel=2e-3 if differs else 5e-4)
    assert got.latency.mean_s * 1e9 == pytest.approx(float(row["lat_avg_ns"]), rel=5e-3 if differs else 1e-3)
    assert got.service_latency.mean_s * 1e9 == pytest.approx(
        float(row["accept_to_resp_ns"]), rel=5e-3 if differs else 1e-3
    )
    for command, count in got.commands.items():
        assert abs(count - int(row[command])) <= (2 if differs else 0), command
