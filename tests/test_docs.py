"""The Python blocks of README.md and docs/ do what the text says.

The blocks of one page run in order, as one program, in an empty folder that has the repository's
`data`. A block after the comment ``<!-- models -->`` needs real weights: it runs in a second test
of its page only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("README.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(
    r"^(?P<models>[ ]*<!-- models -->\n)?(?P<code>[ ]*```python\n.*?)^[ ]*```$", re.MULTILINE | re.DOTALL
)


def blocks(page: Path) -> Iterator[tuple[bool, int, str]]:
    """Whether it needs real weights, the line before its first, and the code, of every block."""
    text = page.read_text("utf-8")
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield match["models"] is not None, line, dedent(match["code"].partition("\n")[2])


def programs() -> Iterator[object]:
    for page in PAGES:
        if page.parent.name == "tutorials":
            continue  # test_tutorials.py runs them, commands included
        if page.name == "gpu.md":
            continue  # tests/bitxcore/cuda/simulated_device.py runs it
        found = list(blocks(page))
        name = page.relative_to(ROOT).as_posix()
        plain = [block for block in found if not block[0]]
        if plain:
            yield pytest.param(page, plain, id=name)
        if len(plain) < len(found):
            yield pytest.param(page, found, id=f"{name}-models", marks=pytest.mark.models)


@pytest.mark.parametrize(("page", "program"), list(programs()))
def test_blocks_run(
    page: Path, program: list[tuple[bool, int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for _, line, code in program:
        exec(compile("\n" * line + code, page, "exec"), names)  # errors then point into the page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_block_is_left_out(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "no-run" not in text
    assert len(re.findall(r"^ *```python", text, re.MULTILINE)) == len(list(blocks(page)))
    assert text.count("<!-- models -->") == sum(models for models, _, _ in blocks(page))


def test_example_of_the_readme_finds_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for _, line, code in blocks(ROOT / "README.md"):
        exec(compile("\n" * line + code, "README.md", "exec"), names)
    bx, weights, pruned, cycles = (names[name] for name in ("bx", "weights", "pruned", "cycles"))
    assert pruned.values.dtype == weights.dtype
    assert int(pruned.kept_rows.max()) == 6
    assert np.array_equal(bx.unpack(bx.pack(pruned)), pruned.values)
    assert 3 < cycles.on_chip_speedup_over_unpruned < cycles.work_speedup < 5


PROSE = [*PAGES, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("data/**/*.md"))]
WIDTH = 80
NOT_PER = re.compile(
    r"\b(?:cycles?|rows|bits|macs|bytes|ones|lanes?|times?|record|selector|line) an? "
    r"(?:cycle|group|weight|layer|filter|lane|second|value|tensor|channel|output|unit|pe)\b",
    re.IGNORECASE,
)
"""A rate without its "per"."""


def outside_of_blocks(page: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page that are in no block of code."""
    fenced = False
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def one_word(line: str) -> bool:
    """Whether a line is one link, picture, code or word, which can't be broken."""
    text = re.sub(r"^\s*(?:[-*]|\d+\.)?\s*", "", line)
    return " " not in re.sub(r"!?\[[^\]]*\]\([^)]*\)|`[^`]*`", "x", text)


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_prose_is_wrapped_and_rates_say_per(page: Path) -> None:
    lines = [*outside_of_blocks(page)]
    prose = [(n, line) for n, line in lines if not line.lstrip().startswith(("#", "|"))]
    assert [f"{n}: {line}" for n, line in prose if len(line) > WIDTH and not one_word(line)] == []
    # The first cell of a table's row may be a name that a command prints.
    text = " ".join(re.sub(r"^ *\|[^|]*\|", "|", line).strip() for _, line in lines)
    assert NOT_PER.findall(text) == []


PATH = re.compile(r"`((?:bitxcore|hwmodel|tests|bench|docs|data|examples)/[\w./-]*)`")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_paths_that_a_page_names_exist(page):
    named = set(PATH.findall(page.read_text("utf-8")))
    new = {"hwmodel/accelerators/essential_bits.py", "bitxcore/dumps/raw.py"}  # of recipes: the reader's own
    named = {path for path in named - new if "NAME" not in path}
    assert sorted(path for path in named if not (ROOT / path).exists()) == []
