"""Write the measured parts of a page, each between two marks of its own."""

from __future__ import annotations

from pathlib import Path

from prose import wrapped

HEADING = "# Software pruning\n"


def write_part(page: Path, mark: str, text: str) -> None:
    """Put text between the marks of a page, its prose wrapped; what has no marks yet gets them at the end."""
    written = page.read_text(encoding="utf-8") if page.exists() else HEADING
    if mark not in written:
        written += f"\n{mark}{mark}"
    before, _, rest = written.partition(mark)
    page.write_text(f"{before}{mark}\n{wrapped(text)}\n\n{mark}{rest.partition(mark)[2]}", encoding="utf-8")
