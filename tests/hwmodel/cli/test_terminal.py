"""On a terminal no number is cut, no name vanishes, and nothing out of a file is obeyed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwmodel.cli.table_layout import at_words, lines_of_table

SAMPLE = str(Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx")
BITX = [sys.executable, "-m", "hwmodel.cli"]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
NUMBER = re.compile(r"\d[\d,.]*\d|\d")
EVIL = "w\x1b[2J\x1b]0;t\x07\r\n\u202e\u2066\u200b[bold]x[/bold]"
WIDTHS = (80, 60, 40)

COMMANDS = {
    "inspect": ["inspect", SAMPLE, "--preset", "wild", "--rows"],
    "prune": ["prune", SAMPLE, "-o", "{out}/p.onnx"],
    "software-prune": ["software-prune", SAMPLE, "-o", "{out}/s.onnx", "--method", "l1", "--ratio", "0.25"],
    "simulate": ["simulate", SAMPLE, "--size", "N=1"],
    "simulate -a all": ["simulate", SAMPLE, "--size", "N=1", "-a", "all", "--published"],
    "simulate --explain": ["simulate", SAMPLE, "--size", "N=1", "-a", "bitx", "--explain", "--published"],
    "sweep": ["sweep", SAMPLE, "--size", "N=1", "-a", "bitx:dram=none", "-j", "1", "--vary", "rows=4:6",
              "--vary", "lane_fifo_depth=0,1", "--vary", "processing_elements=256,512"],
    "reproduce": ["reproduce", "--only", "Contradictions"],
    **{f"list {what}": ["list", what]
       for what in ("formats", "criteria", "readers", "networks", "samples", "methods")},
}  # fmt: skip


def check(printed: str, headings, rows, footer):
    """All of a table is there: numbers whole, and of names every word."""
    numbers = set(NUMBER.findall(printed))
    for row in [headings, *rows, *([footer] if footer else [])]:
        for cell in row:
            assert set(NUMBER.findall(cell)) <= numbers
            for word in re.findall(r"\w+", cell):
                assert len(word) > 12 or word in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_cuts_a_number_or_a_name(bitx, out, monkeypatch, capsys, name):
    from hwmodel.cli import output

    tables = []
    print_table = output.print_table

    def kept(headings, rows, **options):
        tables.append((headings, [list(row) for row in rows], options))
        print_table(*tables[-1][:2], **options)

    monkeypatch.setattr(output, "print_table", kept)
    bitx(*[arg.format(out=out) for arg in COMMANDS[name]])
    assert tables
    for width in WIDTHS:
        monkeypatch.setattr(output, "terminal_width", lambda width=width: width)
        for headings, rows, options in tables:
            print_table(headings, rows, **options)
            printed = capsys.readouterr().out
            # A path alone on its line may be longer: it is no table's, and is not cut either.
            assert max(len(line) for line in printed.splitlines() if " " in line.strip()) <= width
            check(printed, headings, rows, options.get("footer"))


def on_terminal(*args: object, columns: int) -> str:
    """Run `bitx` on a terminal of `columns` that no variable tells of; return what arrives there."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        [*BITX, *map(str, args)], stdout=follower, stderr=follower, env=env | {"TERM": "xterm"}
    )
    chunks = []
    while (running := process.poll() is None) or select.select([leader], [], [], 0)[0]:
        if select.select([leader], [], [], 0.05 if running else 0)[0]:
            chunks.append(os.read(leader, 1 << 16))
    os.close(follower)
    os.close(leader)
    assert process.returncode in (0, 1)
    return b"".join(chunks).decode()


def test_a_terminal_of_60_columns():
    text = ESCAPES.sub("", on_terminal("inspect", SAMPLE, columns=60))
    assert max(map(len, text.splitlines())) <= 60
    for number in ("81,744", "36,864", "27.15"):
        assert number in text


