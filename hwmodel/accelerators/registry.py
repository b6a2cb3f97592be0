"""Accelerators by name, ours and those that other packages add.

A package adds one with an entry point of the group ``bitx.accelerators`` whose value is a
subclass of `Accelerator`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from bitxcore.checks import shown
from bitxcore.errors import OptionError
from hwmodel.accelerators.base import Accelerator

ENTRY_POINT_GROUP = "bitx.accelerators"

_SHARED = ("base", "changes", "on_chip", "registry")
"""Modules of this package that are no machines."""


@cache
def _own() -> dict[str, tuple[str, str]]:
    """Find module and class of our machines by name: the one list of them is the package's stub."""
    stub = Path(__file__).with_name("__init__.pyi").read_text("utf-8")
    found = {}
    for node in ast.parse(stub).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module not in _SHARED:
            name = node.module.partition(".")[0]
            found[name] = (f"hwmodel.accelerators.{node.module}", node.names[0].name)
    return found


@cache
def _third_party() -> dict[str, EntryPoint]:
    return {e.name: e for e in entry_points(group=ENTRY_POINT_GROUP)}


def accelerator_names() -> list[str]:
    """Names that `accelerator` knows, sorted.

    Examples
    --------
    >>> "bitx" in accelerator_names()
    True
    """
    return sorted({*_own(), *_third_party()})


def accelerator_class(name: str) -> type[Accelerator]:
    """Look up the class of an accelerator: its options, source and assumptions.

    Raises
    ------
    OptionError
        If no accelerator has that name, or an entry point gives something else.

    Examples
    --------
    >>> accelerator_class("dadiannao").title
    'DaDianNao, MICRO 2014: dense baseline'
    """
    if not isinstance(name, str):
        raise OptionError(f"the name of an accelerator is needed, got {shown(name)}", value=name)
    if name in _own():
        module, attribute = _own()[name]
        found = getattr(import_module(module), attribute)
    elif name in _third_party():
        entry = _third_party()[name]
        try:
            found = entry.load()
        except (ImportError, AttributeError) as error:
            raise OptionError(f"accelerator {name!r}: entry point {entry.value!r} fails: {error}") from error
        if not (isinstance(found, type) and issubclass(found, Accelerator)):
            raise OptionError(f"accelerator {name!r}: {entry.value!r} is no subclass of hwmodel.Accelerator")
    else:
        known = ", ".join(accelerator_names())
        raise OptionError(f"accelerator {shown(name)} is not known; known: {known}")
    return found  # type: ignore[no-any-return]


def check_options(name: str, options: Iterable[str]) -> None:
    """Refuse options that an accelerator does not have; ``preset`` is one of those that have any.

    Raises
    ------
    OptionError
        For an unknown name or option; the message lists the known ones.
    """
    found = accelerator_class(name)
    known = [*(["preset"] if found.presets else []), *(f.name for f in fields(found))]
    for option in options:
        if option not in known:
            raise OptionError(f"accelerator {name!r} has no option {option!r}; known: {', '.join(known)}")


def accelerator(name: str, **options: Any) -> Accelerator:
    """Make an accelerator: a frozen record of its options.

    Parameters
    ----------
    name : str
        One of `accelerator_names`.
    **options
        Fields of its class; others keep their defaults. ``preset`` is an instance that its paper names; the
        options that it sets can't be given too.

    Returns
    -------
    Accelerator

    Raises
    ------
    OptionError
        For an unknown name or option (the message lists the known ones), or a bad value.

    Examples
    --------
    >>> accelerator("pragmatic", columns=8).label
    'pragmatic(columns=8)'
    >>> accelerator("bitx", preset="mild").label
    'bitx(rows=10)'
    """
    check_options(name, options)
    made = accelerator_class(name)(**_without_preset(name, options))
    made.check_peak()
    return made


def _without_preset(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Put a preset's options in its place."""
    if "preset" not in options:
        return dict(options)
    presets, chosen = accelerator_class(name).presets, options["preset"]
    if not isinstance(chosen, str) or chosen not in presets:
        raise OptionError(
            f"accelerator {name!r}: preset must be one of {', '.join(presets)}, got {shown(chosen)}",
            value=chosen,
        )
    own = {option: value for option, value in options.items() if option != "preset"}
    for option in own:
        if option in presets[chosen]:
            raise OptionError(
                f"accelerator {name!r}: preset={chosen!r} sets {option}={presets[chosen][option]};"
                f" {option}={shown(own[option])} can't be given besides",
                value=own[option],
            )
    return own | dict(presets[chosen])


def as_accelerator(machine: Accelerator | str) -> Accelerator:
    """Return a machine as it is; look up a name, which then has its default options.

    Raises
    ------
    OptionError
        If no accelerator has that name, or it is not a machine at all.
    """
    if isinstance(machine, str):
        return accelerator(machine)
    if not isinstance(machine, Accelerator):
        raise OptionError(f"an accelerator or the name of one is needed, got {shown(machine)}")
    return machine
