"""Values that options of `bitx simulate` take."""

from __future__ import annotations

from typing import Any

import click

from hwmodel.cli.options import Choice


def _value(text: str) -> Any:
    """Read an option's value as Python writes it; anything else is text."""
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


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
    """A number of groups, or ``inf``."""

    name = "integer|inf"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        if str(value).isdecimal():
            return int(value)
        if value != "inf":
            self.fail(f"{value!r} is neither an integer from 0 nor inf", param, ctx)
        return "inf"


class Shape(Choice):
    """``1x3x224x224``, or ``name=1x3x224x224`` where there are several inputs."""

    name = "[input=]AxBx..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        name, _, text = value.rpartition("=")
        parts = text.replace(",", "x").split("x")
        if not all(part.isdecimal() and int(part) for part in parts):
            self.fail(f"{value!r} is not of the form 1x3x224x224 or NAME=1x3x224x224", param, ctx)
        return name, tuple(map(int, parts))


class Size(Choice):
    """``name=value``."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        name, _, text = value.rpartition("=")
        if not name or not text.isdecimal() or not int(text):
            self.fail(f"{value!r} is not NAME=VALUE with an integer from 1", param, ctx)
        return name, int(text)
