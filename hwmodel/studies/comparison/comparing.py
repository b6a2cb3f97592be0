"""The comparison: a run of `simulate_network` on machines that were made alike, and its table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bitxcore.batch.runs.executing import Workers
from bitxcore.errors import OptionError
from bitxcore.progress import Progress
from bitxcore.showing import table_repr
from bitxcore.tables import TableCollector, Tables, TabularResult
from hwmodel.accelerators.base import Accelerator
from hwmodel.operands.distributions import DEFAULT_ACTIVATIONS
from hwmodel.operands.precisions import Precisions
from hwmodel.operands.workload import DumpSource, NetworkSource, StandIns, TraceSource, WeightSource, Workload
from hwmodel.simulation.columns import dtypes_of, units_of
from hwmodel.simulation.result_tables import TableWriter
from hwmodel.simulation.results import NetworkResult
from hwmodel.simulation.run import open_store, simulate_network
from hwmodel.simulation.storing import write_run
from hwmodel.studies.comparison.comparison_rows import COMPARISON_COLUMNS, ComparisonRow, row_of
from hwmodel.studies.comparison.contenders import (
    BASELINE,
    Contender,
    Entry,
    conditions,
    contenders,
    entries,
    split,
)

if TYPE_CHECKING:
    from bitxcore.store import StoreWriter


_TOLD = ("accelerator", "layers", "cycles", "speedup", "speedup_on_chip", "energy_ratio", "area_mm2")
"""What the repr tells of a machine."""


@dataclass(frozen=True, kw_only=True)
class ComparisonResult(TabularResult):
    """A network on all machines.

    Attributes
    ----------
    run : NetworkResult
        Every layer on every machine that takes part.
    rows : tuple of ComparisonRow
        One per machine; those that take no part come last.
    conditions : mapping
        Options that all machines share: clock, cost basis, buffers, DRAM.
    machines : tuple of Accelerator
        Those of the run.
    """

    _main_table = "comparison"

    run: NetworkResult
    rows: tuple[ComparisonRow, ...]
    conditions: Mapping[str, Any]
    machines: tuple[Accelerator, ...]

    def __repr__(self) -> str:
        rows = ({name: getattr(row, name) for name in _TOLD} for row in self.rows)
        machines = f"{len(self.rows)} machines, over DaDianNao"
        return table_repr(f"ComparisonResult: {self.run.network} on {machines}", rows, "by layer: .run")

    def row(self, accelerator: str) -> ComparisonRow:
        """Return the row of an accelerator, by its name in the table."""
        for row in self.rows:
            if row.accelerator == accelerator:
                return row
        known = ", ".join(row.accelerator for row in self.rows)
        raise OptionError(f"accelerator {accelerator!r} is not in this comparison; it has {known}")

    def tables(self) -> Tables:
        """Return the tables that a store of this comparison holds.

        Examples
        --------
        >>> import hwmodel as hw
        >>> found = hw.compare("resnet20-cifar10", accelerators=["dadiannao", "stripes"], precisions=8)
        >>> len(found.tables()["comparison"])
        2
        """
        collector = TableCollector()
        write_run(collector, self.run, self.machines)
        _write(collector, self)
        return collector.tables()

    def _shown(self) -> tuple[str, Iterable[str]]:
        return "comparison", _TOLD


def compare(
    network: NetworkSource | Workload,
    *,
    accelerators: str | Sequence[str] | None = None,
    also: Entry | Accelerator | str | Sequence[Entry | Accelerator | str] = (),
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    dump: DumpSource = None,
    traces: TraceSource = None,
    weights: WeightSource = None,
    activations: StandIns = DEFAULT_ACTIVATIONS,
    precisions: Precisions | str | os.PathLike[str] = None,
    store: str | os.PathLike[str] | StoreWriter | None = None,
    parameters: Mapping[str, Any] | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> ComparisonResult:
    """Compare accelerators on a network, at equal peak, clock and memory.

    Parameters
    ----------
    network : Network, str, path or Workload
        As of `hwmodel.simulate_network`.
    accelerators : str or sequence of str, optional
        Those that enter, with all their variants; by default all that are registered.
    also : str, (str, mapping), Accelerator, or sequence of these, optional
        Further machines: a name, with or without options of its own, made under the common conditions; or a
        machine, used unchanged.
    options : mapping, optional
        Of all machines: clock, buffers, DRAM (see `conditions`).
    settings : mapping of str to mapping, optional
        By accelerator: options of all its variants that do not set them themselves.
    dump, traces, weights, activations, precisions, workers, progress
        As for `hwmodel.simulate_network`. A machine whose operands are missing takes no part, and its row
        says so.
    store : path or StoreWriter, optional
        HDF5 file that receives the run, and the table ``comparison``.
    parameters : mapping, optional
        Further values to record in the store's provenance.

    Returns
    -------
    ComparisonResult

    Raises
    ------
    OptionError
        For an unknown name or option, a bad value, or an object that is not a machine.
    BitxError
        As of `hwmodel.simulate_network`.

    Examples
    --------
    >>> import hwmodel as hw
    >>> found = hw.compare("resnet20-cifar10", accelerators=["dadiannao", "stripes"], precisions=8)
    >>> round(found.row("stripes").speedup_on_chip, 2)
    2.0
    """
    load = Workload.of(
        network, dump=dump, traces=traces, weights=weights, activations=activations, precisions=precisions
    )
    common = conditions(**(options or {}))
    playing, absent = split(contenders([*entries(accelerators), *_listed(also)], common, settings), load)
    machines = tuple(c.machine for c in playing)
    with open_store(store, machines, load, parameters) as writer:
        run = simulate_network(machines, load, store=writer, workers=workers, progress=progress)
        result = summarise(run, playing, absent, common)
        if writer is not None:
            _write(writer, result)
    return result


def summarise(
    run: NetworkResult,
    playing: Sequence[Contender],
    absent: Mapping[str, tuple[Contender, str]],
    common: Mapping[str, Any],
) -> ComparisonResult:
    """Compare the machines of a finished run.

    Parameters
    ----------
    run : NetworkResult
        On the machines of `playing`.
    playing, absent
        From `split`.
    common : mapping
        From `conditions`.
    """
    layers = {c.machine.label: run.of(c.machine.label) for c in playing}
    rows = [row_of(c, playing, layers) for c in playing]
    rows += [_absent_row(c, reason) for c, reason in absent.values()]
    machines = tuple(c.machine for c in playing)
    return ComparisonResult(run=run, rows=tuple(rows), conditions=common, machines=machines)


def _listed(also: object) -> Sequence[Any]:
    """Take one machine as a list of one."""
    one = isinstance(also, tuple) and len(also) == 2 and isinstance(also[1], Mapping)
    return also if isinstance(also, Sequence) and not isinstance(also, str) and not one else (also,)


def _absent_row(c: Contender, reason: str) -> ComparisonRow:
    return ComparisonRow(
        accelerator=c.name,
        label=c.machine.label,
        reason=reason,
        peak_macs_per_cycle=c.machine.peak_macs_per_cycle,
    )


def _write(writer: TableWriter, result: ComparisonResult) -> None:
    """Write the table ``comparison``; its attributes are the conditions."""
    writer.write_table(
        "comparison",
        (asdict(row) for row in result.rows),
        units=units_of(COMPARISON_COLUMNS),
        dtypes=dtypes_of(COMPARISON_COLUMNS),
        attrs={"network": result.run.network, "baseline": BASELINE}
        | {name: "none" if value is None else value for name, value in result.conditions.items()},
    )
