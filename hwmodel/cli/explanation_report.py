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
    names = [column.name for column in _ROOFLINE]
    out.print_rows(
        _ROOFLINE,
        [{name: getattr(layer, name) for name in names} for layer in layers],
        title=f"{found.accelerator}: layers under their roofs, in MACs per cycle",
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
        out.print_rows(
            _TRIAL,
            [
                asdict(trial)
                | {
                    "words": trial.change.words,
                    "cost": KINDS[trial.kind],
                    "saved_cycles": trial.saved_cycles,
                    "gain": trial.gain,
                    "added_area_share": trial.added_area_share,
                }
                for trial in tried
            ],
            title=f"{found.accelerator}: changes, each simulated",
        )
    out.say(*_verdict(found, tried))


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


_ROOFLINE = (
    out.Shown("layer", "layer", text=True),
    out.Shown("intensity_macs_per_byte", "MAC/B", out.figure, more=True),
    out.Shown("memory_roof_macs_per_cycle", "memory\nroof", out.figure),
    out.Shown("peak_macs_per_cycle", "peak", out.figure, more=True),
    out.Shown("attained_macs_per_cycle", "MAC/cyc\nattained", out.figure),
    out.Shown("attained_share_of_roof", "of the\nroof", out.percent),
    out.Shown("bound_by", "bound by", _name, text=True),
    out.Shown("bound_share", "share", out.percent),
)

_TRIAL = (
    out.Shown("words", "one change", text=True),
    out.Shown("cost", "cost", text=True, more=True),
    out.Shown("cycles", "cycles", out.count, more=True),
    out.Shown("saved_cycles", "saved", out.count),
    out.Shown("gain", "gain", out.times),
    out.Shown("added_area_share", "area", lambda share: "–" if share is None else f"{share:+.1%}"),
    out.Shown("energy_j", "uJ", out.scaled(1e6), more=True),
    out.Shown("relative_error", "rel.\nerror", lambda error: "–" if error is None else f"{error:.3g}"),
)
