"""``bitx reproduce``: the numbers of the BitX paper, ours beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hwmodel.cli.view import current_view, result_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwmodel.studies.reproduction import Line


@click.command(name="reproduce")
@click.option(
    "--only",
    "places",
    multiple=True,
    metavar="PLACE",
    help='One table or figure ("Table 1" to "Table 7", "Figure 5" to "Figure 11"), or contradictions;'
    " repeatable.  [default: all]",
)
@click.option("-o", "--output", metavar="STORE.h5", help="Write the lines to an HDF5 store.")
@click.option(
    "--write",
    "page",
    metavar="PAGE.md",
    help="Write all lines as a page, docs/reproduction.md; not with --only, --quick or --no-accuracy.",
)
@click.option(
    "--accuracy/--no-accuracy",
    default=True,
    show_default=True,
    help="Run trained networks beside the tables of accuracies.",
)
@click.option(
    "--quick", is_flag=True, help="Use a fifth of the data for accuracies, and fewer sizes of groups."
)
@result_options
def command(
    places: tuple[str, ...], output: str | None, page: str | None, accuracy: bool, quick: bool, as_json: bool
) -> None:
    """Compute the numbers of the BitX paper.

    Each line has the published number, ours, their ratio, the weights, and why the two differ. All lines take
    about half an hour, most of it for accuracies; --quick takes a few minutes.
    """
    from contextlib import nullcontext

    from bitxcore.files import atomic_file
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress
    from hwmodel.studies import reproduction

    if page is not None and places:
        raise click.UsageError("--write is for all places, not for --only")
    if page is not None and (quick or not accuracy):
        raise click.UsageError("--write is for everything, not for --quick or --no-accuracy")
    # The page is opened first, so that a bad path costs no time.
    with atomic_file(page) if page else nullcontext() as path:
        with progress(None, "reproduce") as bar:
            lines = reproduction.reproduce(
                places or None,
                progress=bar.reach,
                store=output,
                parameters={"command": "reproduce"},
                quick=quick,
                accuracy=accuracy,
            )
        if path is not None:
            path.write_text(reproduction.page(lines), encoding="utf-8")
    if current_view().write(line.columns() for line in lines):
        return
    if as_json:
        written = [path for path in (output, page) if path]
        out.print_json({"lines": [line.columns() for line in lines], "written": written})
        return
    _print(lines)
    out.finish([output, page] if output or page else [], "-o STORE.h5 keeps these lines")


def _print(lines: Sequence[Line]) -> None:
    from hwmodel.cli import output as out
    from hwmodel.studies.reproduction.line import MARKS
    from hwmodel.studies.reproduction.written import HEADINGS, NUMERIC, headings, sheets, what_holds

    notes = []
    for sheet in sheets(lines):
        columns = [
            out.Shown(name, heading, text=not number, more=name in _MORE)
            for name, heading, number in zip(HEADINGS, headings(sheet.place), NUMERIC, strict=True)
        ]
        rows = [dict(zip(HEADINGS, row, strict=True)) for row in sheet.rows]
        out.print_rows(columns, rows, title=sheet.place)
        whys = [out.Note("why numbers differ", f"{at}. {note}") for at, note in enumerate(sheet.notes, 1)]
        if current_view().notes:  # below their table, whose last column refers to them
            out.say_notes(whys)
        else:
            notes += whys
        if sheet.details:
            out.say(f"{sheet.details} more lines, layer by layer: -o STORE.h5, or --json")
        out.say("")
    if said := what_holds(lines):
        out.say(said, "")
    notes += [out.Note("marks", f"[{mark}] {meaning}") for mark, meaning in MARKS.items()]
    out.say_notes(notes)


_MORE = ("weights", "why")
"""Columns that are left out of narrow tables."""
