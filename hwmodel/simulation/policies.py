"""Machines under a policy: which options each layer runs with, and what its rows then say."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from bitxcore.errors import error_context
from bitxcore.policy import Policy, PruningOptions
from hwmodel.accelerators.base import Accelerator
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.operands.workload import Workload
from hwmodel.simulation.results import LayerResult


@dataclass(frozen=True, eq=False)
class UnderPolicy:
    """A machine of a run, and what a policy makes of it, layer by layer.

    Parameters
    ----------
    machine : Accelerator
        Its label is that of all rows.
    network : Network
    policy : Policy, optional
        None: it runs as it is.
    """

    machine: Accelerator
    network: Network
    policy: Policy | None = None
    _made: dict[PruningOptions, Accelerator] = field(default_factory=dict, repr=False)

    @property
    def follows(self) -> bool:
        """Whether the policy changes the machine."""
        return self.policy is not None and follows_policies(self.machine)

    def of(self, entry: NetworkLayer) -> Accelerator:
        """Return the machine that runs a layer.

        Raises
        ------
        OptionError
            If it does not prune by the layer's options.
        """
        if self.policy is None or not self.follows:
            return self.machine
        return self._pruning_as(layer_options(self.policy, entry), entry)

    def _pruning_as(self, options: PruningOptions, entry: NetworkLayer) -> Accelerator:
        if options not in self._made:
            assert self.policy is not None
            with error_context(path=self.policy.path, tensor=entry.weight, layer=entry.layer.name):
                made = self.machine.pruning_as(options)
            assert made is not None
            made.check_peak()
            self._made[options] = made
        return self._made[options]

    @cached_property
    def built(self) -> Accelerator:
        """Machine that has the hardware for every layer: the largest of those that prune one, if one does."""
        if self.policy is None or not self.follows:
            return self.machine
        wanted = [(layer_options(self.policy, entry), entry) for entry in self.network.layers]
        pruning = [pair for pair in wanted if pair[0].rows is not None] or wanted
        machines = [self._pruning_as(*pair) for pair in pruning]
        return max(machines, key=lambda machine: machine.area_mm2 or 0.0, default=self.machine)

    def row(self, entry: NetworkLayer, row: LayerResult) -> LayerResult:
        """Give a layer's result the machine's name and area, and say how the layer was pruned."""
        if self.policy is None or not self.follows:
            return row
        said = (f"by the policy: {in_words(layer_options(self.policy, entry))}",) if row.applicable else ()
        named = replace(row, accelerator=self.machine.label, area_mm2=self.built.area_mm2)
        return named.with_notes(said)


def under_policy(
    machines: Sequence[Accelerator], network: Network, policy: Policy | None
) -> tuple[UnderPolicy, ...]:
    """Put the machines of a run under a policy.

    Raises
    ------
    OptionError
        If a machine that follows it has options besides that the policy sets.
    """
    for machine in machines if policy is not None else ():
        check_free(machine, machine.policy_options if follows_policies(machine) else ())
    return tuple(UnderPolicy(machine, network, policy) for machine in machines)


def follows_policies(machine: Accelerator) -> bool:
    """Whether a machine prunes weights by options that a policy sets."""
    return machine.pruning_as(PruningOptions(rows=1)) is not None


def check_free(machine: Accelerator, options: Collection[str]) -> None:
    """Refuse options of a machine that a policy sets; at their defaults they say nothing."""
    usual = type(machine)().options
    for name in options:
        value = getattr(machine, name)
        if value != usual[name]:
            raise machine.refusal(
                f"the policy sets {name} for each layer: {name}={value} can't be given besides"
            )


def recorded_options(machine: Accelerator, policy: Policy | None) -> dict[str, Any]:
    """Return the options of a machine that provenance keeps: under a policy, those that it does not set."""
    if policy is None or not follows_policies(machine):
        return machine.options
    return {name: value for name, value in machine.options.items() if name not in machine.policy_options}


def layer_options(policy: Policy, entry: NetworkLayer) -> PruningOptions:
    """Return the options that a layer runs with.

    Those of its weight tensor. Of several tensors with different options: those that prune least, which are
    no rows, then the most rows, then the smallest groups; of equals the first tensor's. A layer without a
    named tensor has the policy's default.
    """
    found = [policy.of(name) for name in entry.tensors]
    return max(found, key=_how_little, default=policy.default)


def _how_little(options: PruningOptions) -> tuple[float, float]:
    rows = math.inf if options.rows is None else options.rows
    return rows, -math.inf if options.group is None else -options.group


def in_words(options: PruningOptions) -> str:
    """Say how a layer is pruned; what differs from the usual only.

    Examples
    --------
    >>> in_words(PruningOptions(rows=6, rounding="nearest")), in_words(PruningOptions(rows=None))
    ('rows 6, group 8, rounding nearest', 'not pruned')
    """
    if options.rows is None:
        return "not pruned"
    told = {"rows": options.rows, "group": options.group} | options.changed_from(PruningOptions(rows=None))
    return ", ".join(f"{name} {value}" for name, value in told.items())


def check_names(policy: Policy, load: Workload, stored: Collection[str]) -> None:
    """Refuse a policy that names tensors which neither the network nor its dump has.

    Parameters
    ----------
    policy : Policy
    load : Workload
    stored : collection of str
        Names in its dump, as it was opened; none if no machine looks at weights, and nothing is checked then.

    Raises
    ------
    OptionError
        With the field `tensor`.
    """
    if stored or load.weights is None:
        names = {name for entry in load.network.layers for name in entry.tensors}
        where = getattr(load.weights, "path", load.weights if isinstance(load.weights, str) else None)
        policy.check_names(names.union(stored), where or f"network {load.network.name!r}")


def policy_notes(under: Sequence[UnderPolicy], name: str | None = None) -> tuple[str, ...]:
    """Say of a run who follows the policy, and what is chosen where its layers need several machines.

    Parameters
    ----------
    under : sequence of UnderPolicy
    name : str, optional
        What to call a machine, in place of its label.
    """
    notes = []
    for each in under:
        policy, label = each.policy, name or each.machine.label
        if policy is None:
            continue
        if not each.follows:
            notes.append(f"{label}: does not prune by a policy's options, and runs as without one")
            continue
        chosen = [(entry, layer_options(policy, entry)) for entry in each.network.layers]
        pruned = sum(options.rows is not None for _, options in chosen)
        notes.append(
            f"{label}: weights pruned by the policy{f' {policy.path}' if policy.path else ''},"
            f" in {pruned} of {len(chosen)} layers"
        )
        groups = sorted({options.group or 0 for _, options in chosen if options.rows is not None})
        if len(groups) > 1:
            notes.append(
                f"{label}: groups of {', '.join(map(str, groups))} weights by layer; area is that of the"
                " largest machine, cycles and energy of a layer are those of one with as many lanes"
            )
        several = [entry for entry, _ in chosen if len({policy.of(name) for name in entry.tensors}) > 1]
        if several:
            notes.append(
                f"{label}: the policy prunes the tensors of a layer differently ({several[0].layer.name!r},"
                f" {len(several)} in all): the options that prune least are taken"
            )
    return tuple(notes)
