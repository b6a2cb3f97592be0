"""The tutorials, run from top to bottom: what is printed is what the pages show.

A block of ``text`` is what the Python block above it prints. A console block has the lines that matter, and
``...`` for others.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hwmodel.cli.conftest import Bitx
from tests.hwmodel.cli.test_page import check

ROOT = Path(__file__).parents[1]
PAGES = sorted(set((ROOT / "docs" / "tutorials").glob("*.md")) - {ROOT / "docs" / "tutorials" / "index.md"})
BLOCK = re.compile(r"^```(python|text|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(page: Path) -> Iterator[tuple[str, str]]:
    """Run a page in the working directory; give what each block of text shows, and what was printed."""
    names: dict[str, object] = {"__name__": "__main__"}
    printed = io.StringIO()
    text = page.read_text("utf-8")
    for block in BLOCK.finditer(text):
        kind, content = block.groups()
        if kind == "text":
            yield content, printed.getvalue()
            printed = io.StringIO()
        elif kind == "console":
            found = re.fullmatch(r"\$ (bitx [^\n]*)\n(.*)", content, re.DOTALL)
            assert found is not None, content
            check(Bitx(), found[1], found[2])
        else:
            assert not printed.getvalue(), "what a block prints is not shown"
            line = text.count("\n", 0, block.start()) + 1
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * line + content, page, "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_shows_what_happens(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bitx"])
    for shown, printed in run(page):
        assert printed == shown
