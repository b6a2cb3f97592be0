"""What ``bitx simulate --explain`` prints: causes, rooflines, and what each change was found to bring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from math import fsum
from typing import Any

from hwmodel.cli import output as out
from hwmodel.simulation.results import BOUNDS
from hwmodel.studies.explaining import KINDS, Explanation, Roofline, Trial

_LARGEST_CAUSES = 3
_LAYERS_NAMED = 3


def print_explanation(found: Explanation, top: int | None = None) -> None:
    """Print where one machine's time goes and what would help; `top` layers only, none if that is 0."""
    if not found.cycles:
        out.say(f"{found.accelerator}: no layer has cycles to explain")
        return
    _print_causes(found)
    if top != 0:
        _print_roofline(found, top)
    _print_trials(found)


def document(found: Explanation) -> dict[str, Any]:
    """Return the explanation as JSON's types."""
    best = {kind: found.best(kind) for kind in KINDS}
    return {
        "accelerator": found.accelerator,
        "cycles": found.cycles,
        "causes": [asdict(cause) | {"description": cause.description} for cause in found.causes],
        "layers": [
            layer.columns() | {"causes": layer.causes, "words": layer.words} for layer in found.layers
        ],
        "changes": [_plain(trial) for trial in found.trials],
        "helps_most": {kind: trial and _plain(trial) for kind, trial in best.items()},
        "simulated_again": {"layers": found.tried_layers, "cycles": found.tried_cycles},
    }


def _plain(trial: Trial) -> dict[str, Any]:
    return asdict(trial) | {"change": trial.change.words, "options": trial.change.options}


def _print_causes(found: Explanation) -> None:
    lines = [f"{found.accelerator}: where its {found.cycles:,} cycles go"]
    for cause in found.causes[:_LARGEST_CAUSES]:
        named = [f"{layer} ({cycles:,})" for layer, cycles in cause.layers[:_LAYERS_NAMED]]
        more = len(cause.layers) - len(named)
        layers = ", ".join(named) + (
            f" and {more} more layers" if more > 1 else " and 1 more" if more else ""
        )
        lines.append(f"  {cause.share:.1%} ({cause.cycles:,}): {cause.description}: {layers}")
    if rest := found.causes[_LARGEST_CAUSES:]:
        left = ", ".join(f"{_name(cause.name)} {cause.share:.1%}" for cause in rest)
        lines.append(f"  the rest: {left}")
    out.say("", *lines)


def _print_roofline(found: Explanation, top: int | None) -> None:
    layers, others = out.heaviest(found.layers, top, lambda layer: layer.cycles)
    if others:
        layers.append(_together(others))
    out.print_table(
        ["layer", "MAC/B", "memory\nroof", "peak", "MAC/cyc\nattained", "of the\nroof", "bound by", "share"],
        (
            [
                layer.layer,
                _figure(layer.intensity_macs_per_byte),
                _figure(layer.memory_roof_macs_per_cycle),
                _figure(layer.peak_macs_per_cycle),
                _figure(layer.attained_macs_per_cycle),
                out.percent(layer.attained_share_of_roof),
                _name(layer.bound_by),
                out.percent(layer.bound_share),
            ]
            for layer in layers
        ),
        title=f"{found.accelerator}: layers under their roofs, in MACs a cycle",
        numeric=[False, True, True, True, True, True, False, True],
    )


def _together(layers: Sequence[Roofline]) -> Roofline:
    """Layers as one: their sums, under the roofs that all of their traffic and work has."""
    macs = sum(layer.macs for layer in layers)
    causes: Counter[str] = Counter()
    for layer in layers:
        causes.update(layer.causes)

    def ratio(of: Sequence[float | None]) -> float | None:
        """Multiply-accumulates a unit of all, from those of each."""
        units = [layer.macs / own for layer, own in zip(layers, of, strict=True) if own]
        whole = fsum(units)
        return macs / whole if len(units) == len(layers) and whole else None

    return Roofline(
        layer=f"(the other {out.counted(len(layers), 'layer')})",
        macs=macs,
        cycles=sum(layer.cycles for layer in layers),
        causes=causes,
        peak_macs_per_cycle=layers[0].peak_macs_per_cycle,
        intensity_macs_per_byte=ratio([layer.intensity_macs_per_byte for layer in layers]),
        memory_roof_macs_per_cycle=ratio([layer.memory_roof_macs_per_cycle for layer in layers]),
    )


def _print_trials(found: Explanation) -> None:
    tried = [trial for trial in found.trials if trial.reason is None]
    if tried:
        out.print_table(
            ["one change", "cost", "cycles", "saved", "gain", "area", "uJ", "rel. error"],
            (_cells(trial) for trial in tried),
            title=f"{found.accelerator}: changes, each simulated",
            numeric=[False, False, True, True, True, True, True, True],
        )
    out.say(*_verdict(found, tried))


def _cells(trial: Trial) -> list[str]:
    error = trial.relative_error
    return [
        trial.change.words,
        KINDS[trial.kind],
        out.count(trial.cycles),
        out.count(trial.saved_cycles),
        out.times(trial.gain),
        "–" if trial.added_area_share is None else f"{trial.added_area_share:+.1%}",
        _figure(None if trial.energy_j is None else trial.energy_j * 1e6),
        "–" if error is None else f"{error:.3g}",
    ]


def _verdict(found: Explanation, tried: Sequence[Trial]) -> list[str]:
    lines = []
    if found.tried_cycles < found.cycles:
        layers = out.counted(len(found.layers), "layer")
        lines.append(
            f"simulated again: the {len(found.tried_layers)} of {layers} with most cycles,"
            f" {found.tried_cycles:,} of {found.cycles:,}; gains are theirs"
        )
    for kind in KINDS:
        best = found.best(kind)
        if best is not None:
            options = ", ".join(f"{name}={value}" for name, value in best.change.options.items())
            lines.append(
                f"helps most {_WHERE[kind]}: {best.change.words} ({options}):"
                f" {best.saved_cycles:,} of {found.tried_cycles:,} cycles saved, {out.times(best.gain)}"
            )
        elif any(trial.kind == kind for trial in tried):
            lines.append(f"nothing tried helps {_WHERE[kind]}")
    lines += [
        f"slower: {trial.change.words}: {-saved:,} cycles more"
        + (" (fewer bytes, whose transfers overlap less)" if "buffer of" in trial.change.words else "")
        for trial in tried
        if trial.kind == "hardware" and (saved := trial.saved_cycles or 0) < 0
    ]
    lines += [
        f"not possible: {trial.change.words}: {trial.reason}"
        for trial in found.trials
        if trial.reason is not None
    ]
    return lines


_WHERE = {
    "equal peak": "at equal peak",
    "hardware": "if hardware may be added",
    "accuracy": "if accuracy may fall",
}


def _name(cause: str) -> str:
    return BOUNDS[cause]


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"
