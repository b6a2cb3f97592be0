"""What a method of software pruning is, and finding one by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, get_type_hints

import numpy as np
import numpy.typing as npt

from bitxcore.checks import check_one_of
from bitxcore.errors import OptionError
from hwmodel.evaluation.found_by_name import FoundByName
from hwmodel.preparation.software_pruning.shares import SCOPES, kept_by_layer, kept_of_all

METHODS = {
    "l1": "hwmodel.preparation.software_pruning.filter_l1:FilterL1",
    "slimming": "hwmodel.preparation.software_pruning.slimming:Slimming",
    "apoz": "hwmodel.preparation.software_pruning.apoz:APoZ",
    "entropy": "hwmodel.preparation.software_pruning.channel_entropy:ChannelEntropy",
    "thinet": "hwmodel.preparation.software_pruning.thinet:ThiNet",
    "group-norm": "hwmodel.preparation.software_pruning.group_norm:GroupNorm",
    "magnitude": "hwmodel.preparation.software_pruning.weight_magnitude:WeightMagnitude",
    "strided": "hwmodel.preparation.software_pruning.strided:Strided",
    "monte-carlo": "hwmodel.preparation.software_pruning.monte_carlo:MonteCarlo",
    "monte-carlo-channels": "hwmodel.preparation.software_pruning.monte_carlo:MonteCarloChannels",
}
"""Methods of this package, by name."""

_FOUND = FoundByName("method", "bitx.software_pruning", METHODS)

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ChannelCandidate:
    """Channels of one space: what one layer, or several that are added up, write, and what others read.

    Parameters
    ----------
    name : str
        Of the space.
    count : int
        Channels.
    writers : dict of str to ndarray
        Weights ``(channels, ...)`` that compute each channel, by tensor; of a depthwise layer as well.
    readers : dict of str to ndarray
        Weights ``(channels, ...)`` that each channel is multiplied by, by tensor.
    gammas : dict of str to ndarray
        Scales ``(channels,)`` of batch normalisations behind the writers, by tensor.
    seen : list of ndarray
        What `ChannelRanking.of_samples` gave, ``(samples, channels)`` for each value behind a writer.
    """

    name: str
    count: int
    writers: dict[str, Array]
    readers: dict[str, Array]
    gammas: dict[str, Array] = field(default_factory=dict)
    seen: list[Array] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SoftwareMethod(ABC):
    """A method; a frozen dataclass, whose fields are its options.

    Attributes
    ----------
    name, summary, source : str
        As tables have them; the paper.
    on : {"channels", "weights"}
    needs_data : bool
        Whether it looks at activations of calibration samples.
    scopes : tuple of str
        Of `SCOPES`, the default first.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    on: ClassVar[str]
    needs_data: ClassVar[bool] = False
    scopes: ClassVar[tuple[str, ...]] = SCOPES

    def check_scope(self, scope: str | None) -> str:
        """Give the scope, or the method's own for None; raise an `OptionError` if it has none such."""
        if scope is None:
            return self.scopes[0]
        check_one_of(SCOPES, "scope", scope)
        if scope not in self.scopes:
            raise OptionError(f"method {self.name} has no scope {scope}, only {' and '.join(self.scopes)}")
        return scope


class ChannelRanking(SoftwareMethod):
    """A method that scores channels; the lowest are taken away.

    Attributes
    ----------
    comparable : bool
        Whether scores of different layers can be compared as they are. Others are divided by the mean of
        their space before they are, as torch-pruning does by default.
    """

    on: ClassVar[str] = "channels"
    comparable: ClassVar[bool] = False

    @abstractmethod
    def scores(self, channels: ChannelCandidate) -> Array | str:
        """Score each channel, ``(channels,)``; or say why there are no scores.

        A space's score is the mean over its layers [chosen], as torch-pruning has it for coupled layers.
        """

    def of_samples(self, x: Array) -> Array:
        """Turn activations ``(samples, channels, positions)`` into a number for each sample and channel."""
        raise NotImplementedError

    def kept(
        self, candidates: Sequence[ChannelCandidate], ratio: float, scope: str
    ) -> tuple[dict[str, Array], dict[str, str]]:
        """Choose the channels that stay, by space; and the reasons of spaces that are left alone."""
        found: dict[str, Array] = {}
        reasons: dict[str, str] = {}
        for channels in candidates:
            scored = self.scores(channels)
            if isinstance(scored, str):
                reasons[channels.name] = scored
            else:
                found[channels.name] = scored
        if scope == "layer":
            return kept_by_layer(found, ratio), reasons
        if not self.comparable:
            found = {name: of / (of.mean() or 1.0) for name, of in found.items()}
        return kept_of_all(found, ratio), reasons


class WeightChoice(SoftwareMethod):
    """A method that chooses single weights, which become zeros."""

    on: ClassVar[str] = "weights"

    @abstractmethod
    def masks(self, weights: Mapping[str, Array], ratio: float, scope: str) -> dict[str, Array | str]:
        """Say which weights stay, or why none is taken away.

        Parameters
        ----------
        weights : mapping of str to ndarray
            ``(filters, channels, *kernel)`` by tensor.
        ratio : float
        scope : str

        Returns
        -------
        dict of str to ndarray of bool, or str
        """


def mean_over_layers(scores: Sequence[Array]) -> Array:
    """Mean over the layers of a space, ``(channels,)``."""
    found: Array = np.mean([np.asarray(of, np.float64) for of in scores], axis=0)
    return found


def per_channel(weights: Array) -> Array:
    """Weights as ``(channels, weights of each)``, float64."""
    return weights.reshape(len(weights), -1).astype(np.float64)


def method_names() -> list[str]:
    """Names of all methods, sorted."""
    return _FOUND.names()


def software_method(name: str, **options: Any) -> SoftwareMethod:
    """Make a method.

    Parameters
    ----------
    name : str
        One of `method_names`.
    **options
        Its own.

    Raises
    ------
    OptionError
        If there is none of that name, or it has no such option.

    Examples
    --------
    >>> software_method("monte-carlo", seed=3).seed
    3
    """
    found: type[SoftwareMethod] = _FOUND.find(name)
    known = {item.name for item in fields(found)}
    hints = get_type_hints(found)
    for option, value in options.items():
        if option not in known:
            has = f"its options are {', '.join(sorted(known))}" if known else "it has none"
            raise OptionError(f"method {name} has no option {option!r}; {has}")
        if type(value) is not hints[option]:
            wanted = {int: "an integer", bool: "true or false"}.get(hints[option], hints[option].__name__)
            raise OptionError(f"option {option} of method {name} must be {wanted}, got {value!r}", value=value)
    return found(**options)
