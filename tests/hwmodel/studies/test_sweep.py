"""Sweeps: every point is a simulation of its own; the front is exact; a kill at any time loses nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import BitxError, OptionError, TensorError
from bitxcore.journal import Journal
from bitxcore.store import Store
from hwmodel.accelerators.memo import REMEMBERED, once, shared
from hwmodel.studies.sweeps.pareto import nondominated
from hwmodel.studies.sweeps.space import checked_space

SAMPLE = Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx"
SPACE = {"rows": (3, 5, 70), "lane_fifo_depth": (0, 2), "fifo_depth": (0, None), "format": (None, "fixed16")}
NO_DRAM = {"dram": None}  # whose streams every process measures for itself
THIRTY = {"rows": (2, 3, 4, 5, 6), "lane_fifo_depth": (0, 1, 2), "fifo_depth": (0, 2)}


@pytest.fixture(scope="module")
def network():
    return hw.load_network(SAMPLE, sizes={"N": 1})


@pytest.fixture(scope="module")
def found(network, tmp_path_factory):
    store = tmp_path_factory.mktemp("sweep") / "s.h5"
    return hw.sweep(network, SPACE, store=store, jobs=1), store


# -- the front ---------------------------------------------------------------------------------


def brute_force(points):
    def beaten(p):
        return any(all(q <= p) and any(q < p) for q in points)

    return [not beaten(p) for p in points]


@given(arrays(np.int8, st.tuples(st.integers(0, 40), st.integers(1, 4)), elements=st.integers(0, 5)))
def test_front_is_what_brute_force_finds(points):
    assert nondominated(points).tolist() == brute_force(points)


def test_front_of_many_points_with_ties():
    rng = np.random.default_rng(4)
    points = rng.random((400, 3)).round(2)
    points = np.concatenate([points, points[:50], np.full((2, 3), np.inf)])
    found = nondominated(points)
    assert found.tolist() == brute_force(points)
    assert 3 < found.sum() < 200


def test_front_refuses_what_has_no_order():
    with pytest.raises(TensorError, match="point 1: NaN"):
        nondominated([[0.0, 1.0], [np.nan, 0.0]])
    with pytest.raises(TensorError, match="shape"):
        nondominated([1.0, 2.0])


# -- the space ---------------------------------------------------------------------------------


def test_points_are_the_full_product_in_order():
    space = checked_space("bitx", SPACE, {})
    points = [tuple(space.options(i).values()) for i in range(len(space))]
    assert points == list(itertools.product(*SPACE.values()))
    assert list(space.options(0)) == list(SPACE)


def test_neighbours_share_their_pruning():
    space = checked_space("bitx", SPACE, {})
    order = space.by_shared_work(range(len(space)))
    assert sorted(order) == list(range(len(space)))
    kinds = [(space.options(i)["format"], space.options(i)["rows"]) for i in order]
    assert len(list(itertools.groupby(kinds))) == 6


def test_sample_is_seeded_and_without_repetition():
    space = checked_space("bitx", THIRTY, {})
    assert list(space.chosen(None, 0)) == list(space.chosen(30, 7)) == list(range(30))
    first = space.chosen(10, 7)
    assert first == space.chosen(10, 7) == sorted(set(first))
    assert first != space.chosen(10, 8)


@pytest.mark.parametrize(
    ("varied", "fixed", "part"),
    [
        ({"speed": (1,)}, {}, "has no option 'speed'"),
        ({"rows": (1,)}, {"speed": 1}, "has no option 'speed'"),
        ({}, {}, "at least one option"),
        ({"rows": ()}, {}, "option 'rows': no values"),
        ({"rows": (3, 3)}, {}, "value 3 is given twice"),
        ({"rows": (3,)}, {"rows": 4}, "'rows' is varied and fixed"),
        ({"rows": ([3],)}, {}, "numbers or text, got [3]"),
        ({"clock_hz": (float("inf"),)}, {}, "numbers or text, got inf"),
    ],
)
def test_bad_spaces(network, varied, fixed, part):
    with pytest.raises(OptionError) as error:
        hw.sweep(network, varied, fixed=fixed)
    assert part in str(error.value)


# -- points ------------------------------------------------------------------------------------


def relative_error(network, **options):
    error = norm = 0.0
    with bx.open_dump(SAMPLE) as dump:
        for entry in network.layers:
            before = entry.read(dump).astype(np.float64)
            after = bx.prune(entry.read(dump), **({"group": 8} | options)).values.astype(np.float64)
            error += np.square(before - after).sum()
            norm += np.square(before).sum()
    return np.sqrt(error / norm)


def test_every_point_is_a_simulation_of_its_own(network, found):
    result, _ = found
    assert len(result) == 24
    assert result.columns["point"] == list(range(24))
    for i in (0, 3, 6, 9, 15):
        row = result.row(i)
        machine = hw.accelerator("bitx", **{name: row[name] for name in SPACE})
        (total,) = hw.simulate_network(machine, network).totals
        for name, value in total.columns().items():
            if name != "accelerator":
                assert row[name] == value, name
        assert row["relative_error"] == pytest.approx(
            relative_error(network, rows=row["rows"], format=row["format"]), rel=1e-12
        )
        assert 0 < row["kept_rows_mean"] <= row["rows"]
        assert row["reason"] is None


def test_what_is_not_possible_has_a_reason(network):
    result = hw.sweep(network, {"rows": (5, None), "compute_units": (0, 16)}, jobs=1)
    reasons = result.columns["reason"]
    assert reasons[1] is None
    assert "compute_units must be an integer of at least 1" in reasons[0]
    assert reasons[3] == "criterion 'topn' needs rows, the number of rows to keep"
    assert result.columns["cycles"][0] is result.columns["cycles"][3] is None
    assert result.columns["on_front"] == [False, True, False, False]


def test_what_fails_in_a_layer_has_a_reason(network):
    result = hw.sweep(network, {"serial": ("weights", "activations")}, activations=None, jobs=1)
    assert result.columns["reason"][0] is None
    assert "needs activations" in result.columns["reason"][1]


def test_front_of_a_sweep(found):
    result, _ = found
    assert result.objectives == ("seconds", "energy_j", "relative_error")
    points = np.array([[row[name] for name in result.objectives] for row in map(result.row, range(24))])
    assert result.columns["on_front"] == brute_force(points)
    assert list(result.front) == sorted(result.front, key=lambda i: tuple(points[i]))


def test_processes_change_nothing(network, tmp_path):
    result = hw.sweep(network, SPACE, fixed=NO_DRAM, jobs=1)
    seen = []
    with bx.open_dump(SAMPLE) as dump:
        twice = hw.sweep(
            network, SPACE, fixed=NO_DRAM, dump=dump, store=tmp_path / "t.h5", jobs=2,
            progress=lambda done, total: seen.append((done, total)),
        )  # fmt: skip
    assert twice.columns == result.columns
    assert seen == sorted(seen)
    assert seen[0] == (0, 24)
    assert seen[-1] == (24, 24)
    assert os.listdir(tmp_path) == ["t.h5"]


def test_store(found):
    result, path = found
    with Store.open(path) as store:
        table = store.table("sweep")
        assert store.units("sweep") == result.units
        assert store.provenance.parameters["varied"]["lane_fifo_depth"] == [0, 2]
        assert store.provenance.inputs[0].path == str(SAMPLE)
    for name in ("cycles", "energy_j", "relative_error", "on_front", "lane_fifo_depth"):
        assert table[name].tolist() == result.columns[name]
    assert table["format"].tolist() == [None, "fixed16"] * 12
    assert table["fifo_depth"].tolist() == [0, 0, None, None] * 6
    assert table["reason"].tolist() == [None] * 24
    assert result.units["seconds"] == "s"
    assert result.units["cycles"] == "cycles"
    assert result.units["format"] == ""


def test_other_machines_sweep_too(network):
    result = hw.sweep(network, {"rows": (8, 16), "fold_first_layer": (True, False)}, accelerator="dadiannao")
    assert result.columns["relative_error"] == [None] * 4
    assert "relative_error" not in result.objectives
    assert any(result.columns["on_front"])


def test_operands_come_from_where_they_come_from_in_a_simulation(network):
    rng = np.random.default_rng(3)
    (first, *_) = network
    traces = {first.name: rng.random((1, 1, 8, 8), np.float32)}
    space = {"column_registers": (0, 1)}
    options = {"traces": traces, "activations": "normal", "precisions": 9}
    result = hw.sweep(network, space, accelerator="pragmatic", jobs=1, **options)
    for i, registers in enumerate(space["column_registers"]):
        machine = hw.accelerator("pragmatic", column_registers=registers)
        run = hw.simulate_network(machine, network, **options)
        assert result.columns["cycles"][i] == run.totals[0].cycles
        assert result.notes == run.notes
    drawn = hw.sweep(network, {"rows": (3,)}, weights="laplace", jobs=1)
    (total,) = hw.simulate_network(hw.accelerator("bitx", rows=3), network, weights="laplace").totals
    assert drawn.columns["cycles"] == [total.cycles]
    assert "laplace" in drawn.notes[-1]


def test_weights_must_be_there(network):
    table = hw.load_network("resnet18")
    with pytest.raises(TensorError, match="needs weights; say where they are"):
        hw.sweep(table, {"rows": (3,)})
    with pytest.raises(TensorError, match=r"tensor 'conv1\.weight': layer 'conv1': is not in the dump"):
        hw.sweep(table, {"rows": (3,)}, dump=SAMPLE)


def test_an_open_mapping_stays_in_this_process(network):
    with bx.open_dump(SAMPLE) as dump:
        weights = {name: tensor.read() for name, tensor in dump.items()}
    by_mapping = hw.sweep(network, {"rows": (3, 4)}, dump=weights)
    assert by_mapping.columns == hw.sweep(network, {"rows": (3, 4)}).columns
    with pytest.raises(OptionError, match="can't be shared among processes"):
        hw.sweep(network, {"rows": (3, 4)}, dump=weights, jobs=2)


# -- the journal -------------------------------------------------------------------------------

DEFINITION = {"varied": {"rows": [1, 2]}, "seed": 3}


def test_a_torn_end_costs_only_itself(tmp_path):
    path = tmp_path / "j"
    with Journal(path, DEFINITION) as journal:
        journal.append([{"point": 0, "x": 0.1}, {"point": 1, "x": None}])
        journal.append([{"point": 2, "x": 1e300}])
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        with Journal(path, DEFINITION) as journal:
            assert len(journal.rows) == max(0, sum(end <= cut for end in ends) - 1)
            assert path.stat().st_size == max([end for end in ends if end <= cut], default=ends[0])
    path.write_bytes(whole[: ends[1] + 3] + b"?" + whole[ends[1] + 4 :])
    with Journal(path, DEFINITION) as journal:
        assert journal.rows == {0: {"point": 0, "x": 0.1}}
        journal.append([{"point": 2, "x": 2.0}])
    with Journal(path, DEFINITION) as journal:
        assert sorted(journal.rows) == [0, 2]


def test_a_journal_knows_its_sweep(tmp_path):
    path = tmp_path / "j"
    with Journal(path, DEFINITION) as journal:
        journal.append([{"point": 0}])
        with pytest.raises(BitxError, match="another process is at work"):
            Journal(path, DEFINITION)
    with pytest.raises(BitxError, match="whose seed is 3, not 4"):
        Journal(path, DEFINITION | {"seed": 4})
    with Journal(path, DEFINITION | {"seed": 4}, restart=True) as journal:
        assert not journal.rows
    for notes in (b"my notes\n", b"my notes", b"00000000 my notes"):
        path.write_bytes(notes)
        for restart in (False, True):
            with pytest.raises(BitxError, match="is no journal"):
                Journal(path, DEFINITION, restart=restart)
        assert path.read_bytes() == notes
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(BitxError, match="is no journal"):
        Journal(path, DEFINITION)


def test_sharing_calls_once():
    calls = []

    def work(values, *, rows):
        calls.append(rows)
        return values + rows

    x = np.arange(3)
    with shared():
        assert once(work, x, rows=1) is once(work, x, rows=1)
        once(work, x.copy(), rows=1)
        others = list(range(2, REMEMBERED + 2))
        for rows in others:
            once(work, x, rows=rows)
        once(work, x, rows=1)
    once(work, x, rows=1)
    assert calls == [1, 1, *others, 1, 1]


def line_of(text: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(text), text)


@pytest.mark.parametrize(
    "text",
    [
        b"[1]",
        b"null",
        b"no json",
        b"{}",
        b'{"point":true}',
        b'{"point":-1}',
        b'{"point":"3"}',
        b"[" * 100_000,
    ],
)
def test_a_line_with_a_right_sum_and_wrong_content(tmp_path, text):
    path = tmp_path / "j"
    with Journal(path, DEFINITION) as journal:
        journal.append([{"point": 0}])
    good = path.read_bytes()
    path.write_bytes(good + line_of(text))
    with pytest.raises(BitxError, match="line 3 holds no point of this sweep; restart it"):
        Journal(path, DEFINITION)
    with Journal(path, DEFINITION, restart=True) as journal:
        assert not journal.rows
    if text != b"[" * 100_000:
        path.write_bytes(line_of(text))
        with pytest.raises(BitxError, match="is no journal"):
            Journal(path, DEFINITION)
    for definition in (b'{"bitx-sweep":1}', b'{"bitx-sweep":1,"definition":[1]}', b'{"bitx-sweep":9}'):
        path.write_bytes(line_of(definition))
        with pytest.raises(BitxError, match=r"is (no|a) journal of a sweep"):
            Journal(path, DEFINITION)


def outcome(run):
    try:
        run()
    except BitxError as error:
        return "refused" if "\n" not in str(error) else str(error)
    return "run"


@pytest.mark.slow
def test_changed_journals_of_real_sweeps(network, tmp_path):
    """Every row that is lost, added or of other content is an error of one line, or makes no difference."""
    store, journal = tmp_path / "s.h5", tmp_path / "s.h5.journal"

    def stop(done, total):
        if done == total:
            raise KeyboardInterrupt

    def run():
        return hw.sweep(network, SPACE, fixed=NO_DRAM, store=store, jobs=1)

    with pytest.raises(KeyboardInterrupt):
        hw.sweep(network, SPACE, fixed=NO_DRAM, store=store, jobs=1, progress=stop)
    first, *rows = journal.read_bytes().splitlines(keepends=True)
    row = json.loads(rows[0].partition(b" ")[2])
    draw = random.Random(0)
    outcomes = set()
    for name in row:
        for value in draw.sample(["x", None, True, [1], {}, 1 << 70, -1, 1e400, 0.5], 3):
            changed = json.dumps(row | {name: value}).encode()
            journal.write_bytes(first + line_of(changed) + b"".join(rows[1:]))
            outcomes.add(outcome(run))
    assert outcomes == {"run", "refused"}


# -- interruptions -----------------------------------------------------------------------------

STALLING = """
import sys, time
import hwmodel as hw

