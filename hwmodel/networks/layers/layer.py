"""What every layer tells an accelerator, whatever its operation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from bitxcore.checks import shown
from bitxcore.errors import TensorError

MOST_WEIGHTS = 1 << 36
"""Of one layer; they are held in memory."""

MOST_POSITIONS = 1 << 32
MOST_ACTIVATIONS = 1 << 50
MOST_MACS = 1 << 61


class TooLargeError(TensorError):
    """A layer is beyond what is simulated."""


@dataclass(frozen=True)
class Layer(ABC):
    """Base of all layers: the sizes that an accelerator needs.

    Parameters
    ----------
    name : str
        Unique within its network.
    """

    name: str

    operation: ClassVar[str]
    """Name of the operation, as in tables and results."""

    def check_size(self) -> None:
        """Refuse sizes that together are beyond all networks, and beyond 64-bit counters."""
        counts = {
            "weights": (self.filters * self.reduction, MOST_WEIGHTS),
            "positions": (self.positions, MOST_POSITIONS),
            "inputs": (self.input_count, MOST_ACTIVATIONS),
            "outputs": (self.output_count, MOST_ACTIVATIONS),
            "multiply-accumulates": (self.macs, MOST_MACS),
        }
        for what, (count, most) in counts.items():
            if count > most:
                raise TooLargeError(
                    f"the layer has {count:.3g} {what}, at most {most:.3g} are simulated",
                    layer=self.name,
                    value=count,
                )

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TensorError(
                f"a layer's name must be a non-empty string, got {shown(self.name)}", value=self.name
            )

    @property
    @abstractmethod
    def conv_groups(self) -> int:
        """Groups of filters that share no activations."""

    @property
    @abstractmethod
    def filters(self) -> int:
        """Output channels, over all groups."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Input channels that one filter reads."""

    @property
    def kernel_positions(self) -> int:
        """Weights of one filter per input channel."""
        return 1

    @property
    @abstractmethod
    def positions(self) -> int:
        """Times each weight is used: output positions of a filter (inputs, if transposed)."""

    @property
    def steps(self) -> int:
        """Parts of `positions` that must follow one another (recurrent layers); else 1."""
        return 1

    @property
    @abstractmethod
    def input_count(self) -> int:
        """Activations read, each counted once, without padding."""

    @property
    @abstractmethod
    def output_count(self) -> int:
        """Activations written."""

    @property
    def has_weights(self) -> bool:
        """Whether one operand is known before run time."""
        return True

    @property
    def reduction(self) -> int:
        """Weights of one filter."""
        return self.channels * self.kernel_positions

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights, output channel first; empty if there are none."""
        return (self.filters, self.channels)

    @property
    def parameters(self) -> int:
        """Weights, biases not counted."""
        return self.filters * self.reduction if self.has_weights else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates; products with padding count, as is customary."""
        return self.filters * self.reduction * self.positions

    def position_tiles(self, width: int) -> int:
        """Count the passes when `width` positions are worked on at a time."""
        return self.steps * -(-(self.positions // self.steps) // width)
