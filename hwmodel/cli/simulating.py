"""``bitx simulate``: cycles of a network on accelerators."""

from __future__ import annotations

import re
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.options import Choice, Format, json_option

if TYPE_CHECKING:
    from bitxcore.dumps import Dump
    from hwmodel.accelerators.base import Accelerator
    from hwmodel.networks import Network
    from hwmodel.results import LayerResult, NetworkResult

DEFAULT_ACCELERATORS = ("bitx", "dadiannao")
_SIZE_HINT = re.compile(r"set it with sizes=.*|give input_size=.*", re.DOTALL)


def _value(text: str) -> Any:
    """Read an option's value as Python writes it; anything else is text."""
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class _Machine(Choice):
    """``name`` or ``name:option=value,...``; becomes the name and a dict."""

    name = "accelerator"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        name, colon, rest = value.partition(":")
        options = {}
        for part in rest.split(",") if colon else []:
            key, equals, text = part.partition("=")
            if not equals or not key.strip():
                self.fail(f"{value!r} is not NAME:OPTION=VALUE,OPTION=VALUE", param, ctx)
            if key.strip() in options:
                self.fail(f"{value!r} sets {key.strip()} twice", param, ctx)
            options[key.strip()] = _value(text.strip())
        return name, options


class _Depth(Choice):
    """A number of groups, or ``inf``."""

    name = "integer|inf"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value).isdecimal():
            return int(value)
        if value != "inf":
            self.fail(f"{value!r} is neither an integer from 0 nor inf", param, ctx)
        return "inf"


class _Shape(Choice):
    """``1x3x224x224``, or ``name=1x3x224x224`` where there are several inputs."""

    name = "[input=]AxBx..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, _, text = value.rpartition("=")
        parts = text.replace(",", "x").split("x")
        if not all(part.isdecimal() and int(part) for part in parts):
            self.fail(f"{value!r} is not of the form 1x3x224x224 or NAME=1x3x224x224", param, ctx)
        return name, tuple(map(int, parts))


