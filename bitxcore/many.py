"""Pruning of many tensors in one call: small ones share a kernel call, and all share the threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import signature
from itertools import groupby, repeat
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import byte_bounds

from bitxcore.block_pruning import BlockPruning
from bitxcore.checks import check_one_of, on_device, shown, values_of
from bitxcore.criteria import ROUNDINGS
from bitxcore.engine import SMALL_BYTES, Array, buffer, check_nonfinite, codes_of
from bitxcore.errors import OptionError, TensorError, error_context
from bitxcore.formats import fixed_width
from bitxcore.groups import MAX_GROUP
from bitxcore.jit import parallel
from bitxcore.pruned import PARTS, Pruned
from bitxcore.pruning import Plan, checked_parts, plan_of, prune

SMALL_TENSOR_BYTES = 4 * SMALL_BYTES
"""Tensors up to this size are put together."""

BATCH_BYTES = 8 * SMALL_BYTES
"""What is put together: so much stays in the second-level cache."""

_DEFAULTS = {name: p.default for name, p in signature(prune).parameters.items() if name not in ("x", "out")}
_PLANNED = (
    "rows", "group", "window", "format", "criterion", "rounding", "grouping", "threshold", "budget", "norms",
)  # fmt: skip


@overload
def prune_many(
    tensors: Mapping[str, npt.ArrayLike], *, out: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Pruned]: ...
@overload
def prune_many(
    tensors: Sequence[npt.ArrayLike], *, out: Sequence[Any] | None = None, **options: Any
) -> list[Pruned]: ...
def prune_many(
    tensors: Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike],
    *,
    out: Mapping[str, Any] | Sequence[Any] | None = None,
    **options: Any,
) -> dict[str, Pruned] | list[Pruned]:
    """Prune many tensors with the same options; small ones share kernel calls, all share the threads.

    Parameters
    ----------
    tensors : mapping of str to array_like, or sequence of array_like
        Such as the weights of a model's state dict. All must have a number format.
    out : mapping or sequence, optional
        For each tensor what `prune` takes there. It may share memory with no other tensor, nor with what is
        given for one.
    **options
        Of `prune`.

    Returns
    -------
    dict of str to Pruned, or list of Pruned
        In the order of `tensors`. Results of small tensors are views of arrays that they share.

    Raises
    ------
    TensorError, OptionError
        As `prune` does; a tensor that is at fault is named.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> weights = {f"layer{n}": rng.standard_normal((64, 64), np.float32) for n in range(3)}
    >>> pruned = prune_many(weights, rows=4)
    >>> list(pruned), pruned["layer2"].kept_rows.shape
    (['layer0', 'layer1', 'layer2'], (64, 8))
    """
    if unknown := set(options) - set(_DEFAULTS):
        raise OptionError(f"prune has no option {sorted(unknown)[0]!r}", value=sorted(unknown)[0])
    for kind in (tensors, *([] if out is None else [out])):
        if not isinstance(kind, (Mapping, Sequence)) or isinstance(kind, str):
            raise TensorError(f"tensors, and out, must be a mapping or a sequence, got {shown(kind)}")
    options = _DEFAULTS | options
    check_one_of(ROUNDINGS, "rounding", options["rounding"])
    check_nonfinite(options["nonfinite"])
    options["parts"] = checked_parts(options["parts"], {})
    names = list(tensors) if isinstance(tensors, Mapping) else [str(n) for n in range(len(tensors))]
    given = list(tensors.values()) if isinstance(tensors, Mapping) else list(tensors)
    for number, x in enumerate(given):
        if type(x) is not np.ndarray and not on_device(x):
            with error_context(tensor=names[number]):
                given[number] = values_of(x)
    targets: list[Any] = [None] * len(given)
    if out is not None:
        if len(out) != len(given) or (isinstance(out, Mapping) and set(out) != set(names)):
            raise TensorError(
                f"out must be for the same {len(given)} tensors, got {len(out)}: {shown(list(out))}"
            )
        targets = [out[name] for name in names] if isinstance(out, Mapping) else list(out)
        _check_apart(given, targets, names)
    found: dict[int, Pruned] = {}
    alone = list(range(len(given)))
    if out is None and not _is_special(options):
        together = list(_batches(given, options))
        done = parallel(lambda k, _: together[k].run(given), len(together), 1)
        found = {n: result for results in done for n, result in results.items()}
        alone = [n for n in alone if n not in found]
    # The largest first: the threads then end at about the same time.
    alone.sort(key=lambda n: -getattr(given[n], "nbytes", 0))

    def one(k: int, _: int) -> Pruned:
        try:
            return prune(given[alone[k]], out=targets[alone[k]], **options)
        except TensorError as error:
            error.tensor = error.tensor or names[alone[k]]
            raise

    # Of several devices the current one is a thread's own.
    there = [n for n in range(len(alone)) if on_device(given[alone[n]])]
    found |= {alone[n]: one(n, n + 1) for n in there}
    alone = [n for n in alone if n not in found]
    found |= dict(zip(alone, parallel(one, len(alone), 1), strict=True))
    results = [found[n] for n in range(len(given))]
    return dict(zip(names, results, strict=True)) if isinstance(tensors, Mapping) else results


def _check_apart(given: Sequence[Any], targets: Sequence[Any], names: Sequence[str]) -> None:
    """Raise `TensorError` if a result would share memory with that of another tensor, or with its values."""
    places: list[tuple[int, int, int, bool]] = []
    for number, (x, target) in enumerate(zip(given, targets, strict=True)):
        parts = vars(target) if isinstance(target, Pruned) else target
        arrays = [parts.get(name) for name in PARTS] if isinstance(parts, Mapping) else [parts]
        for array, is_result in ((x, False), *((a, True) for a in arrays)):
            with error_context(tensor=names[number]):
                start, end = _addresses(array, "out" if is_result else "x")
            if start < end:
                places.append((start, end, number, is_result))
    before: list[tuple[int, int, int, bool]] = []  # those that reach to where the next one begins
    for place in sorted(places):
        start, _, number, is_result = place
        before = [other for other in before if other[1] > start]
        for _, _, other, is_other_result in before:
            if other != number and (is_result or is_other_result):
                of, shared = (number, other) if is_result else (other, number)
                raise TensorError(f"out for {names[of]!r} overlaps what {names[shared]!r} has")
        before.append(place)


def _addresses(array: Any, name: str) -> tuple[int, int]:
    """Return where an array begins and ends; twice 0 for what is none. Host and devices share no address."""
    if isinstance(array, np.ndarray):
        return byte_bounds(array) if array.size else (0, 0)
    if not on_device(array):
        return 0, 0
    from bitxcore.cuda.device_pruning import addresses_of

    return addresses_of(array, name)


def _is_special(options: Mapping[str, Any]) -> bool:
    """Whether results depend on more than a group's values."""
    special = options.get("statistics") or options.get("norms") is not None
    return bool(special) or fixed_width(options.get("format")) is not None


