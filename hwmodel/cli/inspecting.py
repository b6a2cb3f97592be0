"""``bitx inspect``: which bits of the weights are there."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.options import (
    grouping_options,
    layout_option,
    memory_option,
    note_memory,
    selection_options,
    settle_grouping,
)
from hwmodel.cli.view import current_view, result_options

if TYPE_CHECKING:
    from bitxcore.batch import Chosen, Inspected
    from bitxcore.dumps import Dump

_BLOCKS = "·▁▂▃▄▅▆▇█"


@click.command(name="inspect")
@click.argument("dumps", metavar="DUMP...", nargs=-1, required=True)
@grouping_options
@selection_options
@layout_option
@memory_option
@click.option("--rows", is_flag=True, help="Show the share of ones in every bit row.")
@click.option("-o", "--output", metavar="STORE.h5", help="Write the results to an HDF5 store.")
@result_options
def command(
    dumps: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    min_dims: int,
    layout: str | None,
    memory_bytes: int | None,
    rows: bool,
    output: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show how many bits of each weight tensor are essential.

    Zero values: share of all values. Zero bits: share of the bits in the significands of non-zero values.
    Rows: non-empty bit rows per group after alignment. --preset also counts the ones per weight before and
    after pruning.
    """
    from bitxcore.batch import Selection, inspect_dump
    from bitxcore.batch.storing import write_inspected
    from bitxcore.dumps import open_dump
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress

    settle_grouping(options)
    selection = Selection(include, exclude, min_dims)
    with ExitStack() as opened:
        sources = [opened.enter_context(open_dump(path)) for path in dumps]
        current_view().check(sources)
        chosen = [selection.choose(dump, options["format"]) for dump in sources]
        total = sum(tensor.nbytes for choice in chosen for tensor in choice.tensors)
        parameters: dict[str, Any] = {"command": "inspect", "include": include, "exclude": exclude}
        parameters |= {"min_dims": min_dims, "layout": layout, **options}
        kept: Any = nullcontext()
        if output:
            from bitxcore.store import Store  # which loads HDF5

            kept = Store.create(output, parameters=parameters, inputs=sources)
        with kept as writer:
            with progress(total, "inspect") as bar:
                found = [
                    list(
                        inspect_dump(
                            dump,
                            choice.tensors,
                            layout=layout,
                            progress=lambda t: bar.advance(t.nbytes, t.name),
                            errors=writer is not None,
                            memory_bytes=memory_bytes,
                            **options,
                        )
                    )
                    for dump, choice in zip(sources, chosen, strict=True)
                ]
            if writer is not None:
                write_inspected(
                    writer,
                    (
                        ({"dump": str(dump.path)}, _name(sources, dump, i), i)
                        for dump, inspected in zip(sources, found, strict=True)
                        for i in inspected
                    ),
                )
    results = list(zip(sources, chosen, found, strict=True))
    if current_view().write(_rows(sources, found)):
        return
    if as_json:
        out.print_json(_document(results, parameters, output))
        return
    for dump, choice, inspected in results:
        _print(dump, choice, inspected, rows, options)
    out.finish([output], "-o STORE.h5 keeps these results")


def _print(
    dump: Dump, choice: Chosen, inspected: list[Inspected], rows: bool, options: dict[str, Any]
) -> None:
    from bitxcore.batch import inspect_totals
    from hwmodel.cli import output as out

    total = inspect_totals(inspected)
    settings = inspected[0].statistics
    groups = f"groups of {settings.group}" if options["group"] else "groups of whole kernels"
    out.print_rows(
        (
            out.Shown("tensor", "tensor", text=True),
            out.Shown("shape", "shape", text=True, more=True),
            out.Shown("dtype", "dtype", text=True, more=True),
            out.Shown("values", "values", out.count),
            out.Shown("value_sparsity", "zero\nvalues", out.percent),
            out.Shown("bit_sparsity", "zero\nbits", out.percent),
            out.Shown("essential_bits_per_nonzero", "ones per\nvalue", out.number),
            out.Shown("nonempty_rows_mean", "rows\nmean", out.number),
            out.Shown("nonempty_rows_max", "rows\nmax", out.count),
        ),
        [i.columns() for i in inspected],
        title=f"{dump.path}: {groups}, {_windows(inspected)}",
        footer=total | {"tensor": out.counted(total["tensors"], "tensor")},
    )
    if total["nonfinite_groups"]:
        out.say(f"{out.holders(total['nonfinite_groups'])} a NaN or Inf; their rows are not counted")
    if "rows" in options:
        _print_ones(inspected, total, options["rows"])
    if rows:
        out.print_table(
            ["tensor", "ones in each row, the most significant first (scale: 0 to 100 % of the values)"],
            ([i.tensor, _sparkline(i)] for i in inspected),
            numeric=[False, False],
        )
    note_memory((i.tensor, i.note) for i in inspected)
    out.say_notes(out.left_out_notes(choice.left_out))


def _print_ones(inspected: list[Inspected], total: dict[str, Any], rows: int) -> None:
    """Print the ones per weight before pruning and after."""
    from hwmodel.cli import output as out

    out.print_rows(
        (
            out.Shown("tensor", "tensor", text=True),
            out.Shown("ones_mean", "ones per\nweight", out.number),
            out.Shown("pruned_ones_mean", "ones,\npruned", out.number),
            out.Shown("ones_largest_mean", "most per\ngroup", out.number),
            out.Shown("pruned_ones_largest_mean", "most,\npruned", out.number),
            out.Shown("sparsity_increment", "zero\nbits", out.times),
            out.Shown("window_limited_groups", "window\nlimited", out.count),
        ),
        [i.columns() for i in inspected],
        title=f"pruned to {rows} rows per group",
        footer=total | {"tensor": out.counted(total["tensors"], "tensor")},
    )


def _windows(inspected: list[Inspected]) -> str:
    windows = dict.fromkeys(f"{i.statistics.window} rows of {i.statistics.format.name}" for i in inspected)
    return ", ".join(windows)


def _sparkline(row: Inspected) -> str:
    s = row.statistics
    return "".join(_BLOCKS[-(-8 * int(ones) // s.values)] for ones in s.row_ones) + "|"


def _document(
    results: list[tuple[Dump, Chosen, list[Inspected]]], parameters: dict[str, Any], output: str | None
) -> dict[str, Any]:
    from bitxcore.batch import inspect_totals

    return {
        "parameters": parameters,
        "dumps": [
            {
                "path": dump.path,
                "container": dump.container,
                "tensors": [
                    i.columns()
                    | {
                        "shape": i.shape,
                        "ones_per_row": i.statistics.row_ones,
                        "nonempty_rows_histogram": i.statistics.nonempty_rows_histogram,
                        "note": i.note,
                    }
                    for i in inspected
                ],
                "totals": inspect_totals(inspected),
                "left_out": choice.left_out,
            }
            for dump, choice, inspected in results
        ],
        "written": [output] if output else [],
    }


def _rows(dumps: list[Dump], found: list[list[Inspected]]) -> list[dict[str, Any]]:
    """Return a row per tensor, as stores have them; of several dumps, tensors are named ``path/tensor``."""
    return [
        {"dump": str(dump.path), **i.columns(), "tensor": _name(dumps, dump, i)}
        for dump, inspected in zip(dumps, found, strict=True)
        for i in inspected
    ]


def _name(dumps: list[Dump], dump: Dump, row: Inspected) -> str:
    return row.tensor if len(dumps) == 1 else f"{dump.path}/{row.tensor}"
