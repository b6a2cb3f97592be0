"""At COLUMNS=80 every command's output fits 80 columns; what is left out is named, and --wide shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwmodel.cli import COMMANDS, group
from hwmodel.cli.batching import ACTIONS
from hwmodel.cli.listing import LISTS
from hwmodel.cli.output import Note, Shown, print_rows, say_notes, terminal_width
from hwmodel.cli.table_layout import _cell_width

WIDTH = 80
SAMPLES = Path(__file__).parents[3] / "data" / "samples"
DIGITS = ["m.onnx", "--size", "N=1"]
LONG = "pragmatic:booth=false,column_registers=0"

RUNS: dict[str, list[list[str]]] = {
    "inspect": [["m.onnx", "--preset", "wild", "--rows"], ["m.onnx", "--wide", "--notes"]],
    "prune": [["m.onnx", "-o", "p.onnx", "--store", "p.h5"]],
    "prepare": [
        ["--task", "digits", "--ones", "1,2", "--cycles", "1.7", "--method", "nearest", "--samples", "4",
         "--include", "head*", "--equalise", "--permute", "-o", "q.onnx"],
    ],
    "software-prune": [["m.onnx", "--method", "l1", "--ratio", "0.25", "-o", "s.onnx"]],
    "trace": [["m.onnx", "--input", "three.png", "-o", "t.h5"],
              ["m.onnx", "--input", "three.png", "-o", "n.h5", "--norms"]],
    "simulate": [
        [*DIGITS, "-a", "bitx", "-a", LONG, "-a", "dadiannao"],
        [*DIGITS, "-a", "bitx", "-a", "dadiannao", "--wide", "--notes"],
        [*DIGITS, "-a", "bitx", "--explain", "--published", "--top", "2"],
        [*DIGITS, "-a", "all", "--published"],
        ["resnet20-cifar10", "-a", "dadiannao", "--summary", "-o", "r.h5", "--csv", "r.csv"],
    ],
    "sweep": [[*DIGITS, "-a", "bitx:dram=none", "-j", "1", "--vary", "rows=4:6", "--vary",
               "lane_fifo_depth=0,1", "--vary", "processing_elements=256,512"]],
    "evaluate": [["--task", "digits", "--quick", "--rows", "6", "--grouping", "flat,kernel", "--format",
                  "own,fixed8"]],
    "batch": [
        ["prune", "m.onnx", "-o", "b.h5", "-j", "1", "--profile"],
        ["inspect", "m.onnx", "-o", "c.h5", "-j", "1", "--wide"],
        ["simulate", "m.onnx", "-o", "d.h5", "-j", "1", "--dry-run"],
    ],
    "reproduce": [["--only", "Contradictions"]],
    "report": [["r.h5", "-o", "r.html"]],
    "verify": [["r.h5"]],
    "list": [*([what] for what in LISTS), ["accelerators", "--assumptions"], ["networks", "--wide"]],
    "warmup": [[]],
    "doctor": [[]],
}  # fmt: skip
"""Arguments with which each command is run; a new command needs an entry here."""


def too_wide(text: str) -> list[str]:
    """Lines that are wider; one with a path that no line has room for may be."""
    return [
        line
        for line in text.splitlines()
        if _cell_width(line) > WIDTH
        and not any("/" in word and len(word) > WIDTH // 2 for word in line.split())
    ]


@pytest.fixture
def narrow(bitx, tmp_path, monkeypatch):
    """Run a command with 80 columns, in a folder with the samples."""
    for name in ("digits_resnet.onnx", "three.png"):
        (tmp_path / name.replace("digits_resnet", "m")).symlink_to(SAMPLES / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    return bitx


def test_every_command_is_run():
    assert set(RUNS) == set(COMMANDS)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        pytest.param(name, args, id=f"{name} {' '.join(args)}", marks=[pytest.mark.slow] * (name == "doctor"))
        for name, runs in RUNS.items()
        for args in runs
    ],
)
def test_output_fits(narrow, monkeypatch, name, args):
    if name == "warmup":
        from bitxcore import warming

        monkeypatch.setattr(warming, "warmup", lambda: iter(()))
    if name in ("report", "verify"):
        narrow("simulate", "resnet20-cifar10", "-a", "dadiannao", "--summary", "-o", "r.h5")
    result = narrow(name, *args)
    assert result.stdout.strip()
    assert not too_wide(result.output)


@pytest.mark.slow
@pytest.mark.parametrize("shown", [["--notes"], ["--wide"]])
def test_output_of_comparisons_fits(narrow, shown):
    assert not too_wide(narrow("simulate", *DIGITS, "-a", "all", "--published", *shown).output)


def test_a_comparison_fits(narrow, capsys):
    import hwmodel as hw
    from hwmodel.cli import comparison_report

    network = hw.load_network("m.onnx", sizes={"N": 1})
    result = hw.compare(network, accelerators=["dadiannao", "bitx", "pragmatic", "stripes"])
    comparison_report.show(network, result, {}, None, None, False)
    text = capsys.readouterr().out
    assert not too_wide(text)
    assert text.startswith("pragmatic is fastest of 7 machines: ")
    assert " pragmatic(booth=False," in text
    assert "number format, bitx: the tensors' own" in text
    assert "note: stand-in activations in 13 layers" in text
    assert "--notes shows " in text


@pytest.mark.parametrize("name", ["", *COMMANDS, *(f"batch {action}" for action in ACTIONS)])
def test_help_fits(narrow, name):
    text = narrow(*name.split(), "--help").output
    assert not too_wide(text)
    if name not in ("", "warmup", "doctor", "report", "verify", "batch"):  # which print no table
        command = group
        for part in name.split():
            command = command.get_command(None, part)
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--json", "--csv", "--wide", "--notes"} <= options


def test_wide_shows_what_was_left_out(narrow, monkeypatch):
    short = narrow("inspect", "m.onnx").stdout
    assert "--wide shows 2 more columns: shape, dtype\n" in short
    assert "16x1x3x3" not in short
    wide = narrow("inspect", "m.onnx", "--wide").stdout
    assert "16x1x3x3" in wide
    assert "--wide shows" not in wide
    monkeypatch.setenv("COLUMNS", "200")
    assert narrow("inspect", "m.onnx").stdout == narrow("inspect", "m.onnx", "--wide").stdout


def test_a_pipe_has_every_column_and_no_broken_line(narrow, monkeypatch):
    monkeypatch.delenv("COLUMNS")
    (row,) = (line for line in narrow("inspect", "m.onnx").stdout.splitlines() if " stem.weight " in line)
    assert row.split() == [
        "stem.weight",
        "16x1x3x3",
        "float32",
        "144",
        "0.0%",
        "49.1%",
        "12.22",
        "19.47",
        "29",
    ]
    assert narrow("inspect", "m.onnx", "--wide").stdout == narrow("inspect", "m.onnx").stdout


@pytest.mark.parametrize(
    ("exported", "width"),
    [("80", 80), ("1", 1), ("007", 7), ("0", None), ("-5", None), ("", None), ("x", None), ("9" * 30, None)],
)
def test_exported_columns(monkeypatch, exported, width):
    monkeypatch.setenv("COLUMNS", exported)
    assert terminal_width() == width


def test_columns_without_values_are_dropped(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    columns = [Shown("a", "a", text=True), Shown("b", "b", if_any=True), Shown("c", "c", if_any=True)]
    print_rows(columns, [{"a": "x", "b": 0, "c": 2}, {"a": "y", "b": None, "c": 0}])
    assert capsys.readouterr().out.split() == ["a", "c", "─" * 4, "x", "2", "y", "0"]


def test_notes_are_counted_by_kind(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    notes = [
        Note("layers", "note: " + "long " * 20),
        Note("layers", "note: short"),
        Note("run", "stand-ins: " + "many " * 20, "stand-ins"),
        Note("costs", "costs"),
    ]
    say_notes(notes)
    assert capsys.readouterr().out.splitlines() == [
        "stand-ins", "--notes shows 3 more notes: layers (2), costs (1)",
    ]  # fmt: skip
    say_notes(notes[1:2])
    assert capsys.readouterr().out == "note: short\n"
    say_notes([])
    assert capsys.readouterr().out == ""


def test_samples_have_whole_paths(narrow):
    text = narrow("list", "samples").stdout
    for path in ("digit_detector_slimmed.onnx", "pydoc_transformer.onnx"):
        assert f"/samples/{path}" in text
