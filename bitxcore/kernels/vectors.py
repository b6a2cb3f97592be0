"""SIMD vectors as Numba values: whole groups of weights in registers.

Loops over the members of a group leave the choice of vector code to the compiler's
heuristics, which miss it more often than not. Here a `Vec` is an LLVM vector of any length,
so a kernel written with ``&``, ``>>`` and ``fold`` becomes full-width vector code on any
machine; LLVM splits it over the registers there are. Comparisons are unsigned and give a
mask for `where`; shifts by the width or more give 0.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

INT32 = ir.IntType(32)


class Vec(types.Type):
    """Numba type: `lanes` elements of `bits` bits, integers (``"i"``) or floats (``"f"``)."""

    def __init__(self, bits: int, lanes: int, kind: str = "i") -> None:
        self.bits, self.lanes, self.kind = bits, lanes, kind
        super().__init__(f"vec<{lanes} x {kind}{bits}>")

    @property
    def element(self) -> Any:
        """LLVM type of one lane."""
        if self.kind == "i":
            return ir.IntType(self.bits)
        return {16: ir.HalfType(), 32: ir.FloatType(), 64: ir.DoubleType()}[self.bits]

    @property
    def llvm(self) -> Any:
        """LLVM type of the vector."""
        return ir.VectorType(self.element, self.lanes)


@register_model(Vec)
class _VecModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vec: Vec) -> None:
        super().__init__(manager, vec, vec.llvm)


def _constant(ty: Any, value: int) -> Any:
    return ir.Constant(ty, [value] * ty.count)


def shuffle(builder: Any, x: Any, lanes: list[int]) -> Any:
    """Emit a vector of the named lanes of `x`."""
    return builder.shuffle_vector(
        x, ir.Constant(x.type, ir.Undefined), ir.Constant(ir.VectorType(INT32, len(lanes)), lanes)
    )


def _llvm_call(builder: Any, name: str, operands: list[Any], *flags: Any) -> Any:
    ty = operands[0].type
    # LLVM's intrinsics are overloaded by the type of their operands: llvm.umax.v128i32 and so on.
    function = ir.FunctionType(ty, [x.type for x in operands] + [f.type for f in flags])
    mangled = f"llvm.{name}.v{ty.count}i{ty.element.width}"
    return builder.call(
        cgutils.get_or_insert_function(builder.module, function, mangled), [*operands, *flags]
    )


def _as_vector(builder: Any, vec: Vec, ty: Any, value: Any) -> Any:
    """Broadcast a scalar operand; leave a vector as it is."""
    if isinstance(ty, Vec):
        return value
    width = value.type.width
    # Python's integers come as int64: a lane takes their low bits, so -1 sets all of a lane's.
    if width > vec.bits:
        value = builder.trunc(value, vec.element)
    elif width < vec.bits:
        value = builder.zext(value, vec.element)
    # Lane 0 set, then repeated: the pattern that LLVM knows as one broadcast.
    first = builder.insert_element(ir.Constant(vec.llvm, ir.Undefined), value, ir.Constant(INT32, 0))
    return shuffle(builder, first, [0] * vec.lanes)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, to: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), to.as_pointer())


@intrinsic(prefer_literal=True)
def load(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Load `lanes` elements of a 1-D array from `index` on."""
    vec = Vec(array.dtype.bitwidth, lanes.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, array, args[0], args[1], vec.llvm)
        # Aligned like one element: a NumPy array may begin anywhere, and the next vector follows at once.
        return builder.load(pointer, align=vec.bits // 8)

    return vec(array, index, lanes), codegen


@intrinsic
def store(typing: Any, array: Any, index: Any, x: Any) -> Any:
    """Store all lanes from `index` on, truncated to the array's dtype."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, bits = args[2], array.dtype.bitwidth
        to = ir.VectorType(ir.IntType(bits), x.lanes)
        if bits < x.bits:
            value = builder.trunc(value, to)
        builder.store(value, _pointer(context, builder, array, args[0], args[1], to), align=bits // 8)
        return context.get_dummy_value()

    return types.void(array, index, x), codegen


@intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of an element; harmless past the end."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, array, args[0], args[1], ir.IntType(8))
        function = ir.FunctionType(ir.VoidType(), [pointer.type, INT32, INT32, INT32])
        callee = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        # A read (0), into the caches near this core (3), of data (1).
        builder.call(callee, [pointer, *(ir.Constant(INT32, k) for k in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, index), codegen


def _elementwise(emit: Callable[[Any, Any, Any, Vec], Any]) -> Any:
    """Make an intrinsic of two operands, at least one a vector."""

    @intrinsic
    def operation(typing: Any, a: Any, b: Any) -> Any:
        vec = a if isinstance(a, Vec) else b
        if not isinstance(vec, Vec):
            return None

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, y = (_as_vector(builder, vec, t, v) for t, v in zip((a, b), args, strict=True))
            return emit(builder, x, y, vec)

        return vec(a, b), codegen

    return operation


def _shift(method: str) -> Callable[[Any, Any, Any, Vec], Any]:
    def emit(builder: Any, x: Any, y: Any, vec: Vec) -> Any:
        # LLVM leaves a shift by the width or more undefined. Kernels count on 0: rows that leave the lane.
        inside = builder.icmp_unsigned("<", y, _constant(vec.llvm, vec.bits))
        return builder.select(inside, getattr(builder, method)(x, y), _constant(vec.llvm, 0))

    return emit


def _comparison(sign: str) -> Callable[[Any, Any, Any, Vec], Any]:
    return lambda builder, x, y, vec: builder.icmp_unsigned(sign, x, y)


_OPERATORS: dict[Any, tuple[Callable[[Any, Any, Any, Vec], Any], bool]] = {
    operator.and_: (lambda b, x, y, v: b.and_(x, y), False),
    operator.or_: (lambda b, x, y, v: b.or_(x, y), False),
    operator.xor: (lambda b, x, y, v: b.xor(x, y), False),
    operator.add: (lambda b, x, y, v: b.add(x, y), False),
    operator.sub: (lambda b, x, y, v: b.sub(x, y), False),
    operator.lshift: (_shift("shl"), False),
    operator.rshift: (_shift("lshr"), False),
    operator.eq: (_comparison("=="), True),
    operator.ne: (_comparison("!="), True),
    operator.lt: (_comparison("<"), True),
    operator.gt: (_comparison(">"), True),
    operator.le: (_comparison("<="), True),
    operator.ge: (_comparison(">="), True),
}


def _register(function: Any, emit: Callable[[Any, Any, Any, Vec], Any], to_mask: bool) -> None:
    """Teach Numba an operator on vectors; an `overload` would compile a function for every use."""

    class Operator(AbstractTemplate):
        key = function

        def generic(self, args: Any, kwargs: Any) -> Any:
            vec = next((t for t in args if isinstance(t, Vec)), None)
            if vec is None:
                return None
            return (Vec(1, vec.lanes) if to_mask else vec)(*args)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vec = next(t for t in signature.args if isinstance(t, Vec))
        x, y = (_as_vector(builder, vec, t, v) for t, v in zip(signature.args, args, strict=True))
        return emit(builder, x, y, vec)

    infer_global(function)(Operator)
    # A vector on either side, or on both; what is not a vector is broadcast.
    for operands in ((Vec, Vec), (Vec, types.Any), (types.Any, Vec)):
        lower_builtin(function, *operands)(lower)


for _function, (_emit, _to_mask) in _OPERATORS.items():
    _register(_function, _emit, _to_mask)

umax = _elementwise(lambda b, x, y, v: _llvm_call(b, "umax", [x, y]))
fsub = _elementwise(lambda b, x, y, v: b.fsub(x, y))
ashr = _elementwise(lambda b, x, y, v: b.ashr(x, y))


@intrinsic
def where(typing: Any, mask: Any, a: Any, b: Any) -> Any:
    """Take `a` in the lanes of `mask`, `b` elsewhere."""
    vec = a if isinstance(a, Vec) else b

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, y = (_as_vector(builder, vec, t, v) for t, v in zip((a, b), args[1:], strict=True))
        return builder.select(args[0], x, y)

    return vec(mask, a, b), codegen


def _unary(name: str, *flags: Any) -> Any:
    @intrinsic
    def operation(typing: Any, x: Any) -> Any:
        return x(x), lambda context, builder, signature, args: _llvm_call(builder, name, [args[0]], *flags)

    return operation


leading_zeros = _unary("ctlz", ir.Constant(ir.IntType(1), 0))
popcount = _unary("ctpop")


def _cast(result: Callable[[Vec, int], Vec], emit: Callable[[Any, Any, Vec], Any]) -> Any:
    """Make an intrinsic that changes the type of each lane (to `bits` bits)."""

    @intrinsic(prefer_literal=True)
    def operation(typing: Any, x: Any, bits: Any) -> Any:
        to = result(x, bits.literal_value)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return args[0] if args[0].type == to.llvm else emit(builder, args[0], to)

        return to(x, bits), codegen

    return operation


def _resize(builder: Any, x: Any, to: Vec) -> Any:
    return (builder.zext if x.type.element.width < to.bits else builder.trunc)(x, to.llvm)


resize = _cast(lambda x, bits: Vec(bits, x.lanes), _resize)  # zero-extend or truncate
as_float = _cast(lambda x, bits: Vec(bits, x.lanes, "f"), lambda b, x, to: b.bitcast(x, to.llvm))
as_int = _cast(lambda x, bits: Vec(bits, x.lanes), lambda b, x, to: b.bitcast(x, to.llvm))
# Mask of a group as one integer of `bits` bits, lane j in bit j; and back.
as_bits = _cast(lambda x, bits: Vec(bits, x.lanes // bits), lambda b, x, to: b.bitcast(x, to.llvm))
as_mask = _cast(lambda x, bits: Vec(1, x.lanes * x.bits), lambda b, x, to: b.bitcast(x, to.llvm))


ROW_BITS = 32  # rows of a group are chosen in lanes of 32 bits at least


def _rows(to_row_lanes: bool, on_top: bool) -> Any:
    """Make an intrinsic that widens narrow lanes to `ROW_BITS` bits (value kept `on_top`), or undoes it."""

    @intrinsic(prefer_literal=True)
    def operation(typing: Any, x: Any, bits: Any) -> Any:
        narrow = bits.literal_value
        wide = max(narrow, ROW_BITS)
        to = Vec(wide if to_row_lanes else narrow, x.lanes)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = args[0]
            if narrow == wide:
                return value
            if to_row_lanes:
                value = builder.zext(value, to.llvm)
            # Row 0 is the top bit of a lane of any width, so masks move to the top and back. Numbers of
            # ones stay at the bottom.
            if on_top:
                shift = _constant(value.type, wide - narrow)
                value = (builder.shl if to_row_lanes else builder.lshr)(value, shift)
            return value if to_row_lanes else builder.trunc(value, to.llvm)

        return to(x, bits), codegen

    return operation


to_rows = _rows(to_row_lanes=True, on_top=True)
from_rows = _rows(to_row_lanes=False, on_top=True)
to_counts = _rows(to_row_lanes=True, on_top=False)


def _fold(combine: Callable[[Any, Any, Any], Any]) -> Any:
    """Make a reduction of every `group` neighbouring lanes to one.

    Even and odd lanes are combined again and again, so that each register holds whole
    results at every step: fewer shuffles per value than reducing group by group.
    """

    @intrinsic(prefer_literal=True)
    def reduction(typing: Any, x: Any, group: Any) -> Any:
        size = group.literal_value

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = args[0]
            # After k steps lane i holds members i * 2**k up to (i + 1) * 2**k of what came in; after all
            # of them, lane i holds group i.
            for _ in range(size.bit_length() - 1):
                n = value.type.count
                even = shuffle(builder, value, list(range(0, n, 2)))
                odd = shuffle(builder, value, list(range(1, n, 2)))
                value = combine(builder, even, odd)
            return value

        return Vec(x.bits, x.lanes // size)(x, group), codegen

    return reduction


fold_or = _fold(lambda b, x, y: b.or_(x, y))
fold_add = _fold(lambda b, x, y: b.add(x, y))
fold_umax = _fold(lambda b, x, y: _llvm_call(b, "umax", [x, y]))


@intrinsic(prefer_literal=True)
def spread(typing: Any, x: Any, group: Any) -> Any:
    """Repeat every lane `group` times: the inverse shape of a fold."""
    size = group.literal_value
    to = Vec(x.bits, x.lanes * size)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # Lane i belongs to group i // size.
        return shuffle(builder, args[0], [i // size for i in range(to.lanes)])

    return to(x, group), codegen


@intrinsic(prefer_literal=True)
def splat(typing: Any, value: Any, bits: Any, lanes: Any) -> Any:
    """Make a vector of equal lanes."""
    vec = Vec(bits.literal_value, lanes.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _as_vector(builder, vec, value, args[0])

    return vec(value, bits, lanes), codegen


@intrinsic
def like(typing: Any, x: Any, value: Any) -> Any:
    """Broadcast `value` to the shape of `x`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _as_vector(builder, x, value, args[1])

    return x(x, value), codegen


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """Sum of all lanes, as int64 (lanes taken as unsigned)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # Widened first: the sum of a vector of bytes needs more bits than a byte has.
        wide = args[0] if x.bits == 64 else builder.zext(args[0], ir.VectorType(ir.IntType(64), x.lanes))
        function = ir.FunctionType(ir.IntType(64), [wide.type])
        name = f"llvm.vector.reduce.add.v{x.lanes}i64"
        return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [wide])

    return types.int64(x), codegen


@intrinsic
def any_lane(typing: Any, mask: Any) -> Any:
    """Whether a mask has a lane that is set."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = builder.bitcast(args[0], ir.IntType(mask.lanes))
        return builder.icmp_unsigned("!=", lanes, ir.Constant(lanes.type, 0))

    return types.boolean(mask), codegen


def lanes_of(bits: int, group: int) -> int:
    """Lanes of the vectors to work with: eight 64-byte registers, and a whole group at least."""
    return max(8 * 512 // bits, group)


@intrinsic(prefer_literal=True)
def flushes(typing: Any, two: Any, bits: Any) -> Any:
    """Whether this thread flushes subnormal floats of `bits` bits to zero (`two` must be 2)."""
    vec = Vec(bits.literal_value, 1, "f")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def subnormal(code: Any) -> Any:
            return builder.bitcast(builder.trunc(code, ir.IntType(vec.bits)), vec.element)

        # The codes 1 and 2 are the two smallest subnormals, and 2 - 1 is 1 unless it is flushed. The 2 is
        # an argument, or the compiler would work out the answer itself.
        one = subnormal(builder.lshr(args[0], ir.Constant(args[0].type, 1)))
        left = builder.fsub(subnormal(args[0]), one)
        left = builder.bitcast(left, ir.IntType(vec.bits))
        return builder.icmp_unsigned("==", left, ir.Constant(left.type, 0))

    return types.boolean(two, bits), codegen
