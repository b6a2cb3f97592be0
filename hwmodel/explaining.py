"""Where a machine's time goes on a network, and which change of one of its parameters would help most.

Two views of every layer: the causes of its cycles, and its place under a roofline (S. Williams, A. Waterman,
D. Patterson, "Roofline: an insightful visual performance model for multicore architectures", CACM 2009):
multiply-accumulates a cycle against those a byte of DRAM traffic. What a change would bring is not
estimated: each is simulated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from os import PathLike
from typing import Any

from bitxcore.errors import BitxError
from hwmodel.accelerators import accelerator
from hwmodel.accelerators.base import Accelerator
from hwmodel.activations import DEFAULT_ACTIVATIONS
from hwmodel.feeding import Feed, Named, Source, TraceSource, opened
from hwmodel.networks import Network
from hwmodel.passes import CAUSES
from hwmodel.precisions import Precisions
from hwmodel.results import LayerResult
from hwmodel.simulation import simulate_network
from hwmodel.variants import Variant, simulate_variants

KINDS = {
    "equal peak": "equal peak",
    "hardware": "adds hardware",
    "accuracy": "lowers accuracy",
}
"""What a change costs. At equal peak the weights' error does not grow either."""

LARGEST_CAUSES = 3

EFFORT_S = 20.0
"""Nominal seconds of re-simulation: a machine takes 1e8 weights, and 1e10 multiply-accumulates, a second."""


# -- records -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cause:
    """One cause of a network's cycles.

    Attributes
    ----------
    name : str
        A key of `hwmodel.passes.CAUSES`.
    cycles : int
    share : float
        Of all cycles.
    layers : tuple of (str, int)
        Layers with cycles of this cause, and how many; most first.
    """

    name: str
    cycles: int
    share: float
    layers: tuple[tuple[str, int], ...]

    @property
    def description(self) -> str:
        """The cause in words."""
        return CAUSES[self.name]


ROOFLINE_UNITS: dict[str, str] = {
    "layer": "",
    "macs": "1",
    "cycles": "cycles",
    "bound_by": "",
    "bound_share": "1",
    "attained_macs_per_cycle": "1/cycle",
    "peak_macs_per_cycle": "1/cycle",
    "intensity_macs_per_byte": "1/B",
    "memory_roof_macs_per_cycle": "1/cycle",
    "roof_macs_per_cycle": "1/cycle",
    "roof": "",
    "attained_share_of_roof": "1",
}
"""Unit of each column of `Roofline.columns`; ``""`` for text."""


@dataclass(frozen=True)
class Roofline:
    """One layer on one machine under its roofs.

    Attributes
    ----------
    layer : str
    macs, cycles : int
    causes : mapping of str to int
        Cycles by cause, without those that have none.
    peak_macs_per_cycle : float
        Multiply-accumulates a cycle at 16 bits, nothing skipped. A machine that skips bits or values may
        attain more.
    intensity_macs_per_byte : float or None
        Multiply-accumulates a byte of DRAM traffic; None where no traffic is counted.
    memory_roof_macs_per_cycle : float or None
        Intensity times the bandwidth with which the memory moves this layer's traffic; None for a memory
        without limits.
    """

    layer: str
    macs: int
    cycles: int
    causes: Mapping[str, int]
    peak_macs_per_cycle: float
    intensity_macs_per_byte: float | None
    memory_roof_macs_per_cycle: float | None

    @property
    def bound_by(self) -> str:
        """Cause of most cycles; of equals the first that is charged."""
        return max(self.causes, key=lambda cause: self.causes[cause])

    @property
    def bound_share(self) -> float:
        """Share of the layer's cycles that this cause has."""
        return self.causes[self.bound_by] / self.cycles

    @property
    def attained_macs_per_cycle(self) -> float:
        """Multiply-accumulates a cycle."""
        return self.macs / self.cycles

    @property
    def roof(self) -> str:
        """Name the lower of the two roofs: ``"compute"`` or ``"memory"``."""
        return "memory" if self.roof_macs_per_cycle < self.peak_macs_per_cycle else "compute"

    @property
    def roof_macs_per_cycle(self) -> float:
        """The lower of the two roofs."""
        memory = self.memory_roof_macs_per_cycle
        return min(self.peak_macs_per_cycle, inf if memory is None else memory)

    @property
    def attained_share_of_roof(self) -> float:
        """What is attained over the roof; above 1 where bits or values are skipped."""
        return self.attained_macs_per_cycle / self.roof_macs_per_cycle

    @property
    def words(self) -> str:
        """The layer in a sentence."""
        shares = sorted(self.causes.items(), key=lambda item: -item[1])
        spent = ", ".join(
            f"{n / self.cycles:.0%} {_short(cause)}" for cause, n in shares if 50 * n >= self.cycles
        )
        return (
            f"{self.layer}: {self.attained_macs_per_cycle:,.4g} MACs a cycle,"
            f" {self.attained_share_of_roof:.1%} of its {self.roof} roof; {spent}"
        )

    def columns(self) -> dict[str, Any]:
        """Return one table row: a value, or None, for each name in `ROOFLINE_UNITS`."""
        return {name: getattr(self, name) for name in ROOFLINE_UNITS}


