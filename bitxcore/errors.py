"""Errors that a user can act on: every message names the place, the rule and the value.

The place is kept in fields, so that a program can look at it without reading a message. What a function
does not know (which file its array came from), its callers add on the way up, by `error_context`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

FLUSHED = (
    "this thread flushes subnormal numbers to zero (a library set it, e.g. "
    "torch.set_flush_denormal); exact results need it off"
)


class BitxError(ValueError):
    """Base of all errors raised for bad input; the command line prints it as one line.

    Parameters
    ----------
    message : str
        The rule that was broken, and what broke it.
    path : path-like, optional
        File that the error is about.
    tensor, layer : str, optional
        Names.
    part : str, optional
        Part of the file, where the text names a part other than the tensor: ``"member 'w.npy'"``.
    index : int, optional
        Flat index, in C order, of the value that broke the rule.
    value : object, optional
        That value.
    hint : str, optional
        What to do about it, in the terms of the caller: parameters of a function, or options of a command.

    Attributes
    ----------
    path, tensor, layer, part, index, value, hint
        As given, or None. The text of the error begins with the path, then the part (or the tensor), then
        the layer, as far as they are known. It ends with the hint.

    Examples
    --------
    >>> error = BitxError("must be finite", tensor="conv1.weight", index=3, value=float("nan"))
    >>> str(error)
    "tensor 'conv1.weight': must be finite"
    >>> error.index
    3
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str | os.PathLike[str] | None = None,
        tensor: str | None = None,
        layer: str | None = None,
        part: str | None = None,
        index: int | None = None,
        value: Any = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.tensor = tensor
        self.layer = layer
        self.part = part
        self.index = index
        self.value = value
        self.hint = hint

    @property
    def message(self) -> str:
        """The text without the place."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        # A copy of an object shows the object's URL, and is a file elsewhere.
        path = str(self.path) if isinstance(self.path, PurePath) else self.path
        place = [] if path is None else [os.fspath(path)]
        text = self.message if self.hint is None else f"{self.message}; {self.hint}"
        if self.part is not None:
            place.append(self.part)
        elif self.tensor is not None:
            place.append(f"tensor {self.tensor!r}")
        if self.layer is not None:
            place.append(f"layer {self.layer!r}")
        return ": ".join([*place, text])


class DumpError(BitxError):
    """A file that can't be trusted or read: truncated, damaged, unsafe or unsupported."""


class TensorError(BitxError):
    """A tensor or a layer whose values, dtype or shape break a rule."""


class MissingPartError(TensorError, AttributeError):
    """A part of a result that was not asked for."""


class OptionError(BitxError):
    """An unknown option, name or setting, or a value that is not allowed."""


class MissingExtraError(BitxError, ImportError):
    """A feature needs a package that is not installed.

    Parameters
    ----------
    package : str
        The missing package.
    extra : str
        The extra of this distribution that installs it.
    """

    path: Any  # of both bases

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'bitx[{extra}]'")
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.package, self.extra)


@contextmanager
def error_context(
    *,
    path: str | os.PathLike[str] | None = None,
    tensor: str | None = None,
    layer: str | None = None,
    part: str | None = None,
) -> Iterator[None]:
    """Tell errors that are raised within where they happened; what they know already stays.

    An error that names a tensor is not given a part. A missing package has no place in a file, and passes
    as it is.

    Examples
    --------
    >>> try:
    ...     with error_context(tensor="conv1.weight"):
    ...         raise TensorError("must be finite")
    ... except TensorError as error:
    ...     print(error)
    tensor 'conv1.weight': must be finite
    """
    try:
        yield
    except MissingExtraError:
        raise
    except BitxError as error:
        known = {
            "path": path,
            "part": part if error.tensor is None else None,
            "tensor": tensor,
            "layer": layer,
        }
        for field, name in known.items():
            if getattr(error, field) is None:
                setattr(error, field, name)
        raise
