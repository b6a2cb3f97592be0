"""Ones of the bit rows: of each group, and of a whole tensor.

One kernel serves floats and fixed point; they differ in how a vector of codes becomes rows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from bitxcore.jit import kernel
from bitxcore.kernels.aligning import rows_of, tiny
from bitxcore.kernels.expressions import branch, expression, loop, when
from bitxcore.kernels.floats import (
    FRACTION_BITS,
    IMAGE_BITS,
    PREFETCH,
    align,
    largest_exponent,
    widen,
)
from bitxcore.kernels.integers import INTEGER, outside, significand
from bitxcore.kernels.positions import (
    FLUSH,
    PARTS,
    add_counters,
    add_histogram,
    add_rest,
    add_word,
    carry_save,
)
from bitxcore.kernels.vectors import (
    across_and,
    across_or,
    across_umax,
    add_to,
    address,
    any_lane,
    as_words,
    ashr,
    clear_bytes,
    fold_add,
    fold_or,
    fold_umax,
    full_add,
    lanes_of,
    like,
    load,
    popcount,
    prefetch,
    repeat,
    splat,
    spread,
    store,
    to_columns,
    total,
    umax,
    where,
)


@expression
def float_rows(v: Any, emax: Any, window: int, group: int, bits: int, fraction: int) -> Any:
    """Split images into significands, their rows, and 1 for each group with a NaN or Inf.

    Significands stand at the top of their lanes. Rows are those of the window; such a group has none.
    """
    special = (1 << (bits - 1 - fraction)) - 1
    # emax and broken: lanes one per group; v, code and the rows: one per weight.
    broken = where(emax == special, like(emax, 1), 0)
    code = align(v, v & 0, fraction, bits)
    rows = (code >> (spread(emax, group) - umax((v >> fraction) & special, 1))) & window
    return code, where(spread(broken, group) != 0, 0, rows), broken


@expression
def integer_rows(
    v: Any, signed: int, twos: int, width: int, limit: int, window: int, group: int, bits: int
) -> Any:
    """Split codes as `float_rows` splits images; a group with a code outside the format has no rows."""
    code = significand(v, signed, bits) << (bits - width)
    over = fold_or(outside(v, signed, twos, limit, bits), group)
    return code, where(spread(over, group) != 0, 0, code & window), over


@cache
def count_kernel(kind: int, code_bits: int, group: int) -> Any:
    """Build the kernel that counts the ones of every row of whole vectors of groups.

    The kernel's arguments: codes `x`; `counts`, eight rows of lanes: byte q of ``counts[s, g]`` is the
    number of ones in bit ``8 * q + s`` of group g (row 0 is the top bit); `exponents` (int16; of floats
    only); the number of vectors; then as for `prune_kernel`, `emin` of floats, `signed`, `twos`, `width` and
    `limit` of integers, and `window`, in a lane's bits. It returns the number of groups with a NaN,
    an Inf or a code outside the format, which count as empty.

    Parameters
    ----------
    kind : int
        Storage kind of `floats`, or `INTEGER`.
    code_bits : int
        Bits of a stored code.
    group : int
    """
    is_float = kind != INTEGER
    bits = IMAGE_BITS[kind] if is_float else code_bits
    fraction = FRACTION_BITS[bits] if is_float else 0
    lanes = lanes_of(bits, group)
    step = lanes // group
    # The lowest bit of each byte of a lane.
    every = sum(1 << k for k in range(0, bits, 8))

    @kernel(variant=(kind, code_bits, group))
    def count(x, counts, exponents, vectors, emin, signed, twos, width, limit, window):
        bad = 0
        for i in range(vectors):
            v = load(x, i * lanes, lanes)
            if is_float:
                v = widen(v, kind)
                emax = largest_exponent(v, emin, group, bits, fraction)
                code, rows, broken = float_rows(v, emax, window, group, bits, fraction)
                some = fold_or(code, group) != 0
                store(exponents, i * step, where(some, emax - (emin - 1), 0))
            else:
                code, rows, broken = integer_rows(v, signed, twos, width, limit, window, group, bits)
            bad += total(broken)
            # Rows 8 apart, each one's bit alone at the bottom of a byte: adding lanes adds all bytes at
            # once, and 64 members do not fill one. Eight such sums hold every row.
            for s in range(8):
                store(counts[s], i * step, fold_add((rows >> s) & every, group))
        return bad

    return count


@cache
def summary_kernel(kind: int, code_bits: int, group: int) -> Any:
    """Build the kernel that adds up the ones of whole vectors of groups by row.

    The kernel's arguments: codes `x`; `rows` (int64, one per bit of a lane, row 0 first), `nonempty`
    (int64, groups by their non-empty rows) and `sums` (int64: ones of all significands, zeros), to
    which it adds; the scratch arrays `counters` (lanes, 8 rows of 512 bits) and `present` (uint8, one per
    group of `FLUSH` vectors); the rest, the result and the parameters are those of `count_kernel`.
    """
    is_float = kind != INTEGER
    bits = IMAGE_BITS[kind] if is_float else code_bits
    fraction = FRACTION_BITS[bits] if is_float else 0
    special = (1 << (bits - 1 - fraction)) - 1
    lanes = lanes_of(bits, group)
    step = lanes // group
    part = lanes // PARTS
    line = 512 // code_bits
    flags = min(lanes, 64)  # comparisons that are counted at once
    # Floats stand in columns, part j of a vector with the members j, j + 8, ... of its groups, because their
    # groups' exponents are spread to them. Integers stay as they are: their bits alone are folded.
    columns = min(group, PARTS) if is_float else 1
    rest = group // columns
    # The order of groups does not matter, unless columns have to be folded further.
    block = 128 // bits if rest == 1 and code_bits == bits and part >= columns else 1
    # Not all machines turn vectors of float64 into unsigned integers.
    by_product = is_float and bits == 32
    # The bits of a significand in `code`; between them stands what is left of the exponent.
    low = (1 << (bits - 1)) | ((1 << fraction) - 1) if is_float else -1

    def of_floats(x: Any, at: Any, emin: Any) -> tuple[Any, Any, Any, Any]:
        v = widen(to_columns(load(x, at, lanes), columns, block), kind)
        size = v & ((1 << (bits - 1)) - 1)
        largest = fold_umax(across_umax(size, columns), rest)
        emax = umax(largest >> fraction, emin)
        unlike = (emax == special) | tiny(emax, largest, bits)

        def by_shifts() -> tuple[Any, Any]:
            wide = repeat(spread(emax, rest), columns)
            aligned = align(v, wide - umax(size >> fraction, 1), fraction, bits)
            broken = where(emax == special, like(emax, 1), 0)
            return where(wide == special, 0, aligned), total(broken)

        if by_product:
            aligned = rows_of(size, spread(emax, rest), columns, fraction, bits)
            aligned, bad = branch(any_lane(unlike), by_shifts, lambda: (aligned, 0))
        else:
            aligned, bad = by_shifts()
        # code: the fraction as it is, and on top the hidden bit.
        code = size + (special << fraction)
        (zeros,) = when(
            any_lane(across_and(code, columns) < (1 << (bits - 1))),
            lambda _: (total(popcount(as_words(size == 0, flags))),),
            0,
        )
        return code, aligned, bad, zeros

    def of_integers(
        x: Any, at: Any, signed: Any, twos: Any, width: Any, limit: Any
    ) -> tuple[Any, Any, Any, Any]:
        v = load(x, at, lanes)
        size = significand(v, signed, bits) ^ (ashr(v, bits - 1) & twos)

        def with_bad() -> tuple[Any, Any, Any]:
            code, rows, broken = integer_rows(v, signed, twos, width, limit, -1, group, bits)
            return rows, total(broken), total(popcount(as_words(code ^ rows, 64)))

        aligned, bad, more = branch(
            any_lane(size > ((like(v, 1) << limit) - 1)),
            with_bad,
            lambda: (significand(v, signed, bits) << (bits - width), 0, 0),
        )
        return aligned, bad, total(popcount(as_words(v == 0, flags))), more

    @expression
    def add_vectors(x, first, last, state, numbers, counters, present, settings):
        """Add vectors to the trees of the rows and, of floats, of the significands as they are."""
        emin, signed, twos, width, limit, window = settings

        def add(k: Any, *now: Any) -> tuple[Any, ...]:
            words, (bad, zeros, more) = now[: len(state)], now[len(state) :]
            one, two, four, eight, sixteen, held, held_16, *own = words
            i = first + k
            at, is_odd = i * lanes, (i & 1) != 0
            for ahead in range(0, lanes, line):
                prefetch(x, at + (PREFETCH + ahead))
            if is_float:
                code, aligned, found, zero_count = of_floats(x, at, emin)
                one_m, two_m, four_m, eight_m, held_m, essential = own
                one_m, two_m, four_m, word = carry_save(code, one_m, two_m, four_m)

                def pair(*_: Any) -> tuple[Any, ...]:
                    eights, sixteens = full_add(eight_m, held_m, word)
                    return eights, word & 0, essential + popcount(sixteens & low)

                own = [one_m, two_m, four_m, *when(is_odd, pair, eight_m, word, essential)]
            else:
                aligned, found, zero_count, extra = of_integers(x, at, signed, twos, width, limit)
                more = more + extra
            # Non-empty rows of each group, one byte per group.
            some = fold_or(across_or(aligned, columns), rest) & window
            store(present, k * step, popcount(some))
            # Rows below the window are counted too, and left out in the end.
            one, two, four, word = carry_save(aligned, one, two, four)

            def two_vectors(*_: Any) -> tuple[Any, ...]:
                eights, sixteens = full_add(eight, held, word)

                def four_vectors(*_: Any) -> tuple[Any, ...]:
                    total_of_16, full = full_add(sixteen, held_16, sixteens)
                    add_word(full, counters, bits, part)
                    return total_of_16, held_16 & 0

                return eights, word & 0, *when((i & 2) != 0, four_vectors, sixteen, sixteens)

            eight, held, sixteen, held_16 = when(is_odd, two_vectors, eight, word, sixteen, held_16)
            return (
                one, two, four, eight, sixteen, held, held_16, *own, bad + found, zeros + zero_count, more,
            )  # fmt: skip

        found = loop(last - first, add, *state, *numbers)
        return found[: len(state)], found[len(state) :]

    @expression
    def start():
        return (splat(0, bits, part),) * (13 if is_float else 7)

    @expression
    def flush(counters, rows):
        # One word worth 32 in four vectors: the bytes of the counters hold FLUSH vectors.
        add_counters(counters, 32, rows, bits, part)

    @expression
    def finish(state, rows, sums):
        one, two, four, eight, sixteen, held, held_16, *own = state
        left = [(1, one), (2, two), (4, four), (8, eight), (8, held), (16, sixteen), (16, held_16)]
        add_rest(left, rows, bits, part)
        if is_float:
            one_m, two_m, four_m, eight_m, held_m, essential = own
            worth = [(16, essential), *((w, popcount(m & low)) for w, m in (
                (8, eight_m), (8, held_m), (4, four_m), (2, two_m), (1, one_m),
            ))]  # fmt: skip
            for weight, word in worth:
                add_to(sums, 0, weight * total(word))

    @kernel(variant=(kind, code_bits, group))
    def summarize(
        x, rows, nonempty, sums, counters, present, vectors, emin, signed, twos, width, limit, window
    ):
        settings = emin, signed, twos, width, limit, window
        held = address(counters[0], 0, bits)
        clear_bytes(address(held, 0, 8), 8 * part * bits // 8)
        # Carry-save trees of an eighth of a vector: what has not made up a word worth 32 (rows of the groups)
        # or 16 (significands of floats as they are).
        state, numbers = start(), (0, 0, 0)
        for first in range(0, vectors, FLUSH):
            last = min(first + FLUSH, vectors)
            state, numbers = add_vectors(x, first, last, state, numbers, held, present, settings)
            flush(held, rows)
            add_histogram(present, (last - first) * step, nonempty)
        finish(state, rows, sums)
        bad, zeros, more = numbers
        sums[1] += zeros
        if not is_float:
            sums[0] += rows.sum() + more
        return bad

    return summarize