def stall(done, total):
    if done >= int(sys.argv[3]):
        print(done, flush=True)
        time.sleep(600)

if __name__ == "__main__":
    network = hw.load_network(sys.argv[1], sizes={"N": 1})
    hw.sweep(network, %r, fixed=%r, store=sys.argv[2], jobs=2, progress=stall)
""" % (THIRTY, NO_DRAM)  # noqa: UP031


def workers_of(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def is_running(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at /proc")
def test_killed_twice_it_ends_with_the_same_rows(network, tmp_path):
    script, store = tmp_path / "stall.py", tmp_path / "s.h5"
    script.write_text(STALLING)
    done = 0
    for stop_at in (6, 16):
        process = subprocess.Popen(
            [sys.executable, script, SAMPLE, store, str(stop_at)], stdout=subprocess.PIPE, text=True
        )
        done = int(process.stdout.readline())
        workers = workers_of(process.pid)
        process.kill()
        process.wait()
        process.stdout.close()
        assert stop_at <= done < 30
        assert not store.exists()
        assert len(workers) == 2
        patience = time.monotonic() + 20
        while any(map(is_running, workers)) and time.monotonic() < patience:
            time.sleep(0.05)
        assert not any(map(is_running, workers))
    with pytest.raises(BitxError, match="another sweep, whose varied is"):
        hw.sweep(network, SPACE, fixed=NO_DRAM, store=store)
    resumed = hw.sweep(network, THIRTY, fixed=NO_DRAM, store=store, jobs=1)
    assert resumed.resumed == done
    assert not list(tmp_path.glob("*.journal"))
    fresh = hw.sweep(network, THIRTY, fixed=NO_DRAM, jobs=1)
    assert resumed.columns == fresh.columns
    with Store.open(store) as opened:
        assert opened.table("sweep")["energy_j"].tolist() == fresh.columns["energy_j"]


ENDING = """
import multiprocessing, time
from bitxcore.processes import end_workers

