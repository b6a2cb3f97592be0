"""How runs end: by signals, by closed streams, by a limit of time."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

BITX = [sys.executable, "-m", "hwmodel.cli"]
SAMPLE = Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx"
WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}


def start(*args, **options):
    def usual_signals():
        # A run in the background of a shell starts with one ignored.
        for name in WORDS:
            signal.signal(getattr(signal, name), signal.SIG_DFL)

    return subprocess.Popen(
        [*BITX, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=usual_signals, **options,
    )  # fmt: skip


@pytest.fixture
def slow_prune(tmp_path):
    """Arguments of a run that writes two files for some seconds, and the folder of its outputs."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "w.npz", **{f"w{i}": rng.normal(size=(256, 4096)).astype("f4") for i in range(40)})
    out = tmp_path / "out"
    out.mkdir()
    args = ["prune", tmp_path / "w.npz", "-o", out / "p.npz", "--store", out / "p.h5"]
    return [*args, "--criterion", "energy", "--budget", "0.01"], out


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("name", [
    pytest.param("SIGINT", marks=pytest.mark.slow), "SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)
])  # fmt: skip
def test_signals_leave_nothing(slow_prune, name):
    args, out = slow_prune
    process = start(*args)
    wait_for(lambda: any(out.iterdir()))
    process.send_signal(getattr(signal, name))
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (128 + getattr(signal, name), "", f"bitx: {WORDS[name]}\n")
    assert list(out.iterdir()) == []


@pytest.mark.slow
def test_what_is_ignored_stays_so(slow_prune):
    """As under nohup."""
    args, out = slow_prune
    process = subprocess.Popen(
        [*BITX, *map(str, args)],
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for(lambda: any(out.iterdir()))
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0
    assert {path.name for path in out.iterdir()} == {"p.npz", "p.h5"}


@pytest.mark.slow
def test_killed_at_any_time(slow_prune):
    """Both files or none; and nothing of the dead is left after the next run."""
    args, out = slow_prune
    draw = random.Random(2)
    for _ in range(8):
        process = start(*args)
        wait_for(lambda: any(out.glob(".bitx*")))
        time.sleep(draw.random() * 2)
        process.kill()
        process.communicate()
        assert {path.name for path in out.glob("p.*")} in (set(), {"p.npz", "p.h5"})
    process = start(*args)
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, "")
    assert {path.name for path in out.iterdir()} == {"p.npz", "p.h5"}


@pytest.mark.slow
@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("name", WORDS)
def test_sweeps_with_workers_say_one_line(tmp_path, name, group):
    """Whether a terminal sends the signal, to all processes, or somebody to one; be it early or late."""
    vary = ["--vary", "rows=2:6", "--vary", "processing_elements=64,128,256,512", "--vary", "group=8,16"]
    draw = random.Random(name)
    number = getattr(signal, name)
    for turn in range(5):
        store = tmp_path / f"s{turn}.h5"
        process = start(
            "sweep", SAMPLE, "--size", "N=1", *vary, "-o", store, "-j", "2", start_new_session=True
        )
        wait_for(store.with_name(f"{store.name}.journal").exists)
        time.sleep(draw.random() * 2)
        (os.killpg if group else os.kill)(process.pid, number)
        stdout, stderr = process.communicate(timeout=60)
        if process.returncode != 0:  # else it had ended
            assert (process.returncode, stdout, stderr) == (128 + number, "", f"bitx: {WORDS[name]}\n")
        deadline = time.monotonic() + 20
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:  # until no worker is left
                os.killpg(process.pid, 0)
                time.sleep(0.05)
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("args", "closed"),
    [
        ("list accelerators", ">&-"),
        ("list accelerators", "2>&-"),
        ("list accelerators", "<&- >&- 2>&-"),
        ("--help", ">&-"),
        pytest.param(f"inspect {SAMPLE}", ">&-", marks=pytest.mark.slow),
    ],
)
def test_closed_streams(args, closed):
    shell = f"{' '.join(BITX)} {args} {closed}"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) is (closed == "2>&-")


@pytest.mark.slow
def test_outputs_do_not_take_the_place_of_closed_streams(tmp_path):
    np.save(tmp_path / "w.npy", np.ones((8, 64), "f4"))
    shell = f"{' '.join(BITX)} prune {tmp_path}/w.npy -o {tmp_path}/p.npy <&- >&- 2>&-"
    assert subprocess.run(shell, shell=True, check=False).returncode == 0
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), np.ones((8, 64)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("args", ["list accelerators", "--help"])
def test_a_full_disk_behind_standard_output(args):
    done = subprocess.run(f"{' '.join(BITX)} {args} > /dev/full", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "bitx: error: [Errno 28] No space left on device\n")
    done = subprocess.run(
        f"{' '.join(BITX)} nothing 2> /dev/full", shell=True, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")


@pytest.fixture
def endless(tmp_path):
    """A model whose loop goes on for years, and an input."""
    onnx = pytest.importorskip("onnx")
    make, info = onnx.helper, onnx.helper.make_tensor_value_info
    body = make.make_graph(
        [make.make_node("Add", ["h", "x"], ["h2"]), make.make_node("Identity", ["c"], ["c2"])],
        "body",
        [info("i", 7, []), info("c", 9, []), info("h", 1, [2, 8])],
        [info("c2", 9, []), info("h2", 1, [2, 8])],
    )
    constants = {"M": np.int64(1 << 60), "k": np.array(True), "W": np.ones((8, 3), "f4")}
    graph = make.make_graph(
        [
            make.make_node("Loop", ["M", "k", "x"], ["h"], body=body),
            make.make_node("MatMul", ["h", "W"], ["y"]),
        ],
        "g",
        [info("x", 1, [2, 8])],
        [info("y", 1, [2, 3])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.zeros((2, 8), "f4"))
    (tmp_path / "out").mkdir()
    return ["trace", tmp_path / "m.onnx", "--input", tmp_path / "x.npy", "-o", tmp_path / "out" / "t.h5"]


@pytest.mark.slow
def test_a_trace_with_a_limit_of_time(endless):
    process = start(*endless, "--timeout", "4")
    stdout, stderr = process.communicate(timeout=60)
    model = endless[1]
    assert (process.returncode, stdout) == (1, "")
    assert stderr == f"bitx: error: {model}: the trace took longer than 4 s, and was stopped\n"
    assert list(endless[-1].parent.iterdir()) == []


@pytest.mark.slow
def test_signals_end_what_is_at_work_in_compiled_code(endless):
    process = start(*endless)
    time.sleep(4)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout, stderr) == (143, "", "bitx: terminated\n")


def test_limits_of_time_are_positive(bitx):
    assert "0" in bitx("trace", "m.onnx", "--input", "x.npy", "-o", "t.h5", "--timeout", "0", code=2).stderr
