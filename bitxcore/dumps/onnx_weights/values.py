"""Values that are made of stored tensors only: where their numbers come from, and how to compute them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from bitxcore.dumps.onnx_graph import Constant
from bitxcore.errors import TensorError

Array = npt.NDArray[Any]

MOST_MOVES = 200
"""Moves one after the other that are followed; recipes are worked off by recursion."""

MOST_PARTS = 4096
"""Stored tensors that one value is put together from."""

MOST_GROWTH = 4
"""How many times its stored tensors' size a value may have: attention heads share weights, bombs do more."""

MOST_DIMENSIONS = 32
MOST_INTEGERS = 1 << 16
"""Elements of an argument (a shape, indices) that is evaluated."""


# -- how to compute a value --------------------------------------------------------------------


@dataclass(frozen=True)
class AsStored:
    """A stored tensor as it is.

    Parameters
    ----------
    name : str
        As the dump lists it.
    """

    name: str
    depth: int = field(default=0, init=False, repr=False)


@dataclass(frozen=True, eq=False)
class Literal:
    """A small array that is known without reading a tensor."""

    array: Array
    depth: int = field(default=0, init=False, repr=False)


@dataclass(frozen=True, eq=False)
class Move:
    """What a function makes of other values.

    Parameters
    ----------
    function : callable
        From arrays to an array; it can be pickled.
    inputs : tuple of Recipe
    """

    function: Callable[..., Array]
    inputs: tuple[Recipe, ...]
    depth: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", 1 + max(part.depth for part in self.inputs))


Recipe = AsStored | Literal | Move
"""How a value is computed of what a dump holds."""


def sources(recipe: Recipe) -> tuple[str, ...]:
    """Names of the tensors that a recipe reads, each once."""
    return tuple(dict.fromkeys(part.name for part in _parts(recipe) if isinstance(part, AsStored)))


def _parts(recipe: Recipe) -> Iterator[Recipe]:
    stack, seen = [recipe], {id(recipe)}
    while stack:
        part = stack.pop()
        yield part
        for more in reversed(part.inputs) if isinstance(part, Move) else ():
            if id(more) not in seen:
                seen.add(id(more))
                stack.append(more)


def evaluate(recipe: Recipe, tensors: Mapping[str, Any]) -> Array:
    """Compute a value.

    Parameters
    ----------
    recipe : Recipe
    tensors : mapping of str to array_like
        An open dump, or arrays by the names that it lists.

    Raises
    ------
    TensorError
        If a tensor has another shape than the graph says.
    """
    try:
        return _evaluated(recipe, tensors, {})
    except (ValueError, IndexError) as error:
        if isinstance(error, TensorError):
            raise
        raise TensorError(
            f"can't become the weights of its layer: {error}", tensor=sources(recipe)[0]
        ) from error


def _evaluated(recipe: Recipe, tensors: Mapping[str, Any], done: dict[int, Array]) -> Array:
    if isinstance(recipe, Literal):
        return recipe.array
    if id(recipe) not in done:
        if isinstance(recipe, AsStored):
            done[id(recipe)] = as_numbers(np.asarray(tensors[recipe.name]))
        else:
            done[id(recipe)] = recipe.function(*(_evaluated(part, tensors, done) for part in recipe.inputs))
    return done[id(recipe)]


def as_numbers(stored: Array) -> Array:
    """Return integers of 4 bits as NumPy's own, with which it can compute."""
    return stored.astype(np.int8) if stored.dtype in _NIBBLES else stored


_NIBBLES = (np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4))


# -- what is known of a value without computing it ---------------------------------------------


