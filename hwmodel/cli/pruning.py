"""``bitx prune``: write a dump again with pruned weights."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.options import (
    grouping_options,
    layout_option,
    memory_option,
    note_memory,
    policy_option,
    refuse_beside_policy,
    selection_options,
    settle_grouping,
)
from hwmodel.cli.values import IntegerOr, OneOf
from hwmodel.cli.view import current_view, result_options

if TYPE_CHECKING:
    from bitxcore.batch import Chosen, PrunedTensor
    from bitxcore.dumps import Dump

NOT_BY_POLICY = "the policy does not prune it"


@click.command(name="prune")
@click.argument("dump", metavar="DUMP")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    help="The pruned dump: a file of DUMP's own kind, a .npz or a .safetensors.",
)
@click.option(
    "--rows",
    type=IntegerOr("none"),
    default=6,
    show_default=True,
    help="Rows to keep per group. For threshold and energy the most rows; none: no such limit.",
)
@click.option(
    "--criterion",
    type=OneOf("bitxcore.criteria:CRITERIA"),
    default="topn",
    show_default=True,
    help="How rows are chosen: topn (the method), threshold, energy, msb or calibrated (see bitx list"
    " criteria).",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="With --criterion threshold: the least share of the greatest significance.",
)
@click.option(
    "--budget", type=click.FloatRange(0, 1), help="With --criterion energy: the largest relative error."
)
@click.option(
    "--norms",
    metavar="NORMS.h5",
    help="With --criterion calibrated: norms of the weights' inputs, from bitx trace --norms.",
)
@click.option(
    "--rounding",
    type=OneOf("bitxcore.criteria:ROUNDINGS"),
    default="truncate",
    show_default=True,
    help="truncate (as the hardware does) or nearest (offline).",
)
@policy_option
@grouping_options
@selection_options
@layout_option
@memory_option
@click.option("--store", metavar="STORE.h5", help="Write the table and histograms to an HDF5 store.")
@click.option(
    "--masks",
    is_flag=True,
    help="With --store: also write row masks, exponents and kept rows of every group.",
)
@result_options
def command(
    dump: str,
    output: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    min_dims: int,
    policy: str | None,
    layout: str | None,
    norms: str | None,
    store: str | None,
    masks: bool,
    memory_bytes: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Prune the weights of a dump; all else in it stays as it is.

    OUT and STORE.h5 appear whole and together, or not at all. The relative error is the norm of the
    difference over the norm of the tensor.
    """
    from bitxcore.batch import POLICY_OPTIONS, Selection, check_policy, prune_dump
    from bitxcore.batch.storing import pruned_arrays, write_pruned
    from bitxcore.dumps import open_dump
    from bitxcore.files import together
    from bitxcore.policy import load_policy
    from bitxcore.store import Store
    from hwmodel import open_norms
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress

    if norms and options["criterion"] != "calibrated":
        raise click.UsageError("--norms needs --criterion calibrated")
    if options["criterion"] == "calibrated" and not norms:
        raise click.UsageError("--criterion calibrated needs --norms")
    if masks and not store:
        raise click.UsageError("--masks needs --store")
    if store and os.path.realpath(store) == os.path.realpath(output):
        raise click.UsageError("--store and --output are the same file")
    followed = None
    if policy is None:
        settle_grouping(options, also=("rows",))
    else:
        refuse_beside_policy(name for name in options if name in {"preset", *POLICY_OPTIONS})
        options = {name: options[name] for name in ("format", "nonfinite")}
        followed = load_policy(policy)
    selection = Selection(include, exclude, min_dims)
    weighed = open_norms(norms) if norms else None
    with open_dump(dump) as source:
        current_view().check([source])
        chosen = selection.choose(source, options["format"])
        if followed is not None:
            check_policy(followed, source, chosen)
        parameters: dict[str, Any] = {"command": "prune", "output": output, "include": include}
        parameters |= {"exclude": exclude, "min_dims": min_dims, "layout": layout, "norms": norms, **options}
        parameters["policy"] = None if followed is None else followed.record()
        inputs: list[Any] = [source, *(path for path in (policy, norms) if path)]
        with (
            together(),
            Store.create(store, parameters=parameters, inputs=inputs) if store else nullcontext() as writer,
            progress(sum(tensor.nbytes for tensor in source.values()), "prune") as bar,
        ):
            pruned = prune_dump(
                source,
                output,
                chosen.tensors,
                policy=followed,
                layout=layout,
                norms=weighed,
                memory_bytes=memory_bytes,
                each=pruned_arrays(writer) if writer and masks else None,
                progress=lambda tensor: bar.advance(tensor.nbytes, tensor.name),
                **options,
            )
            if writer is not None:
                write_pruned(writer, pruned, histograms=not masks)
        if followed is not None:
            done = {row.tensor for row in pruned}
            kept = [tensor.name for tensor in chosen.tensors if tensor.name not in done]
            chosen = replace(chosen, left_out=chosen.left_out | dict.fromkeys(kept, NOT_BY_POLICY))
        if current_view().write(row.columns() for row in pruned):
            return
        if as_json:
            out.print_json(_document(source, chosen, pruned, parameters, [output, store]))
            return
        _print(source, chosen, pruned)
    out.finish([output, store])


def _print(dump: Dump, chosen: Chosen, pruned: list[PrunedTensor]) -> None:
    from bitxcore.batch import prune_totals
    from hwmodel.cli import output as out

    total = prune_totals(pruned)
    out.print_rows(
        (
            out.Shown("tensor", "tensor", text=True),
            out.Shown("values", "values", out.count),
            out.Shown("kept_rows_mean", "rows\nmean", out.number),
            out.Shown("kept_rows_max", "rows\nmax", out.count, more=True),
            out.Shown("relative_error", "rel.\nerror", lambda share: out.percent(share, 2)),
            out.Shown("changed_values", "changed", out.count, more=True),
            out.Shown("zeros_before", "zeros\nbefore", out.count, more=True),
            out.Shown("zeros_after", "zeros\nafter", out.count),
            out.Shown("packed_bits_per_weight", "packed\nbits", out.number),
            out.Shown("window_limited_groups", "window\nlimited", out.count, more=True),
        ),
        [row.columns() for row in pruned],
        title=f"{dump.path}, pruned",
        footer=total | {"tensor": out.counted(total["tensors"], "tensor")},
    )
    if total["nonfinite_groups"]:
        out.say(f"{out.holders(total['nonfinite_groups'])} a NaN or Inf: left untouched")
    if total["packed_bits"]:
        share = total["packed_bits"] / total["stored_bits"]
        out.say(
            f"packed: {total['packed_bits_per_weight']:.2f} bits per weight, {share:.1%} of the stored size"
        )
    note_memory((row.tensor, row.note) for row in pruned)
    out.say_notes(out.left_out_notes(chosen.left_out))


def _document(
    dump: Dump,
    chosen: Chosen,
    pruned: list[PrunedTensor],
    parameters: dict[str, Any],
    written: list[str | None],
) -> dict[str, Any]:
    from bitxcore.batch import prune_totals

    tensors = [
        row.columns() | {"shape": row.shape, "kept_rows_histogram": row.kept_rows_histogram, "note": row.note}
        for row in pruned
    ]
    return {
        "parameters": parameters,
        "path": dump.path,
        "container": dump.container,
        "tensors": tensors,
        "totals": prune_totals(pruned),
        "left_out": chosen.left_out,
        "written": [path for path in written if path],
    }
