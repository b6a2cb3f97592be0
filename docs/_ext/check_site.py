"""Check a built site: links lead somewhere, nothing is loaded from elsewhere, the API is the public names.

python docs/_ext/check_site.py out/docs
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "object": ("data",),
    "embed": ("src",),
}
"""Attributes by which a page loads what it shows."""


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        for name in LOADED.get(tag, ()):
            if name in values:
                several = values[name].split(",") if name == "srcset" else [values[name]]
                self.loaded += [part.split()[0] for part in several if part.strip()]


def faults(site: Path) -> Iterator[str]:
    """Give a line for each link that leads nowhere, and for each thing that is loaded from elsewhere."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(site)
        for link in page.loaded:
            if (urlsplit(link).scheme or link.startswith("//")) and not link.startswith("data:"):
                yield f"{name}: loads {link}"
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                yield f"{name}: no file for {link}"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{name}: no place for {link}"
    for path in sorted(site.rglob("*.css")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)
        for found in re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)", text):
            yield f"{path.relative_to(site)}: loads {found}"


def described(site: Path) -> set[str]:
    """Return the names that have a page of their own in the API reference."""
    folder = site / "reference" / "api"
    pages = {path.stem: Page(path.read_text("utf-8")) for path in folder.glob("*.html")}
    return {name for name, page in pages.items() if name in page.anchors and not name.endswith("-names")}


def main(folder: str) -> int:
    """Print the faults of a site; return the exit status."""
    from api_pages import public_names

    site = Path(folder).resolve()
    found = list(faults(site))
    wanted = {public.described_as for public in public_names()}
    found += [f"no page for {name}" for name in sorted(wanted - described(site))]
    found += [f"a page for {name}, which is not public" for name in sorted(described(site) - wanted)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
