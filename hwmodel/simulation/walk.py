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
from hwmodel.accelerators.memo import Memory, shared
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.operands.operands import Operands
from hwmodel.operands.sources import LayerOperands, OperandSource
from hwmodel.operands.synthetic import MOST_DRAWN, too_many_to_draw
from hwmodel.simulation.joining import not_run
from hwmodel.simulation.policies import under_policy
from hwmodel.simulation.results import LayerResult
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
    memory : Memory
        Within `hwmodel.accelerators.memo.shared` of it, `once` still knows the layer's work.
    """

    entry: NetworkLayer
    operands: LayerOperands
    machines: tuple[Accelerator, ...]
    rows: tuple[LayerResult | BitxError | None, ...]
    memory: Memory = field(default_factory=Memory, repr=False)

    @property
    def results(self) -> list[LayerResult]:
        """Rows of the machines that have not failed."""
        return [row for row in self.rows if isinstance(row, LayerResult)]


def walk(
    machines: Sequence[Accelerator],
    network: Network,
    source: OperandSource,
    *,
    policy: Policy | None = None,
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
    for done, entry in enumerate(network.layers):
        if progress:
            progress(done, len(network), entry.layer.name)
        readers = [
            machine
            for machine, lost in zip(machines, failed, strict=True)
            if not lost and machine.not_applicable(entry.layer) is None
        ]
        operands = source.layer(entry, readers)
        rows: list[LayerResult | BitxError | None] = []
        ran_by: list[Accelerator] = []
        with shared() as memory:
            for index, machine in enumerate(machines):
                ran_by.append(machine)
                if failed[index]:
                    rows.append(None)
                    continue
                try:
                    ran_by[-1] = machine = under[index].of(entry)
                    row = under[index].row(entry, simulate_entry(machine, entry, operands.of(machine)))
                except DumpError:
                    raise
                except BitxError as error:
                    if not tolerant:
                        raise
                    failed[index] = True
                    rows.append(error)
                else:
                    rows.append(row.with_notes(operands.notes(machine)) if row.applicable else row)
        # Outside the block: a walk that is left half way must leave nothing behind.
        yield Visit(entry, operands, tuple(ran_by), tuple(rows), memory)
    if progress:
        progress(len(network), len(network), "")


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
