"""Figures of bit rows, kept rows, kept ones and errors: what each shows, and functions that draw it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitxcore.checks import checked_integer
from bitxcore.errors import OptionError
from bitxcore.plot.bit_matrices import GroupMatrix, group_matrices
from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bitxcore.pruned import Pruned
    from bitxcore.summary import Statistics
    from bitxcore.weight_ones import WeightOnes

__all__ = [
    "bit_matrix",
    "bit_matrix_chart",
    "error_by_rows",
    "error_by_rows_chart",
    "kept_ones",
    "kept_ones_chart",
    "kept_rows",
    "kept_rows_chart",
    "nonempty_rows",
    "nonempty_rows_chart",
    "ones_per_row",
    "ones_per_row_chart",
]

KEPT_ONE, DROPPED_ONE, KEPT_ZERO, DROPPED_ZERO = "1, kept", "1, pruned", "0, row kept", "0"
_BITS = (KEPT_ONE, DROPPED_ONE, KEPT_ZERO, DROPPED_ZERO)
_BIT_COLOURS = ("#1f6fb5", "#c9c9c9", "#dcebf8", "#f4f4f4")
DEFAULT_ROWS = 6
"""Rows that `bitxcore.prune` keeps where nothing else is said."""


def _statistics(found: object) -> Statistics:
    from bitxcore.summary import Statistics

    if not isinstance(found, Statistics):
        raise OptionError(
            f"statistics must be what bitxcore.statistics returns, got {type(found).__name__};"
            " of weights use bitxcore.statistics(weights), of a pruned tensor"
            " prune(..., statistics=True).statistics",
        )
    return found


def _pruned(found: object, name: str, more: str = "") -> Any:
    from bitxcore.pruned import Pruned
    from bitxcore.weight_ones import WeightOnes

    if isinstance(found, Pruned) or (more and isinstance(found, WeightOnes)):
        return found
    raise OptionError(
        f"{name} must be what bitxcore.prune{more} returns, got {type(found).__name__};"
        " of weights use bitxcore.prune(weights)"
    )


# -- bit matrix --------------------------------------------------------------------------------


def bit_matrix_chart(
    x: npt.ArrayLike | Pruned, group: int | Sequence[int] = 0, *, shown: int | None = None, **options: Any
) -> Chart:
    """Make the chart of `bit_matrix`.

    Parameters
    ----------
    x, group, shown, **options
        As of `bit_matrix`.

    Examples
    --------
    >>> chart = bit_matrix_chart(np.array([1.75, 0.25, -0.5, 0.0], np.float32), rows=2, prune_group=4)
    >>> chart.see
    '2 of 3 non-empty rows are kept: 3 of 5 ones.'
    """
    matrices = group_matrices(x, list(group) if isinstance(group, Sequence) else [group], options)
    window = len(matrices[0].kept)
    if shown is None:
        # All that is kept, and a little of what is not.
        last_kept = max(_last(m.kept) for m in matrices)
        last_filled = max(_last(np.asarray(m.bits.any(axis=0))) for m in matrices)
        shown = max(last_kept, min(last_filled, max(13, last_kept + 2))) + 1
    shown = checked_integer(window, "shown", shown)
    columns: dict[str, list[Any]] = {name: [] for name in _MATRIX_UNITS}
    several = len(matrices) > 1
    for matrix in matrices:
        for member, bits in enumerate(matrix.bits):
            for row in range(shown):
                one, kept = bool(bits[row]), bool(matrix.kept[row])
                found = (KEPT_ONE if kept else DROPPED_ONE) if one else (KEPT_ZERO if kept else DROPPED_ZERO)
                values = (
                    matrix.group,
                    member,
                    f"{matrix.group}.{member}" if several else str(member),
                    float(matrix.values[member]),
                    matrix.row_name(row, several),
                    int(one),
                    kept,
                    found,
                )
                for name, value in zip(columns, values, strict=True):
                    columns[name].append(value)
    return Chart(
        name="bit_matrix",
        title=_matrix_title(matrices, shown),
        see=_matrix_sentence(matrices),
        data=Table("bit_matrix", columns, _MATRIX_UNITS),
        marks=[
            ChartMark(
                "cell",
                ChartAxis("label", "group.weight" if several else "weight", "nominal"),
                ChartAxis("row", "row" if several else "row weighs", "nominal"),
                colour=ChartAxis("state", "bit", "nominal", order=_BITS, colours=_BIT_COLOURS),
                text="bit",
            )
        ],
    )


_MATRIX_UNITS = {
    "group": "1", "weight": "1", "label": "", "value": "1", "row": "", "bit": "bit", "kept": "", "state": "",
}  # fmt: skip


def _matrix_title(matrices: Sequence[GroupMatrix], shown: int) -> str:
    which = ", ".join(str(m.group) for m in matrices)
    window = len(matrices[0].kept)
    rows = "" if shown == window else f", {shown} of {window} rows"
    return f"Aligned bit matrix of group{'s' if len(matrices) > 1 else ''} {which}{rows}"


def _matrix_sentence(matrices: Sequence[GroupMatrix]) -> str:
    kept = sum(int(m.kept.sum()) for m in matrices)
    filled = sum(int(m.bits.any(axis=0).sum()) for m in matrices)
    ones = sum(int(m.bits.sum()) for m in matrices)
    ones_kept = sum(int(m.bits[:, m.kept].sum()) for m in matrices)
    return f"{kept} of {filled} non-empty rows are kept: {ones_kept:,} of {ones:,} ones."


def bit_matrix(
    x: npt.ArrayLike | Pruned,
    group: int | Sequence[int] = 0,
    *,
    shown: int | None = None,
    ax: Axes | None = None,
    **options: Any,
) -> Axes:
    """Draw the aligned bit matrix of one or several groups, with the kept rows marked.

    Parameters
    ----------
    x : array_like or Pruned
        Weights, output channel on axis 0, which are pruned for it; or a pruned tensor, of which only the bits
        that were kept are left.
    group : int or sequence of int
        Groups to draw, counted through all filters: ``filter * groups + group``.
    shown : int, optional
        Rows to draw, from the most significant on; by default those that are kept and at least 14, as far
        as there are ones.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.
    **options
        Of `prune`, for weights: ``rows``, ``window``, ``format``, ``criterion``, …; its ``group`` is given
        as ``prune_group``.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TensorError
        If the tensor can't be grouped, or holds a value that is none of its format.
    OptionError
        If there is no such group, or an option is out of range.
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> import bitxcore as bx
    >>> ax = bx.plot.bit_matrix(np.array([1.75, 0.25, -0.5, 0.0], np.float32), rows=2, prune_group=4)
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['2^0', '2^-1', '2^-2']
    """
    from bitxcore.plot.drawing import draw

    return draw(bit_matrix_chart(x, group, shown=shown, **options), ax)


# -- statistics --------------------------------------------------------------------------------


def ones_per_row_chart(statistics: Statistics) -> Chart:
    """Make the chart of `ones_per_row`.

    Parameters
    ----------
    statistics : Statistics

    Examples
    --------
    >>> import bitxcore as bx
    >>> ones_per_row_chart(bx.statistics(np.array([3, 8, -9, 0], np.int8), group=4)).see
    'Row 3 has most ones: 50% of the values. Rows 0 to 3 hold 40% of all ones.'
    """
    statistics = _statistics(statistics)
    ones = statistics.row_ones
    shares = ones / statistics.values
    top = int(np.argmax(ones)) if ones.size else 0
    most = int(ones.sum())
    held = int(ones[: top + 1].sum()) / most if most else 0.0
    units = {"row": "1", "ones": "bit", "share": "1"}
    return Chart(
        name="ones_per_row",
        title=f"Ones per bit row, {_cut_words(statistics)}",
        see=f"Row {top} has most ones: {shares[top]:.0%} of the values."
        f" Rows 0 to {top} hold {held:.0%} of all ones.",
        data=Table(
            "ones_per_row",
            {"row": list(range(ones.size)), "ones": ones.tolist(), "share": shares.tolist()},
            units,
        ),
        marks=[
            ChartMark(
                "bar",
                ChartAxis("row", "bit row, 0 the most significant", "ordinal"),
                ChartAxis("share", "values with a one", percent=True),
            )
        ],
    )


def ones_per_row(statistics: Statistics, *, ax: Axes | None = None) -> Axes:
    """Draw the share of values that have a one in each row of their aligned group.

    Parameters
    ----------
    statistics : Statistics
        From `bitxcore.statistics`, or of a `Pruned`.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If statistics is not what `bitxcore.statistics` returns.

    Examples
    --------
    >>> import bitxcore as bx
    >>> ax = bx.plot.ones_per_row(bx.statistics(np.array([3, 8, -9, 0], np.int8), group=4))
    >>> [float(bar.get_height()) for bar in ax.patches]
    [0.0, 0.0, 0.0, 0.5, 0.0, 0.25, 0.5]
    """
    from bitxcore.plot.drawing import draw

    return draw(ones_per_row_chart(statistics), ax)


def nonempty_rows_chart(statistics: Statistics) -> Chart:
    """Make the chart of `nonempty_rows`.

    Parameters
    ----------
    statistics : Statistics

    Examples
    --------
    >>> import bitxcore as bx
    >>> nonempty_rows_chart(bx.statistics(np.array([3, 8, -9, 0], np.int8), group=4)).see
    'A group has 3.0 non-empty rows on average, and 3 at most.'
    """
    histogram = _statistics(statistics).nonempty_rows_histogram
    most = _last(histogram)
    return _histogram_chart(
        "nonempty_rows",
        f"Non-empty rows per group, {_cut_words(statistics)}",
        f"A group has {_mean(histogram):.1f} non-empty rows on average, and {most} at most.",
        histogram[: most + 1],
        ("nonempty_rows", "non-empty rows"),
        ("groups", "groups"),
    )


def nonempty_rows(statistics: Statistics, *, ax: Axes | None = None) -> Axes:
    """Draw the share of groups by their number of non-empty rows.

    Parameters
    ----------
    statistics : Statistics
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If statistics is not what `bitxcore.statistics` returns.

    Examples
    --------
    >>> import bitxcore as bx
    >>> ax = bx.plot.nonempty_rows(bx.statistics(np.array([3, 8, -9, 0], np.int8), group=2))
    >>> [float(bar.get_height()) for bar in ax.patches]
    [0.0, 0.0, 0.5, 0.5]
    """
    from bitxcore.plot.drawing import draw

    return draw(nonempty_rows_chart(statistics), ax)


# -- pruned tensors ----------------------------------------------------------------------------


def kept_rows_chart(pruned: Pruned) -> Chart:
    """Make the chart of `kept_rows`.

    Parameters
    ----------
    pruned : Pruned

    Examples
    --------
    >>> import bitxcore as bx
    >>> kept_rows_chart(bx.prune(np.array([3, 8, -9, 0], np.int8), rows=2, group=2)).see
    'A group keeps 2.0 rows on average, and 2 at most.'
    """
    histogram = _pruned(pruned, "pruned").kept_rows_histogram()
    most = _last(histogram)
    return _histogram_chart(
        "kept_rows",
        f"Kept rows per group, {_cut_words(pruned)}",
        f"A group keeps {_mean(histogram):.1f} rows on average, and {most} at most.",
        histogram[: most + 1],
        ("kept_rows", "kept rows"),
        ("groups", "groups"),
    )


def kept_rows(pruned: Pruned, *, ax: Axes | None = None) -> Axes:
    """Draw the share of groups by their number of kept rows.

    Parameters
    ----------
    pruned : Pruned
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If pruned is not what `bitxcore.prune` returns.

    Examples
    --------
    >>> import bitxcore as bx
    >>> ax = bx.plot.kept_rows(bx.prune(np.array([3, 8, -9, 0], np.int8), rows=2, group=2))
    >>> [float(bar.get_height()) for bar in ax.patches]
    [0.0, 0.0, 1.0]
    """
    from bitxcore.plot.drawing import draw

    return draw(kept_rows_chart(pruned), ax)


def kept_ones_chart(result: Pruned | WeightOnes) -> Chart:
    """Make the chart of `kept_ones`.

    Parameters
    ----------
    result : Pruned or WeightOnes

    Examples
    --------
    >>> import bitxcore as bx
    >>> kept_ones_chart(bx.weight_ones(np.array([3, 8, -9, 0], np.int8), rows=1, group=4)).see
    'A weight has 1.25 ones on average before pruning and 0.50 after.'
    """
    from bitxcore.bits import essential_bits
    from bitxcore.weight_ones import WeightOnes

    result = _pruned(result, "result", " or bitxcore.weight_ones")
    if isinstance(result, WeightOnes):
        histograms = {"before": result.before_histogram, "after": result.after_histogram}
        bits = result.significand_bits
        see = (
            f"A weight has {result.before.mean:.2f} ones on average before pruning and"
            f" {result.after.mean:.2f} after."
        )
    else:
        codes = result.values if result.codes is None else result.codes
        counts = np.bincount(essential_bits(codes, result.format).reshape(-1))
        histograms = {"after": tuple(counts.tolist())}
        bits = result.format.significand_bits
        see = f"A weight has {_mean(counts):.2f} ones on average, and {counts.size - 1} at most."
    most = max(_last(np.array(counts)) for counts in histograms.values())
    columns: dict[str, list[Any]] = {"pruning": [], "ones": [], "weights": [], "share": []}
    for pruning, histogram in histograms.items():
        whole = sum(histogram)
        for ones, weights in enumerate((*histogram, *[0] * bits)[: most + 1]):
            for name, value in zip(columns, (pruning, ones, weights, weights / whole), strict=True):
                columns[name].append(value)
    colour = ChartAxis("pruning", "pruning", "nominal", order=("before", "after"))
    return Chart(
        name="kept_ones",
        title=f"Ones per weight, of {bits} bits",
        see=see,
        data=Table("kept_ones", columns, {"pruning": "", "ones": "bit", "weights": "1", "share": "1"}),
        marks=[
            ChartMark(
                "bar",
                ChartAxis("ones", "ones per weight", "ordinal"),
                ChartAxis("share", "weights", percent=True),
                colour=colour,
                beside=len(histograms) > 1,
            )
        ],
    )


def kept_ones(result: Pruned | WeightOnes, *, ax: Axes | None = None) -> Axes:
    """Draw the share of weights by their number of ones: after pruning, of a `WeightOnes` also before.

    Parameters
    ----------
    result : Pruned or WeightOnes
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If result is neither of the two.
    TensorError
        If a pruned tensor holds a NaN or Inf, which have no ones to count.

    Examples
    --------
    >>> import bitxcore as bx
    >>> ax = bx.plot.kept_ones(bx.prune(np.array([3, 8, -9, 0], np.int8), rows=1, group=4))
    >>> [float(bar.get_height()) for bar in ax.patches]
    [0.5, 0.5]
    """
    from bitxcore.plot.drawing import draw

    return draw(kept_ones_chart(result), ax)


# -- errors ------------------------------------------------------------------------------------


def error_by_rows_chart(
    x: npt.ArrayLike, rows: Iterable[int] = range(1, 13), *, default: int = DEFAULT_ROWS, **options: Any
) -> Chart:
    """Make the chart of `error_by_rows`.

    Parameters
    ----------
    x, rows, default, **options
        As of `error_by_rows`.

    Examples
    --------
    >>> chart = error_by_rows_chart(np.array([3, 8, -9, 0], np.int8), [1, 2], group=4)
    >>> [round(error, 3) for error in chart.data.columns["relative_error"]]
    [0.255, 0.114]
    """
    from bitxcore.batch.row_errors import row_errors
    from bitxcore.pruned import Pruned

    if isinstance(x, Pruned):
        raise OptionError("x must be weights, which are pruned for it, got a Pruned")
    wanted = sorted({*rows})
    if not wanted:
        raise OptionError("rows must name at least one number of rows")
    found = row_errors(x, wanted, **options)
    units = {"rows": "1", "relative_error": "1", "values_used": "1", "label": "", "is_default": ""}
    label = [f"{e.relative_error:.2%} at {e.rows} rows" if e.rows == default else None for e in found]
    columns: dict[str, list[Any]] = {
        "rows": [e.rows for e in found],
        "relative_error": [e.relative_error for e in found],
        "values_used": [e.values_used for e in found],
        "label": label,
        "is_default": [text is not None for text in label],
    }
    at = next((text for text in label if text), None)
    x_axis = ChartAxis("rows", "kept rows per group", unit="1", zero=False)
    y_axis = ChartAxis("relative_error", "relative error", unit="1", log=True, percent=True)
    marks = [ChartMark("line", x_axis, y_axis)]
    if at is not None:
        marks.append(ChartMark("point", x_axis, y_axis, only="is_default", text="label"))
    first, last = found[0], found[-1]
    return Chart(
        name="error_by_rows",
        title="Relative error of pruning against kept rows",
        see=f"From {first.rows} to {last.rows} rows the error falls from {first.relative_error:.2%}"
        f" to {last.relative_error:.2%}" + (f"; it is {at}." if at else "."),
        data=Table("error_by_rows", columns, units),
        marks=marks,
    )


def error_by_rows(
    x: npt.ArrayLike,
    rows: Iterable[int] = range(1, 13),
    *,
    default: int = DEFAULT_ROWS,
    ax: Axes | None = None,
    **options: Any,
) -> Axes:
    """Draw the relative error of pruning against the number of kept rows, on a logarithmic scale.

    Parameters
    ----------
    x : array_like
        Weights, output channel on axis 0.
    rows : iterable of int
        Numbers of rows per group.
    default : int
        The one whose error is written beside the line.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.
    **options
        Of `bitxcore.batch.row_errors`: ``most_values``, and what `prune` takes but ``rows``.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TensorError
        If the tensor can't be grouped, or holds a value that is none of its format.
    OptionError
        If a parameter is out of range, `rows` is empty, or `x` is a pruned tensor.

    Notes
    -----
    The error is the Euclidean norm of the difference over that of the tensor. Errors of 0 are in the data,
    and have no place on the axis.

    Examples
    --------
    >>> import bitxcore as bx
    >>> x = np.random.default_rng(0).standard_normal((8, 64), np.float32)
    >>> ax = bx.plot.error_by_rows(x, range(1, 9))
    >>> ax.get_yscale(), [round(float(e), 3) for e in ax.lines[0].get_ydata()[:3]]
    ('log', [0.595, 0.323, 0.176])
    """
    from bitxcore.plot.drawing import draw

    return draw(error_by_rows_chart(x, rows, default=default, **options), ax)


# -- histograms --------------------------------------------------------------------------------


def _histogram_chart(
    name: str,
    title: str,
    see: str,
    histogram: npt.NDArray[np.int64],
    what: tuple[str, str],
    counted: tuple[str, str],
) -> Chart:
    whole = int(histogram.sum())
    counts = histogram.tolist()
    columns: dict[str, list[Any]] = {
        what[0]: list(range(len(counts))),
        counted[0]: counts,
        "share": [count / whole if whole else 0.0 for count in counts],
    }
    marks = [
        ChartMark(
            "bar",
            ChartAxis(what[0], f"{what[1]} per group", "ordinal"),
            ChartAxis("share", counted[1], percent=True),
        )
    ]
    return Chart(name, title, see, Table(name, columns, dict.fromkeys(columns, "1")), marks)


def _last(histogram: npt.NDArray[Any]) -> int:
    filled = np.flatnonzero(histogram)
    return int(filled[-1]) if filled.size else 0


def _mean(histogram: npt.NDArray[Any]) -> float:
    whole = int(histogram.sum())
    return float(histogram @ np.arange(histogram.size)) / whole if whole else 0.0


def _cut_words(cut: Any) -> str:
    return f"{cut.format.name} in groups of {cut.group}"
