"""``bitx simulate``: cycles of a network on accelerators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.clusters import cluster_options, workers_of
from hwmodel.cli.options import policy_option, refuse_beside_policy
from hwmodel.cli.values import Depth, Format, Integer, Machine, OneOf
from hwmodel.cli.view import current_view, result_options
from hwmodel.cli.workload_options import Asked, matching_document, workload_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwmodel.accelerators.base import Accelerator
    from hwmodel.operands.workload import Workload

SHORTCUTS_OF = "bitx"
"""Whose options ``--rows``, ``--group`` and so on are."""

DEFAULT_ACCELERATORS = (SHORTCUTS_OF, "dadiannao")
ALL = "all"
"""For ``-a``: every accelerator, in a comparison."""

Given = tuple[tuple[str, dict[str, Any]], ...]


@click.command(name="simulate")
@click.argument("model", metavar="MODEL")
@click.option(
    "-a",
    "--accelerator",
    "accelerators",
    type=Machine(),
    multiple=True,
    help="NAME or NAME:OPTION=VALUE,... (see bitx list accelerators). Repeatable. all: compare every"
    " machine at equal peak, clock and memory.  [default: bitx and dadiannao]",
)
@click.option("--rows", type=Integer(1), help="Of bitx: rows kept per group.")
@click.option("--group", type=Integer(1, 64), help="Of bitx: weights per group.")
@click.option("--format", type=Format(), help="Of bitx: number format of the weights, e.g. fixed16.")
@click.option(
    "--preset", type=OneOf("bitxcore.presets:PRESETS"), help="Of bitx: the paper's settings mild or wild."
)
@click.option(
    "--fifo-depth", type=Depth(), help="Of bitx: how many groups a PE may be ahead. inf: any number."
)
@click.option(
    "--lane-fifo-depth", type=Depth(), help="Of bitx: how many groups a lane may be ahead. inf: any number."
)
@policy_option
@workload_options
@click.option(
    "--published",
    "beside_published",
    is_flag=True,
    help="Also run the network on one PE of BitX, and print its area and power beside the paper's"
    " Table 7. With -a all, also print published averages beside ours.",
)
@click.option(
    "--explain",
    "explained",
    is_flag=True,
    help="Also say where the time goes, and simulate which change of a parameter helps most.",
)
@click.option("--summary", is_flag=True, help="Print no tables of layers.")
@click.option(
    "--top",
    type=Integer(1),
    metavar="K",
    help="Print only the K layers with most cycles, and the others as one line.",
)
@cluster_options("layers")
@click.option("-o", "--output", metavar="STORE.h5", help="Write the results to an HDF5 store.")
@result_options
def command(
    model: str,
    accelerators: tuple[tuple[str, dict[str, Any]], ...],
    policy: str | None,
    asked: Asked,
    beside_published: bool,
    explained: bool,
    summary: bool,
    top: int | None,
    scheduler: str | None,
    jobs: int | None,
    output: str | None,
    as_json: bool,
    **shortcuts: Any,
) -> None:
    """Count the cycles of every layer.

    MODEL is an ONNX model (layers and weights), a dump of weights (layers from --network, or one
    matrix product per tensor), or the name of a network table (with --weights, or for accelerators that
    look at no weights). --csv writes a row per layer and machine, with --summary a row per machine.
    """
    from dataclasses import asdict

    from bitxcore.errors import error_context
    from bitxcore.policy import load_policy
    from hwmodel.cli import comparison_report, explanation_report
    from hwmodel.cli import output as out
    from hwmodel.cli import simulation_report as report
    from hwmodel.cli.progress import progress
    from hwmodel.simulation.policies import recorded_options, under_policy
    from hwmodel.simulation.run import simulate_network
    from hwmodel.simulation.warmup import tasks, warming
    from hwmodel.studies.comparison import compare
    from hwmodel.studies.comparison.findings import machine_finding
    from hwmodel.studies.explaining import explain
    from hwmodel.studies.published import one_pe

    if policy is not None:
        refuse_beside_policy(("rows", "group", "preset"))
        if explained or any(name == ALL for name, _ in accelerators):
            raise click.UsageError("--policy is neither for -a all nor for --explain")
    asked_options = _bitx_options(accelerators, shortcuts)
    comparison = _comparison(accelerators, asked_options)
    if comparison is not None and explained:
        raise click.UsageError("--explain is for single machines, not for -a all")
    if summary and top is not None:
        raise click.UsageError("--summary prints no layers, --top some: give one of them")
    if comparison is not None and top is not None:
        raise click.UsageError("--top is for single machines: -a all prints no layers")
    machines = () if comparison is not None else _machines(accelerators, asked_options)
    needed = [(m.name, m.options) for m in machines] if comparison is None else tasks()
    until_compiled = click.get_current_context().with_resource(warming(needed))
    followed = None if policy is None else load_policy(policy)
    parameters: dict[str, Any] = {"command": "simulate", "model": model, **asked.parameters}
    parameters["policy"] = None if followed is None else followed.record()
    with asked.open(model) as load:
        current_view().check(load.inputs)
        parameters["workload"] = load.record
        _check_weights(load, machines, model)
        until_compiled()
        kept: dict[str, Any] = {"store": output, "parameters": parameters}
        with (
            workers_of(scheduler, jobs) as workers,
            error_context(path=getattr(load.weights, "path", model)),
            progress(None, "simulate") as bar,
        ):
            kept |= {"workers": workers, "progress": bar.reach}
            if comparison is not None:
                compared = compare(load, **comparison, **kept)
                run, machines = compared.run, compared.machines
            else:
                run = simulate_network(machines, load, policy=followed, **kept)
        explanations = [
            explain(machine, load, rows=run.of(machine.label)) for machine in machines * explained
        ]
        published = one_pe(load) if beside_published else None
    parameters["accelerators"] = {machine.label: recorded_options(machine, followed) for machine in machines}
    results: Sequence[Any] = run.totals if summary else run.layers
    rows = map(asdict, compared.rows) if comparison is not None else (row.columns() for row in results)
    if current_view().write(rows):
        return
    if comparison is not None:
        comparison_report.show(load.network, compared, parameters, output, published, as_json)
        return
    built = [each.built for each in under_policy(machines, load.network, followed)]
    if as_json:
        document = report.document(load.network, run, machines, parameters, output, published, built)
        document["matching"] = matching_document(load.matching)
        if explained:
            document["explanations"] = [explanation_report.document(found) for found in explanations]
        out.print_json(document)
        return
    if summary:
        top = 0
    out.say(*(machine_finding(total.columns()) for total in run.totals), "")
    report.print_totals(load.network, run, machines)
    if top != 0:
        report.print_layers(run, machines, top)
    report.print_energy(run, built)
    for found in explanations:
        explanation_report.print_explanation(found, top)
    if published is not None:
        report.print_published(published)
    report.print_remarks(run, machines)
    if top != 0 or explanations:  # again: the end is what a terminal still shows
        out.say("")
        report.print_totals(load.network, run, machines)
    out.finish([output], "-o STORE.h5 keeps these results")


# -- input -------------------------------------------------------------------------------------


def _check_weights(load: Workload, machines: Sequence[Accelerator], model: str) -> None:
    needy = ", ".join(machine.name for machine in machines if machine.reads.weights)
    if needy and not load.has_weights:
        raise click.UsageError(
            f"{needy} needs weights, which a table has not: --weights DUMP, or --weights synthetic; or"
            f" bitx simulate DUMP --network {model}"
        )


def _bitx_options(given: Given, shortcuts: dict[str, Any]) -> dict[str, Any]:
    """Options that were set for every bitx."""
    set_shortcuts = {name: value for name, value in shortcuts.items() if value is not None}
    for depth in ("fifo_depth", "lane_fifo_depth"):
        if set_shortcuts.get(depth) == "inf":
            set_shortcuts[depth] = None
    if set_shortcuts and given and not any(name in (SHORTCUTS_OF, ALL) for name, _ in given):
        option = next(iter(set_shortcuts)).replace("_", "-")
        raise click.UsageError(f"--{option} is an option of {SHORTCUTS_OF}, which is not simulated")
    return set_shortcuts


def _comparison(given: Given, of_bitx: dict[str, Any]) -> dict[str, Any] | None:
    """Say what `hwmodel.compare` is to compare; None if ``all`` was not asked for.

    Parameters
    ----------
    given : tuple of (str, dict)
        What ``-a`` was. Options of ``all`` are conditions for everybody; other machines enter besides.
    of_bitx : dict
        Options of every bitx that does not set them itself.
    """
    from hwmodel.studies.comparison.contenders import conditions, contenders, entries

    asked = [options for name, options in given if name == ALL]
    if not asked:
        return None
    if len(asked) > 1:
        raise click.UsageError("-a all is given twice")
    also = [(name, options) for name, options in given if name != ALL]
    settings = {SHORTCUTS_OF: of_bitx}
    contenders([*entries(), *also], conditions(**asked[0]), settings)  # bad options are no file's fault
    return {"options": asked[0], "also": also, "settings": settings}


def _machines(given: Given, of_bitx: dict[str, Any]) -> tuple[Accelerator, ...]:
    from hwmodel.accelerators.registry import accelerator

    chosen = given or tuple((name, {}) for name in DEFAULT_ACCELERATORS)
    return tuple(
        accelerator(name, **(of_bitx | options if name == SHORTCUTS_OF else options))
        for name, options in chosen
    )
