"""Pruning of modules in place: for good, or for the time of a ``with`` block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from bitxcore.batch import PrunedTensor, Selection
from bitxcore.batch.pruned_rows import pruned_row
from bitxcore.batch.selection import channel_first, on_turned
from bitxcore.bits import essential_bits
from bitxcore.checks import check_one_of, shown
from bitxcore.dumps.pytorch import import_torch
from bitxcore.errors import OptionError, TensorError, error_context
from bitxcore.formats import FLOATS, NumberFormat, fixed_width
from bitxcore.groups import LAYOUTS, Grouping, Layout
from bitxcore.pruned import Pruned
from bitxcore.pruning import Nonfinite, prune
from bitxcore.quantization import quantize
from bitxcore.torch.module_dump import ModuleDump, ModuleTensor, Originals, of_module, open_module
from bitxcore.torch.module_report import PrunedModule, PrunedWeight

if TYPE_CHECKING:
    from torch.nn import Module

Array = npt.NDArray[Any]
ModuleLayout = Literal["module", "oihw", "ohwi", "hwio"]


class ModuleOptions(TypedDict, total=False):
    """Options of `prune_`, for those who pass them on."""

    rows: int | None
    group: int | None
    window: int | None
    format: str | None
    criterion: str
    rounding: str
    grouping: Grouping
    threshold: float | None
    budget: float | None
    nonfinite: Nonfinite
    layout: ModuleLayout | None
    include: str | Iterable[str]
    exclude: str | Iterable[str]


def prune_(
    module: Module,
    *,
    rows: int | None = 6,
    group: int | None = 8,
    window: int | None = None,
    format: str | None = None,  # noqa: A002
    criterion: str = "topn",
    rounding: str = "truncate",
    grouping: Grouping = "flat",
    threshold: float | None = None,
    budget: float | None = None,
    nonfinite: Nonfinite = "raise",
    layout: ModuleLayout | None = None,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
) -> PrunedModule:
    """Prune the weights of a PyTorch module in place.

    The same tensors are pruned in the same way as by ``bitx prune`` in a file of the module's state dict:
    every tensor of at least two dimensions, with the output channel on axis 0.

    Parameters
    ----------
    module : torch.nn.Module
        On any device; weights that are not in the processor's memory are copied there and back.
    rows, group, window, criterion, rounding, grouping, threshold, budget, nonfinite
        As for `bitxcore.prune`, without the criterion ``"calibrated"``, which needs norms by tensor.
    format : str, optional
        As for `bitxcore.prune`; or a float format that is not the weights' own, to which they are rounded
        first. They keep their dtype.
    layout : {"module", "oihw", "ohwi", "hwio"}, optional
        Where output and input channel sit. ``"module"``: by the types of layers, so that transposed
        convolutions, which have the output channel on axis 1, are pruned along their inputs. The others hold
        for all tensors of two or more dimensions.
    include, exclude : str or iterable of str
        Patterns as in `fnmatch`, compared with whole names of the state dict. Given `include`, those and no
        others; `exclude` always wins.

    Returns
    -------
    PrunedModule
        What was done to each tensor, and why others were left alone.

    Raises
    ------
    TensorError
        If no tensor is left to prune, or one can't be pruned; with the fields tensor, index and value.
    OptionError
        If a parameter is out of range, `module` is not a module, or weights do not fit the float format.
    MissingExtraError
        If PyTorch is not installed.

    Notes
    -----
    After an error the weights are as they were. Until the end their old values are kept, so the pruned
    weights take their memory twice. Tied weights are pruned once. What a layer makes its weights of at every
    run (`torch.nn.utils.parametrize`) is left alone, unless it is included.

    Examples
    --------
    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(16, 4), torch.nn.ReLU())
    >>> report = prune_(module, rows=4)
    >>> report["0.weight"].shape, report.left_alone
    ((4, 16), {'0.bias': 'fewer than 2 dimensions'})
    """
    report, _ = _prune(
        module,
        {
            "rows": rows,
            "group": group,
            "window": window,
            "format": format,
            "criterion": criterion,
            "rounding": rounding,
            "grouping": grouping,
            "threshold": threshold,
            "budget": budget,
            "nonfinite": nonfinite,
        },
        layout,
        _patterns("include", include),
        _patterns("exclude", exclude),
    )
    return report


@contextmanager
def pruned(module: Module, **options: Unpack[ModuleOptions]) -> Iterator[PrunedModule]:
    """Prune the weights of a PyTorch module for the time of a ``with`` block.

    At its end, also after an error, the weights are what they were, bit for bit: whatever the block has done
    to them. Blocks may be nested; the inner one ends first, so that blocks on one module belong to one
    thread. In a module that the block has moved or cast, the pruned tensors are where and what they were
    before, and all others are as the block left them. Tensors that the block puts in their places
    (``module.weight = ...``, or a move to the device meta) stay.

    Parameters
    ----------
    module : torch.nn.Module
    **options
        Those of `prune_`.

    Yields
    ------
    PrunedModule

    Examples
    --------
    >>> import torch
    >>> module = torch.nn.Linear(16, 4)
    >>> before = module.weight.clone()
    >>> with pruned(module, rows=2) as report:
    ...     bool((module.weight == before).all()), report.relative_error > 0
    (False, True)
    >>> bool((module.weight == before).all())
    True
    """
    include = _patterns("include", options.pop("include", ()))
    exclude = _patterns("exclude", options.pop("exclude", ()))
    layout = options.pop("layout", None)
    unknown = [name for name in options if name not in ModuleOptions.__annotations__]
    if unknown:
        raise TypeError(f"pruned() got an unexpected keyword argument {unknown[0]!r}")
    report, originals = _prune(module, _DEFAULTS | dict(options), layout, include, exclude)
    try:
        yield report
    finally:
        originals.put_back()


_DEFAULTS: dict[str, Any] = {
    name: value
    for name, value in (prune_.__kwdefaults__ or {}).items()
    if name not in ("layout", "include", "exclude")
}


def _patterns(option: str, given: Any) -> tuple[str, ...]:
    patterns = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise OptionError(
                f"{option} must be a pattern or some of them, got {shown(pattern)}", value=pattern
            )
    return patterns


def _prune(
    module: Any,
    options: dict[str, Any],
    layout: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
) -> tuple[PrunedModule, Originals]:
    """Prune a module; the caller may put the old values back."""
    import_torch()
    if options["criterion"] == "calibrated":
        raise OptionError(
            "criterion 'calibrated' needs norms by tensor",
            hint="prune the module's file, by bitxcore.batch.prune_dump",
            value="calibrated",
        )
    if layout is not None:
        check_one_of(("module", *LAYOUTS), "layout", layout)
    by_type = "module" if layout == "module" else None
    dump = open_module(module, layout=by_type)
    form = options["format"]
    if isinstance(form, NumberFormat):
        form = form.name
    options = options | {"format": form}
    given = options | {"layout": layout, "include": include, "exclude": exclude}
    originals, weights = Originals(), []
    with of_module(dump):
        # To a float format weights are rounded, so that those of any other float are chosen, too.
        chosen = Selection(include, exclude).choose(dump, None if form in FLOATS else form)
        tied, left_alone = dump.tied(chosen)
        try:
            for each in tied:
                with error_context(tensor=each.tensor.name):
                    before = originals.keep(each)
                    how = _How(dump, None if by_type else layout, options)
                    row, *ones = _prune_tensor(each.tensor, before, how)
                    weights.append(PrunedWeight.of(row, each.names, *ones))
        except BaseException:
            originals.put_back()
            raise
    return PrunedModule(type(module).__name__, tuple(weights), left_alone, given), originals


class _How(NamedTuple):
    """What is done to every tensor of a module."""

    dump: ModuleDump
    layout: str | None
    options: dict[str, Any]


def _prune_tensor(
    tensor: ModuleTensor, before: Array, how: _How
) -> tuple[PrunedTensor, int | None, int | None]:
    """Prune a tensor in its place.

    Returns
    -------
    row : PrunedTensor
    before, after : int or None
        Ones.
    """
    layout = channel_first(tensor, how.layout)
    form = how.options["format"]
    options = how.options
    if form in FLOATS and FLOATS[form].dtype != tensor.dtype:
        numbers, options = _rounded(tensor, before, FLOATS[form]), options | {"format": None}
    else:
        numbers = before
    out = tensor.live if numbers is before and layout == Layout() else None
    if out is not None and not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        out = None
    work = partial(prune, **options, out=out)
    found = on_turned(how.dump, tensor, numbers, work, options["format"], how.layout)
    after = pruned_numbers = layout.restore(found.values)
    if numbers is not before:
        after = after.astype(tensor.dtype)
        if found.nonfinite_groups:
            np.copyto(after, before, where=~np.isfinite(before))
    if out is None:
        tensor.write(after)
    else:
        tensor.mark_changed()
    row = pruned_row(tensor, before, after, found)
    return row, *_ones(numbers, pruned_numbers, found, fixed_width(form))


def _rounded(tensor: ModuleTensor, values: Array, form: NumberFormat) -> Array:
    """Round floats to another format."""
    if tensor.dtype not in {other.dtype for other in FLOATS.values()}:
        raise TensorError(
            f"is {tensor.dtype}: a float format is for floats", hint="exclude it, or leave the format out"
        )
    with np.errstate(over="ignore"):
        narrow: Array = values.astype(form.dtype)
    if not (np.isfinite(narrow) | ~np.isfinite(values)).all():
        raise OptionError(
            f"weights are beyond what {form} holds",
            value=form.name,
            hint="exclude it, or take another format",
        )
    return narrow


def _ones(before: Array, after: Array, found: Pruned, width: int | None) -> tuple[int | None, int | None]:
    """Count the ones of what was pruned, and of what was kept."""
    if found.nonfinite_groups:
        return None, None
    if width is not None:
        assert found.codes is not None
        before, after = quantize(before, width).codes, found.codes
    first, last = (int(essential_bits(x, found.format).sum(dtype=np.int64)) for x in (before, after))
    return first, last