@dataclass(frozen=True)
class Change:
    """A machine that differs in one thing.

    Attributes
    ----------
    words : str
    kind : str
        A key of `KINDS`.
    options : mapping of str to value
        What is set anew.
    """

    words: str
    kind: str
    options: Mapping[str, Any]


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


@dataclass(frozen=True)
class Explanation:
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

    accelerator: str
    cycles: int
    causes: tuple[Cause, ...]
    layers: tuple[Roofline, ...]
    trials: tuple[Trial, ...]
    tried_layers: tuple[str, ...]
    tried_cycles: int

    def best(self, kind: str | None = None) -> Trial | None:
        """Change, of a kind, that saves most cycles; None if none saves any."""
        found = (t for t in self.trials if t.saved_cycles and t.saved_cycles > 0 and kind in (None, t.kind))
        return next(found, None)


# -- the work ----------------------------------------------------------------------------------


def explain(
    machine: Accelerator,
    network: Network,
    *,
    dump: Source = None,
    traces: TraceSource = None,
    weights: Named = None,
    activations: Named = DEFAULT_ACTIVATIONS,
    precisions: Precisions | str | PathLike[str] = None,
    rows: Sequence[LayerResult] | None = None,
    effort_s: float = EFFORT_S,
) -> Explanation:
    """Say what a machine's cycles are spent on, and simulate what might save some.

    Parameters
    ----------
    machine : Accelerator
    network : Network
    dump, traces, weights, activations, precisions : optional
        As in `hwmodel.simulate_network`.
    rows : sequence of LayerResult, optional
        The machine's results, if they are there already.
    effort_s : float
        Changes are tried on the layers with most cycles, as many as nominally (see `EFFORT_S`) fit into this
        time, one at least. The same layers on every computer.

    Returns
    -------
    Explanation
    """
    operands: dict[str, Any] = {"dump": dump, "traces": traces, "weights": weights}
    operands |= {"activations": activations, "precisions": precisions}
    if rows is None:
        rows = simulate_network(machine, network, **operands).layers
    run = [row for row in rows if row.cycles]
    tried = _heaviest(network, run, effort_s / (1 + len(list(changes(machine)))))
    with opened(network, **operands, machines=[machine]) as feed:
        trials = list(_try(machine, tried, feed))
    cycles = sum(row.cycles or 0 for row in run)
    names = {layer.name for layer in tried}
    return Explanation(
        accelerator=machine.label,
        cycles=cycles,
        causes=tuple(sorted(_causes(run, cycles), key=lambda cause: -cause.cycles)),
        layers=tuple(_roofline(row) for row in run),
        trials=tuple(
            sorted(trials, key=lambda t: -inf if t.saved_cycles is None else t.saved_cycles, reverse=True)
        ),
        tried_layers=tuple(layer.name for layer in tried),
        tried_cycles=sum(row.cycles or 0 for row in run if row.layer in names),
    )


def changes(machine: Accelerator) -> Iterator[Change]:
    """List what might help a machine: one thing a change.

    BitX has changes of its own; of every other machine, each option that is a number of things is doubled.
    Options of the DRAM count where the machine has one with limits.
    """
    options = machine.options
    yield from _bitx_changes(options) if machine.name == "bitx" else _doubled(options)
    if options.get("dram") is None:
        return
    if "dram_channels" in options:
        yield Change("twice the DRAM channels", "hardware", {"dram_channels": 2 * options["dram_channels"]})
    for buffer in ("weight", "activation", "output"):
        if (name := f"{buffer}_buffer_bytes") in options:
            yield Change(f"{buffer} buffer of twice the size", "hardware", {name: 2 * options[name]})
    if options.get("weights_in_dram") == "plain":
        yield Change("weights packed in DRAM (beyond the paper)", "equal peak", {"weights_in_dram": "packed"})


