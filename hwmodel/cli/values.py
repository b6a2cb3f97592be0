"""Values that options take; what they may be is looked up when they are used."""

from __future__ import annotations

import re
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    Choice = click.ParamType[Any]
else:
    Choice = click.ParamType  # generic since click 8.2 only

MOST_VALUES = 100_000
"""Of a range."""

_RANGE = re.compile(r"-?\d+:-?\d+(:-?\d+)?", re.ASCII)
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?) ?(?:([kmgt])(?:i?b)?)?", re.ASCII | re.IGNORECASE)
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_DECIMAL = re.compile(r"\d+\.?\d*(e-?\d+)?", re.ASCII | re.IGNORECASE)


def _value(text: str) -> Any:
    """Read an option's value as Python writes it; anything else is text."""
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float) if text.isascii() else ():
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _is_integer(text: str) -> bool:
    """Whether a text is of the digits 0 to 9: Python's `int` reads those of all scripts."""
    return text.isascii() and text.isdecimal()


class Integer(click.IntRange):
    """An integer of a range, of ASCII digits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        if isinstance(value, str) and not value.isascii():
            self.fail(f"{value!r} is not a valid integer.", param, ctx)
        return super().convert(value, param, ctx)


class OneOf(Choice):
    """A choice from a tuple that stands in a module, imported on use.

    Parameters
    ----------
    place : str
        ``module:attribute``.
    """

    name = "choice"

    def __init__(self, place: str) -> None:
        self.place = place

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return `value` if it is one of the choices."""
        module, attribute = self.place.split(":")
        choices = getattr(import_module(module), attribute)
        if value not in choices:
            self.fail(f"{value!r} is none of {', '.join(choices)}", param, ctx)
        return value


class Format(Choice):
    """The name of a number format."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return `value` if it names a format."""
        from bitxcore.errors import BitxError
        from bitxcore.formats import number_format

        try:
            number_format(value)
        except BitxError as error:
            self.fail(str(error), param, ctx)
        return value


class Machine(Choice):
    """``name`` or ``name:option=value,...``; becomes the name and a dict."""

    name = "accelerator"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        if not isinstance(value, str):
            return value
        name, colon, rest = value.partition(":")
        options = {}
        for part in rest.split(",") if colon else []:
            key, equals, text = part.partition("=")
            if not equals or not key.strip():
                self.fail(f"{value!r} is not NAME:OPTION=VALUE,OPTION=VALUE", param, ctx)
            if key.strip() in options:
                self.fail(f"{value!r} sets {key.strip()} twice", param, ctx)
            options[key.strip()] = _value(text.strip())
        return name, options


class Depth(Choice):
    """A number of groups; ``inf`` or ``none``: without bound."""

    name = "integer|inf"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        if _is_integer(str(value)):
            return int(value)
        if value not in ("inf", "none"):
            self.fail(f"{value!r} is neither an integer from 0 nor inf", param, ctx)
        return "inf"


class IntegerOr(Choice):
    """An integer of a range, or a word that stands for None.

    Parameters
    ----------
    word : str
    most : int, optional
        The integer is from 1 up to this.
    """

    def __init__(self, word: str, most: int | None = None) -> None:
        self.word, self.most = word, most
        self.name = f"integer|{word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        if value == self.word:
            return None
        if not _is_integer(str(value)) or not 1 <= int(value) <= (self.most or int(value)):
            limits = f"from 1 to {self.most}" if self.most else "from 1"
            self.fail(f"{value!r} is neither an integer {limits} nor {self.word}", param, ctx)
        return int(value)


class ByteSize(Choice):
    """An amount of memory: a number with a unit, ``512M`` or ``2GiB``; without one, of MiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text into bytes."""
        if not isinstance(value, str):
            return value
        found = _SIZE.fullmatch(value.strip())
        nbytes = int(float(found[1]) * _UNITS[(found[2] or "m").lower()]) if found else 0
        if not 1 <= nbytes < 1 << 62:
            self.fail(f"{value!r} is no amount of memory, such as 512M or 2GiB", param, ctx)
        return nbytes


