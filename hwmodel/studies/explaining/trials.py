"""What changes bring: each is simulated, beside the machine as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bitxcore.errors import BitxError, OptionError
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.changes import Change
from hwmodel.networks.network import Network
from hwmodel.operands.sources import OperandSource
from hwmodel.simulation.results import LayerResult
from hwmodel.studies.variants import Variant, simulate_variants


@dataclass(frozen=True)
class Trial:
    """A change, simulated.

    Attributes
    ----------
    change : Change
    kind : str
        That of the change; ``"accuracy"`` if the weights' error was found to grow.
    cycles, saved_cycles : int or None
        Of the layers that were simulated again, and less than before.
    gain : float or None
        Cycles before over cycles after.
    area_mm2, energy_j, relative_error : float or None
    added_area_share : float or None
        Area more than before, over that before; DRAM has none.
    reason : str or None
        Why the change is not possible; then there are no numbers.
    """

    change: Change
    kind: str
    cycles: int | None = None
    saved_cycles: int | None = None
    gain: float | None = None
    area_mm2: float | None = None
    added_area_share: float | None = None
    energy_j: float | None = None
    relative_error: float | None = None
    reason: str | None = None


def heaviest(network: Network, run: Sequence[LayerResult], seconds: float) -> Network:
    """Keep the layers with most cycles that nominally fit into a time; one at least."""
    entries = {entry.layer.name: entry for entry in network.layers}
    chosen: set[str] = set()
    for row in sorted(run, key=lambda row: -(row.cycles or 0)):
        seconds -= row.parameters / 1e8 + row.macs / 1e10
        if chosen and seconds < 0:
            break
        chosen.add(row.layer)
    return replace(network, layers=tuple(e for name, e in entries.items() if name in chosen))


def try_changes(machine: Accelerator, network: Network, source: OperandSource) -> Iterator[Trial]:
    """Simulate all changes, and the machine as it is beside them."""
    possible: list[tuple[Change, Accelerator]] = []
    for change in machine.changes():
        try:
            changed = replace(machine, **change.options)
        except BitxError as error:
            yield Trial(change, change.kind, reason=str(error))
        else:
            possible.append((change, changed))
    machines = [machine, *(changed for _, changed in possible)]
    base, *variants = simulate_variants(machines, network, source)
    for (change, _), variant in zip(possible, variants, strict=True):
        yield _trial(change, base, variant)


def _trial(change: Change, base: Variant, variant: Variant) -> Trial:
    before, after = base.total, variant.total
    if before is None:
        raise OptionError(f"{base.machine.label}: {base.reason}")
    if after is None or after.layers < before.layers:
        reason = variant.reason or next(r.reason for r in variant.rows if r.reason)
        return Trial(change, change.kind, reason=reason)
    worse = (variant.relative_error or 0.0) > (base.relative_error or 0.0)
    areas = (before.area_mm2, after.area_mm2)
    return Trial(
        change,
        "accuracy" if worse else change.kind,
        cycles=after.cycles,
        saved_cycles=before.cycles - after.cycles,
        gain=before.cycles / after.cycles if after.cycles else None,
        area_mm2=after.area_mm2,
        added_area_share=areas[1] / areas[0] - 1 if areas[0] and areas[1] else None,
        energy_j=after.energy_j,
        relative_error=variant.relative_error,
    )