@dataclass(frozen=True, slots=True)
class Factor:
    """A scale or a zero point, and where along a stored tensor it applies.

    Parameters
    ----------
    recipe : Recipe
        Of its values.
    axes : tuple of (int or None)
        For each dimension of these values the stored tensor's axis; None where they have one element.
    block : int
        Elements along axis `along` of the tensor that share a value; 1 unless blocks are quantised.
    along : int, optional
    divides : bool
        Whether a scale divides.
    known : ndarray, optional
        Its values, where they are few and in the model itself.
    spread : Spread, optional
        Where it applies, if that does not follow the tensor's axes; `axes` then counts for nothing.
    """

    recipe: Recipe
    axes: tuple[int | None, ...] = ()
    block: int = 1
    along: int | None = None
    divides: bool = False
    known: Array | None = field(default=None, compare=False, repr=False)
    spread: Spread | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Where a scale or a zero point applies: to a value that stored tensors were moved to.

    Parameters
    ----------
    places : Recipe
        How they were moved, nothing else.
    shape : tuple of int
        Of the value.
    axis, block : int
        Elements along an axis that share one; a block of 1 unless blocks are quantised.
    """

    places: Recipe
    shape: tuple[int, ...]
    axis: int
    block: int


@dataclass(frozen=True, slots=True)
class Origin:
    """One stored tensor on its way.

    Parameters
    ----------
    constant : Constant
    axes : tuple of (int or None)
        For each axis of the value the stored tensor's axis that it is; None where axes were merged, split or
        cut.
    runs : tuple of frozenset of int
        For each axis of the value those of the stored tensor that it runs over, or over a part of.
    zero_point : Factor, optional
        What is subtracted from its integers.
    scales : tuple of Factor
        What its numbers are multiplied by.
    unknown : str
        Why the zero point of its numbers, as they are stored, is not known; else empty.
    packing : Packing, optional
        How its bytes hold codes, if they hold several each.
    ends : tuple of int, optional
        Lowest and highest code, if the graph quantises its floats.
    """

    constant: Constant
    axes: tuple[int | None, ...]
    runs: tuple[frozenset[int], ...]
    zero_point: Factor | None = None
    scales: tuple[Factor, ...] = ()
    unknown: str = ""
    packing: Packing | None = None
    ends: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Packing:
    """Codes of a few bits, several in a byte, in blocks along a row.

    Parameters
    ----------
    bits : int
        2, 4 or 8.
    columns : int
        Codes in a row that count.
    block : int
        Codes that share a scale and a zero point.
    """

    bits: int
    columns: int
    block: int


@dataclass(frozen=True, slots=True)
class Derived:
    """A value of a graph that is made of stored tensors only.

    Parameters
    ----------
    places : Recipe
        How its stored tensors were moved, whatever their numbers became.
    recipe : Recipe
        Integers that represent weights are given without their zero point, and not scaled.
    shape : tuple of int
    parts : tuple of Origin
        The tensors that its numbers come from, the first first.
    coded : bool
        Whether these are integers that represent weights.
    integer : bool
        Whether the graph computes with them as integers (still).
    scaled : bool
        Whether the graph multiplied codes by a scale.
    quantiser : Quantiser, optional
        How codes were dequantised last; if they are integers again, their zero point is subtracted already.
    unknown : str
        Why the recipe does not give the codes; else empty.
    """

    recipe: Recipe
    places: Recipe
    shape: tuple[int, ...]
    parts: tuple[Origin, ...]
    coded: bool
    integer: bool
    scaled: bool = False
    quantiser: Quantiser | None = None
    unknown: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Quantiser:
    """Arguments of DequantizeLinear or QuantizeLinear.

    Parameters
    ----------
    scale, zero : Derived, Stopped or None
    axis, block : int
    """

    scale: Derived | Stopped | None
    zero: Derived | Stopped | None
    axis: int
    block: int

    @property
    def whole(self) -> bool:
        """Whether one scale and one zero point are those of all numbers."""
        return all(x is None or (isinstance(x, Derived) and x.size == 1) for x in (self.scale, self.zero))

    def undoes(self, other: Quantiser | None) -> bool:
        """Whether quantising by one and dequantising by the other gives the same numbers."""
        if other is None or not (_equal(self.scale, other.scale) and _equal(self.zero, other.zero)):
            return False
        return (self.whole and other.whole) or (self.axis, self.block) == (other.axis, other.block)


def _equal(a: Derived | Stopped | None, b: Derived | Stopped | None) -> bool:
    if a is None and b is None:
        return True
    if not isinstance(a, Derived) or not isinstance(b, Derived):
        first, second = numbers(a), numbers(b)
        given = first if first is not None else second
        return (a is None or b is None) and given is not None and not given.any()
    if a.shape == b.shape and a.recipe == b.recipe:
        return True
    first, second = numbers(a), numbers(b)
    return first is not None and second is not None and np.array_equal(first.reshape(-1), second.reshape(-1))


@dataclass(frozen=True, slots=True)
class Stopped:
    """A value that is the same in every run, but made in a way that is not followed.

    Parameters
    ----------
    operator : str
        What made it.
    constants : tuple of str
        Stored tensors that it was made of, as far as they were followed.
    """

    operator: str
    constants: tuple[str, ...] = ()


# -- small values, whose numbers are known at once ------------------------------------------------

_SMALL = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 21, 22})
"""Types of arguments, zero points and conditions."""


def numbers(value: Derived | Stopped | None) -> Array | None:
    """Numbers of a small value; None if they are not known."""
    if not isinstance(value, Derived) or value.size > MOST_INTEGERS:
        return None
    arrays = {part.constant.name: numbers_of(part.constant) for part in value.parts}
    return None if any(x is None for x in arrays.values()) else evaluate(value.recipe, arrays)


def numbers_of(constant: Constant) -> Array | None:
    """Numbers of a small tensor that is held in the model itself."""
    import onnx

    if np.prod(constant.shape, dtype=object) > MOST_INTEGERS:
        return None
    if constant.attribute_dtype is not None:
        proto = constant.proto
        single = {"value_int": proto.i, "value_float": proto.f}.get(proto.name)
        many = proto.ints if proto.name == "value_ints" else proto.floats
        return np.array(list(many) if single is None else single, constant.attribute_dtype)
    if constant.proto.external_data or constant.proto.data_type not in _SMALL:
        return None
    return np.asarray(onnx.numpy_helper.to_array(constant.proto))
