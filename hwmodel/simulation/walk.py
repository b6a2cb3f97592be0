"""The one walk over a network: layer by layer, each on every machine, its operands read or drawn once.

Runs, comparisons, explanations and sweeps all take it. They differ in what a failing machine means: the end
of a run, or a reason that stands in the place of that machine's results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bitxcore.errors import BitxError, DumpError, error_context
from bitxcore.policy import Policy
from bitxcore.progress import Progress
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.memo import SharedWork, shared
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.operands.operands import Operands
from hwmodel.operands.sources import LayerOperands, OperandSource
from hwmodel.operands.synthetic import MOST_DRAWN, too_many_to_draw
from hwmodel.simulation.joining import not_run
from hwmodel.simulation.policies import UnderPolicy, under_policy
from hwmodel.simulation.results import LayerResult
from hwmodel.simulation.side_by_side import side_by_side
from hwmodel.simulation.simulate import simulate


@dataclass(frozen=True, eq=False)
class Visit:
    """One layer on all machines.

    Attributes
    ----------
    entry : NetworkLayer
    operands : LayerOperands
        What the machines were given.
    machines : tuple of Accelerator
        Those that ran the layer, as a policy has them prune it; or as they were given.
    rows : tuple of LayerResult, BitxError or None
        By machine: its result; why it fails here; or None if it failed at an earlier layer.
    memory : SharedWork
        Within `hwmodel.accelerators.memo.shared` of it, `once` still knows the layer's work.
    """

    entry: NetworkLayer
    operands: LayerOperands
    machines: tuple[Accelerator, ...]
    rows: tuple[LayerResult | BitxError | None, ...]
    memory: SharedWork = field(default_factory=SharedWork, repr=False)

    @property
    def results(self) -> list[LayerResult]:
        """Rows of the machines that have not failed."""
        return [row for row in self.rows if isinstance(row, LayerResult)]


SIDE_BY_SIDE_VALUES = 1 << 22
"""Operands of a layer up to which two machines run at the same time, each of which needs room of its own.

Larger layers keep all threads busy in the kernels of one machine.
"""


def walk(
    machines: Sequence[Accelerator],
    network: Network,
    source: OperandSource,
    *,
    policy: Policy | None = None,
    layers: Sequence[NetworkLayer] | None = None,
    tolerant: bool = False,
    progress: Progress | None = None,
) -> Iterator[Visit]:
    """Simulate every layer of a network on every machine; one layer's operands are in memory at a time.

    Parameters
    ----------
    machines : sequence of Accelerator
        All different. Neighbours that do the same work on the same weights share it.
    network : Network
        Or some layers of the one that `source` was opened for.
    source : OperandSource
    policy : Policy, optional
        How the weights of each layer are pruned, on machines that follow policies.
    layers : sequence of NetworkLayer, optional
        Those of the network that are simulated (default: all); machines are built for all.
    tolerant : bool
        Whether a machine that fails leaves the walk; else its error ends it.
    progress : callable, optional
        ``progress(done, total, next_layer)``, before each layer and once at the end.

    Yields
    ------
    Visit

    Raises
    ------
    BitxError
        If operands can't be read, or do not belong to the network; of a machine, unless `tolerant`.
    """
    failed = [False] * len(machines)
    under = under_policy(machines, network, policy)
    wanted = network.layers if layers is None else layers
    for done, entry in enumerate(wanted):
        if progress:
            progress(done, len(wanted), entry.layer.name)
        readers = [
            machine
            for machine, lost in zip(machines, failed, strict=True)
            if not lost and machine.not_applicable(entry.layer) is None
        ]
        operands = source.layer(entry, readers)
        with shared() as memory:
            ran_by, rows = _run_layer(under, entry, operands, failed, tolerant)
        # Outside the block: a walk that is left half way must leave nothing behind.
        yield Visit(entry, operands, ran_by, rows, memory)
    if progress:
        progress(len(wanted), len(wanted), "")


def _run_layer(
    under: Sequence[UnderPolicy],
    entry: NetworkLayer,
    operands: LayerOperands,
    failed: list[bool],
    tolerant: bool,
) -> tuple[tuple[Accelerator, ...], tuple[LayerResult | BitxError | None, ...]]:
    """Run one layer on all machines that have not failed, and note in `failed` which do so now."""
    ran_by = [each.machine for each in under]

    def row(index: int) -> LayerResult | BitxError | None:
        if failed[index]:
            return None
        try:
            ran_by[index] = machine = under[index].of(entry)
            found = under[index].row(entry, simulate_entry(machine, entry, operands.of(machine)))
        except DumpError:
            raise
        except BitxError as error:
            if not tolerant:
                raise
            failed[index] = True
            return error
        return found.with_notes(operands.notes(machine)) if found.applicable else found

    values = entry.layer.parameters + entry.layer.input_count
    rows = side_by_side(row, len(under), 2 if values <= SIDE_BY_SIDE_VALUES else 1)
    return tuple(ran_by), tuple(rows)


TOO_MANY = f"it looks at activations, and more than {MOST_DRAWN:.3g} are not drawn: give traces"
"""Why a machine does not run a layer for which no activations are drawn."""


def simulate_entry(machine: Accelerator, entry: NetworkLayer, operands: Operands) -> LayerResult:
    """Simulate one layer of a network; with a `reason` if its weights were not found.

    Parameters
    ----------
    machine : Accelerator
    entry : NetworkLayer
    operands : Operands
        Weights as `NetworkLayer.read` gives them.

    Raises
    ------
    BitxError
        Naming tensor and layer.
    """
    reason = machine.not_applicable(entry.layer)
    if reason is None and machine.reads.weights and entry.weight is None and operands.weights is None:
        reason = entry.weight_missing
    if reason is None and machine.reads.activations and operands.activations is None:
        reason = TOO_MANY if too_many_to_draw(entry.layer) else None
    if reason is not None:
        return not_run(machine, entry.layer, reason, entry.notes)
    with error_context(tensor=entry.weight, layer=entry.layer.name):
        result = simulate(machine, entry.layer, operands)
    return result.with_notes(entry.notes)
