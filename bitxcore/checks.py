"""Checks of option values, with one wording for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bitxcore.errors import OptionError


def check_one_of(choices: Sequence[str], option: str, value: Any) -> None:
    """Raise `OptionError` unless `value` is one of the choices.

    Examples
    --------
    >>> check_one_of(("flat", "channel"), "grouping", "rows")
    Traceback (most recent call last):
    bitxcore.errors.OptionError: grouping must be one of flat, channel, got 'rows'
    """
    if value not in choices:
        raise OptionError(f"{option} must be one of {', '.join(choices)}, got {value!r}", value=value)


def checked_integer(most: int, option: str, value: Any) -> int:
    """Return `value` as an int if it is an integer from 1 to `most`; raise `OptionError` else.

    Examples
    --------
    >>> checked_integer(64, "group", 16)
    16
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= most:
        raise OptionError(f"{option} must be an integer from 1 to {most}, got {value!r}", value=value)
    return int(value)
