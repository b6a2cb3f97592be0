"""The two settings that the BitX paper names and measures (ICPP 2021, section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bitxcore.errors import OptionError

PRESETS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "mild": MappingProxyType({"rows": 10, "group": 8}),
        "wild": MappingProxyType({"rows": 6, "group": 8}),
    }
)
"""Rows and group of BitX-mild and of BitX-wild, the default of `prune`."""


def preset(name: str) -> dict[str, int]:
    """Return the options of a setting that the paper names.

    Parameters
    ----------
    name : {"mild", "wild"}

    Returns
    -------
    dict
        ``rows`` and ``group``, as `prune` takes them.

    Raises
    ------
    OptionError
        If the paper has no setting of that name.

    Examples
    --------
    >>> preset("mild")
    {'rows': 10, 'group': 8}
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise OptionError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}", value=name)
    return dict(PRESETS[name])
