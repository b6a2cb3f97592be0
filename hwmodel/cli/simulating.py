"""``bitx simulate``: cycles of a network on accelerators."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.options import json_option
from hwmodel.cli.values import Depth, Format, Machine
from hwmodel.cli.workloads import Asked, naming, workload_options

if TYPE_CHECKING:
    from hwmodel.accelerators.base import Accelerator

DEFAULT_ACCELERATORS = ("bitx", "dadiannao")


@click.command(name="simulate")
@click.argument("model", metavar="MODEL")
@click.option(
    "-a",
    "--accelerator",
    "accelerators",
    type=Machine(),
    multiple=True,
    help="NAME or NAME:OPTION=VALUE,...; repeatable (see bitx list accelerators). all: a comparison of every"
    " machine at equal peak, clock and memory.  [default: bitx and dadiannao]",
)
@click.option("--rows", type=click.IntRange(1), help="Of bitx: rows kept of a group.")
@click.option("--group", type=click.IntRange(1, 64), help="Of bitx: weights a group.")
@click.option("--format", type=Format(), help="Of bitx: number format of the weights, e.g. fixed16.")
@click.option("--lanes", type=click.IntRange(1), help="Of bitx: rows a PE applies in a cycle.")
@click.option("--fifo-depth", type=Depth(), help="Of bitx: groups a unit may be ahead; inf: any number.")
@workload_options
@click.option(
    "--published",
    "beside_published",
    is_flag=True,
    help="Also run the BitX nearest the published area; print it beside the published area and power."
    " With -a all: published averages beside ours, too.",
)
@click.option(
    "--explain",
    "explained",
    is_flag=True,
    help="Also say where the time goes, and simulate which change of a parameter would help most.",
)
@click.option("-o", "--output", metavar="STORE.h5", help="Write the results to an HDF5 store.")
@json_option
def command(
    model: str,
    accelerators: tuple[tuple[str, dict[str, Any]], ...],
    asked: Asked,
    beside_published: bool,
    explained: bool,
    output: str | None,
    as_json: bool,
    **shortcuts: Any,
) -> None:
    """Count the cycles of every layer.

    MODEL is an ONNX model (layers and weights), a dump of weights (layers from --network, or one
    matrix product a tensor), or the name of a network table (with --weights, or for accelerators that look
    at no weights).
    """
    from bitxcore.store import Store
    from hwmodel import simulate_network
    from hwmodel.cli import comparing, explanation
    from hwmodel.cli import output as out
    from hwmodel.cli import simulation_report as report
    from hwmodel.cli.operand_options import matching_document
    from hwmodel.cli.progress import progress
    from hwmodel.studies.explaining import explain
    from hwmodel.studies.published import compare

    field = comparing.field(accelerators, _bitx_options(accelerators, shortcuts))
    if field and explained:
        raise click.UsageError("--explain is for single machines, not for -a all")
    machines = field.machines if field else _machines(accelerators, shortcuts)
    with ExitStack() as opened:
        load = asked.open(opened, model)
        net = load.network
        if field:
            machines = field.start(weights=load.has_weights, activations=True)
        if not load.has_weights and any(machine.needs_weights for machine in machines):
            needy = ", ".join(machine.name for machine in machines if machine.needs_weights)
            raise click.UsageError(
                f"{needy} needs weights, which a table has not: --weights DUMP, or --weights synthetic; or"
                f" bitx simulate DUMP --network {model}"
            )
        parameters: dict[str, Any] = {"command": "simulate", "model": model, "network": asked.network}
        parameters |= {**load.parameters, "accelerators": {m.label: m.options for m in machines}}
        store = Store.create(output, parameters=parameters, inputs=load.inputs) if output else nullcontext()
        with store as writer, progress(None, "simulate") as bar:
            with naming(load.dump.path if load.dump else model):
                run = simulate_network(machines, net, **load.operands, store=writer, progress=bar.reach)
            compared = field.finish(run, writer) if field else None
        explanations = [
            explain(machine, net, **load.operands, rows=run.of(machine.label))
            for machine in machines * explained
        ]
        source = load.wanted.weights_anywhere(net, load.dump)
        published = compare(net, dump=source, basis=_basis(machines)) if beside_published else None
    if compared is not None:
        comparing.show(net, compared, parameters, output, published, as_json)
        return
    if as_json:
        document = report.document(net, run, machines, parameters, output, published)
        document["matching"] = matching_document(load.matching)
        if explained:
            document["explanations"] = [explanation.document(found) for found in explanations]
        out.print_json(document)
        return
    report.print_run(net, run, machines)
    for found in explanations:
        explanation.print_explanation(found)
    if published is not None:
        report.print_published(*published)
    out.say(out.written_line([output], "-o STORE.h5 keeps these results"))


# -- input -------------------------------------------------------------------------------------


def _bitx_options(given: tuple[tuple[str, dict[str, Any]], ...], shortcuts: dict[str, Any]) -> dict[str, Any]:
    """Options that were set for every bitx."""
    set_shortcuts = {name: value for name, value in shortcuts.items() if value is not None}
    if set_shortcuts.get("fifo_depth") == "inf":
        set_shortcuts["fifo_depth"] = None
    if set_shortcuts and given and not any(name in ("bitx", "all") for name, _ in given):
        option = next(iter(set_shortcuts)).replace("_", "-")
        raise click.UsageError(f"--{option} is an option of bitx, which is not simulated")
    return set_shortcuts


def _machines(
    given: tuple[tuple[str, dict[str, Any]], ...], shortcuts: dict[str, Any]
) -> tuple[Accelerator, ...]:
    from hwmodel import accelerator

    set_shortcuts = _bitx_options(given, shortcuts)
    chosen = given or tuple((name, {}) for name in DEFAULT_ACCELERATORS)
    return tuple(
        accelerator(name, **(set_shortcuts | options if name == "bitx" else options))
        for name, options in chosen
    )


def _basis(machines: tuple[Accelerator, ...]) -> str:
    """Cost basis of the first machine that has one, else the default."""
    from hwmodel.accelerators.bitx.machine import BitX

    return next((m.cost_basis for m in machines if isinstance(m, BitX)), BitX().cost_basis)