class _Size(Choice):
    """``name=value``."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, _, text = value.rpartition("=")
        if not name or not text.isdecimal() or not int(text):
            self.fail(f"{value!r} is not NAME=VALUE with an integer from 1", param, ctx)
        return name, int(text)


@click.command(name="simulate")
@click.argument("model", metavar="MODEL")
@click.option(
    "-a",
    "--accelerator",
    "accelerators",
    type=_Machine(),
    multiple=True,
    help="NAME or NAME:OPTION=VALUE,...; repeatable (see bitx list accelerators).  [default: bitx and"
    " dadiannao]",
)
@click.option("--network", metavar="NAME", help="Layer shapes for a dump: a table, .onnx or .json.")
@click.option(
    "--positions",
    type=click.IntRange(1),
    help="Output positions assumed for every layer of a dump without shapes.  [default: 1]",
)
@click.option(
    "--exclude", metavar="GLOB", multiple=True, help="Tensors of such a dump that are no layers; repeatable."
)
@click.option("--rows", type=click.IntRange(1), help="Of bitx: rows kept of a group.")
@click.option("--group", type=click.IntRange(1, 64), help="Of bitx: weights a group.")
@click.option("--format", type=Format(), help="Of bitx: number format of the weights, e.g. fixed16.")
@click.option("--lanes", type=click.IntRange(1), help="Of bitx: rows a PE applies in a cycle.")
@click.option("--fifo-depth", type=_Depth(), help="Of bitx: groups a unit may be ahead; inf: any number.")
@click.option("--input-size", type=_Shape(), multiple=True, help="Shape of an ONNX input, batch included.")
@click.option("--size", "sizes", type=_Size(), multiple=True, help="A dynamic dimension of an ONNX input.")
@click.option("-o", "--output", metavar="STORE.h5", help="Write the results to an HDF5 store.")
@json_option
def command(
    model: str,
    accelerators: tuple[tuple[str, dict[str, Any]], ...],
    network: str | None,
    positions: int | None,
    exclude: tuple[str, ...],
    input_size: tuple[tuple[str, tuple[int, ...]], ...],
    sizes: tuple[tuple[str, int], ...],
    output: str | None,
    as_json: bool,
    **shortcuts: Any,
) -> None:
    """Count the cycles of every layer.

    MODEL is an ONNX model (layers and weights), a dump of weights (layers from --network, or one
    matrix product a tensor), or the name of a network table (for accelerators that look at no weights).
    """
    from bitxcore.store import Store
    from hwmodel import simulate_network
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress

    machines = _machines(accelerators, shortcuts)
    with ExitStack() as opened:
        dump = _open(opened, model, network)
        with _naming(network or model, parsing=True):
            net = _network(model, dump, network, positions, exclude, input_size, sizes)
            _check_layers(net)
        if dump is None and any(machine.needs_weights for machine in machines):
            needy = ", ".join(machine.name for machine in machines if machine.needs_weights)
            raise click.UsageError(
                f"{needy} needs weights, which a table has not: bitx simulate DUMP --network {model}"
            )
        parameters: dict[str, Any] = {"command": "simulate", "model": model, "network": network}
        parameters |= {"positions": positions, "exclude": exclude, "input_size": dict(input_size)}
        parameters |= {"sizes": dict(sizes), "accelerators": {m.label: m.options for m in machines}}
        inputs: list[Any] = [] if dump is None else [dump]
        shapes = Path(network or model)
        if shapes.is_file() and (dump is None or shapes not in dump.files()):
            inputs.append(shapes)
        store = Store.create(output, parameters=parameters, inputs=inputs) if output else nullcontext()
        with store as writer, progress(len(net), "simulate") as bar:
            seen = 0

            def report(done: int, total: int, layer: str) -> None:
                nonlocal seen
                bar.advance(done - seen, layer)
                seen = done

            with _naming(dump.path if dump else model):
                run = simulate_network(machines, net, dump=dump, store=writer, progress=report)
    if as_json:
        out.print_json(_document(net, run, machines, parameters, output))
        return
    _print(net, run, machines)
    out.say(out.written_line([output], "-o STORE.h5 keeps these results"))


# -- input -------------------------------------------------------------------------------------


def _machines(
    given: tuple[tuple[str, dict[str, Any]], ...], shortcuts: dict[str, Any]
) -> tuple[Accelerator, ...]:
    from hwmodel import accelerator

    set_shortcuts = {name: value for name, value in shortcuts.items() if value is not None}
    if set_shortcuts.get("fifo_depth") == "inf":
        set_shortcuts["fifo_depth"] = None
    chosen = given or tuple((name, {}) for name in DEFAULT_ACCELERATORS)
    if set_shortcuts and not any(name == "bitx" for name, _ in chosen):
        option = next(iter(set_shortcuts)).replace("_", "-")
        raise click.UsageError(f"--{option} is an option of bitx, which is not simulated")
    return tuple(
        accelerator(name, **(set_shortcuts | options if name == "bitx" else options))
        for name, options in chosen
    )


def _open(opened: ExitStack, model: str, network: str | None) -> Dump | None:
    """Open the weights; None if `model` is a table, or is meant to be the name of one."""
    from bitxcore.dumps import open_dump

    is_table = model.endswith(".json") and not model.endswith(".safetensors.index.json")
    is_name = not Path(model).suffix and not Path(model).exists()
    if network is None and (is_table or is_name):
        return None
    return opened.enter_context(open_dump(model))


def _network(
    model: str,
    dump: Dump | None,
    network: str | None,
    positions: int | None,
    exclude: tuple[str, ...],
    input_size: tuple[tuple[str, tuple[int, ...]], ...],
    sizes: tuple[tuple[str, int], ...],
) -> Network:
    from hwmodel import load_network, network_from_dump

    source = network or model
    assumed = dump is not None and network is None and dump.container != "onnx"
    if not assumed and (positions is not None or exclude):
        raise click.UsageError("--positions and --exclude are for dumps without layer shapes")
    if assumed:
        if input_size or sizes:
            raise click.UsageError("--input-size and --size are for ONNX models")
        assert dump is not None
        return network_from_dump(dump, positions=positions or 1, exclude=exclude)
    named = dict(input_size)
    if "" in named and len(input_size) > 1:
        raise click.UsageError("several --input-size need the inputs' names: NAME=1x3x224x224")
    shape = named.get("", named or None)
    return load_network(source, input_size=shape, sizes=dict(sizes) or None)


def _check_layers(net: Network) -> None:
    from bitxcore.errors import TensorError

    if not net.layers:
        reasons = "; ".join(f"{n.count} x {n.operation}: {n.reason}" for n in net.not_simulated)
        raise TensorError(f"{net.source}: has no layer to simulate ({reasons or 'it is empty'})")


class _naming:  # noqa: N801
    """Let errors begin with a file's name; while `parsing`, whatever a damaged file makes a parser raise."""

    def __init__(self, path: Any, parsing: bool = False) -> None:
        self.path = str(path)
        self.parsing = parsing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from bitxcore.dumps.trust import one_line
        from bitxcore.errors import BitxError, DumpError, MissingExtraError

        if error is None or isinstance(error, (click.ClickException, MissingExtraError)):
            return
        if isinstance(error, BitxError):
            # The library's error names its own parameters.
            text = _SIZE_HINT.sub("set it with --size NAME=VALUE or --input-size 1x3x224x224", str(error))
            if self.path not in text:
                text = f"{self.path}: {text}"
            if text != str(error):
                raise type(error)(text) from error
        elif self.parsing and isinstance(error, Exception) and not isinstance(error, (MemoryError, OSError)):
            raise DumpError(f"{self.path}: can't be read: {one_line(error)}") from error


