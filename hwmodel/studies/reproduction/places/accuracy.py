"""Accuracies of Tables 2 to 6: what pruning costs our networks, beside what it cost the paper's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from bitxcore.errors import MissingExtraError
from bitxcore.groups import Grouping
from hwmodel.evaluation import Estimate, Evaluation, Setting, evaluate, metric, task
from hwmodel.studies.published.printed_numbers import printed
from hwmodel.studies.reproduction.line import HELD, Line, Mark
from hwmodel.studies.reproduction.simulations import MILD_WILD, ROWS, Simulations

SMALL = ("digits",)
"""Tasks beside Table 2: small pictures of ten classes, as CIFAR-10's are."""
LARGE = ("crops", "ocr", "minilm", "transformer")
"""Tasks beside Table 3."""
OVER_GROUPS = ("digits", "crops")
"""Tasks beside Table 4, whose networks see pictures, too."""
DETECTOR = "detector"
"""The task beside Table 6."""
GROUPS = (8, 16, 32, 64, 128, 256, 512)
"""M of Table 4."""
QUICK_GROUPS = (8, 64, 512)

AVERAGE = "average accuracy loss"
POINTS = "percentage points"

OTHERS = (
    "Shown beside each other and not compared: these are other networks and data than the paper's,"
    " whose weights and data sets are not available offline. A loss below 0 is a gain."
)
WHY_KERNELS = f"Groups are whole kernels, which fit the paper's tables. {OTHERS}"
WHY_FLAT = f"Groups of 8 inputs, as the paper's machine takes them. {OTHERS}"
WHY_GROUPS = f"Groups of M inputs along a filter. In the paper's table, M = 8 repeats Table 3. {OTHERS}"
WHY_FIXED = (
    f"One power-of-two scale per tensor. The loss is against the same weights in 16 bits, unpruned. {OTHERS}"
)
WHY_HELD = (
    "The fewest rows N of 10, 8, 6 and 4 such that, with N rows and with more, the network loses no"
    " more than the paper's networks lose on average at N = 6 (in Table 6: than YoloV3 loses). No"
    f" number: no N does. {OTHERS}"
)


@dataclass(frozen=True)
class _Way:
    """How weights are grouped, beside a table."""

    words: str
    group: int | None
    grouping: Grouping
    why: str
    mark: Mark

    def setting(self, rows: int) -> Setting:
        return Setting(rows=rows, group=self.group, grouping=self.grouping)


WAYS = (
    _Way("whole kernels", None, "kernel", WHY_KERNELS, Mark.FITS),
    _Way("groups of 8", 8, "flat", WHY_FLAT, Mark.PAPER),
)


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give the losses of our networks, table by table; only networks of tables that are wanted run."""
    for place, tasks in (("Table 2", SMALL), ("Table 3", LARGE)):
        for name in tasks if simulations.wants(place) else ():
            yield from _beside_averages(simulations, place, name)
    for name in OVER_GROUPS if simulations.wants("Table 4") else ():
        yield from _beside_table_4(simulations, name)
    for name in (*SMALL, *LARGE) if simulations.wants("Table 5") else ():
        yield from _beside_table_5(simulations, name)
    if simulations.wants("Table 6"):
        yield from _beside_table_6(simulations)


def losses(place: str, kept: str) -> list[float]:
    """Compute the losses of a table's networks against their originals, in percentage points.

    Parameters
    ----------
    place : str
    kept : str
        How the setting ends, such as ``"N=6"``.
    """
    rows = [r for r in printed(place) if r.quantity in ("top-1 accuracy", "mAP") and r.value is not None]
    original = {r.network: r.value or 0.0 for r in rows if "original" in r.setting or "baseline" in r.setting}
    return [original[r.network] - (r.value or 0.0) for r in rows if r.setting.endswith(kept)]


# -- tables --------------------------------------------------------------------------------------


def _beside_averages(simulations: Simulations, place: str, name: str) -> Iterator[Line]:
    """Losses of one network beside a table's averages, and at how few rows it stays within one."""
    average = {
        int(row.setting.partition("N=")[2]): row.value or 0.0
        for row in printed(place)
        if row.quantity.startswith(AVERAGE) and "N=" in row.setting
    }
    found = _evaluated(simulations, name)
    if isinstance(found, MissingExtraError):
        yield _without(place, name, "loss", found)
        return
    for way in WAYS:
        lost = {rows: _loss(found, way.setting(rows)) for rows in ROWS}
        for rows, loss in lost.items():
            base = _line(simulations, place, name, found, way.why, way.mark)
            yield replace(
                base,
                setting=f"fp32, N={rows}",
                quantity=f"loss of {found.metrics[0]}, {way.words}; published: {AVERAGE}",
                published=average[rows],
                **loss.columns(base),
            )
        base = _line(simulations, place, name, found, WHY_HELD, way.mark)
        yield _held(base, way, lost, average[6], "the average loss")


def _held(base: Line, way: _Way, lost: dict[int, _Loss], allowed: float, words: str) -> Line:
    """Say from which number of rows on a network loses no more than is allowed."""
    fewest = None
    for rows in sorted(lost, reverse=True):
        if lost[rows].value > allowed:
            break
        fewest = rows
    return replace(
        base,
        setting=f"fp32, N within {words} at N=6",
        quantity=f"{HELD}, {way.words}",
        unit="rows",
        published=6,
        ours=fewest,
    )