def _bitx_changes(options: Mapping[str, Any]) -> Iterator[Change]:
    lanes, units, pes = (options[name] for name in ("lanes", "compute_units", "processing_elements"))
    rows, depth = options["rows"], options["fifo_depth"]
    yield Change("twice the lanes", "hardware", {"lanes": 2 * lanes})
    yield Change("twice the compute units", "hardware", {"compute_units": 2 * units})
    yield Change("twice the PEs", "hardware", {"processing_elements": 2 * pes})
    if depth is not None:
        yield Change("a FIFO of twice the depth", "hardware", {"fifo_depth": 2 * depth or 1})
        yield Change(
            "a FIFO without bound (a limit; its area is not counted)", "hardware", {"fifo_depth": None}
        )
    if units % 2 == 0:
        half = {"compute_units": units // 2}
        yield Change(
            "half the compute units, twice the PEs", "equal peak", half | {"processing_elements": 2 * pes}
        )
        yield Change("half the compute units, twice the lanes", "equal peak", half | {"lanes": 2 * lanes})
    if pes % 2 == 0:
        half = {"processing_elements": pes // 2}
        yield Change(
            "half the PEs, twice the compute units", "equal peak", half | {"compute_units": 2 * units}
        )
        yield Change("half the PEs, twice the lanes", "equal peak", half | {"lanes": 2 * lanes})
    if lanes % 2 == 0:
        half = {"lanes": lanes // 2}
        yield Change(
            "half the lanes, twice the compute units", "equal peak", half | {"compute_units": 2 * units}
        )
        yield Change("half the lanes, twice the PEs", "equal peak", half | {"processing_elements": 2 * pes})
    if rows is not None and rows > 1:
        yield Change(f"{rows - 1} rows instead of {rows}", "accuracy", {"rows": rows - 1})
    if not options["skip_zero_groups"]:
        yield Change("no cycle for a group of zeros", "equal peak", {"skip_zero_groups": True})
    if not options["pack_zeros"]:
        yield Change("zero weights left out of groups", "equal peak", {"pack_zeros": True})
    for port in ("weight", "activation", "output"):
        name = f"{port}_bytes_per_cycle"
        if options.get(name) is not None:
            yield Change(f"twice the width of the {port} port", "hardware", {name: 2 * options[name]})


_LOSSY = ("pruned_columns", "zero_columns")
"""Options that say how much of the operands is left out."""

_MEMORY = ("dram_channels", "weight_buffer_bytes", "activation_buffer_bytes", "output_buffer_bytes")


def _doubled(options: Mapping[str, Any]) -> Iterator[Change]:
    for name, value in options.items():
        # A width of numbers is no number of things; the shifters' reach, which is called so too, is one.
        is_width = name == "precision" or (name.endswith("_bits") and name != "first_stage_bits")
        if isinstance(value, bool) or not isinstance(value, int) or is_width or name in _MEMORY:
            continue
        new = 2 * value or 1
        kind = "accuracy" if name in _LOSSY else "hardware"
        yield Change(f"{name}={new} instead of {value}", kind, {name: new})


def _heaviest(network: Network, run: Sequence[LayerResult], seconds: float) -> Network:
    """Keep the layers with most cycles that nominally fit into a time; one at least."""
    entries = {entry.layer.name: entry for entry in network.layers}
    chosen: set[str] = set()
    for row in sorted(run, key=lambda row: -(row.cycles or 0)):
        seconds -= row.parameters / 1e8 + row.macs / 1e10
        if chosen and seconds < 0:
            break
        chosen.add(row.layer)
    return replace(network, layers=tuple(e for name, e in entries.items() if name in chosen))


def _try(
    machine: Accelerator,
    network: Network,
    feed: Feed,
) -> Iterator[Trial]:
    """Simulate all changes, and the machine as it is beside them."""
    possible: list[tuple[Change, Accelerator]] = []
    for change in changes(machine):
        try:
            changed = accelerator(machine.name, **{**machine.options, **change.options})
        except BitxError as error:
            yield Trial(change, change.kind, reason=str(error))
        else:
            possible.append((change, changed))
    machines = [machine, *(changed for _, changed in possible)]
    base, *variants = simulate_variants(machines, network, feed)
    for (change, _), variant in zip(possible, variants, strict=True):
        yield _trial(change, base, variant)


def _trial(change: Change, base: Variant, variant: Variant) -> Trial:
    before, after = base.total, variant.total
    assert before is not None, base.reason
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


def _causes(rows: Sequence[LayerResult], cycles: int) -> Iterator[Cause]:
    for name in CAUSES:
        layers = [(row.layer, getattr(row, name) or 0) for row in rows]
        spent = sum(n for _, n in layers)
        if spent:
            ranked = sorted(((layer, n) for layer, n in layers if n), key=lambda item: -item[1])
            yield Cause(name, spent, spent / cycles, tuple(ranked))


def _roofline(row: LayerResult) -> Roofline:
    assert row.cycles
    moved, seconds = getattr(row, "dram_bytes", None), getattr(row, "dram_seconds", None)
    intensity = row.macs / moved if moved else None
    memory = None
    if intensity is not None and seconds and row.clock_hz:
        memory = intensity * (moved / seconds) / row.clock_hz
    return Roofline(
        layer=row.layer,
        macs=row.macs,
        cycles=row.cycles,
        causes={name: n for name in CAUSES if (n := getattr(row, name))},
        peak_macs_per_cycle=row.peak_macs_per_cycle,
        intensity_macs_per_byte=intensity,
        memory_roof_macs_per_cycle=memory,
    )


def _short(cause: str) -> str:
    return cause.removesuffix("_cycles").replace("_", " ")