# -- output ------------------------------------------------------------------------------------


def _baseline(run: NetworkResult, machines: tuple[Accelerator, ...]) -> str | None:
    """Label of the first DaDianNao of the run."""
    return next((m.label for m in machines if m.name == "dadiannao"), None)


def _gain(run: NetworkResult, label: str, baseline: str | None) -> float | None:
    return None if baseline is None or label == baseline else run.speedup(label, baseline)


def _print(net: Network, run: NetworkResult, machines: tuple[Accelerator, ...]) -> None:
    from hwmodel.cli import output as out

    baseline = _baseline(run, machines)
    for machine in machines:
        _print_layers(run, machine, baseline)
    out.print_table(
        ["network total", "peak\nMAC/cyc", "layers", "cycles", "fill", "util.", "x all\nrows",
         "x non-\nempty", "x Da-\nDianNao"],
        (
            [
                total.accelerator,
                f"{machine.peak_macs_per_cycle:,.10g}",
                f"{total.layers}/{len(net)}",
                out.count(total.cycles),
                out.count(total.fill_cycles),
                out.percent(total.utilisation),
                out.times(total.speedup_over_all_rows),
                out.times(total.speedup_over_nonempty_rows),
                out.times(_gain(run, total.accelerator, baseline)),
            ]
            for machine, total in zip(machines, run.totals, strict=True)
        ),
        title=f"{run.network}: {net.macs:,} MACs, {net.parameters:,} weights in {len(net)} layers",
    )  # fmt: skip
    out.say(*_remarks(net, run, machines, baseline))


