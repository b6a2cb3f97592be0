"""``bitx doctor``: whether an installation works, and what a bug report needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hwmodel.cli.installation import Examined

_WIDTH = 80  # without a terminal: the text goes into a report
_LABEL = 30


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check the installation, and show what a bug report needs.

    Versions, processor, threads, memory, folders, extras, what other packages add, and a short self-test.
    Each problem comes with what to do. Exit status 1 if something does not work; what is only missing or
    slow is told.
    """
    from hwmodel.cli import output as out
    from hwmodel.cli.installation import examine
    from hwmodel.cli.progress import progress

    with progress(None, "doctor"):
        sections = examine()
    if as_json:
        out.print_json(document(sections))
    else:
        for line in lines(sections, out.terminal_width() or _WIDTH):
            click.echo(line)
    if any(problem.is_broken for section in sections for problem in section.problems):
        ctx.exit(1)


def document(sections: list[Examined]) -> dict[str, Any]:
    """Arrange sections as ``bitx doctor --json`` prints them."""
    problems = [
        {"section": section.name, "problem": problem.text, "is_broken": problem.is_broken}
        for section in sections
        for problem in section.problems
    ]
    works = not any(problem["is_broken"] for problem in problems)
    return {**{section.name: section.facts for section in sections}, "problems": problems, "works": works}


def lines(sections: list[Examined], width: int) -> list[str]:
    """Lay out sections as lines of at most `width` columns, but for names that are longer."""
    from bitxcore.showing import printable
    from hwmodel.cli.table_layout import at_words

    found = []
    for section in sections:
        found.append(_words(section.name))
        rows = [_row(section.name, name, value) for name, value in section.facts.items()]
        if not rows and not section.problems:
            found.append("  none")
        label = max((len(name) for name, _ in rows if len(name) < _LABEL), default=0)
        for name, text in rows:
            found += at_words(f"  {printable(name):<{label}}  {printable(text)}", width)
    found.append("")
    broken = 0
    for section in sections:
        for problem in section.problems:
            broken += problem.is_broken
            kind = "broken" if problem.is_broken else "note"
            found += at_words(printable(f"{kind}: {_words(section.name)}: {problem.text}"), width)
    found.append(f"{broken} of these must be repaired" if broken else "everything works")
    return found


def _words(name: str) -> str:
    return name.replace("_", " ")


def _row(section: str, name: str, value: Any) -> tuple[str, str]:
    """Label and text of one fact."""
    if section == "settings":
        return "environment", ", ".join(f"{key}={text}" for key, text in value.items()) or "none set"
    if section == "extras" and isinstance(value, Mapping):
        return name, _extra(value)
    if section == "plugins":
        return name, f"{value['package']}, {'loads' if value['loads'] else 'does not load'}"
    if section == "self_test":
        return name, f"{'yes' if value['passed'] else 'no'}, {value['duration_s']:.2f} s"
    if name.endswith("_bytes"):
        return _words(name.removesuffix("_bytes")), _size(value)
    if section == "versions":
        return name, str(value)
    return _words(name.removeprefix("is_")), _text(value)


def _extra(facts: Mapping[str, Any]) -> str:
    packages = facts["packages"]
    there = ", ".join(f"{name} {version}" for name, version in packages.items() if version is not None)
    missing = ", ".join(name for name, version in packages.items() if version is None)
    if not missing:
        return there
    return f"missing: {missing}: {facts['install']}" + (f"; there: {there}" if there else "")


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _size(value: int | None) -> str:
    if value is None:
        return "none"
    size = float(value)
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.3g} GiB" if size < 1000 else f"{size:,.0f} GiB"
