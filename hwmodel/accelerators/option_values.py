"""What an option of an accelerator may be: the type that its annotation names, and no absurd size."""

from __future__ import annotations

import os
from dataclasses import Field
from typing import Any

import numpy as np

from bitxcore.checks import shown

MOST_OF_ANYTHING = 1 << 20
"""Largest number of lanes, entries, or whatever else an option counts."""

MOST_BYTES = 1 << 50
"""Largest memory that an option gives."""

MOST_HZ = 10**12
"""Highest clock."""

LONGEST = 4096
"""Characters of a name or a path."""

_KINDS = {
    "int": ("an integer", (int,)),
    "float": ("a number", (int, float)),
    "bool": ("True or False", (bool,)),
    "str": ("a name", (str,)),
}
"""What an option must be, by its annotation, and the types that it may have."""


def checked(field: Field[Any], value: Any) -> Any:
    """Return an option's value as Python has it.

    Parameters
    ----------
    field : dataclasses.Field
        Of the option; its annotation says which types are taken.
    value : object

    Raises
    ------
    ValueError
        If it is of another type, or counts beyond all machines: the option, the rule and the value.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    bounds = {"bytes": MOST_BYTES, "hz": MOST_HZ}
    most = next((bounds[part] for part in field.name.split("_") if part in bounds), MOST_OF_ANYTHING)
    if isinstance(value, int) and value > most:
        raise ValueError(f"{field.name} must be at most {most}, got {shown(value)}")
    if isinstance(value, str) and len(value) > LONGEST:
        raise ValueError(f"{field.name} must be at most {LONGEST} characters, got {shown(value)}")
    named = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    kind, *more = (part.strip() for part in named.split("|"))
    if kind not in _KINDS or (value is None and "None" in more):
        return value  # what it must be is known to its class alone
    rule, types = _KINDS[kind]
    if kind == "int" and isinstance(value, (bool, float, str)):
        return value  # `check_at_least` refuses it, and says from where on integers are taken
    if not isinstance(value, types) or isinstance(value, bool) != (types == (bool,)):
        raise ValueError(f"{field.name} must be {rule}, got {shown(value)}")
    return value