def test_names_of_files_are_not_obeyed(bitx, tmp_path):
    path = tmp_path / "evil.npz"
    values = np.random.default_rng(0).normal(size=(16, 16)).astype("f4")
    np.savez(path, **{EVIL: values, f"{EVIL}2": np.full((4, 4), np.nan, "f4")})
    escaped = r"w\x1b[2J\x1b]0;t\x07\r\n\u202e\u2066\u200b[bold]x[/bold]"
    keep = ["--nonfinite", "keep"]
    for args in (
        ["inspect", path],
        ["inspect", path, *keep],
        ["inspect", path, "--exclude", "*2", "--rows", "--json"],
        ["prune", path, "-o", tmp_path / "out.npz", *keep],
        ["simulate", path, "--exclude", "*2", "--explain"],
        ["simulate", path],
        ["sweep", path, "--vary", "rows=4"],
    ):
        result = bitx.run(*args)
        for stream in (result.stdout, result.stderr):
            assert stream.replace("\n", "").isprintable()
        if "--json" not in args:
            assert escaped in result.output or args[0] == "sweep"
    shown = on_terminal("inspect", path, *keep, columns=80)
    # A progress bar, which slow runs have, goes back to the start of its line.
    assert re.sub(r"\r\n?", "", ESCAPES.sub("", shown)).isprintable()
    rows = on_terminal("inspect", path, *keep, "--csv", "-", columns=80)
    assert rows.replace("\r\n", "").isprintable()
    assert escaped in rows


def test_the_progress_bar_obeys_no_name():
    code = (
        "import sys, time\nfrom hwmodel.cli.progress import progress\n"
        f"name = {EVIL!r}\n"
        "with progress(2, 'work', patience_s=0.05) as bar:\n"
        "    bar.advance(1, name); time.sleep(0.6); bar.reach(1, 2, name); time.sleep(0.3)\n"
    )
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=follower, stderr=follower, env=os.environ | {"TERM": "xterm"}
    )
    process.wait(timeout=60)
    shown = b""
    while select.select([leader], [], [], 0)[0]:
        shown += os.read(leader, 1 << 16)
    os.close(follower)
    os.close(leader)
    assert b"[bold]x[/bold]" in shown
    assert rb"\x1b]0;t\x07" in shown
    assert b"\x1b]" not in shown
    assert b"\x1b[2J" not in shown
    assert "\u202e".encode() not in shown


NAMES = st.text("abc./_-() 0123456789é重", max_size=90)
CELLS = st.one_of(
    st.integers(0, 10**15).map("{:,}".format), st.floats(0, 1e9).map("{:,.4g}".format), st.just("–")
)


@given(
    st.integers(1, 6).flatmap(
        lambda columns: st.lists(st.tuples(NAMES, *([CELLS] * columns), NAMES), min_size=1, max_size=4)
    ),
    st.integers(20, 120),
    st.integers(1, 3),
)
@example([("a" * 80, "1,380,717", "x 1,380,717 y")], 20, 1)
@example([("", "1,000,000", "100,000,000,000", "a" * 30)], 32, 2)
@settings(max_examples=100, deadline=None)
def test_nothing_is_lost_at_any_width(rows, width, keys):
    """Every number stands whole in a line; a name's characters stand in the first column, in order."""
    from hwmodel.cli.table_layout import _cell_width

    columns = len(rows[0])
    text = [True, *[False] * (columns - 2), True]
    headings = ["name", *[f"n{i}" for i in range(columns - 2)], "text"]
    lines = [line for line, _ in lines_of_table(headings, rows, text=text, keys=keys, width=width)]
    widest = max(len(cell) for row in rows for cell in row[1:-1])
    number = max((len(n) for row in rows for name in row for n in re.findall(r"\d+", name)), default=0)
    least = max(12, min(number, 26))
    assert max(map(_cell_width, lines)) <= max(width, least + max(widest, least) + 3)
    words = {word for line in lines for word in line.split()}
    assert {cell for row in rows for cell in row[1:-1]} <= words
    printed = re.sub(r"\s", "", "".join(lines))
    for row in rows:
        for name in (row[0], row[-1]):
            for piece in re.findall(r"\d+|[a-zé重]", name):
                assert len(piece) > 26 or piece in printed


@given(st.text("ab 0123456789,.-", max_size=200), st.integers(5, 100))
def test_prose_breaks_at_spaces_only(line, width):
    lines = at_words(line, width)
    assert " ".join(" ".join(lines).split()) == " ".join(line.split())
    assert all(len(part) <= width or len(part.split()) <= 1 for part in lines)
    assert at_words(line, None) == [line]
