"""What changed between two runs: cycles by layer, and totals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Tables
from hwmodel.report.figure_sources import Source, by_accelerator, chosen, tables_of
from hwmodel.report.figure_stacks import MOST_BARS
from hwmodel.report.figure_words import count_of, identifiers, listed, named, quantity, table_of, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BEFORE, _AFTER = "before", "after"
_TOTALS = {
    "cycles": "cycles",
    "energy_j": "energy",
    "dram_bytes": "DRAM traffic",
    "area_mm2": "area",
}
_FEW_MACHINES = 3
"""Of so many, each has a colour; of more, each has a row."""
_MOST_LAYERS = MOST_BARS // 2  # each has two bars


_Rows = list[dict[str, Any]]


def charts_of_change(before: Tables, after: Tables) -> list[Chart]:
    """Make the charts of totals, and of cycles by layer for each accelerator that both runs have.

    Parameters
    ----------
    before, after : Tables
        Of which ``networks`` and ``simulation`` are read. Accelerators are paired by `paired_labels`.

    Examples
    --------
    >>> charts_of_change(Tables(), Tables())
    []
    """
    pairs = _pairs(by_accelerator(before), by_accelerator(after))
    old, new = by_accelerator(before, "networks"), by_accelerator(after, "networks")
    paired = paired_labels(old, new)
    alone = [*(label for label in old if label not in paired), *(n for n in new if n not in paired.values())]
    totals = _totals(_pairs(old, new), alone)
    names = identifiers("change_by_layer", pairs)
    made = [_layers(name, label, *rows) for name, (label, rows) in zip(names, pairs.items(), strict=True)]
    return [chart for chart in (totals, *made) if chart is not None]


def change_of_totals(before: Source, after: Source, *, ax: Axes | None = None) -> Axes:
    """Draw cycles, energy, DRAM traffic and area of a run over those of an earlier one.

    Parameters
    ----------
    before, after : NetworkResult, ComparisonResult, Tables, Store, str or path-like
        Results, or stores of some.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If they have no accelerator in common.

    Examples
    --------
    >>> import hwmodel as hw
    >>> runs = [hw.simulate_network("stripes", "resnet20-cifar10", precisions=bits) for bits in (8, 6)]
    >>> ax = hw.plot.change_of_totals(*runs)
    >>> ax.get_xlabel()
    'after over before'
    """
    from bitxcore.plot.drawing import draw

    made = charts_of_change(tables_of(before), tables_of(after))
    return draw(chosen([chart for chart in made if chart.name == "change_of_totals"], "", None), ax)


def change_by_layer(
    before: Source, after: Source, accelerator: str | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw the cycles of every layer in two runs.

    Parameters
    ----------
    before, after : NetworkResult, ComparisonResult, Tables, Store, str or path-like
        Results, or stores of some.
    accelerator : str, optional
        Its label; by default the first that both have.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If they have no accelerator in common, or no such one.

    Examples
    --------
    >>> import hwmodel as hw
    >>> runs = [hw.simulate_network("stripes", "resnet20-cifar10", precisions=bits) for bits in (8, 6)]
    >>> ax = hw.plot.change_by_layer(*runs)
    >>> ax.get_xlabel()
    'time (cycles)'
    """
    from bitxcore.plot.drawing import draw

    made = charts_of_change(tables_of(before), tables_of(after))
    layers = [chart for chart in made if chart.name != "change_of_totals"]
    return draw(chosen(layers, "accelerator", accelerator), ax)


def paired_labels(before: Iterable[str], after: Iterable[str]) -> dict[str, str]:
    """Pair the accelerators of two runs: by label, then those of one design, then two lone ones.

    A label has the options that differ from the defaults, so a run with other options has another label.

    Parameters
    ----------
    before, after : iterable of str
        Labels.

    Returns
    -------
    dict of str to str
        From the label before to that after, in the order of those before.

    Examples
    --------
    >>> paired_labels(["bitx", "dadiannao"], ["dadiannao", "bitx(rows=4)"])
    {'bitx': 'bitx(rows=4)', 'dadiannao': 'dadiannao'}
    """
    old, new = list(dict.fromkeys(before)), list(dict.fromkeys(after))
    found = {label: label for label in old if label in new}
    left = [[label for label in labels if label not in found] for labels in (old, new)]
    for label in left[0]:
        alike = [[each for each in labels if _design(each) == _design(label)] for labels in left]
        if len(alike[0]) == len(alike[1]) == 1:
            found[label] = alike[1][0]
    if not found and len(old) == len(new) == 1:
        found[old[0]] = new[0]
    return {label: found[label] for label in old if label in found}


def _design(label: str) -> str:
    return label.partition("(")[0]


def _pairs(before: dict[str, _Rows], after: dict[str, _Rows]) -> dict[str, tuple[_Rows, _Rows]]:
    """Pair rows by `paired_labels`, under a name that tells both labels where they differ."""
    return {
        old if old == new else f"{old} → {new}": (before[old], after[new])
        for old, new in paired_labels(before, after).items()
    }


# -- totals ------------------------------------------------------------------------------------


