"""Titles, legends, axes and labels of a figure, where they cover no data."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, log10
from typing import TYPE_CHECKING, Any, Literal

from bitxcore.plot.chart import ChartAxis
from bitxcore.showing import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEXT_POINTS = 8.0
SMALL_POINTS = 7.0

_LEAST_POINTS = 4.5  # smaller text can't be read in print
_NAMES_SHARE = 0.45  # of the figure's width, for names on the vertical axis
_CHARACTER = 0.56  # mean width of a character over the font size
_LINE = 1.25  # line height over font size
_HANDLE_POINTS = 22.0  # of a legend: its symbol, and the space around it
_NEAR = [(3, 2), (3, -8), (-3, 2), (-3, -8), (0, 6), (0, -11)]
_FAR = [(x * s, y * s) for s in (8, 16, 26, 40) for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1.4))]


def short(name: Any, most: int = 40) -> str:
    """Write a name on one line of at most `most` characters, without its middle if it is longer.

    Examples
    --------
    >>> short("model.encoder.layers.11.attention.output.dense.weight")
    'model.encoder.layers…output.dense.weight'
    """
    text = printable(str(name))
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half + 1 :]}"


def set_axis(
    ax: Axes,
    along: Literal["x", "y"],
    axis: ChartAxis,
    places: dict[Any, int] | None,
    *,
    cells: bool = False,
    whole: bool = False,
) -> None:
    """Set the label, the ticks and the limits of one axis.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    along : {"x", "y"}
    axis : ChartAxis
    places : dict, optional
        Where names are; None for a quantity.
    cells : bool
        Whether cells lie along it, without space at their ends.
    whole : bool
        Whether all data are whole numbers, so that ticks are, too.
    """
    its: Any = ax.xaxis if along == "x" else ax.yaxis
    its.set_label_text(printable(axis.label), fontsize=TEXT_POINTS, parse_math=False)
    limit: Any = ax.set_xlim if along == "x" else ax.set_ylim
    if places is not None:
        space = 0.5 if cells else 0.6
        ends = (-space, max(1, len(places)) - 1 + space)
        # Names are read from the top.
        limit(*(ends[::-1] if along == "y" and (axis.kind == "nominal" or cells) else ends))
        its.set_tick_params(length=0)
        return
    if axis.log:
        (ax.set_xscale if along == "x" else ax.set_yscale)("log")
        if not isfinite(its.get_minpos()):
            limit(1, 10)  # there are no data, and without limits no ticks either
        _set_log_ticks(its, axis)
        return
    low, high = its.get_view_interval()
    if axis.zero and low > 0:
        limit(0, high)
    elif axis.zero and min(its.get_data_interval()) >= 0:
        limit(0)
    _set_format(its, axis, whole)


def fit_ticks(ax: Axes, along: Literal["x", "y"], places: dict[Any, int] | None, *, log: bool) -> None:
    """Write names, or numbers along `x`, so that they fit into the axes as laid out.

    Names are shortened, then written smaller or upright, then only every second, third, ….
    """
    figure = ax.get_figure()
    assert figure is not None
    box = ax.get_position()
    wide = figure.bbox.width * 72 / figure.dpi
    room = wide * box.width if along == "x" else figure.bbox.height * 72 / figure.dpi * box.height
    if places is None:
        if along == "x" and not log:
            ax.xaxis.get_major_locator().set_params(nbins=max(2, min(6, int(room / 28))))  # type: ignore[call-arg]
        return
    if not places:
        return
    its: Any = ax.xaxis if along == "x" else ax.yaxis
    room *= 0.99 / len(places)
    most = max(16, min(40, int(_NAMES_SHARE * wide / (_CHARACTER * SMALL_POINTS))))
    words = [short(name, most) for name in places]
    longest = max(map(len, words)) * _CHARACTER * SMALL_POINTS + 3
    numbers = all(isinstance(name, int) for name in places)
    upright = along == "x" and longest > room and not numbers
    needed = _LINE * SMALL_POINTS if along == "y" or upright else longest
    points, every = SMALL_POINTS, 1
    if needed > room and not numbers:
        points = max(_LEAST_POINTS, SMALL_POINTS * room / needed)
    while 1.001 * every * room < needed * points / SMALL_POINTS:
        every += 1
    its.set_ticks(range(0, len(words), every), words[::every])
    for label in its.get_ticklabels():
        label.set(fontsize=points, parse_math=False, rotation=90 if upright else 0)


def fit_label(ax: Axes) -> None:
    """Move a horizontal label that is wider than the axes to the left, so that no edge cuts it."""
    label = ax.xaxis.label
    inside, box = ax.get_window_extent(), label.get_window_extent()
    if box.width > inside.width:
        label.set(x=1.0, ha="right")


def _set_log_ticks(its: Any, axis: ChartAxis) -> None:
    from matplotlib import ticker

    low, high = its.get_view_interval()
    wide = log10(high / low) > 3 if low > 0 else True
    its.set_major_locator(ticker.LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    its.set_minor_formatter(ticker.NullFormatter())
    if axis.percent:
        its.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
    elif not wide or high < 1e4:
        its.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.3g}"))
    if high >= 1e3 and not axis.percent:
        its.set_major_formatter(ticker.EngFormatter(sep=""))


def _set_format(its: Any, axis: ChartAxis, whole: bool) -> None:
    from matplotlib import ticker

    most = max(map(abs, its.get_view_interval()))
    if axis.percent:
        its.set_major_formatter(ticker.PercentFormatter(1.0))
    elif most >= 1e4 or (most < 0.1 and axis.unit in ("J", "s", "W", "Hz")):
        its.set_major_formatter(ticker.EngFormatter(sep=""))
    its.set_major_locator(ticker.MaxNLocator(nbins=6, integer=whole))


# -- around the data ---------------------------------------------------------------------------


def settle(ax: Axes) -> None:
    """Lay the figure out, so that sizes on it can be asked for."""
    figure: Any = ax.get_figure(root=True)
    figure.draw_without_rendering()


def _room(ax: Axes) -> tuple[float, float]:
    """Give how far what is drawn begins left of `ax`, and from there to its right edge, in points."""
    figure: Any = ax.get_figure(root=True)
    inside, whole = ax.get_window_extent(), ax.get_tightbbox()
    left = max(1.0, inside.x0 if whole is None else min(whole.x0, inside.x0))
    return (inside.x0 - left) * 72 / figure.dpi, (inside.x1 - left) * 72 / figure.dpi


def _shifted(ax: Axes, left: float, up: float) -> Any:
    """Places in `ax`, moved by points to the left and up: labels keep their width when axes change theirs."""
    from matplotlib.transforms import ScaledTranslation

    figure: Any = ax.get_figure(root=True)
    return ax.transAxes + ScaledTranslation(-left / 72, up / 72, figure.dpi_scale_trans)


def add_legend(ax: Axes, entries: Sequence[tuple[Any, str]]) -> int:
    """Put a legend of two or more entries above the axes, and return how many lines it has."""
    found: dict[str, Any] = {}
    for handle, name in entries:
        found[name] = handle  # of the mark that is drawn last, over the others
    if len(found) < 2:
        return 0
    left, room = _room(ax)
    names = [short(name) for name in found]
    longest = max(map(len, names)) * 0.52 * SMALL_POINTS + _HANDLE_POINTS
    lines = -(-len(names) // max(1, int(room // longest)))
    columns = -(-len(names) // lines)
    legend = ax.legend(
        list(found.values()), [str(i) for i in range(len(names))], ncols=columns, loc="lower left",
        bbox_to_anchor=(0.0, 1.0), bbox_transform=_shifted(ax, left, 0), borderaxespad=0.2, borderpad=0.1,
        frameon=False, fontsize=SMALL_POINTS, handlelength=1.2, handletextpad=0.5, columnspacing=1.2,
        labelspacing=0.2,
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name, parse_math=False)  # given as labels, names that begin with "_" are left out
    return lines


def add_title(ax: Axes, title: str, lines: int) -> None:
    """Write the title above a legend of so many lines, on as many lines as it needs."""
    from textwrap import wrap

    left, room = _room(ax)
    text = "\n".join(wrap(printable(title), max(12, int(room / (0.53 * TEXT_POINTS)))))
    up = 4.0 + (lines * SMALL_POINTS * 1.32 + 2 if lines else 0)
    drawn = ax.set_title(text, loc="left", y=1.0, pad=up, fontsize=TEXT_POINTS, parse_math=False)
    drawn.set_transform(_shifted(ax, left, up))


def label_points(ax: Axes, x: Sequence[float], y: Sequence[float], names: Sequence[str]) -> None:
    """Write a name beside every point where there is room: names over each other can't be read."""
    from matplotlib.transforms import Bbox

    settle(ax)
    inside = ax.get_window_extent()
    at: Any = ax.transData.transform([*zip(x, y, strict=True)]) if names else []
    dots = [Bbox.from_bounds(px - 3, py - 3, 6, 6) for px, py in at]
    taken: list[Any] = []
    for i, (name, across, up) in enumerate(zip(names, x, y, strict=True)):
        note = ax.annotate(
            name, (across, up), xytext=(3, 2), textcoords="offset points", fontsize=SMALL_POINTS,
            parse_math=False, annotation_clip=False,
        )  # fmt: skip
        note.set_in_layout(False)
        others = dots[:i] + dots[i + 1 :]
        for dx, dy in (*_NEAR, *_FAR):
            note.set(position=(dx, dy), ha="left" if dx > 0 else "right" if dx < 0 else "center")
            box = note.get_window_extent()
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if fits and not any(box.overlaps(other) for other in (*taken, *others)):
                if (dx, dy) in _FAR:
                    ax.annotate(
                        "", (across, up), xytext=(dx, dy), textcoords="offset points",
                        arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#999999"},
                    ).set_in_layout(False)  # fmt: skip
                taken.append(box)
                break
        else:
            note.remove()
