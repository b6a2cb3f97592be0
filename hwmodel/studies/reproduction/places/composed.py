"""Beside Table 6: our detector, plain and slimmed, unpruned, mild and wild, with trained weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bitxcore.data import data_folder
from bitxcore.errors import MissingExtraError
from hwmodel.networks.loading import load_network
from hwmodel.networks.network import Network
from hwmodel.simulation.results import NetworkResult
from hwmodel.simulation.run import simulate_network
from hwmodel.studies.composition import Composition, compose
from hwmodel.studies.published.printed_numbers import Printed, printed
from hwmodel.studies.reproduction.line import Line, Mark
from hwmodel.studies.reproduction.places.figure_7 import READINGS
from hwmodel.studies.reproduction.places.figure_8 import instance
from hwmodel.studies.reproduction.simulations import MILD_WILD, Simulations, machine

DETECTOR = "detector"
PLAIN, SLIMMED = "digit_detector.onnx", "digit_detector_slimmed.onnx"
METRIC = "map50"

ANOTHER = "Shown beside each other and not compared: network, data and slimming differ from the paper's."
WHY_SPEED = (
    "Cycles of the plain detector, unpruned, over these, by {}, on trained weights. The slimmed"
    f" detector was trained further after its channels were removed, so its weights differ. {ANOTHER}"
)
WHY_MACS = (
    "Multiply-accumulates of the plain detector over those of the slimmed one, whose channels were"
    " chosen by training."
    f" {ANOTHER}"
)
WHY_MAP = (
    "Groups of 8 inputs, as the machine takes them. A change above 0 is a gain. The slimmed detector"
    f" was trained for longer than the plain one. {ANOTHER}"
)


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give speed-ups in each reading, and changes of the mAP, beside what Table 6 prints of YoloV3."""
    rows = [row for row in printed("Table 6") if row.quantity.startswith(("speed-up", "mAP change"))]
    try:
        run = simulations.once(("composed", "cycles"), _cycles)
        found = simulations.once(("composed", "scores"), lambda: _scored(simulations))
    except MissingExtraError as error:
        yield replace(_line(simulations, rows[0], None), published=None, why=f"Not run: {error}")
        return
    for row in rows:
        name, slimmed = instance(row.setting), "Slimming" in row.setting
        if name is None and not slimmed:  # 1 by definition
            continue
        if row.quantity == "mAP change":
            yield _change(_line(simulations, row, found), row, found)
            continue
        base = replace(
            _line(simulations, row, None), quantity=f"{row.quantity.replace('YoloV3', DETECTOR)}, "
        )
        if name is None:
            ratio = _network(PLAIN).macs / _network(SLIMMED).macs
            yield replace(base, quantity=f"{base.quantity}multiply-accumulates", ours=ratio, why=WHY_MACS)
        for reading, (words, _) in READINGS.items():
            yield replace(
                base,
                quantity=base.quantity + words,
                ours=_speed(run, SLIMMED if slimmed else PLAIN, name, reading),
                why=WHY_SPEED.format(reading),
            )


def _line(simulations: Simulations, row: Printed, found: Composition | None) -> Line:
    """Begin a line beside one of the paper's."""
    slimmed = "Slimming" in row.setting
    weights = f"trained: data/samples/{SLIMMED if slimmed else PLAIN}"
    if found is None:
        weights += f", over: data/samples/{PLAIN}" * slimmed
    else:
        weights += f" on {found.samples} held-out scenes" + "; --quick" * simulations.quick
    return Line(
        place=row.place,
        network=f"ours: {DETECTOR}",
        setting=row.setting.replace("YoloV3", DETECTOR).replace("Slimming", "slimming"),
        quantity=row.quantity,
        unit=row.unit,
        published=row.value,
        ours=None,
        weights=weights,
        why="",
        mark=Mark.CHOSEN,
        alike=False,
    )


# -- accuracy ------------------------------------------------------------------------------------


def _scored(simulations: Simulations) -> Composition:
    return compose(DETECTOR, _file(SLIMMED), metrics=[METRIC], machines=(), quick=simulations.quick)


def _change(line: Line, row: Printed, found: Composition) -> Line:
    """Give the change against what the paper's change is against."""
    weights = "software-pruned" if "Slimming" in row.setting else "plain"
    score = found.row(weights, instance(row.setting) or "unpruned").scores[METRIC]
    over_slimmed = "Slimming" in row.note.partition("(")[0]
    before = found.row(weights if over_slimmed else "plain", "unpruned").scores[METRIC]
    interval = ""
    if not over_slimmed:
        low, high = (100 * end + 0.0 for end in (score.difference_low, score.difference_high))
        interval = f"; 95 % interval {low:.2f} to {high:.2f}"
    against = "slimmed" if over_slimmed else "plain"
    return replace(
        line,
        quantity=f"mAP change at an overlap of 0.5, against the {against} {DETECTOR}; published: of YoloV3",
        ours=100 * (score.value - before.value),
        weights=line.weights + interval,
        why=WHY_MAP,
    )


# -- cycles --------------------------------------------------------------------------------------


def _file(name: str) -> Path:
    return data_folder("samples") / name


def _network(name: str) -> Network:
    return load_network(_file(name), sizes={"N": 1})


def _cycles() -> dict[str, NetworkResult]:
    """Simulate both detectors on the machine of the other lines, mild and wild."""
    machines = [machine(rows) for rows in MILD_WILD.values()]
    return {name: simulate_network(machines, _network(name)) for name in (PLAIN, SLIMMED)}


def _speed(runs: dict[str, NetworkResult], file: str, name: str | None, reading: str) -> float:
    """Cycles of the plain detector unpruned over those of one of both, pruned or not."""
    before, after = ("unpruned_work_cycles", "work_cycles") if reading == "work" else (
        "on_chip_unpruned_cycles", "on_chip_cycles"
    )  # fmt: skip
    label = machine(MILD_WILD[name or "wild"]).label
    unpruned: int = getattr(runs[PLAIN].total(label), before)
    cycles: int = getattr(runs[file].total(label), after if name else before)
    return unpruned / cycles
