"""``bitx report``: stores as one page of pictures."""

from __future__ import annotations

import click


@click.command(name="report")
@click.argument("stores", metavar="STORE.h5…", nargs=-1, required=True, type=click.Path(dir_okay=False))
@click.option(
    "-o", "--output", metavar="OUT.html", default="report.html", show_default=True, help="The page to write."
)
@click.option("--title", help="Heading of the page.  [default: the names of the stores]")
def command(stores: tuple[str, ...], output: str, title: str | None) -> None:
    """Write a page with findings, figures and data of stores, which any browser shows without network.

    STORE.h5 was written by inspect, prune, simulate, sweep, evaluate or reproduce. Two stores of one kind are
    also compared: what changed. Needs the extra `report`.
    """
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress
    from hwmodel.report import write_report

    # `-o` before a second store, forgotten or not, must not replace that store.
    if not output.lower().endswith((".html", ".htm")):
        raise click.UsageError(f"-o must end in .html, got {output}")
    with progress(None, "report"):
        written = write_report(stores, output, title=title)
    for name, findings in written.findings.items():
        out.say(f"{name}:", *(f"  {sentence}" for sentence in findings))
    out.say(out.counted(written.figures, "figure"))
    out.finish([output])
