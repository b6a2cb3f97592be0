"""``bitx batch``: one of the other commands over many dumps, in one run that may be interrupted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.clusters import scheduler_option, workers_of
from hwmodel.cli.values import Integer
from hwmodel.cli.view import current_view, result_options

if TYPE_CHECKING:
    from bitxcore.batch.runs.executing import Workers
    from bitxcore.batch.runs.places import Places
    from bitxcore.batch.runs.planning import BatchPlan
    from bitxcore.batch.runs.units import Action

SUMMARY = "batch.h5"
"""Name of the summary store in the folder of --each, if -o names no other."""

SHOWN = {"as_json", "csv_file", "wide", "notes"}

ACTIONS: dict[str, tuple[str, set[str]]] = {
    "inspect": ("statistics of the bits of each dump", {"dumps", "rows", "output"}),
    "prune": ("errors and kept rows; with --each the pruned dumps", {"dump", "output", "store"}),
    "simulate": (
        "cycles of each model on accelerators",
        {"model", "output", "beside_published", "explained", "summary", "top"},
    ),
    "evaluate": (
        "scores of each model, pruned",
        {"model", "task_name", "output", "restart", "write_policy"},
    ),
    "prepare": (
        "errors of prepared weights; with --each the models",
        {"model", "task_name", "output", "restart", "write_policy"},
    ),
}
"""By action: what comes out, and the parameters of its command that the batch sets itself."""

MAKERS = {"inspect": "inspect_action", "prune": "prune_action"}
OF_COMMANDS = {"simulate": "SimulateAction", "evaluate": "EvaluateAction", "prepare": "PrepareAction"}


def _batch_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all actions share."""
    options = (
        click.argument("inputs", metavar="[INPUT...]", nargs=-1),
        click.option(
            "--manifest",
            metavar="FILE",
            help="Also take the dumps that a file names: one per line, or per row (.csv, .json) with a"
            " column path. Relative paths are those from its folder.",
        ),
        click.option(
            "-o", "--output", metavar="RUN.h5", help="The store. An interrupted batch continues there."
        ),
        click.option(
            "--each",
            metavar="FOLDER",
            help="Write a store per dump into a folder, and the dump that is made of it; -o then has the"
            f" list of dumps only.  [default of -o: FOLDER/{SUMMARY}]",
        ),
        click.option("-j", "--jobs", type=Integer(1), help="Number of processes.  [default: all cores]"),
        scheduler_option("dumps, and parts of large ones,"),
        click.option("--wait", is_flag=True, help="Wait for another run on the same output to end."),
        click.option("--keep-parts", is_flag=True, help="Keep the folder RUN.h5.parts when all is done."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and end."),
        click.option(
            "--log-json", metavar="FILE", help="Add a line of JSON per event to a file: start, begun, done…"
        ),
        click.option("-v", "--verbose", is_flag=True, help="Say on standard error what happens."),
        click.option("--profile", is_flag=True, help="Print the time of each stage."),
    )
    for option in reversed(options):
        function = option(function)
    return function


class _Batch(click.Group):
    """The actions, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the actions, in order."""
        return list(ACTIONS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Make the command of an action: the batch's own options, then those of the action's command."""
        return _command_of(name) if name in ACTIONS else None


def _command_of(name: str) -> click.Command:
    from hwmodel.cli import COMMANDS

    what, left_out = ACTIONS[name]
    single: click.Command = import_module(COMMANDS[name]).command

    @click.pass_context
    def run(context: click.Context, /, **values: Any) -> None:
        _run(context, name, values)

    command = click.command(
        name=name,
        help=f"bitx {name} over many dumps: {what}.\n\n"
        "INPUT: dumps, folders that are searched for dumps, or patterns in quotes ('runs/**/*.npz'). When it"
        " was interrupted, the same command goes on.",
        short_help=what,
    )(_batch_options(result_options(run)))
    own = {parameter.name for parameter in command.params}
    skipped = left_out | own | SHOWN
    command.params += [parameter for parameter in single.params if parameter.name not in skipped]
    return command


@click.group(name="batch", cls=_Batch, subcommand_metavar="ACTION [INPUT...] [OPTIONS]")
def command() -> None:
    """Do one thing with many dumps; what was interrupted goes on.

    The actions take the options of the commands that they are named after.
    """


# -- running -----------------------------------------------------------------------------------


def _run(context: click.Context, name: str, values: dict[str, Any]) -> None:
    from bitxcore.batch.runs.dump_actions import MEMORY
    from bitxcore.batch.runs.events import JsonLog
    from bitxcore.batch.runs.executing import local_workers
    from bitxcore.batch.runs.inputs import find_inputs
    from bitxcore.batch.runs.planning import plan_batch
    from bitxcore.batch.runs.running import run_batch
    from hwmodel.cli import batch_report as report
    from hwmodel.cli import output as out
    from hwmodel.cli.batch_actions import plain
    from hwmodel.cli.ending import advising

    asked = {key: values.pop(key) for key in ("inputs", "manifest", "output", "each", "jobs", "wait")}
    asked["scheduler"] = values.pop("scheduler")
    asked |= {key: values.pop(key) for key in ("keep_parts", "dry_run", "log_json", "verbose", "profile")}
    as_json = values.pop("as_json")
    if asked["output"] is None and asked["each"] is None:
        raise click.UsageError("say where results go: -o RUN.h5, or --each FOLDER")
    if not asked["inputs"] and asked["manifest"] is None:
        raise click.UsageError("say what the batch is of: INPUT, or --manifest FILE")
    recorded = {key: value for key, value in values.items() if key != MEMORY}
    parameters = {"command": f"batch {name}", **plain(recorded)}
    action = _action(context, name, values)
    places = _places(asked["output"], asked["each"])
    own = [places.output, places.output.with_name(f"{places.output.name}.parts"), *_given(places.each)]
    plan = plan_batch(action, find_inputs(asked["inputs"], asked["manifest"], without=own), places.each)
    workers: Workers = local_workers(asked["jobs"], plan.units)
    if asked["dry_run"]:
        report.print_plan(plan, workers.size, _expected(plan, workers, asked["scheduler"]), as_json=as_json)
        return
    _check_log(asked["log_json"], plan, places)
    current_view().check([*(file for dump in plan.dumps for file in dump.files), *action.files()])
    if places.each is not None:
        places.each.mkdir(exist_ok=True)
    with ExitStack() as opened:
        workers = (
            opened.enter_context(workers_of(asked["scheduler"], asked["jobs"], processes=True)) or workers
        )
        if asked["verbose"]:
            report.say_plan(plan, workers.size, _expected(plan, workers, asked["scheduler"]))
        opened.enter_context(
            advising(f"{places.output.name}.parts keeps what is done; the same command goes on")
        )
        watch = opened.enter_context(report.watching(plan, workers.size, name, verbose=asked["verbose"]))
        tells = [watch]
        if asked["log_json"]:
            tells.append(opened.enter_context(JsonLog(Path(asked["log_json"]))))

        def tell(event: str, facts: dict[str, Any]) -> None:
            for each in tells:
                each(event, facts)

        found = run_batch(
            action,
            plan,
            places,
            workers=workers,
            wait=asked["wait"],
            keep_parts=asked["keep_parts"],
            parameters=parameters,
            tell=tell,
        )
    if not current_view().write(report.rows(found)):
        if as_json:
            out.print_json(report.document(found, parameters, places))
        else:
            report.print_report(found, plan, places, profile=asked["profile"])
    if found.failed:
        context.exit(1)


def _action(context: click.Context, name: str, values: dict[str, Any]) -> Action:
    from hwmodel.cli import batch_actions

    made: Action
    if name in MAKERS:
        made = getattr(batch_actions, MAKERS[name])(values)
        return made
    commandline = click.core.ParameterSource.COMMANDLINE
    given = tuple(key for key in values if context.get_parameter_source(key) is commandline)
    made = getattr(batch_actions, OF_COMMANDS[name])(values=values, given=given)
    return made


def _expected(plan: BatchPlan, workers: Workers, scheduler: str | None) -> float | None:
    """Estimate the time, unless other machines do the work."""
    from bitxcore.batch.runs.expecting import expected_seconds

    return expected_seconds(plan, workers.size) if scheduler in (None, "local") else None


def _places(output: str | None, each: str | None) -> Places:
    from bitxcore.batch.runs.places import Places
    from bitxcore.remote.remote_path import as_path

    folder = None if each is None else as_path(each)
    if output is not None:
        return Places(as_path(output), folder)
    assert folder is not None
    return Places(folder / SUMMARY, folder)


def _given(*paths: Path | None) -> list[Path]:
    return [path for path in paths if path is not None]


def _check_log(path: str | None, plan: BatchPlan, places: Places) -> None:
    """Refuse a log that would be added to an input or to the store."""
    import os

    from bitxcore.files import check_target

    if path is None:
        return
    read = [os.path.realpath(file) for dump in plan.dumps for file in (dump.path, *dump.files)]
    check_target(Path(path), read)
    if os.path.realpath(path) == os.path.realpath(places.output):
        raise click.UsageError("--log-json and --output are the same file")
