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


PATH = re.compile(r"`((?:bitxcore|hwmodel|tests|bench|docs|data|examples)/[\w./-]*)`")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_paths_that_a_page_names_exist(page):
    named = set(PATH.findall(page.read_text("utf-8")))
    new = {"hwmodel/accelerators/essential_bits.py", "bitxcore/dumps/raw.py"}  # of recipes: the reader's own
    named = {path for path in named - new if "NAME" not in path}
    assert sorted(path for path in named if not (ROOT / path).exists()) == []