workers = [multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)) for _ in range(4)]
for worker in workers:
    worker.start()
end_workers()
print([worker._popen.returncode for worker in workers])  # of those that were waited for
"""


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_killed_workers_have_ended_when_the_end_goes_on():
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[-9, -9, -9, -9]\n", "")


@pytest.mark.slow
def test_a_worker_that_dies_is_told_and_its_sweep_goes_on(network, tmp_path):
    store = tmp_path / "s.h5"

    def kill_one(done, total):
        if done:
            multiprocessing.active_children()[0].kill()

    with pytest.raises(BitxError, match="a worker process of the sweep died"):
        hw.sweep(network, THIRTY, fixed=NO_DRAM, store=store, jobs=2, progress=kill_one)
    resumed = hw.sweep(network, THIRTY, fixed=NO_DRAM, store=store, jobs=1)
    assert 0 < resumed.resumed < 30


@pytest.mark.slow
def test_a_thousand_points_on_all_cores(tmp_path):
    """The command itself, killed twice at whatever it was doing."""
    vary = [
        "rows=2:6",
        "lane_fifo_depth=0,1,2,4",
        "fifo_depth=0,1,2,4,none",
        "group=8,16",
        "processing_elements=64,128,256,512,1024",
    ]
    command = [sys.executable, "-m", "hwmodel.cli", "sweep", SAMPLE, "--size", "N=1"]
    command += [word for option in vary for word in ("--vary", option)]
    store, journal = tmp_path / "s.h5", tmp_path / "s.h5.journal"
    for lines in (150, 500):
        process = subprocess.Popen([*command, "-o", store, "-j", "2"], stdout=subprocess.DEVNULL)
        while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
            assert process.poll() is None
            time.sleep(0.01)
        workers = workers_of(process.pid)
        seconds = [
            sum(map(int, Path(f"/proc/{w}/stat").read_text().rpartition(")")[2].split()[11:13]))
            for w in workers
        ]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(workers) == 2
        assert min(seconds) > 0
    run = [
        subprocess.run([*command, *end, "--json"], capture_output=True, check=True)
        for end in (["-o", store], [])
    ]
    resumed, fresh = (json.loads(done.stdout) for done in run)
    assert resumed["resumed_points"] >= 500
    assert fresh["resumed_points"] == 0
    assert resumed["points"] == fresh["points"]
    assert len(fresh["points"]) == 1000
    assert resumed["front"] == fresh["front"]
    with Store.open(store) as opened:
        assert opened.table("sweep")["cycles"].tolist() == [p["cycles"] for p in fresh["points"]]


def test_a_front_says_what_it_leaves_out():
    found = hw.sweep(
        "resnet20-cifar10", {"serial": ["weights", "activations"], "rows": [3, 5]}, weights="normal", jobs=1
    )
    assert any("2 of 4 points have no relative_error" in note for note in found.notes)


@pytest.mark.parametrize(("space", "options", "text"), [
    ({"rows": 3}, {}, "option 'rows': a sequence of values is needed, got 3"),
    ({"dram": "none"}, {}, "option 'dram': a sequence of values is needed"),
    ({"rows": [3]}, {"accelerator": hw.accelerators.BitX(rows=4)}, "takes the name of an accelerator"),
])  # fmt: skip
def test_a_space_is_of_sequences(space, options, text):
    with pytest.raises(OptionError, match=text):
        hw.sweep("resnet20-cifar10", space, weights="normal", **options)
