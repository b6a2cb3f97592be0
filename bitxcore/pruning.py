"""Pruning: check, choose, allocate, call the kernels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bitxcore.block_pruning import BlockPruning, block_pruning
from bitxcore.calibration import squared_norms
from bitxcore.careful import CarefulPruning, KeptRows
from bitxcore.checks import check_one_of, on_device, shown, values_of
from bitxcore.criteria import ROUNDINGS, Criterion
from bitxcore.criteria import criterion as checked_criterion
from bitxcore.engine import (
    SMALL_BYTES,
    Array,
    Cut,
    Engine,
    check_nonfinite,
    check_out,
    codes_of,
    locate_nonfinite,
    mask_dtype,
)
from bitxcore.errors import OptionError, TensorError
from bitxcore.fixed_pruning import FixedPruning, unfilled, units
from bitxcore.formats import NumberFormat, fixed_width
from bitxcore.groups import MAX_GROUP, MAX_WIDE_GROUP, Grouping, grid
from bitxcore.jit import CHUNK_BYTES, parallel, share
from bitxcore.lazy_property import lazy_property
from bitxcore.pruned import PARTS, Pruned
from bitxcore.summary import Sums, add_up, assemble
from bitxcore.wide_groups import prune_wide

Nonfinite = Literal["raise", "keep"]


def prune(
    x: npt.ArrayLike,
    *,
    rows: int | None = 6,
    group: int | None = 8,
    window: int | None = None,
    format: str | NumberFormat | None = None,  # noqa: A002
    criterion: str = "topn",
    rounding: str = "truncate",
    grouping: Grouping = "flat",
    threshold: float | None = None,
    budget: float | None = None,
    norms: npt.ArrayLike | None = None,
    nonfinite: Nonfinite = "raise",
    statistics: bool = False,
    parts: Sequence[str] = PARTS,
    out: npt.NDArray[Any] | Pruned | Mapping[str, npt.NDArray[Any]] | None = None,
) -> Pruned:
    """Keep the significant bit rows of every weight group and clear the others.

    Parameters
    ----------
    x : array_like
        Weights, output channel on axis 0; a 1-D array is one filter. Those on a CUDA device stay there, as
        does the result, a `bitxcore.cuda.DevicePruned`.
    rows : int or None
        Rows to keep per group. With a criterion that chooses their number, the maximum; None is then no
        maximum. The default is the paper's BitX-wild (`PRESETS`).
    group : int or None
        Weights per group, 1 to 64. With a fixed number of rows up to 4096; groups above 64 are slower, and
        no machine takes them. None: whole kernels, with ``grouping="kernel"``.
    window : int, optional
        Rows of the alignment window, 1 to 64 (default: 32 for float32, p + 8 for the other
        floats, p for integers).
    format : str or NumberFormat, optional
        Default: the dtype's own. ``"fixed<N>"`` first quantises a float array to N-bit integers with
        one power-of-two scale (`quantize`); `values` are then the pruned integers times the scale.
    criterion : {"topn", "msb", "threshold", "energy", "calibrated"}
        The most significant rows (the method), the highest non-empty rows (a control), rows of
        at least `threshold` times the greatest significance, the fewest rows within `budget`; or the most
        significant rows for inputs of the given `norms`.
    rounding : {"truncate", "nearest"}
        ``"truncate"`` is what the hardware does at run time. ``"nearest"`` is an offline preparation: each
        weight is rounded to the nearest value on the kept rows.
    grouping : {"flat", "channel", "kernel"}
        Consecutive weights of a filter; input channels at one kernel position; or the weights of one filter
        and input channel. The last, with ``group=None``, is how BitX's accuracy was measured.
    threshold, budget : float, optional
        Parameters of the criteria of that name, 0 to 1.
    norms : array_like, optional
        Of ``calibrated``: norms of the activations that the weights meet, of shape ``(reduction,)``,
        ``x.shape[1:]`` or ``(in_channels,)``, or of x's axes, each its size or 1. Only their ratios matter.
    nonfinite : {"raise", "keep"}
        How to treat a group that holds a NaN, an Inf or an integer outside the format: raise an error, or
        leave the group unchanged.
    statistics : bool
        Whether to collect the statistics of `x` as well.
    parts : sequence of str
        Arrays of the result that are wanted, of ``"values"``, ``"row_masks"``, ``"exponents"`` and
        ``"kept_rows"``; the others are not computed.
    out : ndarray, Pruned or mapping, optional
        Where the result is written: a C-contiguous array of x's shape and dtype, in native byte order, for
        the values, which may be `x` itself; arrays by the names of their parts; or an earlier result for the
        same shape and options, all of whose arrays are used again, also the codes if they can be written and
        lie apart. New memory costs more than the pruning. After an error their contents are partly new.

    Returns
    -------
    Pruned

    Raises
    ------
    TensorError
        If the tensor can't be grouped, holds a value outside its format, or does not fit `out`.
    OptionError
        If a parameter is out of range.

    Notes
    -----
    Row l of a group has the weight ``2**(E_l)``; its significance is the product of Euclidean norms
    ``2**(E_l) * sqrt(BitCnt_l)`` (BitX, ICPP 2021). ``calibrated`` (beyond the paper) replaces the number
    of members with a one by the sum of their squared norms. Rows of significance 0 come last, the upper
    ones first.

    Examples
    --------
    >>> x = np.array([[1.75, 0.25, -0.5, 0.0078125]], np.float32)
    >>> p = prune(x, rows=2, group=4)
    >>> p.values.tolist()
    [[1.5, 0.0, -0.5, 0.0]]
    >>> f"{p.row_masks.item():032b}"  # rows that weigh 1 and 1/2
    '11000000000000000000000000000000'
    """
    if type(x) is not np.ndarray and on_device(x):
        everything = dict(locals())
        from bitxcore.cuda.device_pruning import prune_on_device

        return prune_on_device(**everything)
    source = values_of(x)
    check_one_of(ROUNDINGS, "rounding", rounding)
    check_nonfinite(nonfinite)
    given = {} if out is None else _given(out, source)
    if parts is not PARTS:
        parts = checked_parts(parts, given)
    fixed = unfilled(source, width, out, given) if (width := fixed_width(format)) else None
    numbers = source if fixed is None else fixed.codes
    form = format if fixed is None else f"int{width}"
    calibrates = None if norms is None else True
    plan = plan_of(
        numbers, rows, group, window, form, criterion, rounding, grouping, threshold, budget, calibrates
    )
    if norms is not None and plan.cut.group <= MAX_GROUP:
        plan = plan.calibrated(squared_norms(norms, numbers.shape))
    cut = plan.cut
    native = np.ascontiguousarray(numbers, dtype=cut.format.dtype)
    values: Any = None
    if "values" in parts:
        values = given.get("values")
        values = np.empty_like(native if fixed is None else source) if values is None else values
    target = values if fixed is None else native
    targets = plan.targets(parts, given)
    sums: list[Sums] = []
    in_blocks = cut.group <= MAX_GROUP and not statistics and source.flags.c_contiguous
    if fixed is not None and not in_blocks:
        fixed.quantize_from(source)
    if cut.group > MAX_GROUP:
        if statistics:
            raise OptionError(f"statistics are of groups of {MAX_GROUP} weights at most, got {cut.group}")
        wide = prune_wide(native, cut, plan.rule, nearest=plan.nearest, keep_nonfinite=nonfinite == "keep")
        for array, found in zip((target, *targets), wide, strict=False):
            if array is not None:
                array[...] = found
        bad, limited = 0, wide.window_limited_groups
    elif fixed is not None and in_blocks:
        flat = None if values is None else values.reshape(-1)
        step = FixedPruning(fixed, plan.prune_groups, *plan.units)
        bad, limited, sums = plan.run(source.reshape(-1), flat, plan.choice(targets), False, step)
    else:
        codes = codes_of(native, cut.format)
        to = None if target is None else codes_of(target, cut.format)
        bad, limited, sums = plan.run(codes, to, plan.choice(targets), statistics)
    if bad and nonfinite == "raise":
        raise locate_nonfinite(native, cut.format)
    if fixed is not None:
        if values is not None and not in_blocks:
            fixed.dequantize_into(values)
    elif values is not None and source is not native and "values" not in given:
        # Of another byte order or layout: the result has the input's.
        values = np.empty_like(source)
        values[...] = target
    masks, exponents, kept = targets
    return Pruned(
        values,
        masks,
        exponents,
        kept,
        nonfinite_groups=bad,
        window_limited_groups=limited,
        codes=None if fixed is None else fixed.codes,
        scale=None if fixed is None else float(fixed.scale),
        statistics=assemble(plan.engine, native.size, sums, cut) if statistics else None,
        **cut.cut,
    )


def _given(out: Any, source: Array) -> dict[str, Array]:
    """Arrays that are given for parts of the result, by name; none is part of another or of `source`."""
    given: dict[str, Array]
    if isinstance(out, Pruned):
        given = {name: vars(out)[name] for name in PARTS if name in vars(out)}
        values = given.get("values")
        if values is not None and not (values.flags.c_contiguous and values.dtype.isnative):
            del given["values"]  # as its input was laid out
    elif isinstance(out, Mapping):
        given = dict(out)
        for name in given:
            check_one_of(PARTS, "a part", name)
    else:
        given = {"values": out}
    if "values" in given:
        values = given["values"]
        name = "out: values" if isinstance(out, (Mapping, Pruned)) else "out"
        check_out(values, source.shape, source.dtype, name)
        if np.may_share_memory(values, source) and values.ctypes.data != source.ctypes.data:
            raise TensorError("out overlaps x but is not x")
    if isinstance(out, Mapping):
        arrays = [("x", source), *given.items()]
        for (name, one), (other_name, other) in combinations(arrays, 2):
            if {name, other_name} != {"x", "values"} and np.may_share_memory(one, other):
                raise TensorError(f"out: {other_name} overlaps {name}")
    return given


def checked_parts(parts: Any, given: Mapping[str, Array]) -> tuple[str, ...]:
    """Return the names of wanted parts; raise `OptionError` if they are none, or `given` has others."""
    if isinstance(parts, str) or not isinstance(parts, Iterable):
        raise OptionError(f"parts must be names of parts, got {shown(parts)}", value=parts)
    names = tuple(parts)
    if not names:
        raise OptionError("parts names none", value=parts)
    for part in names:
        check_one_of(PARTS, "a part", part)
    if not_wanted := set(given) - set(names):
        raise OptionError(f"out has {', '.join(sorted(not_wanted))}, which parts leaves out", value=parts)
    return names


@dataclass(frozen=True)
class Plan:
    """How tensors of one dtype and shape are pruned with the same options.

    Parameters
    ----------
    cut : Cut
    rule : Criterion
    nearest : bool
        Whether weights go to the nearest value on the kept rows.
    tensor_shape : tuple of int
    """

    cut: Cut
    rule: Criterion
    nearest: bool
    tensor_shape: tuple[int, ...]

    @lazy_property
    def size(self) -> int:
        """Values of the tensor."""
        return math.prod(self.tensor_shape)

    @lazy_property
    def engine(self) -> Engine:
        """What cuts the tensor into groups that kernels take."""
        return self.cut.engine(self.tensor_shape)

    @lazy_property
    def prune_groups(self) -> BlockPruning | CarefulPruning:
        """What prunes groups that lie one behind the other."""
        engine, rule, nearest = self.engine, self.rule, self.nearest
        return block_pruning(engine, rule, nearest) or CarefulPruning(engine, rule, nearest)

    @lazy_property
    def units(self) -> tuple[int, int]:
        """How `FixedPruning` cuts the tensor."""
        return units(self.prune_groups)

    def calibrated(self, squares: Array) -> Plan:
        """Return this plan with the squared norms of the inputs."""
        plan = replace(self)
        plan.__dict__["prune_groups"] = CarefulPruning(self.engine, self.rule, self.nearest, squares)
        return plan

    @lazy_property
    def group_shape(self) -> tuple[int, int]:
        """Filters, and the groups of each."""
        whole = grid(self.tensor_shape, self.cut.group, self.cut.grouping, most=MAX_WIDE_GROUP)
        return whole.filters, whole.groups

    @lazy_property
    def part_dtypes(self) -> dict[str, np.dtype[Any]]:
        """Dtypes of the parts with one value per group."""
        masks = mask_dtype(self.cut.window)
        return {"row_masks": masks, "exponents": np.dtype(np.int16), "kept_rows": np.dtype(np.uint8)}

    def targets(self, parts: Sequence[str], given: Mapping[str, Array]) -> list[Any]:
        """Arrays for the parts with one value per group; None for those that are not wanted."""
        for name in given:
            if name != "values":
                check_out(given[name], self.group_shape, self.part_dtypes[name], f"out: {name}")
        return self.new_parts(self.group_shape, parts, given)

    def new_parts(
        self, shape: tuple[int, ...], parts: Sequence[str], given: Mapping[str, Array] | None = None
    ) -> list[Any]:
        """Make arrays of a shape for the parts that are wanted and not given."""
        found: list[Any] = []
        for name, dtype in self.part_dtypes.items():
            array = given.get(name) if given else None
            always_zero = name == "exponents" and not self.cut.format.is_float
            if array is None and name in parts:
                # Zeros that nobody touches take no memory.
                array = (np.zeros if always_zero else np.empty)(shape, dtype)
            elif array is not None and always_zero:
                array.fill(0)
            found.append(array)
        return found

    def choice(self, targets: Sequence[Any]) -> KeptRows:
        """Targets as the kernels take them, flat; of what is not wanted an array without elements."""
        return KeptRows(
            *(
                np.empty(0, dtype) if array is None else array.reshape(-1)
                for array, dtype in zip(targets, self.part_dtypes.values(), strict=True)
            )
        )

    def run(
        self, x: Array, out: Array | None, choice: KeptRows, count_bits: bool, by: FixedPruning | None = None
    ) -> tuple[int, int, list[Sums]]:
        """Prune all groups of the codes `x` into `out`, if that is given; or of values, `by` their codes.

        Returns
        -------
        bad : int
            Groups without a finite value.
        limited : int
            Groups that could keep more rows in a wider window.
        sums : list of Sums
            What to make the statistics of, if they are to be counted.
        """
        engine, prune_groups = self.engine, by or self.prune_groups
        target = x[:0] if out is None else out
        sums: list[Sums] = []
        if count_bits:
            sums = engine.each_chunk(lambda first, last: add_up(engine, x, first, last))

        def work(first: int, last: int) -> tuple[int, int]:
            return prune_groups(x, target, choice, first, last)

        count = prune_groups.count
        if x.nbytes <= SMALL_BYTES:
            return *work(0, count), sums
        step = share(count, max(1, count * CHUNK_BYTES // x.nbytes), prune_groups.unit)
        found = parallel(work, count, step)
        return sum(bad for bad, _ in found), sum(limited for _, limited in found), sums


def plan_of(x: Array, *options: Any) -> Plan:
    """Return how `x` is pruned with these options of `prune`, from `rows` to whether there are `norms`."""
    try:
        return _plan(x.dtype, x.shape, *options)
    except TypeError:  # an option that is not hashable; what is wrong with it is found without the cache
        return _plan.__wrapped__(x.dtype, x.shape, *options)


@lru_cache(1024, typed=True)
def _plan(
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    rows: Any,
    group: Any,
    window: Any,
    format: Any,  # noqa: A002
    criterion: Any,
    rounding: str,
    grouping: Any,
    threshold: Any,
    budget: Any,
    norms: Any,
) -> Plan:
    cut = Cut.of(dtype, group, window, format, grouping, shape, MAX_WIDE_GROUP)
    rule = checked_criterion(criterion, rows, threshold, budget, cut.window, norms)
    return Plan(cut, rule, rounding == "nearest", shape)
