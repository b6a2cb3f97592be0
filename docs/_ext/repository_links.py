"""Pages from outside docs/: a page that is nothing but an include of one, and links that lead to it.

Such a page is ```` ```{include} ../../CONTRIBUTING.md ```` alone. The file's own links are relative to the
file; they are written anew, relative to the page. Links of all pages to the file lead to the page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

INCLUDE = re.compile(r"\A```\{include\} (\S+)\n```\n\Z")
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
FENCED = re.compile(r"(^ *(?:```+|~~~+).*?^ *(?:```+|~~~+)$)", re.MULTILINE | re.DOTALL)


def included(page: Path) -> Path | None:
    """Return the file that a page is an include of."""
    found = INCLUDE.match(page.read_text("utf-8"))
    return (page.parent / found[1]).resolve() if found else None


def pages_of(docs: Path) -> dict[Path, Path]:
    """Return the page of each file from outside that has one."""
    pages = {file: page for page in docs.rglob("*.md") if (file := included(page))}
    # The index of the folder in a browser of the repository is the site's first page.
    return pages | {docs / "README.md": docs / "index.md"}


def with_links(text: str, written_for: Path, page: Path, pages: dict[Path, Path]) -> str:
    """Return Markdown whose links, relative to one file, are relative to a page."""

    def anew(match: re.Match[str]) -> str:
        target = (written_for.parent / match[1]).resolve()
        return os.path.relpath(pages.get(target, target), page.parent)

    parts = FENCED.split(text)  # every second one is a block of code, in which nothing is a link
    return "".join(part if i % 2 else LINK.sub(anew, part) for i, part in enumerate(parts))


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the text of a page by what is to be read in its place."""
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return
    file = included(page)
    if file:
        app.env.note_dependency(str(file))
    source[0] = with_links(
        file.read_text("utf-8") if file else source[0], file or page, page, pages_of(Path(app.srcdir))
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Install the hook."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