class _Batch:
    """Small tensors of one dtype, cut and size of groups, which are put one behind the other.

    Parameters
    ----------
    plans : list of tuple of int and Plan
        Number of each tensor, and how it is pruned.
    values : ndarray, optional
    kept : list of ndarray or None
        Where the results go, flat; None if they are not wanted.
    """

    def __init__(self, plans: list[tuple[int, Plan]], values: Array | None, kept: list[Any]) -> None:
        self.plans, self.values, self.kept = plans, values, kept

    def run(self, given: Sequence[Any]) -> dict[int, Pruned]:
        """Prune them; if not all are right, none: they are then pruned, or refused, one by one."""
        plan = self.plans[0][1]
        fmt = plan.cut.format
        codes = buffer("together", sum(one.size for _, one in self.plans), fmt.storage_dtype)
        np.concatenate([given[number] for number, _ in self.plans], axis=None, out=codes.view(fmt.dtype))
        target = codes[:0] if self.values is None else codes_of(self.values, fmt)
        groups = codes.size // plan.engine.padded
        bad, limited = plan.prune_groups(codes, target, plan.choice(self.kept), 0, groups)
        return {} if bad or limited else dict(self._split())

    def _split(self) -> Iterator[tuple[int, Pruned]]:
        at = group = 0
        cut = self.plans[0][1].cut.cut
        for _, run in groupby(self.plans, key=lambda one: id(one[1])):
            alike = list(run)
            plan, count = alike[0][1], len(alike)
            end, groups = at + count * plan.size, group + count * plan.engine.count
            values = _each(self.values, at, end, (count, *plan.tensor_shape))
            kept = [_each(part, group, groups, (count, *plan.group_shape)) for part in self.kept]
            for (number, _), *parts in zip(alike, values, *kept, strict=True):
                yield number, Pruned(*parts, **cut)
            at, group = end, groups


def _each(array: Array | None, first: int, last: int, shape: tuple[int, ...]) -> Iterable[Any]:
    """Cut an array into views of a shape, one for each tensor; where there is none, give None for each."""
    return repeat(None, shape[0]) if array is None else array[first:last].reshape(shape)


def _batches(given: Sequence[Any], options: Mapping[str, Any]) -> Iterator[_Batch]:
    """Put the small tensors together that can be."""
    like: dict[Any, list[tuple[int, Plan]]] = {}
    # Models have few shapes: for each of them the plan, and the list where its tensors go.
    known: dict[Any, tuple[Plan, list[tuple[int, Plan]]] | None] = {}
    planned = [options[name] for name in _PLANNED]
    for number, x in enumerate(given):
        # Whatever is wrong with the others is found by `prune`.
        if type(x) is not np.ndarray or not x.ndim or not x.flags.c_contiguous:
            continue
        if not 0 < x.nbytes <= SMALL_TENSOR_BYTES:
            continue
        key = x.dtype, x.shape
        if key not in known:
            try:
                plan = plan_of(x, *planned)
            except (OptionError, TensorError):
                return
            known[key] = None
            whole = (
                plan.cut.group <= MAX_GROUP and x.dtype == plan.cut.format.dtype and plan.engine.contiguous
            )
            if whole and isinstance(plan.prune_groups, BlockPruning):
                # Where filters or kernels have fewer weights than a group, these are its own.
                known[key] = plan, like.setdefault((x.dtype, plan.cut, plan.engine.padded), [])
        found = known[key]
        if found is not None:
            found[1].append((number, found[0]))
    for plans in like.values():
        yield from _cut(plans, options["parts"])


def _cut(plans: list[tuple[int, Plan]], parts: Sequence[str]) -> Iterator[_Batch]:
    """Cut tensors that are alike into batches; their results share one array for each part."""
    first = plans[0][1]
    # Large arrays are of large pages, which are cheaper to get.
    values = np.empty(sum(p.size for _, p in plans), first.cut.format.dtype) if "values" in parts else None
    kept = first.new_parts((sum(p.engine.count for _, p in plans),), parts)
    most = max(1, BATCH_BYTES // first.cut.format.dtype.itemsize)
    batch: list[tuple[int, Plan]] = []
    at = end = group = groups = 0
    for number, plan in plans:
        batch.append((number, plan))
        end, groups = end + plan.size, groups + plan.engine.count
        if end - at >= most or number == plans[-1][0]:
            own = [None if k is None else k[group:groups] for k in kept]
            yield _Batch(batch, None if values is None else values[at:end], own)
            batch, at, group = [], end, groups
