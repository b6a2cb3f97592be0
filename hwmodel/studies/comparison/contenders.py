"""Who enters a comparison: machines that are equal in peak, clock and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from bitxcore.errors import TensorError
from hwmodel.accelerators import accelerator, accelerator_class, accelerator_names
from hwmodel.accelerators.base import Accelerator

BASELINE = "dadiannao"
PEAK_MACS_PER_CYCLE = 4096

VARIANTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "bit_tactical": ({}, {"back_end": "p"}),
    "bitlet": ({}, {"double_buffered": True}),
    "bitx": ({}, {"format": "fixed16"}),
    "pragmatic": ({}, {"booth": False, "column_registers": 0}, {"booth": False, "column_registers": 1}),
}
"""Options of the designs that enter more than once: their papers tell results of each (Bitlet's is ours)."""


@dataclass(frozen=True)
class Contender:
    """A machine in its setting for comparisons.

    Parameters
    ----------
    name : str
        Of the accelerator, and the options of its variant.
    machine : Accelerator
    """

    name: str
    machine: Accelerator


def conditions(**options: Any) -> dict[str, Any]:
    """Options that every accelerator has, as given or else at their defaults.

    Raises
    ------
    TensorError
        For another option.
    """
    common = {field.name: field.default for field in fields(Accelerator)}
    for option in options:
        if option not in common:
            raise TensorError(
                f"{option!r} is not an option of every accelerator; these are {', '.join(common)}"
            )
    return common | options


def entries(names: Sequence[str] | None = None) -> list[tuple[str, Mapping[str, Any]]]:
    """List who enters: accelerators, with the options of each variant.

    Parameters
    ----------
    names : sequence of str, optional
        Accelerators; by default all that are registered, those of other packages included. The baseline
        comes first wherever it stands.
    """
    chosen = list(dict.fromkeys(accelerator_names() if names is None else names))
    chosen.sort(key=lambda name: name != BASELINE)
    return [(name, variant) for name in chosen for variant in VARIANTS.get(name, ({},))]


def contenders(
    entered: Sequence[tuple[str, Mapping[str, Any]]], common: Mapping[str, Any]
) -> tuple[Contender, ...]:
    """Make machines that are equal in peak, clock and memory.

    Parameters
    ----------
    entered : sequence of (str, mapping)
        Accelerators and options of their own; of equal machines the first stays.
    common : mapping
        From `conditions`.
    """
    made: dict[str, Contender] = {}
    for name, own in entered:
        machine = accelerator(name, **{**accelerator_class(name).comparison, **common, **own})
        shown = ", ".join(f"{option}={value}" for option, value in own.items())
        made.setdefault(machine.label, Contender(f"{name}({shown})" if shown else name, machine))
    return tuple(made.values())


def split(
    everyone: Sequence[Contender], *, weights: bool, activations: bool
) -> tuple[tuple[Contender, ...], dict[str, tuple[Contender, str]]]:
    """Tell machines whose operands are there from those that must stay out, and why.

    Parameters
    ----------
    everyone : sequence of Contender
    weights, activations : bool
        Which operands there are.

    Returns
    -------
    tuple of Contender
    dict of str to (Contender, str)
        By name: who takes no part, and the reason.

    Raises
    ------
    TensorError
        If nobody is left.
    """
    absent: dict[str, tuple[Contender, str]] = {}
    for c in everyone:
        needs = [
            what
            for what, needed, there in (
                ("weights", c.machine.needs_weights, weights),
                ("activations", c.machine.needs_activations, activations),
            )
            if needed and not there
        ]
        if needs:
            absent[c.name] = (c, f"needs {' and '.join(needs)}, which are not given")
    playing = tuple(c for c in everyone if c.name not in absent)
    if not playing:
        raise TensorError("; ".join(f"{name} {reason}" for name, (_, reason) in absent.items()))
    return playing, absent
