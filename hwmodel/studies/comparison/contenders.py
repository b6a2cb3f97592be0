"""Who enters a comparison: machines that are equal in peak, clock and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from bitxcore.errors import OptionError
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.registry import accelerator, accelerator_class, accelerator_names, check_options
from hwmodel.operands.workload import Workload

BASELINE = "dadiannao"
PEAK_MACS_PER_CYCLE = 4096

Entry = tuple[str, Mapping[str, Any]]
"""An accelerator's name, and options of its own."""


@dataclass(frozen=True)
class Contender:
    """A machine in its setting for comparisons.

    Parameters
    ----------
    name : str
        Of the accelerator, and the options of its variant; its label where another has that name.
    machine : Accelerator
    """

    name: str
    machine: Accelerator


def conditions(**options: Any) -> dict[str, Any]:
    """Options that every accelerator has, as given or else at their defaults.

    Raises
    ------
    OptionError
        For another option.
    """
    common = {field.name: field.default for field in fields(Accelerator)}
    for option in options:
        if option not in common:
            raise OptionError(
                f"{option!r} is not an option of every accelerator; these are {', '.join(common)}"
            )
    return common | options


def entries(names: str | Sequence[str] | None = None) -> list[Entry]:
    """List who enters: accelerators, with the options of each of their `Accelerator.variants`.

    Parameters
    ----------
    names : sequence of str, optional
        Accelerators; by default all that are registered, those of other packages included. The baseline
        comes first wherever it stands.

    Raises
    ------
    OptionError
        For what is no name of an accelerator.
    """
    given = accelerator_names() if names is None else (names,) if isinstance(names, str) else names
    for name in given:
        if not isinstance(name, str):
            raise OptionError(f"accelerators= takes names, got {name!r}; machines as they are go into also=")
    chosen = list(dict.fromkeys(given))
    chosen.sort(key=lambda name: name != BASELINE)
    return [(name, variant) for name in chosen for variant in accelerator_class(name).variants]


def contenders(
    entered: Sequence[Entry | Accelerator | str],
    common: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Contender, ...]:
    """Make machines that are equal in peak, clock and memory.

    Parameters
    ----------
    entered : sequence of str, (str, mapping) or Accelerator
        Accelerators, with options of their own or without, or machines that are taken as they are; of equal
        machines the first stays.
    common : mapping
        From `conditions`.
    settings : mapping of str to mapping, optional
        By accelerator: options of all its variants that do not set them themselves.

    Raises
    ------
    OptionError
        For an unknown name or option, a bad value, or what is not a machine; and if nobody enters.
    """
    for name, options in (settings or {}).items():
        check_options(name, options)
    made: dict[str, Contender] = {}
    for entry in entered:
        if isinstance(entry, Accelerator):
            made.setdefault(entry.label, Contender(entry.label, entry))
            continue
        name, own = _entry(entry)
        own = {**(settings or {}).get(name, {}), **own}
        machine = accelerator(name, **{**accelerator_class(name).comparison, **common, **own})
        shown = ", ".join(f"{option}={value}" for option, value in own.items())
        made.setdefault(machine.label, Contender(f"{name}({shown})" if shown else name, machine))
    if not made:
        raise OptionError("at least one accelerator is needed")
    names = Counter(c.name for c in made.values())
    return tuple(c if names[c.name] == 1 else Contender(label, c.machine) for label, c in made.items())


def _entry(given: object) -> Entry:
    """Take a name as one without options of its own."""
    match given:
        case str():
            return given, {}
        case (str(name), Mapping() as own):
            return name, own
    raise OptionError(f"a name, a name with its options, or an accelerator is needed, got {given!r}")


def split(
    everyone: Sequence[Contender], load: Workload
) -> tuple[tuple[Contender, ...], dict[str, tuple[Contender, str]]]:
    """Tell machines whose operands a workload has from those that must stay out, and why.

    Parameters
    ----------
    everyone : sequence of Contender
    load : Workload

    Returns
    -------
    tuple of Contender
    dict of str to (Contender, str)
        By label of the machine: who takes no part, and the reason.

    Raises
    ------
    OptionError
        If nobody is left.
    """
    absent: dict[str, tuple[Contender, str]] = {}
    for c in everyone:
        reads = c.machine.reads
        needs = ["weights"] * (reads.weights and not load.has_weights)
        needs += ["activations"] * (reads.activations and not load.has_activations)
        if needs:
            absent[c.machine.label] = (c, f"needs {' and '.join(needs)}, which are not given")
    playing = tuple(c for c in everyone if c.machine.label not in absent)
    if not playing:
        raise OptionError("; ".join(f"{c.name} {reason}" for c, reason in absent.values()))
    return playing, absent
