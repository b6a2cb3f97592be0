"""The console blocks of the pages show what the commands print at 80 columns."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```console\n\$ (bitx [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE = (ROOT / "docs" / "command-line.md").read_text("utf-8")
SLOW = ("-a all", "bitx prepare --task digits --ones 1,2,3,4", "--write-policy rows.json")
IN_ORDER = {"accuracy.md": 2, "report.md": 2}
"""Pages whose commands read what blocks before them made, and how many commands these have at least."""
BLOCKS = [
    pytest.param(command, shown, id=command, marks=[pytest.mark.slow] * any(x in command for x in SLOW))
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if page.name not in IN_ORDER
    for command, shown in BLOCK.findall(page.read_text("utf-8"))
]


@pytest.mark.parametrize(("command", "shown"), BLOCKS)
def test_console(bitx, tmp_path, monkeypatch, command, shown):
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    check(bitx, command, shown)


def check(bitx, command, shown):
    """Run a command; it must print the lines that are shown, in this order."""
    printed = [line.rstrip() for line in bitx(*shlex.split(command)[1:]).stdout.splitlines()]
    at = 0
    for line in shown.splitlines():
        if line == "...":
            continue
        # A store's size depends on versions and paths that it records.
        line = re.sub(r"(run\.h5 )\(.*\)", r"\1", line)
        found = [re.sub(r"(run\.h5 )\(.*\)", r"\1", p) for p in printed[at:]]
        assert line in found
        at += found.index(line) + 1


@pytest.mark.parametrize("name", IN_ORDER)
def test_pages_in_order(bitx, tmp_path, monkeypatch, name):
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    page = (ROOT / "docs" / name).read_text("utf-8")
    names = {"__name__": "__main__"}
    commands = 0
    for kind, text in re.findall(r"^```(python|console)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if kind == "python":
            exec(compile(text, name, "exec"), names)
            continue
        commands += 1
        command, shown = re.fullmatch(r"\$ (bitx [^\n]*)\n(.*)", text, re.DOTALL).groups()
        check(bitx, command, shown)
    assert commands >= IN_ORDER[name]


def test_every_command_is_on_the_page():
    from hwmodel.cli import COMMANDS

    for name in COMMANDS:
        assert f"`bitx {name}`" in PAGE
