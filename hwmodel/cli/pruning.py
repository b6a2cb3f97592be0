"""``bitx prune``: write a dump again with pruned weights."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.options import (
    grouping_options,
    json_option,
    layout_option,
    policy_option,
    refuse_beside_policy,
    selection_options,
    settle_grouping,
)
from hwmodel.cli.values import IntegerOr, OneOf

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
    help="The pruned dump: of DUMP's own kind, or a .npz or .safetensors.",
)
@click.option(
    "--rows",
    type=IntegerOr("none"),
    default=6,
    show_default=True,
    help="Rows to keep of a group; the most rows, for threshold and energy, and none: no such limit.",
)
@click.option(
    "--criterion",
    type=OneOf("bitxcore.criteria:CRITERIA"),
    default="topn",
    show_default=True,
    help="topn (the method), threshold, energy, msb or calibrated; see bitx list criteria.",
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Of the criterion threshold.")
@click.option("--budget", type=click.FloatRange(0, 1), help="Of the criterion energy: relative error.")
@click.option(
    "--norms",
    metavar="NORMS.h5",
    help="Of the criterion calibrated: norms of what the weights meet, from bitx trace --norms.",
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
@click.option("--store", metavar="STORE.h5", help="Write the table and histograms to an HDF5 store.")
@click.option("--masks", is_flag=True, help="Also store row masks, exponents and kept rows of every group.")
@json_option
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
    as_json: bool,
    **options: Any,
) -> None:
    """Prune the weights of a dump; all else in it stays as it is.

    OUT appears whole or not at all, and so do OUT and STORE.h5 together. The error is relative: the norm of
    the difference over the norm of the tensor.
    """
    from bitxcore.batch import POLICY_OPTIONS, Selection, check_policy, prune_dump
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
                each=_arrays(writer, masks) if writer else None,
                progress=lambda tensor: bar.advance(tensor.nbytes, tensor.name),
                **options,
            )
            if writer is not None:
                _write_table(writer, pruned)
        if followed is not None:
            done = {row.tensor for row in pruned}
            kept = [tensor.name for tensor in chosen.tensors if tensor.name not in done]
            chosen = replace(chosen, left_out=chosen.left_out | dict.fromkeys(kept, NOT_BY_POLICY))
        if as_json:
            out.print_json(_document(source, chosen, pruned, parameters, [output, store]))
            return
        _print(source, chosen, pruned)
    out.say(out.written_line([output, store], ""))


def _print(dump: Dump, chosen: Chosen, pruned: list[PrunedTensor]) -> None:
    from bitxcore.batch import prune_totals
    from hwmodel.cli import output as out

    def cells(c: dict[str, Any]) -> list[str]:
        return [
            out.count(c["values"]),
            out.number(c["kept_rows_mean"]),
            out.count(c["kept_rows_max"]),
            out.percent(c["relative_error"], 2),
            out.count(c["changed_values"]),
            out.count(c["zeros_before"]),
            out.count(c["zeros_after"]),
            out.number(c["packed_bits_per_weight"]),
            out.count(c["window_limited_groups"]),
        ]

    total = prune_totals(pruned)
    out.print_table(
        ["tensor", "values", "rows\nmean", "rows\nmax", "rel.\nerror", "changed", "zeros\nbefore",
         "zeros\nafter", "packed\nbits", "window-\nlimited"],
        ([row.tensor, *cells(row.columns())] for row in pruned),
        title=f"{dump.path}, pruned",
        footer=[out.counted(total["tensors"], "tensor"), *cells(total)],
    )  # fmt: skip
    if total["nonfinite_groups"]:
        out.say(f"{out.holders(total['nonfinite_groups'])} a NaN or Inf: left untouched")
    if total["packed_bits"]:
        share = total["packed_bits"] / total["stored_bits"]
        out.say(
            f"packed: {total['packed_bits_per_weight']:.2f} bits a weight, {share:.1%} of the stored size"
        )
    out.say(*out.left_out_lines(chosen.left_out))


def _document(
    dump: Dump,
    chosen: Chosen,
    pruned: list[PrunedTensor],
    parameters: dict[str, Any],
    written: list[str | None],
) -> dict[str, Any]:
    from bitxcore.batch import prune_totals

    tensors = [
        row.columns() | {"shape": row.shape, "kept_rows_histogram": row.kept_rows_histogram} for row in pruned
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


def _arrays(writer: Any, masks: bool) -> Any:
    """Return what writes a tensor's arrays as soon as it is pruned."""

    def write(row: PrunedTensor, pruned: Any) -> None:
        arrays: dict[str, Any] = {"kept_rows_histogram": row.kept_rows_histogram}
        units = {"kept_rows_histogram": "1"}
        for name in ("ones_histogram", "pruned_ones_histogram"):
            if getattr(row, name) is not None:
                arrays[name], units[name] = getattr(row, name), "1"
        if masks:
            arrays |= {name: getattr(pruned, name) for name in ("row_masks", "exponents", "kept_rows")}
            units |= {"row_masks": "", "exponents": "1", "kept_rows": "1"}
        writer.write_tensor_arrays(row.tensor, arrays, units)

    return write


def _write_table(writer: Any, pruned: list[PrunedTensor]) -> None:
    from bitxcore.batch import PRUNE_UNITS

    dtypes = {"packed_bits": "i8", "packed_bits_per_weight": "f8", "scale": "f8"}
    writer.write_table("pruning", [row.columns() for row in pruned], units=PRUNE_UNITS, dtypes=dtypes)
