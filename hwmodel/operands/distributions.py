"""Stand-ins: values drawn from a named distribution where there is no trace, or no trained weights.

A draw depends on the seed, on what is drawn and on the layer's name; not on the order of layers, nor on
which machines ask. NumPy may change its generators' streams between releases.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError
from bitxcore.remote.remote_path import as_path

DEFAULT_ACTIVATIONS = "relu-normal"
DEFAULT_WEIGHTS = "normal"

_BLOCK = 1 << 20


def _normal(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    return rng.standard_normal(count, np.float32)


def _half_normal(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    return np.abs(_normal(rng, count))


def _laplace(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    return rng.laplace(size=count).astype(np.float32)


def _uniform(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    return rng.random(count, np.float32) * np.float32(2) - np.float32(1)


_DRAWS: dict[str, tuple[Callable[[np.random.Generator, int], npt.NDArray[np.float32]], float]] = {
    "relu-normal": (_half_normal, 0.5),
    "normal": (_normal, 0.0),
    "laplace": (_laplace, 0.0),
    "uniform": (_uniform, 0.0),
}
"""How the values of a distribution are drawn, and its share of zeros where none is given."""

DISTRIBUTIONS: dict[str, str] = {
    "relu-normal": "magnitudes of a standard normal, half of the values 0: a ReLU's output",
    "normal": "standard normal",
    "laplace": "Laplace of scale 1: heavier tails",
    "uniform": "uniform from -1 to 1",
}
"""Names, and what they mean; all take ``zeros`` and ``seed``."""


@dataclass(frozen=True)
class Distribution:
    """A named distribution of independent values.

    Parameters
    ----------
    name : str
        One of `DISTRIBUTIONS`.
    zeros : float, optional
        Probability that a value is 0; the distribution's own if left out.
    seed : int

    Raises
    ------
    OptionError
        For an unknown name, or a share or seed out of range.

    Examples
    --------
    >>> drawn = Distribution("laplace", zeros=0.5)
    >>> drawn.label
    'laplace, zeros 0.5, seed 0'
    >>> values = drawn.draw("weights", "fc", (1000, 100))
    >>> values.dtype, round(float((values == 0).mean()), 2)
    (dtype('float32'), 0.5)
    """

    name: str
    zeros: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in _DRAWS:
            raise OptionError(f"distribution {self.name!r} is none of {', '.join(_DRAWS)}", value=self.name)
        if self.zeros is not None and not 0 <= self.zeros <= 1:
            raise OptionError(
                f"distribution {self.name!r}: zeros must be from 0 to 1, got {self.zeros!r}", value=self.zeros
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise OptionError(
                f"distribution {self.name!r}: seed must be an integer of at least 0, got {self.seed!r}",
                value=self.seed,
            )

    @property
    def label(self) -> str:
        """Name, share of zeros if it is not the name's own, and seed."""
        zeros = "" if self.zeros is None else f", zeros {self.zeros:g}"
        return f"{self.name}{zeros}, seed {self.seed}"

    def draw(self, what: str, layer: str, shape: Sequence[int]) -> npt.NDArray[np.float32]:
        """Draw the values of one operand.

        Parameters
        ----------
        what : str
            ``"activations"`` or ``"weights"``.
        layer : str
            Name of the layer.
        shape : sequence of int

        Returns
        -------
        ndarray of float32
        """
        words = np.frombuffer(sha256(f"{what}\0{layer}".encode()).digest(), "<u4")
        rng = np.random.default_rng([self.seed, *words.tolist()])
        draw, own_zeros = _DRAWS[self.name]
        zeros = own_zeros if self.zeros is None else self.zeros
        values = np.empty(prod(shape), np.float32)
        for start in range(0, values.size, _BLOCK):
            part = values[start : start + _BLOCK]
            part[:] = draw(rng, part.size)
            if zeros:
                part[rng.random(part.size) < zeros] = 0
        return values.reshape(tuple(shape))


def distribution(text: str | Distribution) -> Distribution:
    """Read ``NAME``, or ``NAME:zeros=0.6,seed=3``.

    Raises
    ------
    OptionError
        For another name, key or value.

    Examples
    --------
    >>> distribution("normal:zeros=0.25,seed=3")
    Distribution(name='normal', zeros=0.25, seed=3)
    """
    if isinstance(text, Distribution):
        return text
    name, *settings = re.split("[:,]", text)
    values: dict[str, float] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        try:
            values[key] = {"zeros": float, "seed": int}[key](value)
        except (KeyError, ValueError):
            raise OptionError(
                f"distribution {text!r} is not of the form NAME:zeros=0.5,seed=0: {setting!r}",
                value=setting,
            ) from None
    return Distribution(name, values.get("zeros"), int(values.get("seed", 0)))


SYNTHETIC = "synthetic"
"""What the text of drawn weights may begin with."""


def weight_distribution(given: object) -> Distribution | None:
    """Read what may be given as weights: the distribution that they are drawn from; None if they are stored.

    Parameters
    ----------
    given : Distribution, str or anything else
        ``synthetic``, ``synthetic:laplace`` or a distribution's own text draws; all else says where a dump
        is.

    Examples
    --------
    >>> weight_distribution("synthetic:laplace,zeros=0.5").label
    'laplace, zeros 0.5, seed 0'
    >>> weight_distribution("model.safetensors") is None
    True
    """
    if isinstance(given, Distribution):
        return given
    if not isinstance(given, str):
        return None
    name, _, rest = given.partition(":")
    if name == SYNTHETIC:
        return distribution(rest or DEFAULT_WEIGHTS)
    # A mistyped name is not a file either: say which names there are.
    if name in _DRAWS or not (as_path(given).suffix or as_path(given).exists()):
        return distribution(given)
    return None
