"""Where a machine's time goes on a network, and what would help most."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from bitxcore.errors import OptionError
from bitxcore.showing import table_repr
from bitxcore.tables import TableCollector, Tables, TabularResult
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.changes import KINDS
from hwmodel.accelerators.registry import as_accelerator
from hwmodel.operands.distributions import DEFAULT_ACTIVATIONS
from hwmodel.operands.precisions import Precisions
from hwmodel.operands.workload import DumpSource, NetworkSource, StandIns, TraceSource, WeightSource, Workload
from hwmodel.simulation.results import LayerResult
from hwmodel.simulation.run import simulate_network
from hwmodel.studies.explaining.rooflines import ROOFLINE_UNITS, Cause, Roofline, causes_of, roofline_of
from hwmodel.studies.explaining.trials import Trial, heaviest, try_changes

EFFORT_S = 20.0
"""Nominal seconds of re-simulation, at 1e8 weights and 1e10 multiply-accumulates per second and machine."""


@dataclass(frozen=True)
class Explanation(TabularResult):
    """What `explain` found.

    Attributes
    ----------
    accelerator : str
    cycles : int
        Of the network.
    causes : tuple of Cause
        All that have cycles, the largest first.
    layers : tuple of Roofline
        Of the layers that the machine runs.
    trials : tuple of Trial
        Those that save most first.
    tried_layers : tuple of str
        Layers that were simulated again.
    tried_cycles : int
        Their cycles before.
    """

    _main_table = "rooflines"

    accelerator: str
    cycles: int
    causes: tuple[Cause, ...]
    layers: tuple[Roofline, ...]
    trials: tuple[Trial, ...]
    tried_layers: tuple[str, ...]
    tried_cycles: int

    def __repr__(self) -> str:
        causes = ({"cause": c.name, "cycles": c.cycles, "share": c.share} for c in self.causes)
        best = [(kind, self.best(kind)) for kind in KINDS]
        helps = [f"{kind}: {t.change.words} saves {t.saved_cycles:,} cycles" for kind, t in best if t]
        layers = f"{self.cycles:,} cycles in {len(self.layers)} layers"
        return table_repr(f"Explanation: {self.accelerator}, {layers}", causes, *helps)

    def best(self, kind: str | None = None) -> Trial | None:
        """Change, of a kind, that saves most cycles; None if none saves any."""
        found = (t for t in self.trials if t.saved_cycles and t.saved_cycles > 0 and kind in (None, t.kind))
        return next(found, None)

    def tables(self) -> Tables:
        """Return the causes, the rooflines of the layers and the changes that were tried, as tables.

        Examples
        --------
        >>> import hwmodel as hw
        >>> found = hw.explain("dadiannao", "resnet20-cifar10", effort_s=1)
        >>> list(found.tables())
        ['causes', 'rooflines', 'changes']
        """
        collector = TableCollector()
        causes = [
            {"cause": c.name, "meaning": c.description, "cycles": c.cycles, "share": c.share}
            for c in self.causes
        ]
        units = {"cause": "", "meaning": "", "cycles": "cycles", "share": "1"}
        collector.write_table("causes", causes, units=units)
        collector.write_table("rooflines", [layer.columns() for layer in self.layers], units=ROOFLINE_UNITS)
        changes = [
            {
                "change": t.change.words,
                **{name: getattr(t, name) for name in CHANGE_UNITS if name != "change"},
            }
            for t in self.trials
        ]
        collector.write_table("changes", changes, units=CHANGE_UNITS)
        return collector.tables()

    def _shown(self) -> tuple[str, Iterable[str]]:
        return "causes", ("cause", "meaning", "cycles", "share")


CHANGE_UNITS: dict[str, str] = {
    "change": "",
    "kind": "",
    "cycles": "cycles",
    "saved_cycles": "cycles",
    "gain": "1",
    "area_mm2": "mm2",
    "added_area_share": "1",
    "energy_j": "J",
    "relative_error": "1",
    "reason": "",
}
"""Unit of each column of the table ``changes``; ``""`` for text."""


def explain(
    machine: Accelerator | str,
    network: NetworkSource | Workload,
    *,
    dump: DumpSource = None,
    traces: TraceSource = None,
    weights: WeightSource = None,
    activations: StandIns = DEFAULT_ACTIVATIONS,
    precisions: Precisions | str | os.PathLike[str] = None,
    rows: Sequence[LayerResult] | None = None,
    effort_s: float = EFFORT_S,
) -> Explanation:
    """Find the causes of a machine's cycles, and simulate changes that might save some.

    Parameters
    ----------
    machine : Accelerator or str
    network : Network, str, path or Workload
    dump, traces, weights, activations, precisions : optional
        As in `hwmodel.simulate_network`.
    rows : sequence of LayerResult, optional
        Results of the machine, if they exist already.
    effort_s : float
        Changes are tried on the layers with most cycles: as many layers as fit into this nominal time (see
        `EFFORT_S`), at least one. The layers are the same on every computer.

    Returns
    -------
    Explanation

    Examples
    --------
    >>> import hwmodel as hw
    >>> found = hw.explain("dadiannao", "resnet20-cifar10", effort_s=1)
    >>> found.causes[0].name
    'compute_cycles'
    """
    machine = as_accelerator(machine)
    load = Workload.of(
        network, dump=dump, traces=traces, weights=weights, activations=activations, precisions=precisions
    )
    if rows is None:
        rows = simulate_network(machine, load).layers
    elif [(row.accelerator, row.layer) for row in rows] != [
        (machine.label, entry.layer.name) for entry in load.network.layers
    ]:
        raise OptionError(
            f"rows must be the results of {machine.label!r} on every layer of network {load.network.name!r}"
        )
    run = [row for row in rows if row.cycles]
    tried = heaviest(load.network, run, effort_s / (1 + len(list(machine.changes()))))
    with load.open([machine]) as source:
        trials = list(try_changes(machine, tried, source))
    cycles = sum(row.cycles or 0 for row in run)
    names = {layer.name for layer in tried}
    return Explanation(
        accelerator=machine.label,
        cycles=cycles,
        causes=tuple(sorted(causes_of(run, cycles), key=lambda cause: -cause.cycles)),
        layers=tuple(roofline_of(row) for row in run),
        trials=tuple(
            sorted(trials, key=lambda t: -inf if t.saved_cycles is None else t.saved_cycles, reverse=True)
        ),
        tried_layers=tuple(layer.name for layer in tried),
        tried_cycles=sum(row.cycles or 0 for row in run if row.layer in names),
    )
