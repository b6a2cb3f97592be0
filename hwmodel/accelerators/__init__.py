"""Accelerators by name, ours and those that other packages add.

A package adds one with an entry point of the group ``bitx.accelerators`` whose value is a
subclass of `Accelerator`.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from bitxcore.errors import TensorError
from hwmodel.accelerators.base import Accelerator

ENTRY_POINT_GROUP = "bitx.accelerators"

_OWN = {
    "aec_kneading": "hwmodel.accelerators.aec_kneading:AecKneading",
    "aec_low_power": "hwmodel.accelerators.aec_low_power:AecLowPower",
    "bit_tactical": "hwmodel.accelerators.bit_tactical:BitTactical",
    "bitlet": "hwmodel.accelerators.bitlet:Bitlet",
    "bitvert": "hwmodel.accelerators.bitvert:BitVert",
    "bitwave": "hwmodel.accelerators.bitwave:BitWave",
    "bitx": "hwmodel.accelerators.bitx.machine:BitX",
    "cambricon_s": "hwmodel.accelerators.cambricon_s:CambriconS",
    "cnvlutin": "hwmodel.accelerators.cnvlutin:Cnvlutin",
    "dadiannao": "hwmodel.accelerators.dadiannao:DaDianNao",
    "eie": "hwmodel.accelerators.eie:EIE",
    "ese": "hwmodel.accelerators.ese:ESE",
    "laconic": "hwmodel.accelerators.laconic:Laconic",
    "loom": "hwmodel.accelerators.loom:Loom",
    "pragmatic": "hwmodel.accelerators.pragmatic:Pragmatic",
    "scnn": "hwmodel.accelerators.scnn:SCNN",
    "shapeshifter": "hwmodel.accelerators.shapeshifter:ShapeShifter",
    "stripes": "hwmodel.accelerators.stripes:Stripes",
    "tetris": "hwmodel.accelerators.tetris:Tetris",
    "unpu": "hwmodel.accelerators.unpu:UNPU",
}


@cache
def _third_party() -> dict[str, EntryPoint]:
    return {e.name: e for e in entry_points(group=ENTRY_POINT_GROUP)}


def accelerator_names() -> list[str]:
    """Names that `accelerator` knows, sorted."""
    return sorted({*_OWN, *_third_party()})


def accelerator_class(name: str) -> type[Accelerator]:
    """Look up the class of an accelerator: its options, source and assumptions.

    Raises
    ------
    TensorError
        If no accelerator has that name, or an entry point gives something else.
    """
    if name in _OWN:
        module, attribute = _OWN[name].split(":")
        found = getattr(import_module(module), attribute)
    elif name in _third_party():
        entry = _third_party()[name]
        try:
            found = entry.load()
        except (ImportError, AttributeError) as error:
            raise TensorError(f"accelerator {name!r}: entry point {entry.value!r} fails: {error}") from error
        if not (isinstance(found, type) and issubclass(found, Accelerator)):
            raise TensorError(f"accelerator {name!r}: {entry.value!r} is no subclass of hwmodel.Accelerator")
    else:
        known = ", ".join(accelerator_names())
        raise TensorError(f"accelerator {name!r} is not known; known: {known}")
    return found  # type: ignore[no-any-return]


def accelerator(name: str, **options: Any) -> Accelerator:
    """Make an accelerator: a frozen record of its options.

    Parameters
    ----------
    name : str
        One of `accelerator_names`.
    **options
        Fields of its class; those left out keep their defaults.

    Returns
    -------
    Accelerator

    Raises
    ------
    TensorError
        For an unknown name or option (the message lists the known ones), or a bad value.
    """
    cls = accelerator_class(name)
    known = [f.name for f in fields(cls)]
    for option in options:
        if option not in known:
            raise TensorError(f"accelerator {name!r} has no option {option!r}; known: {', '.join(known)}")
    return cls(**options)