def _beside_table_4(simulations: Simulations, name: str) -> Iterator[Line]:
    found = _evaluated(simulations, name)
    if isinstance(found, MissingExtraError):
        yield _without("Table 4", name, "loss by M", found)
        return
    base = _line(simulations, "Table 4", name, found, WHY_GROUPS, Mark.PAPER)
    for group in _groups(simulations):
        for rows in ROWS:
            yield replace(
                base,
                setting=f"fp32, M={group}, N={rows}",
                quantity=f"loss of {found.metrics[0]}; published: mean loss of its networks",
                published=fmean(losses("Table 4", f"M={group}, N={rows}")),
                **_loss(found, Setting(rows=rows, group=group)).columns(base),
            )


def _beside_table_5(simulations: Simulations, name: str) -> Iterator[Line]:
    found = _evaluated(simulations, name)
    if isinstance(found, MissingExtraError):
        yield _without("Table 5", name, "loss", found)
        return
    for instance, rows in MILD_WILD.items():
        loss = _loss(found, Setting(rows=rows, format="fixed16"), Setting(format="fixed16"))
        yield replace(
            _line(simulations, "Table 5", name, found, WHY_FIXED, Mark.PAPER),
            setting=f"fixed16, BitX-{instance}",
            quantity=f"loss of {found.metrics[0]}, groups of 8; published: mean loss of its networks",
            unit=loss.unit,
            published=fmean(losses("Table 5", f"BitX-{instance}")),
            ours=loss.value,
        )


def _beside_table_6(simulations: Simulations) -> Iterator[Line]:
    found = _evaluated(simulations, DETECTOR)
    if isinstance(found, MissingExtraError):
        yield _without("Table 6", DETECTOR, "loss of mAP", found)
        return
    fall = {row.setting: -(row.value or 0.0) for row in printed("Table 6") if row.quantity == "mAP change"}
    for way in WAYS:
        base = _line(simulations, "Table 6", DETECTOR, found, way.why, way.mark)
        for instance, rows in MILD_WILD.items():
            yield replace(
                base,
                setting=f"fp32, BitX-{instance}",
                quantity=f"loss of mAP at an overlap of 0.5, {way.words}; published: of YoloV3",
                published=fall[f"fp32, YoloV3 + BitX-{instance}"],
                **_loss(found, way.setting(rows)).columns(base),
            )
        lost = {rows: _loss(found, way.setting(rows)) for rows in ROWS}
        base = replace(base, why=WHY_HELD)
        yield _held(base, way, lost, fall["fp32, YoloV3 + BitX-wild"], "YoloV3's fall")


def _line(simulations: Simulations, place: str, name: str, found: Evaluation, why: str, mark: Mark) -> Line:
    """Begin a line of one of our networks."""
    part = f"; --quick: {found.points[0].samples} of them" if simulations.quick else ""
    return Line(
        place=place,
        network=f"ours: {name}",
        setting="",
        quantity="",
        unit="",
        published=None,
        ours=None,
        weights=f"trained: {found.task}{part}",
        why=why,
        mark=mark,
        alike=False,
    )


# -- our networks --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Loss:
    """What a setting costs: points of a share, or percent of another score; above 0 is worse."""

    value: float
    low: float
    high: float
    unit: str

    def columns(self, line: Line) -> dict[str, Any]:
        """Return what it says of a line; the interval goes with the weights."""
        low, high = (round(end, 2) + 0.0 for end in (self.low, self.high))
        interval = f"95 % interval {low:.2f} to {high:.2f}"
        return {"unit": self.unit, "ours": self.value, "weights": f"{line.weights}; {interval}"}


def _loss(found: Evaluation, setting: Setting, base: Setting | None = None) -> _Loss:
    name = found.metrics[0]
    scorer = metric(name)
    scores: dict[Setting, Estimate] = {point.setting: point.scores[name] for point in found.points}
    before, after = scores[base or Setting()], scores[setting]
    factor = (-100 if scorer.higher_is_better else 100) / (1 if scorer.is_share else abs(before.value))
    ends = factor * after.difference_low, factor * after.difference_high
    return _Loss(
        factor * (after.value - before.value) + 0.0,  # no loss is not minus none
        min(ends),
        max(ends),
        POINTS if scorer.is_share else "% of unpruned",
    )


def _evaluated(simulations: Simulations, name: str) -> Evaluation | MissingExtraError:
    """Evaluate a task once for all tables."""

    def run() -> Evaluation | MissingExtraError:
        try:
            return evaluate(
                task(name), _settings(name, _groups(simulations)), quick=simulations.quick, cycles=False
            )
        except MissingExtraError as error:
            return error

    return simulations.once(("evaluated", name), run)


def _settings(name: str, groups: Sequence[int]) -> list[Setting]:
    """Everything that lines of a task need."""
    found = [way.setting(rows) for way in WAYS for rows in ROWS]
    if name != DETECTOR:
        found += [Setting(rows=rows, format="fixed16") for rows in (None, *MILD_WILD.values())]
    if name in OVER_GROUPS:
        found += [Setting(rows=rows, group=group) for group in groups for rows in ROWS]
    return found


def _groups(simulations: Simulations) -> tuple[int, ...]:
    return QUICK_GROUPS if simulations.quick else GROUPS


def _without(place: str, name: str, quantity: str, error: MissingExtraError) -> Line:
    return Line(
        place=place,
        network=f"ours: {name}",
        setting="all",
        quantity=quantity,
        unit=POINTS,
        published=None,
        ours=None,
        weights="none",
        why=f"Not run: {error}",
        mark=Mark.CHOSEN,
        alike=False,
    )
