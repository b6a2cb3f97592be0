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
from functools import cache
from typing import Any

import llvmlite.ir as ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import lower_builtin, models, register_model

from bitxcore.kernels.expressions import VECTOR_OPERATORS, expression, intrinsic, least, loop

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
    if vec.kind == "f":
        first = builder.insert_element(ir.Constant(vec.llvm, ir.Undefined), value, ir.Constant(INT32, 0))
        return shuffle(builder, first, [0] * vec.lanes)
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
    """Address of an element of a 1-D array, or of what an address points to."""
    own = isinstance(array_type, types.CPointer)
    data = array if own else context.make_array(array_type)(context, builder, array).data
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


def store_at(place: Any, x: Any) -> None:
    """Store all lanes at an address."""
    store(place, 0, x)


@intrinsic
def element(typing: Any, array: Any, index: Any) -> Any:
    """Element of a 1-D array of unsigned numbers, as int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.IntType(array.dtype.bitwidth)
        value = builder.load(_pointer(context, builder, array, args[0], args[1], kind))
        return value if kind.width == 64 else builder.zext(value, ir.IntType(64))

    return types.int64(array, index), codegen


@intrinsic
def put(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Store an integer in an element of a 1-D array, truncated."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.IntType(array.dtype.bitwidth)
        value = args[2] if kind.width == 64 else builder.trunc(args[2], kind)
        builder.store(value, _pointer(context, builder, array, args[0], args[1], kind))
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


@intrinsic
def add_to(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Add an integer to an element of a 1-D array of int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(context, builder, array, args[0], args[1], args[2].type)
        builder.store(builder.add(builder.load(place), args[2]), place)
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


def _prefetch(builder: Any, pointer: Any, near: int = 3) -> None:
    function = ir.FunctionType(ir.VoidType(), [pointer.type, INT32, INT32, INT32])
    callee = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
    # A read (0), into caches as near to this core as 0 to 3 tells, of data (1).
    builder.call(callee, [pointer, *(ir.Constant(INT32, k) for k in (0, near, 1))])


def _prefetcher(near: int) -> Any:
    @intrinsic
    def operation(typing: Any, array: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _prefetch(builder, _pointer(context, builder, array, args[0], args[1], ir.IntType(8)), near)
            return context.get_dummy_value()

        return types.void(array, index), codegen

    return operation


# Ask for the cache line of an element, in the first- or the second-level cache; harmless past the end.
prefetch = _prefetcher(3)
prefetch_second = _prefetcher(2)


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
        return operate(builder, signature.args, args)[1]

    def operate(builder: Any, kinds: list[Any], values: list[Any]) -> tuple[Any, Any]:
        vec = next(t for t in kinds if isinstance(t, Vec))
        result = Vec(1, vec.lanes) if to_mask else vec
        if builder is None:
            return result, None
        x, y = (_as_vector(builder, vec, t, v) for t, v in zip(kinds, values, strict=True))
        return result, emit(builder, x, y, vec)

    VECTOR_OPERATORS[function] = operate
    infer_global(function)(Operator)
    # A vector on either side, or on both; what is not a vector is broadcast.
    for operands in ((Vec, Vec), (Vec, types.Any), (types.Any, Vec)):
        lower_builtin(function, *operands)(lower)


for _function, (_emit, _to_mask) in _OPERATORS.items():
    _register(_function, _emit, _to_mask)

umax = _elementwise(lambda b, x, y, v: _llvm_call(b, "umax", [x, y]))
umin = _elementwise(lambda b, x, y, v: _llvm_call(b, "umin", [x, y]))
shr = _elementwise(lambda b, x, y, v: b.lshr(x, y))  # for less than the lane's bits
subtract_to_zero = _elementwise(lambda b, x, y, v: _llvm_call(b, "usub.sat", [x, y]))
fsub = _elementwise(lambda b, x, y, v: b.fsub(x, y))
fadd = _elementwise(lambda b, x, y, v: b.fadd(x, y))
fmul = _elementwise(lambda b, x, y, v: b.fmul(x, y))
ashr = _elementwise(lambda b, x, y, v: b.ashr(x, y))


@intrinsic
def float_less(typing: Any, a: Any, b: Any) -> Any:
    """Compare floats: mask of the lanes where `a` is less than `b`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fcmp_ordered("<", args[0], args[1])

    return Vec(1, a.lanes)(a, b), codegen


