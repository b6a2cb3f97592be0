"""The comparison: a run of `simulate_network` on machines that were made alike, and its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from bitxcore.errors import TensorError
from hwmodel.accelerators.base import Accelerator
from hwmodel.networks.network import Network
from hwmodel.operands.distributions import DEFAULT_ACTIVATIONS
from hwmodel.operands.precisions import Precisions
from hwmodel.operands.sources import Named, Source, TraceSource
from hwmodel.simulation.results import NetworkResult
from hwmodel.simulation.simulate import Progress, input_files, open_store, simulate_network
from hwmodel.studies.comparison.comparison_rows import UNITS, ComparisonRow, row_of
from hwmodel.studies.comparison.contenders import BASELINE, Contender, conditions, contenders, entries, split

if TYPE_CHECKING:
    from bitxcore.store import StoreWriter

_DTYPES: dict[str, Any] = {
    name: str if not unit else np.int64 if name in ("layers", "not_applicable", "cycles") else float
    for name, unit in UNITS.items()
} | {"common_layers": np.int64, "best_other_layers": np.int64}


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """A network on all machines.

    Attributes
    ----------
    run : NetworkResult
        Every layer on every machine that takes part.
    rows : tuple of ComparisonRow
        One a machine; those that take no part come last.
    conditions : mapping
        Options that all machines share: clock, cost basis, buffers, DRAM.
    machines : tuple of Accelerator
        Those of the run.
    """

    run: NetworkResult
    rows: tuple[ComparisonRow, ...]
    conditions: Mapping[str, Any]
    machines: tuple[Accelerator, ...]

    def row(self, accelerator: str) -> ComparisonRow:
        """Return the row of an accelerator, by its name in the table."""
        for row in self.rows:
            if row.accelerator == accelerator:
                return row
        known = ", ".join(row.accelerator for row in self.rows)
        raise TensorError(f"accelerator {accelerator!r} is not in this comparison; it has {known}")


def compare(
    network: Network,
    *,
    accelerators: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    dump: Source = None,
    traces: TraceSource = None,
    weights: Named = None,
    activations: Named = DEFAULT_ACTIVATIONS,
    precisions: Precisions | str | PathLike[str] = None,
    store: str | PathLike[str] | StoreWriter | None = None,
    progress: Progress | None = None,
) -> ComparisonResult:
    """Compare accelerators on a network, at equal peak, clock and memory.

    Parameters
    ----------
    network : Network
    accelerators : sequence of str, optional
        By default all that are registered.
    options : mapping, optional
        Of all machines: clock, buffers, DRAM (see `conditions`).
    dump, traces, weights, activations, precisions, progress
        As for `simulate_network`. A machine whose operands are missing takes no part, and its row says
        so.
    store : path or StoreWriter, optional
        HDF5 file that receives the run, and the table ``comparison``.

    Returns
    -------
    ComparisonResult
    """
    common = conditions(**(options or {}))
    everyone = contenders(entries(accelerators), common)
    source = dump if dump is not None or weights is not None else network.path
    playing, absent = split(
        everyone,
        weights=source is not None or weights is not None,
        activations=traces is not None or activations is not None,
    )
    machines = [c.machine for c in playing]
    with open_store(store, machines, source, *input_files(traces, precisions)) as writer:
        run = simulate_network(
            machines,
            network,
            dump=dump,
            traces=traces,
            weights=weights,
            activations=activations,
            precisions=precisions,
            store=writer,
            progress=progress,
        )
        result = summarise(run, playing, absent, common)
        if writer is not None:
            write_comparison(writer, result)
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
    layers = {c.name: run.of(c.machine.label) for c in playing}
    rows = [row_of(c, playing, layers) for c in playing]
    rows += [
        ComparisonRow(
            accelerator=name,
            label=c.machine.label,
            reason=reason,
            peak_macs_per_cycle=c.machine.peak_macs_per_cycle,
        )
        for name, (c, reason) in absent.items()
    ]
    return ComparisonResult(
        run=run, rows=tuple(rows), conditions=common, machines=tuple(c.machine for c in playing)
    )


def write_comparison(writer: StoreWriter, result: ComparisonResult) -> None:
    """Write the table ``comparison``; its attributes are the conditions."""
    writer.write_table(
        "comparison",
        (asdict(row) for row in result.rows),
        units=UNITS,
        dtypes=_DTYPES,
        attrs={"network": result.run.network, "baseline": BASELINE}
        | {name: "none" if value is None else value for name, value in result.conditions.items()},
    )
