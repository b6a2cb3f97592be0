"""``bitx reproduce``: the numbers of the BitX paper, ours beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hwmodel.cli.options import json_option

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
    help="Write all lines as a page, docs/reproduction.md; without --only, --quick, --no-accuracy.",
)
@click.option(
    "--accuracy/--no-accuracy",
    default=True,
    show_default=True,
    help="Run trained networks beside the tables of accuracies.",
)
@click.option("--quick", is_flag=True, help="Accuracies on a fifth of the data, fewer sizes of groups.")
@json_option
def command(
    places: tuple[str, ...], output: str | None, page: str | None, accuracy: bool, quick: bool, as_json: bool
) -> None:
    """Compute the numbers of the BitX paper.

    Each line has what is published, ours, their ratio, on which weights, and why they differ. All of it
    takes some half an hour, most of it for accuracies; --quick a few minutes.
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
    if as_json:
        written = [path for path in (output, page) if path]
        out.print_json({"lines": [line.columns() for line in lines], "written": written})
        return
    _print(lines)
    out.say(out.written_line([output, page] if output or page else [], "-o STORE.h5 keeps these lines"))


def _print(lines: Sequence[Line]) -> None:
    from hwmodel.cli import output as out
    from hwmodel.studies.reproduction.line import MARKS
    from hwmodel.studies.reproduction.written import NUMERIC, headings, sheets, what_holds

    for sheet in sheets(lines):
        out.print_table(headings(sheet.place), sheet.rows, title=sheet.place, numeric=NUMERIC)
        out.say(*(f"{at}. {note}" for at, note in enumerate(sheet.notes, 1)))
        if sheet.details:
            out.say(f"{sheet.details} more lines, layer by layer: -o STORE.h5, or --json")
        out.say("")
    if said := what_holds(lines):
        out.say(said, "")
    out.say(*(f"[{mark}] {meaning}" for mark, meaning in MARKS.items()))