@intrinsic
def to_double(typing: Any, x: Any) -> Any:
    """Convert integers, taken as signed, to float64."""
    vec = Vec(64, x.lanes, "f")
    return vec(x), lambda context, builder, signature, args: builder.sitofp(args[0], vec.llvm)


@intrinsic
def to_float(typing: Any, x: Any) -> Any:
    """Convert an integer to float64."""
    return types.float64(x), lambda context, builder, signature, args: builder.sitofp(
        args[0], ir.DoubleType()
    )


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
reverse_bits = _unary("bitreverse")


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
    """Lanes of the vectors to work with: eight registers, and a whole group at least."""
    return max(8 * register_bits() // bits, group)


@cache
def features() -> frozenset[str]:
    """Instruction sets of this processor that LLVM may use, such as ``+avx2``."""
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    with global_compiler_lock:  # of LLVM: a fork waits for it
        return frozenset(cpu_target.target_context.codegen().magic_tuple()[2].split(","))


def register_bits() -> int:
    """Bits of a register: of wider vectors half would wait in memory, for want of as many registers."""
    return 512 if "+avx512f" in features() else 256


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


# -- memory ------------------------------------------------------------------------------------


def _unsigned(bits: int) -> Any:
    return getattr(types, f"uint{bits}")


@intrinsic(prefer_literal=True)
def scratch(typing: Any, bits: Any, count: Any) -> Any:
    """Address of `count` elements of `bits` bits on the stack, at the start of a cache line."""
    element, number = ir.IntType(bits.literal_value), count.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        with builder.goto_entry_block():
            space = builder.alloca(ir.ArrayType(element, number))
            space.align = 64
        return builder.bitcast(space, element.as_pointer())

    return types.CPointer(_unsigned(bits.literal_value))(bits, count), codegen


@intrinsic(prefer_literal=True)
def address(typing: Any, array: Any, index: Any, bits: Any) -> Any:
    """Address of an element of a 1-D array (or behind another address), as one of `bits` bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _pointer(context, builder, array, args[0], args[1], ir.IntType(bits.literal_value))

    return types.CPointer(_unsigned(bits.literal_value))(array, index, bits), codegen


@intrinsic
def copy_bytes(typing: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` bytes from one address to another."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cgutils.raw_memcpy(builder, args[0], args[1], args[2], 1)
        return context.get_dummy_value()

    return types.void(target, source, count), codegen


@intrinsic
def clear_bytes(typing: Any, target: Any, count: Any) -> Any:
    """Set `count` bytes from an address on to 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cgutils.memset(builder, args[0], args[1], 0)
        return context.get_dummy_value()

    return types.void(target, count), codegen


@intrinsic
def place_in_line(typing: Any, pointer: Any) -> Any:
    """Bytes of an address after the start of its cache line."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.ptrtoint(args[0], ir.IntType(64))
        return builder.and_(place, ir.Constant(place.type, LINE_BYTES - 1))

    return types.int64(pointer), codegen


LINE_BYTES = 64


@intrinsic
def stream_line(typing: Any, target: Any, source: Any, index: Any) -> Any:
    """Copy a cache line of bytes past the caches, to an address that is the start of one."""
    line = ir.VectorType(ir.IntType(64), LINE_BYTES // 8)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(_pointer(context, builder, source, args[1], args[2], line), align=1)
        stored = builder.store(
            value, _pointer(context, builder, target, args[0], args[2], line), align=LINE_BYTES
        )
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(INT32, 1)]))
        return context.get_dummy_value()

    return types.void(target, source, index), codegen


def _whole_lines(target: Any, size: Any) -> tuple[Any, Any]:
    """Bytes before the first whole cache line of an address, and the number of lines."""
    head = least((LINE_BYTES - place_in_line(target)) & (LINE_BYTES - 1), size)
    return head, (size - head) // LINE_BYTES


@expression
def stream_lines(target: Any, source: Any, first: int, number: int, size: int) -> None:
    """Copy `number` of the whole cache lines of `size` bytes from one address to another, past the caches.

    A store to a line that is not in the caches would read it first: as much again as is written.
    """
    head, lines = _whole_lines(target, size)
    loop(least(number, lines - first), lambda i: stream_line(target, source, head + (first + i) * LINE_BYTES))


@expression
def stream_ends(target: Any, source: Any, size: int) -> None:
    """Copy what is not in whole cache lines."""
    head, lines = _whole_lines(target, size)
    copy_bytes(target, source, head)
    at = head + lines * LINE_BYTES
    copy_bytes(address(target, at, 8), address(source, at, 8), size - at)


@expression
def stream(target: Any, source: Any, size: int) -> None:
    """Copy bytes from one address to another, whole cache lines past the caches."""
    stream_lines(target, source, 0, size, size)
    stream_ends(target, source, size)


@intrinsic(prefer_literal=True)
def lane_numbers(typing: Any, x: Any, lanes: Any) -> Any:
    """Make the vector 0, 1, 2, ... in lanes like the elements of `x`."""
    vec = Vec(x.dtype.bitwidth, lanes.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(vec.llvm, list(range(vec.lanes)))

    return vec(x, lanes), codegen


@intrinsic(prefer_literal=True)
def load_rows(
    typing: Any, x: Any, base: Any, apart: Any, members: Any, zeros: Any, rows: Any, lanes: Any
) -> Any:
    """Load `rows` rows of `lanes` neighbouring elements, `apart` elements from one to the next.

    Those from number `members` on are read from the address `zeros`.
    """
    count, width = rows.literal_value, lanes.literal_value
    vec = Vec(x.dtype.bitwidth, count * width)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = ir.VectorType(vec.element, width)
        first = _pointer(context, builder, x, args[0], args[1], vec.element)
        found = []
        for i in range(count):
            number = ir.Constant(ir.IntType(64), i)
            here = builder.gep(first, [builder.mul(number, args[2])], source_etype=vec.element)
            pointer = builder.select(builder.icmp_signed("<", number, args[3]), here, args[4])
            found.append(builder.load(builder.bitcast(pointer, row.as_pointer()), align=vec.bits // 8))
        while len(found) > 1:
            n = found[0].type.count
            index = ir.Constant(ir.VectorType(INT32, 2 * n), list(range(2 * n)))
            pairs = zip(found[::2], found[1::2], strict=True)
            found = [builder.shuffle_vector(a, b, index) for a, b in pairs]
        return found[0]

    return vec(x, base, apart, members, zeros, rows, lanes), codegen


@intrinsic(prefer_literal=True)
def store_rows(
    typing: Any, out: Any, base: Any, apart: Any, members: Any, wide: Any, x: Any, lanes: Any
) -> Any:
    """Undo `load_rows` for the first `wide` elements of the first `members` rows of the matrix `x`."""
    width = lanes.literal_value
    vec = Vec(x.bits, width)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = _pointer(context, builder, out, args[0], args[1], vec.element)
        numbers = ir.Constant(ir.VectorType(INT32, width), list(range(width)))
        wanted = builder.trunc(args[4], INT32)
        limit = builder.insert_element(ir.Constant(numbers.type, ir.Undefined), wanted, ir.Constant(INT32, 0))
        mask = builder.icmp_signed("<", numbers, shuffle(builder, limit, [0] * width))
        whole = builder.icmp_signed(">=", args[4], ir.Constant(ir.IntType(64), width))
        kind = ir.FunctionType(ir.VoidType(), [vec.llvm, vec.llvm.as_pointer(), INT32, mask.type])
        name = f"llvm.masked.store.v{width}i{vec.bits}.p0"
        masked = cgutils.get_or_insert_function(builder.module, kind, name)
        for i in range(x.lanes // width):
            number = ir.Constant(ir.IntType(64), i)
            with builder.if_then(builder.icmp_signed("<", number, args[3])):
                here = builder.gep(first, [builder.mul(number, args[2])], source_etype=vec.element)
                pointer = builder.bitcast(here, vec.llvm.as_pointer())
                row = shuffle(builder, args[5], list(range(i * width, (i + 1) * width)))
                with builder.if_else(whole) as (full, part):
                    with full:
                        builder.store(row, pointer, align=vec.bits // 8)
                    with part:
                        builder.call(masked, [row, pointer, ir.Constant(INT32, vec.bits // 8), mask])
        return context.get_dummy_value()

    return types.void(out, base, apart, members, wide, x, lanes), codegen


@intrinsic
def store_between(typing: Any, out: Any, at: Any, x: Any, first: Any, last: Any) -> Any:
    """Store the lanes ``first..last`` of a vector that would lie at `at`; the others are not touched."""
    vec = Vec(out.dtype.bitwidth, x.lanes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = args[2] if x.bits == vec.bits else builder.trunc(args[2], vec.llvm)
        pointer = _pointer(context, builder, out, args[0], args[1], vec.llvm)
        count = ir.Constant(args[3].type, vec.lanes)
        some = builder.icmp_signed("<", builder.sub(args[4], args[3]), count)
        with builder.if_else(some) as (part, full):
            with full:
                builder.store(value, pointer, align=vec.bits // 8)
            with part:
                byte, lanes = ir.IntType(8), Vec(8, vec.lanes)
                numbers = ir.Constant(lanes.llvm, list(range(vec.lanes)))
                low, high = (_as_vector(builder, lanes, byte, builder.trunc(k, byte)) for k in args[3:])
                inside = builder.and_(
                    builder.icmp_unsigned(">=", numbers, low), builder.icmp_unsigned("<", numbers, high)
                )
                kind = ir.FunctionType(ir.VoidType(), [vec.llvm, vec.llvm.as_pointer(), INT32, inside.type])
                name = f"llvm.masked.store.v{vec.lanes}i{vec.bits}.p0"
                masked = cgutils.get_or_insert_function(builder.module, kind, name)
                builder.call(masked, [value, pointer, ir.Constant(INT32, vec.bits // 8), inside])
        return context.get_dummy_value()

    return types.void(out, types.int64, x, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def transposed(typing: Any, x: Any, rows: Any) -> Any:
    """Transpose a matrix of `rows` rows that lies in the lanes, row by row."""
    steps = rows.literal_value.bit_length() - 1

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = args[0]
        n = value.type.count
        # A lane's number is that of its row, then of its column: each step turns these bits round by one.
        riffle = [k // 2 + (k % 2) * (n // 2) for k in range(n)]
        for _ in range(steps):
            value = shuffle(builder, value, riffle)
        return value

    return x(x, rows), codegen


# -- ones of rows ------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def fold_ones(typing: Any, x: Any, group: Any) -> Any:
    """Count the ones of every bit position over `group` neighbouring lanes.

    Returns
    -------
    tuple of Vec
        A lane per group; bit b of the k-th is bit k of the number of ones at position b.
    """
    size = group.literal_value
    steps = size.bit_length() - 1

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        planes = [args[0]]
        # As in `_fold`, neighbours are put together again and again, here by binary addition, a plane a
        # digit and all positions at once.
        for _ in range(steps):
            n = planes[0].type.count
            even = [shuffle(builder, plane, list(range(0, n, 2))) for plane in planes]
            odd = [shuffle(builder, plane, list(range(1, n, 2))) for plane in planes]
            planes, carry = [], None
            for a, b in zip(even, odd, strict=True):
                half = builder.xor(a, b)
                both = builder.and_(a, b)
                if carry is None:
                    planes.append(half)
                    carry = both
                else:
                    planes.append(builder.xor(half, carry))
                    carry = builder.or_(both, builder.and_(half, carry))
            planes.append(carry)
        return context.make_tuple(builder, signature.return_type, planes)

    return types.UniTuple(Vec(x.bits, x.lanes // size), steps + 1)(x, group), codegen


@intrinsic(prefer_literal=True)
def overtakes(typing: Any, planes: Any, distance: Any) -> Any:
    """Rows with fewer ones than the row `distance` below needs to be the more significant.

    Bit b of the result is set if position ``b - distance`` has more than ``4**distance`` times the ones of
    position b, as `fold_ones` counted them. `distance` is a constant.
    """
    vec, k = planes.dtype, distance.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        upper = [builder.extract_value(args[0], i) for i in range(len(planes))]
        lower = [builder.shl(plane, _constant(vec.llvm, k)) for plane in upper]
        # Compared digit by digit, the lowest first; the upper row's are 2 * distance digits further up.
        more = None
        for digit in range(len(planes) + 2 * k):
            a = lower[digit] if digit < len(planes) else None
            b = builder.not_(upper[digit - 2 * k]) if digit >= 2 * k else None
            if a is None and b is None:
                continue
            if b is None:
                more = a if more is None else builder.or_(more, a)
            elif a is None:
                more = builder.and_(more, b)
            else:
                equal = builder.xor(a, b)  # b is inverted
                more = builder.or_(builder.and_(a, b), builder.and_(equal, more))
        return more

    return vec(planes, distance), codegen


@intrinsic
def ones_at(typing: Any, planes: Any, row: Any) -> Any:
    """Ones of one row of each lane, as a number; `row` has its bit alone, or none."""
    vec = planes.dtype

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = _constant(vec.llvm, 0)
        found = zero
        for i in range(len(planes)):
            inside = builder.and_(builder.extract_value(args[0], i), args[1])
            digit = builder.select(
                builder.icmp_unsigned("!=", inside, zero), _constant(vec.llvm, 1 << i), zero
            )
            found = builder.or_(found, digit)
        return found

    return vec(planes, row), codegen


@intrinsic
def energy_of(typing: Any, planes: Any, window: Any) -> Any:
    """Sum of ``ones * 4**bit`` over the rows of a window, in float64, to a few units of the last place."""
    vec, double = planes.dtype, Vec(64, planes.dtype.lanes, "f")
    wide = Vec(32, vec.lanes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def scaled(value: Any, power: int) -> Any:
            return builder.fmul(value, ir.Constant(double.llvm, [2.0**power] * double.lanes))

        inside = _as_vector(builder, vec, window, args[1])
        found = None
        for i in range(len(planes)):
            plane = builder.and_(builder.extract_value(args[0], i), inside)
            # 16 rows at a time: a zero goes before each bit, so that bit b comes to weigh 4**b.
            for first in range(0, vec.bits, 16):
                part = builder.lshr(plane, _constant(vec.llvm, first)) if first else plane
                part = _resize(builder, part, wide) if vec.bits != 32 else part
                part = builder.and_(part, _constant(wide.llvm, 0xFFFF))
                for shift, kept in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
                    moved = builder.or_(part, builder.shl(part, _constant(wide.llvm, shift)))
                    part = builder.and_(moved, _constant(wide.llvm, kept))
                value = scaled(builder.sitofp(part, double.llvm), i + 2 * first)
                found = value if found is None else builder.fadd(found, value)
        return found

    return double(planes, window), codegen


@intrinsic
def any_of(typing: Any, planes: Any) -> Any:
    """OR of all planes: positions with a one."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = builder.extract_value(args[0], 0)
        for i in range(1, len(planes)):
            found = builder.or_(found, builder.extract_value(args[0], i))
        return found

    return planes.dtype(planes), codegen


@intrinsic
def store_planes(typing: Any, target: Any, index: Any, apart: Any, planes: Any) -> Any:
    """Store planes, each `apart` elements after the one before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = args[1]
        for i in range(len(planes)):
            pointer = _pointer(context, builder, target, args[0], at, planes.dtype.llvm)
            builder.store(builder.extract_value(args[3], i), pointer, align=planes.dtype.bits // 8)
            at = builder.add(at, args[2])
        return context.get_dummy_value()

    return types.void(target, index, apart, planes), codegen


@intrinsic(prefer_literal=True)
def load_planes(typing: Any, source: Any, count: Any, lanes: Any, apart: Any) -> Any:
    """Load `count` planes of `lanes` lanes, each `apart` elements after the one before."""
    vec = Vec(source.dtype.bitwidth, lanes.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        planes = []
        for i in range(count.literal_value):
            at = ir.Constant(ir.IntType(64), i * apart.literal_value)
            pointer = _pointer(context, builder, source, args[0], at, vec.llvm)
            planes.append(builder.load(pointer, align=vec.bits // 8))
        return context.make_tuple(builder, signature.return_type, planes)

    return types.UniTuple(vec, count.literal_value)(source, count, lanes, apart), codegen


# -- columns: member j of every group in the j-th part of a vector ------------------------------
#
# Reductions over the members of a group, and what is spread to all of them, then need no shuffles.


def halves(builder: Any, x: Any) -> list[Any]:
    """Emit the lower and the upper half of a vector's lanes."""
    n = x.type.count // 2
    return [shuffle(builder, x, list(range(start, start + n))) for start in (0, n)]


def parts_of(builder: Any, x: Any, number: int) -> list[Any]:
    """Emit `number` equal parts of a vector, a power of two."""
    if number == 1:
        return [x]
    return [part for half in halves(builder, x) for part in parts_of(builder, half, number // 2)]


def _mixed(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """Emit a vector of the named lanes of `a` and, counted on, `b`."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(lanes)), lanes))


def joined(builder: Any, parts: list[Any]) -> Any:
    """Emit one vector of equal parts, their number a power of two."""
    while len(parts) > 1:
        lanes = list(range(2 * parts[0].type.count))
        parts = [_mixed(builder, a, b, lanes) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


# Both work on parts as long as the result's: from one long vector the compiler would make each column by
# itself, in twice the instructions.
def _columns(builder: Any, parts: list[Any], block: int, members: int = 2) -> list[Any]:
    if len(parts) == 1:
        return parts
    n, columns = parts[0].type.count, []
    # Even and odd lanes apart, within blocks while these are of several members; then even and odd blocks.
    for k in (0, 1):
        if members <= block:
            starts, inside = range(0, n, block), range(k, block, 2)
            lanes = [part + start + i for start in starts for part in (0, n) for i in inside]
        else:
            starts, inside = range(k * block, n, 2 * block), range(block)
            lanes = [part + start + i for part in (0, n) for start in starts for i in inside]
        pairs = zip(parts[::2], parts[1::2], strict=True)
        mixed = [_mixed(builder, a, b, lanes) for a, b in pairs]
        columns.append(_columns(builder, mixed, block, 2 * members))
    return [column for pair in zip(*columns, strict=True) for column in pair]


def _interleaved(builder: Any, columns: list[Any]) -> list[Any]:
    if len(columns) == 1:
        return columns
    n = columns[0].type.count
    even, odd = (_interleaved(builder, columns[k::2]) for k in (0, 1))
    lanes = [k for j in range(n) for k in (j, n + j)]
    return [
        _mixed(builder, a, b, part) for a, b in zip(even, odd, strict=True) for part in (lanes[:n], lanes[n:])
    ]


@intrinsic(prefer_literal=True)
def to_columns(typing: Any, x: Any, number: Any, block: Any) -> Any:
    """Put every `number`-th lane side by side: lane ``i * number + j`` becomes lane i of part j.

    With a `block` above 1, the lanes of a part, `number` at least, come in another order, the same in all
    parts. Lanes then stay in their block of so many as long as that is possible, which x86 does faster in
    blocks of 128 bits.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        parts = parts_of(builder, args[0], number.literal_value)
        return joined(builder, _columns(builder, parts, block.literal_value))

    return x(x, number, block), codegen


@intrinsic(prefer_literal=True)
def from_columns(typing: Any, x: Any, number: Any) -> Any:
    """Undo `to_columns`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        parts = parts_of(builder, args[0], number.literal_value)
        return joined(builder, _interleaved(builder, parts))

    return x(x, number), codegen


def _part_places(
    context: Any, builder: Any, array: Any, place: tuple[Any, ...], vec: Vec, number: int
) -> tuple[list[Any], Any]:
    """Addresses of `number` vectors, each `apart` elements after the one before; where the next is."""
    x, at, apart, end = place
    pointers = []
    for _ in range(number):
        pointers.append(_pointer(context, builder, array, x, at, vec.llvm))
        # Behind the last one comes the second of the first `apart` elements, and so on.
        there = builder.add(at, apart)
        again = builder.sub(builder.add(there, ir.Constant(at.type, vec.lanes)), end)
        at = builder.select(builder.icmp_signed("<", there, end), there, again)
    return pointers, at


@intrinsic(prefer_literal=True)
def load_parts(typing: Any, array: Any, at: Any, apart: Any, end: Any, number: Any, lanes: Any) -> Any:
    """Load a vector of `number` parts of `lanes` lanes that lie `apart` elements from one to the next.

    The parts go round in an array of `end` elements: behind the last one comes the one behind the first.
    """
    count = number.literal_value
    part = Vec(array.dtype.bitwidth, lanes.literal_value)
    vec = Vec(part.bits, part.lanes * count)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers, _ = _part_places(context, builder, array, args[:4], part, count)
        return joined(builder, [builder.load(pointer, align=vec.bits // 8) for pointer in pointers])

    return vec(array, types.int64, types.int64, types.int64, number, lanes), codegen


@intrinsic(prefer_literal=True)
def store_parts(typing: Any, array: Any, at: Any, apart: Any, end: Any, x: Any, number: Any) -> Any:
    """Undo `load_parts`."""
    count = number.literal_value
    part = Vec(x.bits, x.lanes // count)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers, _ = _part_places(context, builder, array, args[:4], part, count)
        for value, pointer in zip(parts_of(builder, args[4], count), pointers, strict=True):
            builder.store(value, pointer, align=x.bits // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, types.int64, x, number), codegen


def _across(combine: Callable[[Any, Any, Any], Any]) -> Any:
    """Make a reduction of `number` parts of a vector, lane by lane."""

    @intrinsic(prefer_literal=True)
    def reduction(typing: Any, x: Any, number: Any) -> Any:
        size = number.literal_value

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            parts = parts_of(builder, args[0], size)
            while len(parts) > 1:
                parts = [combine(builder, a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
            return parts[0]

        return Vec(x.bits, x.lanes // size)(x, number), codegen

    return reduction


across_and = _across(lambda b, x, y: b.and_(x, y))
across_or = _across(lambda b, x, y: b.or_(x, y))
across_umax = _across(lambda b, x, y: _llvm_call(b, "umax", [x, y]))


@intrinsic(prefer_literal=True)
def repeat(typing: Any, x: Any, number: Any) -> Any:
    """Put `number` copies of a vector one behind the other."""
    size = number.literal_value
    to = Vec(x.bits, x.lanes * size, x.kind)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return joined(builder, [args[0]] * size)

    return to(x, number), codegen


MAJORITY = 0b11101000  # bit 4 * a + 2 * b + c: whether two of the three bits are set


@intrinsic
def full_add(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Add three bits at every position at once: the sum, and the carry, worth twice as much."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, emit_full_add(context, builder, *args))

    return types.UniTuple(a, 2)(a, b, c), codegen


def emit_full_add(context: Any, builder: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Emit a `full_add`."""
    if a.type.count * a.type.element.width == 512 and "+avx512f" in features():
        # One instruction for any function of three bits; LLVM finds the sum's, and takes two for the carry.
        word = ir.VectorType(INT32, 16)
        function = ir.FunctionType(word, [word, word, word, INT32])
        ternary = cgutils.get_or_insert_function(builder.module, function, "llvm.x86.avx512.pternlog.d.512")
        words = [builder.bitcast(x, word) for x in (a, b, c)]
        carry = builder.bitcast(builder.call(ternary, [*words, ir.Constant(INT32, MAJORITY)]), a.type)
    else:
        carry = builder.or_(builder.and_(a, b), builder.and_(c, builder.or_(a, b)))
    return builder.xor(builder.xor(a, b), c), carry


@intrinsic(prefer_literal=True)
def across_ones(typing: Any, x: Any, number: Any) -> Any:
    """Count the ones of every bit position over `number` parts of a vector; the planes are `fold_ones`'."""
    size = number.literal_value
    count = size.bit_length()

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # Words by their worth; three of one worth make one of it and one of twice as much.
        words = [parts_of(builder, args[0], size), *([] for _ in range(count))]
        for worth in range(count):
            here, carries = words[worth], words[worth + 1]
            while len(here) > 2:
                total_of_three, carry = emit_full_add(context, builder, *here[:3])
                here[:3] = []
                here.append(total_of_three)
                carries.append(carry)
            if len(here) == 2:
                carries.append(builder.and_(*here))
                here[:] = [builder.xor(*here)]
        return context.make_tuple(builder, signature.return_type, [found[0] for found in words[:count]])

    return types.UniTuple(Vec(x.bits, x.lanes // size), count)(x, number), codegen


@intrinsic
def add_planes(typing: Any, planes: Any, counts: Any) -> Any:
    """Add numbers of ones to others; what the planes of the latter have no room for must be 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found, carry = [], None
        for i in range(len(planes)):
            digits = [builder.extract_value(args[0], i)]
            digits += [builder.extract_value(args[1], i)] if i < len(counts) else []
            digits += [] if carry is None else [carry]
            if len(digits) == 3:
                digit, carry = emit_full_add(context, builder, *digits)
            elif len(digits) == 2:
                digit, carry = builder.xor(*digits), builder.and_(*digits)
            else:
                digit, carry = digits[0], None
            found.append(digit)
        return context.make_tuple(builder, signature.return_type, found)

    return planes(planes, counts), codegen


to_unsigned = _cast(lambda x, bits: Vec(bits, x.lanes), lambda b, x, to: b.fptoui(x, to.llvm))
from_unsigned = _cast(lambda x, bits: Vec(bits, x.lanes, "f"), lambda b, x, to: b.uitofp(x, to.llvm))
# All bits of a vector in lanes of another width.
as_words = _cast(lambda x, bits: Vec(bits, x.lanes * x.bits // bits), lambda b, x, to: b.bitcast(x, to.llvm))


@intrinsic(prefer_literal=True)
def member_bits(typing: Any, x: Any, number: Any) -> Any:
    """Lanes of `number` columns as long as `x`: 1 << j in all of column j."""
    to = Vec(x.bits, x.lanes * number.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(to.llvm, [1 << i // x.lanes for i in range(to.lanes)])

    return to(x, number), codegen


def _each_word(
    context: Any, builder: Any, types_: tuple[Any, ...], args: Any, visit: Callable[[int, Any], None]
) -> Any:
    """Visit what belongs to each mask in `array` from `at` on; return the index behind it all."""
    # An element of `array` belongs to each bit that is set, those of one mask behind those of the other.
    array_type, masks_type, lanes = types_
    array, at, masks, first = args
    word, bits = ir.IntType(64), masks_type.dtype.bitwidth
    mask_at = _pointer(context, builder, masks_type, masks, first, ir.IntType(bits))
    for lane in range(lanes):
        visit(lane, _pointer(context, builder, array_type, array, at, word))
        mask = builder.load(builder.gep(mask_at, [ir.Constant(INT32, lane)]))
        ones = builder.ctpop(mask)
        at = builder.add(at, ones if bits == 64 else builder.zext(ones, word))
    return at


@intrinsic(prefer_literal=True)
def load_words(typing: Any, array: Any, at: Any, masks: Any, first: Any, lanes: Any) -> Any:
    """Load 8 bytes for each of `lanes` masks from `first` on; also the index of the element behind them all.

    A mask has as many bytes of `array` as ones. The bytes from its first on are in its lane, lowest first.
    """
    vec = Vec(64, lanes.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words = [ir.Constant(vec.llvm, ir.Undefined)]

        def visit(lane: int, pointer: Any) -> None:
            word = builder.load(pointer, align=1)
            words[0] = builder.insert_element(words[0], word, ir.Constant(INT32, lane))

        end = _each_word(context, builder, (array, masks, vec.lanes), args[:4], visit)
        return context.make_tuple(builder, signature.return_type, [words[0], end])

    return types.Tuple([vec, types.int64])(array, types.int64, masks, types.int64, lanes), codegen


@intrinsic
def store_words(typing: Any, array: Any, at: Any, masks: Any, first: Any, words: Any) -> Any:
    """Undo `load_words`; of the 8 bytes of the last mask those that are not its own are written too."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def visit(lane: int, pointer: Any) -> None:
            word = builder.extract_element(args[4], ir.Constant(INT32, lane))
            builder.store(word, pointer, align=1)

        return _each_word(context, builder, (array, masks, words.lanes), args[:4], visit)

    return types.int64(array, types.int64, masks, types.int64, words), codegen


# -- bytes -------------------------------------------------------------------------------------


@cache
def has_byte_tables() -> bool:
    """Whether this processor has instructions for the functions below: x86 with AVX-512 as of 2018."""
    return "+avx512vbmi" in features()


def _on_lines(builder: Any, name: str, *operands: Any) -> Any:
    """Emit an instruction on vectors of bytes, 64 at a time; an operand of 64 is the same for all."""
    number = max(x.type.count for x in operands) // LINE_BYTES
    lines = [parts_of(builder, x, x.type.count // LINE_BYTES) for x in operands]
    found = []
    for i in range(number):
        some = [line[i % len(line)] for line in lines]
        kind = ir.FunctionType(some[0].type, [x.type for x in some])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86." + name)
        found.append(builder.call(call, some))
    return joined(builder, found)


def lookup(values: list[int]) -> Any:
    """Make the function that looks up bytes in a table of 128, by their lower 7 bits."""

    @intrinsic
    def look_up(typing: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            line = ir.VectorType(ir.IntType(8), LINE_BYTES)
            low, high = (ir.Constant(line, values[at : at + LINE_BYTES]) for at in (0, LINE_BYTES))
            return _on_lines(builder, "avx512.vpermi2var.qi.512", low, args[0], high)

        return x(x), codegen

    return look_up


@intrinsic
def bits_from(typing: Any, words: Any, start: Any) -> Any:
    """Take 8 bits of a byte's 64-bit word, from the bit `start` on and round to the lowest again."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _on_lines(builder, "avx512.pmultishift.qb.512", args[1], args[0])

    return words(words, start), codegen


@intrinsic
def paired(typing: Any, upper: Any, lower: Any) -> Any:
    """Put the upper and the lower half of lanes together, in each of the planes."""
    vec = Vec(2 * upper.dtype.bits, upper.dtype.lanes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = []
        lanes = [k for j in range(vec.lanes) for k in (j, vec.lanes + j)]
        for i in range(len(upper)):
            high, low = (builder.extract_value(planes, i) for planes in args)
            found.append(builder.bitcast(_mixed(builder, low, high, lanes), vec.llvm))
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(vec, len(upper))(upper, lower), codegen