def _print_layers(run: NetworkResult, machine: Accelerator, baseline: str | None) -> None:
    from hwmodel.cli import output as out

    rows = run.of(machine.label)
    base: tuple[LayerResult | None, ...] = (None,) * len(rows)
    if baseline is not None and baseline != machine.label:
        base = run.of(baseline)
    pairs = list(zip(rows, base, strict=True))
    columns: list[tuple[str, list[str]]] = [
        ("cycles", [out.count(r.cycles) for r in rows]),
        ("compute", [out.count(r.compute_cycles) for r in rows]),
        ("fill", [out.count(r.fill_cycles) for r in rows]),
        ("util.", [out.percent(r.utilisation) for r in rows]),
        ("rows\nmean", [out.number(r.kept_rows_mean) for r in rows]),
        ("x all\nrows", [out.times(r.speedup_over_all_rows) for r in rows]),
        ("x non-\nempty", [out.times(r.speedup_over_nonempty_rows) for r in rows]),
        ("x Da-\nDianNao", [out.times(_over(r, b)) for r, b in pairs]),
    ]
    shown = [(heading, cells) for heading, cells in columns if any(cell != "–" for cell in cells)]
    out.print_table(
        ["layer", *(heading for heading, _ in shown)],
        zip([r.layer for r in rows], *(cells for _, cells in shown), strict=True),
        title=f"{machine.label}: peak {machine.peak_macs_per_cycle:,.10g} MACs a cycle (16 bit)",
    )


def _over(row: LayerResult, base: LayerResult | None) -> float | None:
    if base is None or base.cycles is None or not row.cycles:
        return None
    return base.cycles / row.cycles


def _remarks(
    net: Network, run: NetworkResult, machines: tuple[Accelerator, ...], baseline: str | None
) -> list[str]:
    lines = [
        "x all rows, x non-empty: gain over the same machine unpruned, which spends a slot on every row of"
        " the window, or on non-empty rows only"
    ] * any(m.name == "bitx" for m in machines)
    for machine in machines:
        rows = run.of(machine.label)
        reasons: dict[str, list[str]] = {}
        for row in rows:
            if row.reason is not None:
                reasons.setdefault(row.reason, []).append(row.layer)
        for reason, layers in reasons.items():
            shown = ", ".join(layers[:3]) + (", …" if len(layers) > 3 else "")
            lines.append(f"not applicable on {machine.name}: {len(layers)} × {reason}: {shown}")
        noted: dict[str, int] = {}
        for row in rows:
            for note in row.notes:
                noted[note] = noted.get(note, 0) + 1
        lines += [f"note, {machine.name}: {n} layers: {note}" for note, n in noted.items()]
    lines += [
        f"not simulated: {n.count} × {n.operation}: {n.reason}"
        + (" (its multiplications are missing from the totals)" if n.multiplies else "")
        for n in run.not_simulated
    ]
    lines += [f"note: {note}" for note in run.notes]
    if baseline is not None:
        peaks = {m.peak_macs_per_cycle for m in machines}
        if len(peaks) > 1:
            lines.append("note: the machines differ in peak; compare cycles at equal peak")
    lines.append("assumptions of each machine: bitx list accelerators --assumptions")
    return lines


def _document(
    net: Network,
    run: NetworkResult,
    machines: tuple[Accelerator, ...],
    parameters: dict[str, Any],
    output: str | None,
) -> dict[str, Any]:
    baseline = _baseline(run, machines)
    return {
        "parameters": parameters,
        "network": run.network,
        "macs": net.macs,
        "weights": net.parameters,
        "layers": [
            row.columns() | {"notes": row.notes, "kept_rows_histogram": row.kept_rows_histogram}
            for row in run.layers
        ],
        "totals": [
            total.columns()
            | {
                "peak_macs_per_cycle": machine.peak_macs_per_cycle,
                "speedup_over_dadiannao": _gain(run, total.accelerator, baseline),
            }
            for machine, total in zip(machines, run.totals, strict=True)
        ],
        "not_simulated": [vars(n) for n in run.not_simulated],
        "notes": run.notes,
        "assumptions": {machine.label: machine.assumptions for machine in machines},
        "written": [output] if output else [],
    }