def _totals(pairs: dict[str, tuple[_Rows, _Rows]], alone: Sequence[str]) -> Chart | None:
    rows = [
        {
            "accelerator": label,
            "quantity": words,
            "unit": _unit(name),
            "before": old[0][name],
            "after": new[0][name],
            "ratio": new[0][name] / old[0][name],
        }
        for label, (old, new) in list(pairs.items())[:MOST_BARS]
        for name, words in _TOTALS.items()
        if old[0][name] and new[0][name] is not None
    ]
    if not rows:
        return None
    quantities = [w for w in _TOTALS.values() if any(row["quantity"] == w for row in rows)]
    by_quantity = ChartAxis("quantity", "quantity", "nominal", order=quantities)
    by_machine = ChartAxis("accelerator", "accelerator", "nominal")
    few = len({row["accelerator"] for row in rows}) <= _FEW_MACHINES
    units = {"accelerator": "", "quantity": "", "unit": "", "before": "as in unit", "after": "as in unit"}
    return Chart(
        name="change_of_totals",
        title="Totals of the second run over the first",
        see=_totals_sentence(rows, alone),
        data=table_of("change_of_totals", rows, units | {"ratio": "1"}),
        marks=[
            ChartMark(
                "bar",
                ChartAxis("ratio", "after over before"),
                by_quantity if few else by_machine,
                colour=by_machine if few else by_quantity,
                beside=True,
                told=("before", "after", "unit"),
            )
        ],
    )


def _unit(name: str) -> str:
    return {"cycles": "cycles", "energy_j": "J", "dram_bytes": "B", "area_mm2": "mm2"}[name]


def _totals_sentence(rows: _Rows, alone: Sequence[str]) -> str:
    """Tell the largest change of each quantity and whose it is, and the machines of one run only."""
    said = []
    machines = list(dict.fromkeys(row["accelerator"] for row in rows))
    for words in _TOTALS.values():
        of = [row for row in rows if row["quantity"] == words]
        changed = [row for row in of if row["before"] != row["after"]]
        if not of:
            continue
        if not changed:
            told = f"no change of {listed(machines)}"
        else:
            row = max(changed, key=lambda row: abs(row["ratio"] - 1))
            old, new = quantity(row["before"], row["unit"]), quantity(row["after"], row["unit"])
            told = f"{named(row['accelerator'])} had {old} and has {new}, {times(row['ratio'])} times as much"
            if len(of) > 1:
                told += f"; {len(changed)} of {count_of(len(of), 'accelerator')} changed"
        said.append(f"{words[:1].upper()}{words[1:]}: {told}.")
    if alone:
        said.append(f"In one of the runs only: {listed(alone)}.")
    return " ".join(said)


# -- layers ------------------------------------------------------------------------------------


def _layers(name: str, label: str, before: _Rows, after: _Rows) -> Chart | None:
    old, new = _cycles(before), _cycles(after)
    both = [layer for layer in old if layer in new]
    if not both:
        return None
    change = {layer: new[layer] - old[layer] for layer in both}
    kept = set(sorted(both, key=lambda layer: (-abs(change[layer]), -old[layer]))[:_MOST_LAYERS])
    rows = [
        {"layer": layer, "accelerator": label, "run": run, "cycles": cycles[layer]}
        for layer in both
        if layer in kept
        for run, cycles in ((_BEFORE, old), (_AFTER, new))
    ]
    return Chart(
        name=name,
        title=f"Cycles by layer in two runs: {named(label)}",
        see=_layers_sentence(old, new, change, len(kept)),
        data=table_of(name, rows, {"layer": "", "accelerator": "", "run": "", "cycles": "cycles"}),
        marks=[
            ChartMark(
                "bar",
                ChartAxis("cycles", "time", unit="cycles"),
                ChartAxis("layer", "layer", "nominal", order=[layer for layer in both if layer in kept]),
                colour=ChartAxis("run", "run", "nominal", order=[_BEFORE, _AFTER]),
                beside=True,
            )
        ],
    )


def _cycles(rows: _Rows) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        if row["cycles"] is not None:
            found[row["layer"]] = found.get(row["layer"], 0) + row["cycles"]
    return found


def _layers_sentence(old: dict[str, int], new: dict[str, int], change: dict[str, int], drawn: int) -> str:
    less = [layer for layer, by in change.items() if by < 0]
    more = [layer for layer, by in change.items() if by > 0]
    said = []
    if not less and not more:
        every = "all " if len(change) > 1 else ""
        said.append(f"The cycles of {every}{count_of(len(change), 'layer')} are the same.")
    for layers, words, choose in ((less, "fewer", min), (more, "more", max)):
        if layers:
            by = choose(change.values())
            top = [layer for layer in layers if change[layer] == by]
            verb = "takes" if len(layers) == 1 else "take"
            said.append(
                f"{count_of(len(layers), 'layer')} of {len(change):,} {verb} {words} cycles,"
                f" most of all {listed(top)}: {quantity(abs(by), 'cycles')} {words}."
            )
    if drawn < len(change):
        said.append(f"Drawn are the {drawn:,} layers with the largest changes.")
    for layers, words in (
        ([layer for layer in old if layer not in new], "Only the first run has cycles of"),
        ([layer for layer in new if layer not in old], "Only the second run has cycles of"),
    ):
        if layers:
            said.append(f"{words} {listed(layers)}.")
    return " ".join(said)
