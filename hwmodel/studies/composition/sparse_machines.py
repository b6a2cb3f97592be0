"""The machines that were built for software-pruned weights, on the weights of a composition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bitxcore.dumps import open_dump
from hwmodel.networks.network import Network
from hwmodel.operands.operands import activation_shape
from hwmodel.simulation.results import LayerResult, NetworkResult
from hwmodel.simulation.run import simulate_network
from hwmodel.studies.comparison import Contender, conditions, contenders, entries
from hwmodel.studies.composition.composed_rows import PLAIN, MachineRow

SPARSE = ("eie", "ese", "scnn", "cambricon_s", "cnvlutin", "bit_tactical")
"""Accelerators that skip zeros, of weights, activations or both."""


def sparse_machines(names: Sequence[str]) -> tuple[Contender, ...]:
    """Make the machines, equal in peak, clock and memory, as `hwmodel.compare` does."""
    return contenders(entries(names), conditions()) if names else ()


def simulated(
    machines: Sequence[Contender], network: Network, weights: Path, operands: Mapping[str, Any]
) -> NetworkResult:
    """Run a network with the weights of a file; `operands` say where its activations are."""
    with open_dump(weights) as dump:
        return simulate_network([c.machine for c in machines], network, dump=dump, **operands)


def machine_rows(
    machines: Sequence[Contender],
    runs: Mapping[tuple[str, int | None], NetworkResult],
    zeros: Mapping[tuple[str, int | None], float],
) -> Iterator[MachineRow]:
    """Hold each run against the machine's own on the plain weights, over the layers that it runs of both.

    Parameters
    ----------
    machines : sequence of Contender
    runs : mapping of (str, int or None) to NetworkResult
        By weights and the rows that are kept of them.
    zeros : mapping
        Share of zeros, by the same keys.
    """
    for c in machines:
        before = _applicable(runs[PLAIN, None].of(c.machine.label))
        for (weights, rows), run in runs.items():
            every = run.of(c.machine.label)
            own = _applicable(every)
            both = own.keys() & before.keys()
            reasons = [r.reason for r in every if r.reason]
            yield MachineRow(
                accelerator=c.name,
                weights=weights,
                rows=rows,
                zeros=zeros[weights, rows],
                layers=len(own),
                not_applicable=len(every) - len(own),
                reason=reasons[0] if reasons and not own else None,
                cycles=sum(r.cycles or 0 for r in own.values()) if own else None,
                on_chip_cycles=sum(r.on_chip_cycles or 0 for r in own.values()) if own else None,
                common_layers=len(both),
                gain=_gain(before, own, "cycles"),
                on_chip_gain=_gain(before, own, "on_chip_cycles"),
            )


def _applicable(rows: Sequence[LayerResult]) -> dict[str, LayerResult]:
    return {row.layer: row for row in rows if row.applicable}


def _gain(before: Mapping[str, LayerResult], own: Mapping[str, LayerResult], reading: str) -> float | None:
    both = own.keys() & before.keys()
    over, under = (sum(getattr(rows[name], reading) or 0 for name in both) for rows in (before, own))
    return over / under if under else None


def same_shapes(a: Network, b: Network) -> bool:
    """Whether the layers of two networks have the same names and take activations of the same shapes."""
    first, second = ({x.layer.name: activation_shape(x.layer) for x in net.layers} for net in (a, b))
    return first == second
