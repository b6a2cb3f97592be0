"""Expressions on vectors: Python functions that run while a kernel is compiled, and write its code.

Numba types a function line by line, and helpers that it puts in the place of their calls again at every
call: most of the time that a kernel takes to compile. An `expression` is called like a helper, but runs once
for each call, as plain Python. Constants of the kernel come as themselves, all else as a `Traced`, whose
operators emit LLVM's instructions. So ``if`` and ``for`` on constants cost nothing, helpers are any
functions, and the kernel that Numba sees stays small.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir
from numba.core import cgutils, extending, types

INT64 = ir.IntType(64)
WORDS: dict[Any, str] = {
    operator.and_: "and_",
    operator.or_: "or_",
    operator.xor: "xor",
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.floordiv: "sdiv",  # of numbers that are not negative
    operator.mod: "srem",
    operator.lshift: "shl",
    operator.rshift: "ashr",
}
COMPARISONS: dict[Any, str] = {
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.gt: ">",
    operator.le: "<=",
    operator.ge: ">=",
}
VECTOR_OPERATORS: dict[Any, Callable[[Any, list[Any], list[Any]], tuple[Any, Any]]] = {}
"""From types and values of two operands, one of them a vector, to those of the result; `vectors` fills it."""

_traces: list[tuple[Any, Any]] = []
"""Context and builder of the expressions that are being run; None where only types are asked for."""


class Traced:
    """What the kernel will have when it runs: its Numba type, and its LLVM value once there is one."""

    __slots__ = ("emitted", "type")
    __hash__ = None

    def __init__(self, type_: Any, emitted: Any) -> None:
        self.type = type_
        self.emitted = emitted

    def __bool__(self) -> bool:
        raise TypeError("an expression can't branch on what is known only when the kernel runs")


def _operate(function: Any, a: Any, b: Any) -> Traced:
    operands = [a, b]
    kinds, (_, builder) = [_type_of(x) for x in operands], _traces[-1]
    values = (
        [None, None] if builder is None else [_emitted(x, t) for x, t in zip(operands, kinds, strict=True)]
    )
    if any(hasattr(t, "lanes") for t in kinds):
        return Traced(*VECTOR_OPERATORS[function](builder, kinds, values))
    kind = types.unliteral(kinds[0])
    if function in COMPARISONS:
        emitted = builder and builder.icmp_signed(COMPARISONS[function], *values)
        return Traced(types.boolean, emitted)
    word = ("f" if kind == types.float64 else "") + WORDS[function]
    return Traced(kind, builder and getattr(builder, word)(*values))


def _give_operators() -> None:
    for function in (*WORDS, *COMPARISONS):
        name = function.__name__.strip("_")
        setattr(Traced, f"__{name}__", lambda self, other, f=function: _operate(f, self, other))
        if function in WORDS:
            setattr(Traced, f"__r{name}__", lambda self, other, f=function: _operate(f, other, self))


_give_operators()


def _type_of(x: Any) -> Any:
    if isinstance(x, Traced):
        return x.type
    if isinstance(x, tuple):
        kinds = [_type_of(part) for part in x]
        same = all(kind == kinds[0] for kind in kinds)
        return types.UniTuple(kinds[0], len(kinds)) if same else types.Tuple(kinds)
    return types.float64 if isinstance(x, float) else types.literal(x)


def _emitted(x: Any, kind: Any) -> Any:
    """LLVM value of a `Traced`, a tuple, or a constant."""
    context, builder = _traces[-1]
    if isinstance(x, Traced):
        return x.emitted
    if isinstance(x, tuple):
        return context.make_tuple(builder, kind, [_emitted(part, _type_of(part)) for part in x])
    if isinstance(x, bool):
        return ir.Constant(ir.IntType(1), int(x))
    if isinstance(x, float):
        return ir.Constant(ir.DoubleType(), x)
    return ir.Constant(INT64, x)


def _value(kind: Any, emitted: Any) -> Any:
    """Python value of an LLVM value, or of a constant."""
    if isinstance(kind, types.Literal):
        return kind.literal_value
    if isinstance(kind, types.BaseTuple):
        _, builder = _traces[-1]
        parts = [builder and builder.extract_value(emitted, i) for i in range(len(kind))]
        return tuple(_value(part, value) for part, value in zip(kind, parts, strict=True))
    return None if kind == types.void else Traced(kind, emitted)


_Intrinsic: Any = extending._Intrinsic


class Operation(_Intrinsic):  # type: ignore[misc]
    """A Numba intrinsic that expressions can call, too."""

    def __init__(self, name: str, defn: Any, prefer_literal: bool = False, **kwargs: Any) -> None:
        super().__init__(name, defn, prefer_literal, **kwargs)
        self.py_func = defn  # by which the cache of kernels knows it

    def __call__(self, *args: Any) -> Any:
        """Emit the operation where the expression stands that is being run."""
        kinds = [_type_of(x) for x in args]
        signature, codegen = self._defn(None, *kinds)
        context, builder = _traces[-1]
        emitted = None
        if builder is not None:
            values = [_emitted(x, t) for x, t in zip(args, kinds, strict=True)]
            emitted = codegen(context, builder, signature, values)
        return _value(signature.return_type, emitted)


def intrinsic(function: Any = None, *, prefer_literal: bool = False) -> Any:
    """Make an `Operation`, as `numba.extending.intrinsic` makes an intrinsic."""
    if function is None:
        return lambda f: intrinsic(f, prefer_literal=prefer_literal)
    found = Operation(function.__name__, function, prefer_literal=prefer_literal)
    found._register()
    return found


class Expression(Operation):
    """A Python function that a kernel calls, and that runs when the kernel is compiled."""

    def __init__(self, name: str, defn: Any, prefer_literal: bool = True, **kwargs: Any) -> None:
        super().__init__(name, defn, prefer_literal, **kwargs)
        self.py_func = defn.py_func

    def __call__(self, *args: Any) -> Any:
        """Run as a part of another expression."""
        return self.py_func(*args)


def _run(function: Any, kinds: Any, context: Any, builder: Any, emitted: Any) -> Any:
    _traces.append((context, builder))
    try:
        found = function(*(_value(kind, value) for kind, value in zip(kinds, emitted, strict=True)))
        kind = types.void if found is None else types.unliteral(_type_of(found))
        if builder is None:
            return kind
        return context.get_dummy_value() if found is None else _emitted(found, kind)
    finally:
        _traces.pop()


def expression(function: Callable[..., Any]) -> Any:
    """Make an `Expression` of a function of vectors, numbers, arrays and tuples of these.

    Numbers that are constants of the kernel come as Python's; the function may branch on them.
    """

    def define(typing: Any, *kinds: Any) -> Any:
        result = _run(function, kinds, None, None, [None] * len(kinds))

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _run(function, kinds, context, builder, args)

        return result(*kinds), codegen

    parameters = [*inspect.signature(define).parameters.values()][:1]
    parameters += inspect.signature(function).parameters.values()
    define.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    define.py_func = function  # type: ignore[attr-defined]
    found = Expression(function.__name__, define)
    found._register()
    return found


def _slots(state: tuple[Traced, ...]) -> list[Any]:
    """Memory for values that change in a loop; the compiler puts it in registers."""
    _, builder = _traces[-1]
    with builder.goto_entry_block():
        return [builder.alloca(value.emitted.type) for value in state]


def _as_values(state: tuple[Any, ...]) -> tuple[Traced, ...]:
    kinds = [_type_of(x) for x in state]
    return tuple(Traced(types.unliteral(k), _emitted(x, k)) for x, k in zip(state, kinds, strict=True))


def _set_slots(slots: list[Any], state: Any) -> None:
    _, builder = _traces[-1]
    for slot, value in zip(slots, _as_values(state or ()), strict=True):
        builder.store(value.emitted, slot)


def _slot_values(slots: list[Any], state: tuple[Traced, ...]) -> tuple[Traced, ...]:
    _, builder = _traces[-1]
    return tuple(Traced(x.type, builder.load(slot)) for slot, x in zip(slots, state, strict=True))


def loop(count: Any, step: Callable[..., Any], *state: Any) -> tuple[Traced, ...]:
    """Call ``step(i, *state)``, which returns the next state, for i up to `count`; return the last one.

    `count` may be known only when the kernel runs. `step` itself runs once.
    """
    _, builder = _traces[-1]
    if builder is None:
        return tuple(Traced(types.unliteral(_type_of(x)), None) for x in state)
    state = _as_values(state)
    slots = _slots(state)
    _set_slots(slots, state)
    number = builder.sext(_emitted(count, _type_of(count)), INT64)
    with cgutils.for_range(builder, number) as turn:
        _set_slots(slots, step(Traced(types.int64, turn.index), *_slot_values(slots, state)))
    return _slot_values(slots, state)


def when(condition: Traced | bool, step: Callable[..., Any], *state: Any) -> tuple[Traced, ...]:
    """Return what ``step(*state)`` returns if a condition holds when the kernel runs, else `state`."""
    _, builder = _traces[-1]
    if not isinstance(condition, Traced):
        return (step(*state) or ()) if condition else state
    if builder is None:
        return tuple(Traced(types.unliteral(_type_of(x)), None) for x in state)
    state = _as_values(state)
    slots = _slots(state)
    _set_slots(slots, state)
    with builder.if_then(condition.emitted):
        _set_slots(slots, step(*state))
    return _slot_values(slots, state)


def branch(condition: Traced | bool, then: Callable[[], Any], other: Callable[[], Any]) -> tuple[Traced, ...]:
    """Return what `then` returns if a condition holds when the kernel runs, else what `other` does."""
    _, builder = _traces[-1]
    if not isinstance(condition, Traced):
        return tuple(then() if condition else other())
    if builder is None:
        return tuple(Traced(types.unliteral(_type_of(x)), None) for x in then())
    with builder.if_else(condition.emitted) as (yes, no):
        with yes:
            found = _as_values(then())
            slots = _slots(found)
            _set_slots(slots, found)
        with no:
            _set_slots(slots, other())
    return _slot_values(slots, found)


def choose(condition: Any, a: Any, b: Any) -> Any:
    """Take `a` if a condition holds when the kernel runs, else `b`."""
    if not isinstance(condition, Traced):
        return a if condition else b
    _, builder = _traces[-1]
    kind = a.type if isinstance(a, Traced) else b.type
    if builder is None:
        return Traced(types.unliteral(kind), None)
    return Traced(kind, builder.select(condition.emitted, *(_emitted(x, kind) for x in (a, b))))


def least(a: Any, b: Any) -> Any:
    """Return the smaller of two numbers."""
    return choose(a < b, a, b)
