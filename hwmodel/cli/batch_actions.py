"""Actions of ``bitx batch``: from options as given to what is done with each dump.

Inspecting and pruning are those of `bitxcore.batch.runs`. The others run their own command, each dump for
itself, and take the tables from its store.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from bitxcore.batch.runs.clock import Clock
from bitxcore.batch.runs.dump_actions import InspectAction, PruneAction
from bitxcore.batch.runs.keys import Digests
from bitxcore.batch.runs.needs import MemoryNeed
from bitxcore.batch.runs.parts import Arrays, BatchPart, tables_of
from bitxcore.batch.runs.units import Action, BatchJob
from bitxcore.dumps import Dump, Tensor
from hwmodel.cli.options import refuse_beside_policy, settle_grouping


def inspect_action(values: dict[str, Any]) -> InspectAction:
    """Return what inspects, from the options of ``bitx inspect``."""
    selection, layout = _selection(values)
    settle_grouping(values)
    return InspectAction(selection, layout, values)


def prune_action(values: dict[str, Any]) -> PruneAction:
    """Return what prunes, from the options of ``bitx prune``."""
    from functools import partial

    from bitxcore.batch import POLICY_OPTIONS
    from bitxcore.policy import load_policy
    from hwmodel import open_norms

    selection, layout = _selection(values)
    policy, norms, masks = (values.pop(name) for name in ("policy", "norms", "masks"))
    if norms and values["criterion"] != "calibrated":
        raise click.UsageError("--norms needs --criterion calibrated")
    if values["criterion"] == "calibrated" and not norms:
        raise click.UsageError("--criterion calibrated needs --norms")
    if policy is None:
        settle_grouping(values, also=("rows",))
    else:
        set_by_policy = {"preset", *POLICY_OPTIONS}
        refuse_beside_policy(name for name in values if name in set_by_policy)
        values = {name: value for name, value in values.items() if name not in set_by_policy}
        load_policy(policy)
    read = partial(open_norms, norms) if norms else None
    return PruneAction(
        selection, layout, values, policy=policy, norms=read, norms_path=norms, masks=bool(masks)
    )


def _selection(values: dict[str, Any]) -> tuple[Any, str | None]:
    from bitxcore.batch import Selection

    chosen = Selection(*(values.pop(name) for name in ("include", "exclude", "min_dims")))
    return chosen, values.pop("layout")


@dataclass(frozen=True)
class CommandAction(Action):
    """What a command does with each dump.

    Parameters
    ----------
    values : mapping
        Of all its options but the dump and where results go.
    given : tuple of str
        Names of those that were given, not left at their defaults.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    packages = ("bitxcore", "hwmodel")
    by_path = True  # networks are named after files

    def document(self, digests: Digests) -> dict[str, Any]:
        """Return the options, and what the files hold that they name."""
        files = {str(path): digests.of_path(path) for path in self._paths()}
        return {"action": self.name, "options": plain(self.values), "given": list(self.given), "files": files}

    def files(self) -> list[Path]:
        """Files that options name."""
        return [path for path in self._paths() if path.is_file()]

    def _paths(self) -> list[Path]:
        from bitxcore.remote.remote_path import as_path
        from hwmodel.cli.view import existing_paths

        return sorted({as_path(path) for path in existing_paths(self.values)})

    def _call(self, *args: str) -> str:
        """Run the command, with these arguments besides the options; return what it prints."""
        from hwmodel.cli import COMMANDS

        command: click.Command = import_module(COMMANDS[self.name]).command
        printed = io.StringIO()
        with (
            redirect_stdout(printed),
            redirect_stderr(io.StringIO()),  # where progress sees no terminal
            command.make_context(self.name, list(args)) as context,
        ):
            context.params |= self.values
            for name in self.given:
                context.set_parameter_source(name, click.core.ParameterSource.COMMANDLINE)
            command.invoke(context)
        return printed.getvalue()


@dataclass(frozen=True)
class _ByStore(CommandAction):
    """A command whose store holds its results."""

    def run(self, job: BatchJob, part: BatchPart, clock: Clock) -> None:
        """Run the command with a store in the unit's folder, and take what is in there."""
        from bitxcore.store import Store

        folder = Path(job.scratch)
        folder.mkdir(parents=True, exist_ok=True)
        store = folder / "results.h5"
        self._call(job.path, "-o", str(store))
        with clock.stage("read"), Store.open(store) as opened:
            tables_of(part, opened.read_tables())
            for name, arrays in opened.tensors.items():
                part.tensors[name] = Arrays(arrays, opened.tensor_units(name), opened.tensor_attrs(name))
        _count(job, part)


@dataclass(frozen=True)
class SimulateAction(_ByStore):
    """``bitx simulate`` of each dump."""

    name = "simulate"


@dataclass(frozen=True)
class EvaluateAction(_ByStore):
    """``bitx evaluate`` of each model; one that was interrupted goes on within."""

    name = "evaluate"

    def memory(self, dump: Dump, tensors: Sequence[Tensor]) -> Iterable[MemoryNeed]:
        """Return about three times the model."""
        return [MemoryNeed.fixed(3 * sum(tensor.nbytes for tensor in tensors))]


@dataclass(frozen=True)
class PrepareAction(CommandAction):
    """``bitx prepare`` of each model; one that was interrupted goes on within."""

    name = "prepare"
    makes_dump = True

    def memory(self, dump: Dump, tensors: Sequence[Tensor]) -> Iterable[MemoryNeed]:
        """Return about four times the model."""
        return [MemoryNeed.fixed(4 * sum(tensor.nbytes for tensor in tensors))]

    def run(self, job: BatchJob, part: BatchPart, clock: Clock) -> None:
        """Prepare the model, and take the table from what the command prints."""
        from hwmodel.preparation import PreparedTensor
        from hwmodel.preparation.fitting import PreparationReport

        folder = Path(job.scratch)
        folder.mkdir(parents=True, exist_ok=True)
        out = folder / Path(job.path).name if job.out is None else Path(job.out)
        document = json.loads(self._call(job.path, "-o", str(out), "--json"))
        report = PreparationReport(PreparedTensor(**row) for row in document["tensors"])
        tables_of(part, report.tables())
        _count(job, part)


def _count(job: BatchJob, part: BatchPart) -> None:
    from bitxcore.dumps import open_dump

    with open_dump(job.path) as dump:
        part.values, part.nbytes = _size(dump)


def _size(dump: Dump) -> tuple[int, int]:
    return sum(tensor.size for tensor in dump.values()), sum(tensor.nbytes for tensor in dump.values())


def plain(value: Any) -> Any:
    """Reduce values of options to JSON's types.

    Examples
    --------
    >>> plain({"rows": (4, None), "options": {"dram": None}})
    {'rows': [4, None], 'options': {'dram': None}}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
