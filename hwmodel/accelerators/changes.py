"""Changes of one option that might save a machine cycles; `hwmodel.explain` simulates each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

KINDS = {
    "equal peak": "equal peak",
    "hardware": "adds hardware",
    "accuracy": "lowers accuracy",
}
"""What a change costs. At equal peak the weights' error does not grow either."""


@dataclass(frozen=True)
class Change:
    """A machine that differs in one thing.

    Attributes
    ----------
    words : str
    kind : str
        A key of `KINDS`.
    options : mapping of str to value
        Options that change.
    """

    words: str
    kind: str
    options: Mapping[str, Any]


def doubled(options: Mapping[str, Any], lossy: Collection[str] = ()) -> Iterator[Change]:
    """Double every option that is an integer, one at a time; 0 becomes 1.

    Parameters
    ----------
    options : mapping of str to value
    lossy : collection of str
        Options that say how much of the operands is left out.
    """
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int):
            continue
        new = 2 * value or 1
        kind = "accuracy" if name in lossy else "hardware"
        yield Change(f"{name}={new} instead of {value}", kind, {name: new})


def more_memory(options: Mapping[str, Any]) -> Iterator[Change]:
    """Give a machine more DRAM channels and larger buffers; nothing if its DRAM has no limits."""
    if options["dram"] is None:
        return
    yield Change("twice the DRAM channels", "hardware", {"dram_channels": 2 * options["dram_channels"]})
    for buffer in ("weight", "activation", "output"):
        name = f"{buffer}_buffer_bytes"
        yield Change(f"{buffer} buffer of twice the size", "hardware", {name: 2 * options[name]})
