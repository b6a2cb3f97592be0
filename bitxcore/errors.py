"""Errors that a user can act on: every message names the place, the rule and the value."""

from __future__ import annotations


class BitxError(ValueError):
    """Base of all errors raised for bad input; the command line prints it as one line."""


class DumpError(BitxError):
    """A file that can't be trusted or read: truncated, damaged, unsafe or unsupported."""


class TensorError(BitxError):
    """A tensor whose values, dtype or shape break a rule."""


class MissingExtraError(BitxError, ImportError):
    """A feature needs a package that is not installed.

    Parameters
    ----------
    package : str
        The missing package.
    extra : str
        The extra of this distribution that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'bitx[{extra}]'")