class Shape(Choice):
    """``1x3x224x224``, or ``name=1x3x224x224`` where there are several inputs."""

    name = "[input=]AxBx..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        name, _, text = value.rpartition("=")
        parts = text.replace(",", "x").split("x")
        if not all(_is_integer(part) and int(part) for part in parts):
            self.fail(f"{value!r} is not of the form 1x3x224x224 or NAME=1x3x224x224", param, ctx)
        return name, tuple(map(int, parts))


class Size(Choice):
    """``name=value``."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        name, _, text = value.rpartition("=")
        if not name or not _is_integer(text) or not int(text):
            self.fail(f"{value!r} is not NAME=VALUE with an integer from 1", param, ctx)
        return name, int(text)


class FedInput(Choice):
    """``file``, or ``name=file``; ``name=value`` for one number. What exists as it stands is a file."""

    name = "[name=]file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text into the input's name, or none, and a path, a number or a truth value."""
        if not isinstance(value, str):
            return value
        name, equals, text = value.partition("=")
        if not equals or Path(value).exists():
            return "", value
        if not name or not text:
            self.fail(f"{value!r} is not of the form FILE, NAME=FILE or NAME=VALUE", param, ctx)
        scalar = _value(text)
        return name, text if Path(text).exists() or scalar is None else scalar


class Values(Choice):
    """``option=a,b,c``, where an entry may be a range ``low:high`` or ``low:high:step``, ends included."""

    name = "option=values"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text into the option and a tuple of values."""
        if not isinstance(value, str):
            return value
        option, equals, text = value.partition("=")
        if not equals or not option.strip() or not text.strip():
            self.fail(f"{value!r} is not OPTION=VALUE,VALUE or OPTION=LOW:HIGH[:STEP]", param, ctx)
        values: list[Any] = []
        for part in text.split(","):
            values += (
                _range(self, part, param, ctx) if _RANGE.fullmatch(part.strip()) else [_value(part.strip())]
            )
        return option.strip(), tuple(values)


def _range(choice: Choice, text: str, param: click.Parameter | None, ctx: click.Context | None) -> range:
    """``low:high`` or ``low:high:step``, ends included."""
    low, high, *steps = map(int, text.split(":"))
    step = steps[0] if steps else 1
    if step < 1 or low > high:
        choice.fail(f"{text!r} is no range: LOW:HIGH:STEP rises by STEP of at least 1", param, ctx)
    if (high - low) // step >= MOST_VALUES:
        choice.fail(f"{text!r} has more than {MOST_VALUES:,} values", param, ctx)
    return range(low, high + 1, step)


class ListOf(Choice):
    """``a,b,c`` of another type, where an entry may be a range as of `Values`; becomes a tuple.

    Parameters
    ----------
    kind : click.ParamType
        Of each entry.
    words : tuple of str
        Entries that are taken as they are.
    """

    def __init__(self, kind: Choice, words: tuple[str, ...] = ()) -> None:
        self.kind, self.words = kind, words
        self.name = f"{kind.name},..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text; an entry that is given twice counts once."""
        if not isinstance(value, str):
            return value
        found: dict[Any, None] = {}
        for part in map(str.strip, value.split(",")):
            entries = map(str, _range(self, part, param, ctx)) if _RANGE.fullmatch(part) else (part,)
            for entry in entries:
                found[entry if entry in self.words else self.kind.convert(entry, param, ctx)] = None
        return tuple(found)


class AutoRows(NamedTuple):
    """Rows that are to be found by tensor.

    Parameters
    ----------
    loss : float
        That is allowed: points of a score in percent, percent of another score.
    """

    loss: float


class RowsOrAuto(Choice):
    """Numbers of rows as of `ListOf`, or ``auto:LOSS``."""

    name = "integer,...|auto:LOSS"
    _rows = ListOf(IntegerOr("none"))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        word, colon, loss = value.partition(":") if isinstance(value, str) else ("", "", "")
        if word != "auto":
            return self._rows.convert(value, param, ctx)
        if not colon or not _DECIMAL.fullmatch(loss) or not isfinite(float(loss)):
            self.fail(f"{value!r}: auto needs a loss, such as auto:0.5", param, ctx)
        return AutoRows(float(loss))


class Numbers(Choice):
    """One number, or several with commas."""

    name = "number[,number...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        if not isinstance(value, str):
            return value
        try:
            if not value.isascii():
                raise ValueError
            return tuple(float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a number, or several with commas", param, ctx)
