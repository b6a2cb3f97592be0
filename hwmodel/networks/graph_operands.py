"""Which values of a graph a layer reads, and how they become its activations.

A trace fetches the values and hands them to `GraphOperand.arrange`; nothing here runs a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

OperandArray = npt.NDArray[Any]

FIRST, SECOND = "activations", "second"
"""The operands: a layer's input; of a product of activations the first operand, and the second one."""


def as_it_is(x: OperandArray) -> OperandArray:
    """Return `x`: the input of a convolution, batch and channels first."""
    return x


@dataclass(frozen=True)
class GraphOperand:
    """One operand of a layer, as values of the graph.

    Parameters
    ----------
    values : tuple of str
        Names of the values.
    arrange : callable
        From their arrays, in order, to the operand in the layer's shape.
    operand : {"activations", "second"}
    zero_point : str
        Value that is subtracted first, from integers; empty if there is none.
    unrecorded : str
        Why it can't be recorded; empty if it can.
    """

    values: tuple[str, ...]
    arrange: Callable[..., OperandArray] = as_it_is
    operand: str = FIRST
    zero_point: str = ""
    unrecorded: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every value of the graph that must be fetched."""
        return (*self.values, self.zero_point) if self.zero_point else self.values


def without_zero_point(x: OperandArray, zero_point: OperandArray) -> OperandArray:
    """Subtract a zero point from integers; 8-bit integers become int16."""
    if not zero_point.any():
        return x
    wide = x.astype(np.int32) - zero_point.astype(np.int32)
    return wide.astype(np.int16) if x.dtype.itemsize == 1 else wide


# -- matrix products ---------------------------------------------------------------------------


def matrices(x: OperandArray, *, flips: bool = False, columns: bool = False) -> OperandArray:
    """See an operand as ``(..., rows, inner)``.

    Parameters
    ----------
    x : ndarray
        A stack of matrices, or one vector.
    flips : bool
        Whether it is stored the other way round.
    columns : bool
        Whether it is the right-hand operand, ``(..., inner, rows)``.
    """
    if x.ndim == 1:
        return x[None]
    return x if flips == columns else np.swapaxes(x, -1, -2)


def product_rows(
    x: OperandArray, *, stack: tuple[int, ...], index: int, flips: bool, columns: bool
) -> OperandArray:
    """Rows that meet one matrix of a stack of weights, shape (positions, inner).

    Parameters
    ----------
    x : ndarray
        The operand that is not weights.
    stack : tuple of int
        Shape of the weights but for their last two axes.
    index : int
        Which of its matrices.
    flips, columns : bool
        As in `matrices`.
    """
    x = matrices(x, flips=flips, columns=columns)
    outer = np.broadcast_shapes(x.shape[:-2], stack)
    which = np.broadcast_to(np.arange(prod(stack)).reshape(stack), outer)
    spread = np.broadcast_to(x, outer + x.shape[-2:])
    rows: OperandArray = spread[which == index].reshape(-1, x.shape[-1])
    return rows


def product_operand(
    x: OperandArray, *, outer: tuple[int, ...], shape: tuple[int, int, int], flips: bool, columns: bool
) -> OperandArray:
    """One operand of a batched product of activations.

    Parameters
    ----------
    x : ndarray
    outer : tuple of int
        What its leading axes are broadcast to.
    shape : tuple of int
        (batch, rows, inner), or for the right-hand operand (batch, inner, columns).
    flips, columns : bool
        As in `matrices`.
    """
    x = matrices(x, flips=flips, columns=columns)
    x = np.broadcast_to(x, outer + x.shape[-2:])
    return (np.swapaxes(x, -1, -2) if columns else x).reshape(shape)


def turned_operand(x: OperandArray, *, arrange: Callable[..., OperandArray]) -> OperandArray:
    """Move the first axis behind all others but the last, and arrange what comes of it."""
    return arrange(np.moveaxis(x, 0, -2))


def rearranged_operand(
    x: OperandArray, *, order: tuple[int, ...], shape: tuple[int, ...], index: int | None = None
) -> OperandArray:
    """One operand of an Einsum: its axes in another order, joined to a stack of matrices; or one of these.

    Parameters
    ----------
    x : ndarray
    order : tuple of int
    shape : tuple of int
    index : int, optional
        Which of the batch is meant.
    """
    whole = x.transpose(order).reshape(shape)
    return whole if index is None else whole[index]


# -- recurrent layers --------------------------------------------------------------------------


def sequence_rows(x: OperandArray, *, batch_first: bool) -> OperandArray:
    """Bring inputs of a recurrent layer in the order of steps, shape (steps * batch, features)."""
    x = np.swapaxes(x, 0, 1) if batch_first else x
    return x.reshape(-1, x.shape[-1])


def hidden_rows(
    y: OperandArray, *initial: OperandArray, direction: int, backward: bool, batch_first: bool
) -> OperandArray:
    """Find the hidden states that the steps begin with, in order, shape (steps * batch, hidden).

    Parameters
    ----------
    y : ndarray, shape (steps, directions, batch, hidden), batch first (batch, steps, directions, hidden)
        Hidden states after each step.
    *initial : ndarray, shape (directions, batch, hidden), batch first (batch, directions, hidden)
        Those before the first step; zeros if left out.
    direction : int
    backward : bool
        Whether the sequence is read from its end.
    batch_first : bool
    """
    after = np.moveaxis(y, 0, 2)[:, direction] if batch_first else y[:, direction]
    if backward:
        after = after[::-1]
    first = np.zeros_like(after[0])
    if initial:
        first = initial[0][:, direction] if batch_first else initial[0][direction]
    return np.concatenate([first[None], after[:-1]]).reshape(-1, after.shape[-1])


def recurrent_operands(
    node: Any, attributes: dict[str, Any], direction: int, steps: int
) -> tuple[GraphOperand, GraphOperand]:
    """Operands of the input matrix and of the recurrent matrix of one direction of an ONNX node."""
    batch_first = bool(attributes.get("layout", 0))
    inputs = GraphOperand((node.input[0],), partial(sequence_rows, batch_first=batch_first))
    given = [*node.input, *[""] * 6]
    if given[4] and steps > 1:
        reason = "sequences of several lengths: which steps are real is known at run time only"
        return inputs, GraphOperand((), unrecorded=reason)
    backward = direction == 1 or attributes.get("direction", "forward") == "reverse"
    arrange = partial(hidden_rows, direction=direction, backward=backward, batch_first=batch_first)
    return inputs, GraphOperand((node.output[0], *filter(None, [given[5]])), arrange)
