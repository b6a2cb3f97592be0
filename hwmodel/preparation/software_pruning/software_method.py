"""What a method of software pruning is, and finding one by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import numpy as np
import numpy.typing as npt

from bitxcore.checks import check_one_of
from bitxcore.errors import OptionError
from bitxcore.progress import Progress
from hwmodel.evaluation.found_by_name import FoundByName
from hwmodel.preparation.software_pruning.channel_candidates import ChannelCandidate
from hwmodel.preparation.software_pruning.seen_channels import see_channels
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
class ChannelWork:
    """What a method gets to choose channels by.

    Parameters
    ----------
    path : pathlib.Path
        Of the model.
    candidates : sequence of ChannelCandidate
    batches : sequence of dict of str to ndarray
        Calibration samples; may be none, where the method needs none.
    progress : callable, optional
        ``progress(done, total, space)``.
    """

    path: Path
    candidates: Sequence[ChannelCandidate]
    batches: Sequence[dict[str, Array]] = ()
    progress: Progress | None = None


@dataclass(eq=False)
class ChannelChoice:
    """What a method chose.

    Attributes
    ----------
    kept : dict of str to ndarray
        Channels that stay, rising, by space.
    reasons : dict of str to str
        Of spaces that are left as they are.
    replaced : dict of str to ndarray
        Stored tensors that get other values, too.
    """

    kept: dict[str, Array] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, Array] = field(default_factory=dict)


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


class ChannelMethod(SoftwareMethod):
    """A method that chooses channels."""

    on: ClassVar[str] = "channels"

    @abstractmethod
    def choose(self, work: ChannelWork, ratio: float, scope: str) -> ChannelChoice:
        """Choose the channels that stay."""


class ChannelRanking(ChannelMethod):
    """A method that scores channels; the lowest are taken away.

    Attributes
    ----------
    comparable : bool
        Whether scores of different layers can be compared as they are. Others are divided by the mean of
        their space before they are, as torch-pruning does by default.
    """

    comparable: ClassVar[bool] = False

    @abstractmethod
    def scores(self, channels: ChannelCandidate) -> Array | str:
        """Score each channel, ``(channels,)``; or say why there are no scores.

        A space's score is the mean over its layers [chosen], as torch-pruning has it for coupled layers.
        """

    def of_samples(self, x: Array) -> Array:
        """Turn activations ``(samples, channels, positions)`` into a number for each sample and channel."""
        raise NotImplementedError

    def choose(self, work: ChannelWork, ratio: float, scope: str) -> ChannelChoice:
        """Take away the channels with the lowest scores."""
        choice = ChannelChoice()
        found: dict[str, Array] = {}
        if self.needs_data:
            choice.reasons |= see_channels(work.path, work.candidates, work.batches, self.of_samples)
        for channels in work.candidates:
            if channels.name in choice.reasons:
                continue
            scored = self.scores(channels)
            if isinstance(scored, str):
                choice.reasons[channels.name] = scored
            else:
                found[channels.name] = scored
        if scope == "layer":
            choice.kept = kept_by_layer(found, ratio)
            return choice
        if not self.comparable:
            found = {name: of / (of.mean() or 1.0) for name, of in found.items()}
        choice.kept = kept_of_all(found, ratio)
        return choice


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
    """Names of all methods, sorted.

    Examples
    --------
    >>> "l1" in method_names()
    True
    """
    return _FOUND.names()


def method_class(name: str) -> type[SoftwareMethod]:
    """Find a method's class.

    Raises
    ------
    OptionError
        If there is none of that name.
    """
    found: type[SoftwareMethod] = _FOUND.find(name)
    return found


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
    found = method_class(name)
    known = {item.name for item in fields(found)}
    hints = get_type_hints(found)
    for option, value in options.items():
        if option not in known:
            has = f"its options are {', '.join(sorted(known))}" if known else "it has none"
            raise OptionError(f"method {name} has no option {option!r}; {has}")
        if type(value) is not hints[option]:
            wanted = {int: "an integer", bool: "true or false"}.get(hints[option], hints[option].__name__)
            raise OptionError(
                f"option {option} of method {name} must be {wanted}, got {value!r}", value=value
            )
    return found(**options)
