"""The command as a process: help, start-up, signals, pipes, terminals."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hwmodel.cli import COMMANDS

BITX = [sys.executable, "-m", "hwmodel.cli"]
HEAVY = ("numpy", "numba", "h5py", "ml_dtypes", "rich", "onnx", "torch", "bitxcore.engine", "scipy")


def run(*args, timeout=120, **options):
    command = [*BITX, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)


@pytest.mark.parametrize("args", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(args):
    code = (
        "import sys\nfrom hwmodel.cli import main\n"
        f"try: main({args!r})\nexcept SystemExit as stop: assert not stop.code\n"
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "bitx" in done.stdout


def test_every_command_is_listed_with_what_it_does():
    text = run("--help").stdout
    for name in COMMANDS:
        assert f"  {name} " in text


def test_usage_errors_are_2(sample):
    for args in (
        ["nonsense"],
        ["inspect"],
        ["prune", sample],
        ["inspect", sample, "--group", "4097"],
        ["inspect", sample, "--format", "float7"],
        ["prune", sample, "-o", "x.onnx", "--criterion", "best"],
        ["simulate", sample, "-a", "bitx:rows"],
        ["list", "nothing"],
    ):
        done = run(*args)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "Error: " in done.stderr
        assert "Traceback" not in done.stderr


def test_bad_input_is_1_and_one_line(tmp_path):
    np.save(tmp_path / "w.npy", np.full((2, 2), np.nan, "f4"))
    done = run("prune", tmp_path / "w.npy", "-o", tmp_path / "p.npy")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"bitx: error: {tmp_path}/w.npy: tensor 'w': value nan at flat index 0: float32 must be finite\n"
    )
    assert not (tmp_path / "p.npy").exists()


def test_traceback_on_request(tmp_path):
    done = run("--traceback", "inspect", tmp_path / "w.npy")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_broken_pipe_is_quiet(sample):
    for args in (["inspect", sample], ["inspect", sample, "--json"], ["list", "networks"]):
        shell = f"{' '.join(BITX)} {' '.join(map(str, args))} | head -c 1 > {os.devnull}"
        done = subprocess.run(shell, shell=True, capture_output=True, text=True, timeout=60, check=False)
        assert done.stderr == ""


def test_other_encodings(sample):
    done = run("inspect", sample, "--rows", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "stage1.block1.conv1.weight" in done.stdout


def test_interrupt_leaves_nothing(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "w.npz", **{f"w{i}": rng.normal(size=(256, 4096)).astype("f4") for i in range(40)})
    out = tmp_path / "out"
    out.mkdir()
    slow = ["--criterion", "energy", "--budget", "0.01"]  # leaves time for the signal
    process = subprocess.Popen(
        [*BITX, "prune", tmp_path / "w.npz", "-o", out / "p.npz", "--store", out / "p.h5", *slow],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A run in the background of a shell starts with the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not any(out.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (130, "", "bitx: interrupted\n")
    assert list(out.iterdir()) == []


def on_terminal(command, columns=80):
    """Run with standard output and error on a terminal of `columns`; return what it shows."""
    leader, follower = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
    env |= {"COLUMNS": str(columns), "LINES": "50", "TERM": "xterm"}
    process = subprocess.Popen([*map(str, command)], stdout=follower, stderr=follower, env=env)
    chunks = []
    # The follower stays open until all is read: some systems drop what is left when it closes.
    while (running := process.poll() is None) or select.select([leader], [], [], 0)[0]:
        if select.select([leader], [], [], 0.05 if running else 0)[0]:
            chunks.append(os.read(leader, 1 << 16))
    os.close(follower)
    os.close(leader)
    assert process.returncode == 0
    return b"".join(chunks).decode()


@pytest.mark.parametrize("command", ["inspect", "prune", "simulate"])
def test_tables_fit_a_terminal(sample, tmp_path, command):
    args = {"inspect": [], "prune": ["-o", tmp_path / "p.onnx"], "simulate": ["--size", "N=1"]}[command]
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", on_terminal([*BITX, command, sample, *args]))
    table = [line for line in text.splitlines() if line.startswith(" ") and " × " not in line]
    assert max(len(line.rstrip()) for line in table if " " in line.strip()) <= 80
    assert "…" not in "".join(table).replace(", …", "")


def test_progress_shows_on_terminals_only_and_only_when_it_takes_long():
    code = (
        "import sys, time\nfrom hwmodel.cli.progress import progress\n"
        "with progress(2, 'work', patience_s=float(sys.argv[1])) as bar:\n"
        "    bar.advance(1, 'first'); time.sleep(0.4); bar.advance(1, '[second]')\n"
    )
    assert "work first" in on_terminal([sys.executable, "-c", code, "0.1"])
    assert on_terminal([sys.executable, "-c", code, "5"]) == ""
    piped = subprocess.run([sys.executable, "-c", code, "0.1"], capture_output=True, check=True)
    assert piped.stderr == b""


def test_warmup(bitx, monkeypatch):
    from bitxcore import warming
    from bitxcore.jit import cache_directory

    ready = []

    def few():
        for name in warm(("float32",), (16,)):
            ready.append(name)
            yield name

    warm = warming.warmup
    monkeypatch.setattr(warming, "warmup", few)
    line = bitx("warmup").stdout.rstrip()
    assert line.startswith("ready after ")
    assert line.endswith(f"wrote the kernels to {cache_directory()}")
    assert ready == ["float32, group 16"]


def test_warmup_of_a_machine():
    from hwmodel.simulation import warmup as warming

    assert ("bit_tactical", {"back_end": "p"}) in warming.tasks()
    assert warming.warm("stripes", {"columns": 8}) == "stripes(columns=8)"


@pytest.mark.slow
def test_warmup_of_everything():
    done = run("warmup", "--accelerators", timeout=600)
    assert done.returncode == 0


def test_more_is_made_ready_than_the_first_processes_take():
    from bitxcore.jit import threads
    from bitxcore.warming import TASKS, in_processes

    count = 3 * TASKS * threads() + 1
    assert sorted(in_processes(chr, [(i,) for i in range(count)])) == list(map(chr, range(count)))


@pytest.mark.parametrize("what", ["formats", "criteria", "readers", "accelerators", "networks", "samples"])
def test_list(bitx, what):
    rows = bitx.json("list", what)[what]
    text = bitx("list", what).stdout
    assert rows
    for row in rows:
        assert str(next(iter(row.values()))) in text


def test_lists_are_the_registries(bitx):
    import hwmodel as hw
    from bitxcore.criteria import CRITERIA
    from bitxcore.dumps import READERS
    from bitxcore.formats import FLOATS

    def names(what):
        return [next(iter(row.values())) for row in bitx.json("list", what)[what]]

    assert names("criteria") == list(CRITERIA)
    assert all(row["keeps"] for row in bitx.json("list", "criteria")["criteria"])
    assert set(READERS) <= set(names("readers"))
    assert names("accelerators") == hw.accelerator_names()
    assert names("networks") == hw.network_names()
    assert names("formats")[: len(FLOATS)] == list(FLOATS)
    written = {row["suffix"]: row["written"] for row in bitx.json("list", "readers")["readers"]}
    assert (written[".onnx"], written[".pt"], written[".npz"]) == (
        "in its own kind",
        "in its own kind",
        "from any kind",
    )
    rows = {row["network"]: row for row in bitx.json("list", "networks")["networks"]}
    assert rows["resnet50"]["macs"] == hw.load_network("resnet50").macs
    assert "--assumptions is for" in bitx("list", "formats", "--assumptions", code=2).stderr


def test_assumptions_are_listed(bitx):
    import hwmodel as hw

    text = bitx("list", "accelerators", "--assumptions").stdout
    for name in hw.accelerator_names():
        for line in hw.accelerator(name).assumptions:
            assert line in text


def test_list_samples_gives_paths_that_open(bitx):
    rows = bitx.json("list", "samples")["samples"]
    assert [row["sample"] for row in rows] == [
        "digit_detector",
        "digit_detector_slimmed",
        "digits_resnet",
        "pydoc_transformer",
    ]
    for row in rows:
        assert os.path.getsize(row["path"]) == row["size_bytes"]
        assert bitx.json("inspect", row["path"])["dumps"][0]["container"] == "onnx"
