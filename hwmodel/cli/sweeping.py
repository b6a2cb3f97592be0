"""``bitx sweep``: one machine at every combination of option values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.clusters import scheduler_option, workers_of
from hwmodel.cli.options import policy_option
from hwmodel.cli.values import Integer, Machine, Values
from hwmodel.cli.view import current_view, result_options
from hwmodel.cli.workload_options import Asked, workload_options

if TYPE_CHECKING:
    from hwmodel.studies.sweeps import Sweep

OWN = ("positions", "exclude", "input_size", "sizes", "inputs")
"""Options whose names a sweep's definition does not use for what they stand for."""


@click.command(name="sweep")
@click.argument("model", metavar="MODEL")
@click.option(
    "--vary",
    type=Values(),
    multiple=True,
    required=True,
    metavar="OPTION=VALUES",
    help="An option of the machine and its values: a,b,c, or ranges low:high[:step] with both ends."
    " Repeatable.",
)
@click.option(
    "-a",
    "--accelerator",
    type=Machine(),
    default="bitx",
    help="The machine: NAME, or NAME:OPTION=VALUE,... for options that keep one value.  [default: bitx]",
)
@click.option("--sample", type=Integer(1), help="Visit only so many points, drawn at random.")
@click.option("--seed", type=Integer(), default=0, show_default=True, help="Seed of --sample.")
@click.option("-j", "--jobs", type=Integer(1), help="Number of processes.  [default: all cores]")
@scheduler_option("points")
@policy_option
@workload_options
@click.option(
    "-o",
    "--output",
    metavar="STORE.h5",
    help="Write the points to an HDF5 store. An interrupted sweep continues there.",
)
@click.option("--restart", is_flag=True, help="Begin anew: drop what an interrupted sweep has finished.")
@result_options
def command(
    model: str,
    vary: tuple[tuple[str, tuple[Any, ...]], ...],
    accelerator: tuple[str, dict[str, Any]],
    sample: int | None,
    seed: int,
    jobs: int | None,
    scheduler: str | None,
    policy: str | None,
    asked: Asked,
    output: str | None,
    restart: bool,
    as_json: bool,
) -> None:
    """Simulate one machine at every combination of option values, and print its Pareto front.

    MODEL is that of bitx simulate. An interrupted sweep with -o continues when the same command is given
    again.
    """
    from time import perf_counter

    from bitxcore.policy import load_policy
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress
    from hwmodel.studies.sweeps import sweep

    name, fixed = accelerator
    varied = dict(vary)
    if len(varied) < len(vary):
        raise click.UsageError("--vary names an option twice")
    parameters: dict[str, Any] = {"command": "sweep", "model": model, "sample": sample}
    parameters |= {name if name in OWN else f"{name}_option": v for name, v in asked.parameters.items()}
    followed = None if policy is None else load_policy(policy)
    parameters["policy"] = None if followed is None else followed.record()
    with asked.open(model) as load:
        current_view().check(load.inputs)
        start = perf_counter()
        with workers_of(scheduler, jobs, processes=True) as workers, progress(None, "sweep") as bar:
            found = sweep(
                load,
                varied,
                store=output,
                accelerator=name,
                fixed=fixed,
                sample=sample,
                seed=seed,
                jobs=jobs,
                workers=workers,
                policy=followed,
                restart=restart,
                parameters=parameters,
                progress=lambda done, total: bar.reach(done, total, f"{done:,}/{total:,}"),
            )
        seconds = perf_counter() - start
    if current_view().write(found.row(i) for i in range(len(found))):
        return
    if as_json:
        out.print_json(_document(found, parameters, output))
        return
    _print(found, seconds)
    out.finish([output], "-o STORE.h5 keeps these points")


# -- what is printed ---------------------------------------------------------------------------


def _print(found: Sweep, seconds: float) -> None:
    from hwmodel.cli import output as out
    from hwmodel.simulation.columns import BY_NAME

    names = list(found.varied)
    reasons: dict[str, int] = {}
    for reason in found.columns["reason"]:
        if reason is not None:
            reasons[reason] = reasons.get(reason, 0) + 1
    failed = sum(reasons.values())
    space = " × ".join(f"{name} ({len(values)})" for name, values in found.varied.items())
    done = len(found) - found.resumed
    title = f"{found.network} on {found.accelerator}: {out.counted(len(found), 'point')} of {space}"
    front = found.front
    if front:
        out.print_rows(
            [
                *(out.Shown(name, name.replace("_", "_\n"), _option) for name in names),
                out.Shown("cycles", "cycles", out.count),
                out.Shown("seconds", "us", out.scaled(1e6), more=True),
                out.Shown("energy_j", "uJ", out.scaled(1e6)),
                out.Shown("relative_error", "rel.\nerror", _percent),
                out.Shown("kept_rows_mean", "rows\nmean", out.number, more=True),
                *(
                    out.Shown(
                        gain, BY_NAME[gain].heading, out.times, more=gain not in _GAINS[::2], if_any=True
                    )
                    for gain in _GAINS
                ),
                out.Shown("area_mm2", "mm2", out.figure),
                out.Shown("dram_bytes", "DRAM\nkB", out.scaled(1e-3), more=True),
            ],
            [found.row(i) for i in front],
            title=title,
            keys=len(names),
        )
        small = " × ".join(_WORDS[name] for name in found.objectives)
        out.say(f"Pareto front of {small}: {len(front):,} of {out.counted(len(found) - failed, 'point')}")
    else:
        out.say(title, "no point could be compared")
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:_REASONS]:
        out.say(f"not possible: {count:,} × {reason}")
    if len(reasons) > _REASONS:
        out.say(f"not possible: {len(reasons) - _REASONS:,} more, in the store's column reason")
    out.say_notes(out.Note("run", f"note: {note}", f"note: {note}") for note in found.notes)
    resumed = f"; {found.resumed:,} had been finished before" if found.resumed else ""
    out.say(f"{out.counted(done, 'point')} in {seconds:,.1f} s{resumed}")


_REASONS = 5
_GAINS = (
    "speedup_over_unpruned",
    "speedup_over_every_bit",
    "speedup_over_all_rows",
    "speedup_over_nonempty_rows",
)
"""Columns of gains over the same machine unpruned; those without values are left out."""
_WORDS = {"seconds": "time", "energy_j": "energy", "relative_error": "error"}


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.3g}%"


def _option(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _document(found: Sweep, parameters: dict[str, Any], output: str | None) -> dict[str, Any]:
    return {
        "parameters": parameters,
        "network": found.network,
        "accelerator": found.accelerator,
        "varied": found.varied,
        "fixed": found.fixed,
        "units": found.units,
        "points": [found.row(i) for i in range(len(found))],
        "objectives": found.objectives,
        "front": found.front,
        "notes": found.notes,
        "resumed_points": found.resumed,
        "written": [output] if output else [],
    }
