import re

import numpy as np
import pytest

from bitxcore.errors import OptionError, TensorError
from hwmodel.dram import load_part, write_stl

LINE = re.compile(r"(\d+): \((\d+)\) (read|write) (0x[0-9a-f]+)")


@pytest.fixture
def part():
    return load_part("DDR4-2400_x64_brc")


def test_lines_are_the_trace(part, tmp_path):
    rng = np.random.default_rng(4)
    address = rng.integers(0, part.capacity_bytes // 64, 1000) * 64
    write = rng.random(1000) < 0.5
    arrival = np.cumsum(rng.integers(0, 9, 1000)) * 1e-9
    path = tmp_path / "trace.stl"
    assert write_stl(path, part, address, write, arrival) == 1000
    first, *lines = path.read_text().splitlines()
    assert first == "# DDR4-2400_x64_brc, clkMhz 1000"
    found = [LINE.fullmatch(line).groups() for line in lines]
    assert [int(clock) for clock, *_ in found] == np.rint(arrival * 1e9).tolist()
    assert {size for _, size, *_ in found} == {"64"}
    assert [kind == "write" for *_, kind, _ in found] == write.tolist()
    assert [int(at, 16) for *_, at in found] == address.tolist()


def test_chunks_and_clock(part, tmp_path):
    path = tmp_path / "trace.stl"
    chunks = (([64 * i], i % 2 == 1, i * 10e-9) for i in range(3))
    assert write_stl(path, part, chunks, initiator_clock_hz=200e6) == 3
    assert path.read_text() == (
        "# DDR4-2400_x64_brc, clkMhz 200\n0: (64) read 0x0\n2: (64) write 0x40\n4: (64) read 0x80\n"
    )


def test_nothing_half_written(part, tmp_path):
    chunks = iter([([0], False, 0.0), ([-1], False, 0.0)])
    with pytest.raises(TensorError, match="request 1"):
        write_stl(tmp_path / "trace.stl", part, chunks)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OptionError, match="initiator_clock_hz"):
        write_stl(tmp_path / "trace.stl", part, [0], initiator_clock_hz=0)
