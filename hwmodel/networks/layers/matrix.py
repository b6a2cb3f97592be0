"""Matrix products: activations with weights, and activations with activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bitxcore.errors import TensorError
from hwmodel.networks.layers.fields import whole_number
from hwmodel.networks.layers.layer import Layer


@dataclass(frozen=True)
class Linear(Layer):
    """Product of activations with a weight matrix, at `positions` positions.

    Parameters
    ----------
    name : str
    in_features, out_features : int
    positions : int
        Rows of activations: batch, sequence length, or their product.
    steps : int
        Dependent steps that the positions fall into. A recurrent matrix has one per time step;
        only ``positions / steps`` positions are ready together.

    Raises
    ------
    TensorError
        If a size is not an integer of at least 1, the steps do not divide the positions, or the sizes
        together are beyond all networks.

    Examples
    --------
    >>> layer = Linear("classifier", in_features=512, out_features=1000, positions=4)
    >>> layer.weight_shape, layer.macs
    ((1000, 512), 2048000)
    """

    in_features: int
    out_features: int
    positions: int = 1
    steps: int = 1

    operation: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("in_features", "out_features", "positions", "steps"):
            object.__setattr__(self, field, whole_number(self.name, field, getattr(self, field), 1))
        if self.positions % self.steps:
            raise TensorError(
                f"positions {self.positions} can't be split into {self.steps} steps",
                layer=self.name,
                value=self.positions,
            )
        self.check_size()

    @property
    def conv_groups(self) -> int:
        """Groups of filters that share no activations."""
        return 1

    @property
    def filters(self) -> int:
        """Output channels."""
        return self.out_features

    @property
    def channels(self) -> int:
        """Inputs that one filter reads."""
        return self.in_features

    @property
    def input_count(self) -> int:
        """Activations read."""
        return self.positions * self.in_features

    @property
    def output_count(self) -> int:
        """Activations written."""
        return self.positions * self.out_features


@dataclass(frozen=True)
class MatMul(Layer):
    """Batched product of two activation matrices, ``rows x inner`` with ``inner x columns``.

    Attention's scores and its weighted sum are such layers. The second operand takes the place
    of the weights; `conv_groups` is the batch.

    Parameters
    ----------
    name : str
    rows, inner, columns : int
    batch : int
        Independent products (batch times heads).

    Raises
    ------
    TensorError
        If a size is not an integer of at least 1, or sizes are beyond all networks.

    Examples
    --------
    >>> scores = MatMul("attention.scores", rows=128, inner=32, columns=128, batch=12)
    >>> scores.macs, scores.has_weights
    (6291456, False)
    """

    rows: int
    inner: int
    columns: int
    batch: int = 1

    operation: ClassVar[str] = "matmul"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("rows", "inner", "columns", "batch"):
            object.__setattr__(self, field, whole_number(self.name, field, getattr(self, field), 1))
        self.check_size()

    @property
    def conv_groups(self) -> int:
        """Groups of filters that share no activations."""
        return self.batch

    @property
    def filters(self) -> int:
        """Output channels."""
        return self.batch * self.columns

    @property
    def channels(self) -> int:
        """Inputs that one filter reads."""
        return self.inner

    @property
    def positions(self) -> int:
        """Rows of the first operand."""
        return self.rows

    @property
    def has_weights(self) -> bool:
        """False: both operands are activations."""
        return False

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Empty: there are no weights."""
        return ()

    @property
    def input_count(self) -> int:
        """Activations read."""
        return self.batch * self.inner * (self.rows + self.columns)

    @property
    def output_count(self) -> int:
        """Activations written."""
        return self.batch * self.rows * self.columns
