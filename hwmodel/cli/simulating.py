"""``bitx simulate``: cycles of a network on accelerators."""

from __future__ import annotations

import re
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.options import Format, json_option, operand_options
from hwmodel.cli.values import Depth, Machine, Shape, Size

if TYPE_CHECKING:
    from bitxcore.dumps import Dump
    from hwmodel.accelerators.base import Accelerator
    from hwmodel.networks import Network

DEFAULT_ACCELERATORS = ("bitx", "dadiannao")
_SIZE_HINT = re.compile(r"set it with sizes=.*|give input_size=.*", re.DOTALL)


@click.command(name="simulate")
@click.argument("model", metavar="MODEL")
@click.option(
    "-a",
    "--accelerator",
    "accelerators",
    type=Machine(),
    multiple=True,
    help="NAME or NAME:OPTION=VALUE,...; repeatable (see bitx list accelerators). all: a comparison of every"
    " machine at equal peak, clock and memory.  [default: bitx and dadiannao]",
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
@click.option("--fifo-depth", type=Depth(), help="Of bitx: groups a unit may be ahead; inf: any number.")
@click.option("--input-size", type=Shape(), multiple=True, help="Shape of an ONNX input, batch included.")
@click.option("--size", "sizes", type=Size(), multiple=True, help="A dynamic dimension of an ONNX input.")
@operand_options
@click.option(
    "--published",
    "beside_published",
    is_flag=True,
    help="Also run the BitX nearest the published area; print it beside the published area and power."
    " With -a all: published averages beside ours, too.",
)
@click.option(
    "--explain",
    "explained",
    is_flag=True,
    help="Also say where the time goes, and simulate which change of a parameter would help most.",
)
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
    weights: str | None,
    traces: str | None,
    activations: str | None,
    precisions: str | None,
    beside_published: bool,
    explained: bool,
    output: str | None,
    as_json: bool,
    **shortcuts: Any,
) -> None:
    """Count the cycles of every layer.

    MODEL is an ONNX model (layers and weights), a dump of weights (layers from --network, or one
    matrix product a tensor), or the name of a network table (with --weights, or for accelerators that look
    at no weights).
    """
    from bitxcore.store import Store
    from hwmodel import simulate_network
    from hwmodel.cli import comparing, explanation
    from hwmodel.cli import output as out
    from hwmodel.cli import simulation_report as report
    from hwmodel.cli.operands import Wanted, matching_document
    from hwmodel.cli.progress import progress
    from hwmodel.explaining import explain
    from hwmodel.published import compare

    field = comparing.field(accelerators, _bitx_options(accelerators, shortcuts))
    if field and explained:
        raise click.UsageError("--explain is for single machines, not for -a all")
    machines = field.machines if field else _machines(accelerators, shortcuts)
    wanted = Wanted.of(weights, traces, activations, precisions)
    wanted.check(network)
    with ExitStack() as opened:
        traced = wanted.open_traces(opened)
        if traced is not None and Path(model).suffix == ".onnx" and not input_size and not sizes:
            input_size = tuple(traced.input_sizes.items())
        dump = wanted.open_weights(opened) if wanted.elsewhere else _open(opened, model, network)
        with _naming(network or model, parsing=True):
            net = _network(model, dump, network, positions, exclude, input_size, sizes, wanted.elsewhere)
            _check_layers(net)
        matching = wanted.match(net, dump)
        net = matching.network if matching else net
        drawn = wanted.synthetic
        if field:
            machines = field.start(weights=dump is not None or drawn is not None, activations=True)
        if dump is None and drawn is None and any(machine.needs_weights for machine in machines):
            needy = ", ".join(machine.name for machine in machines if machine.needs_weights)
            raise click.UsageError(
                f"{needy} needs weights, which a table has not: --weights DUMP, or --weights synthetic; or"
                f" bitx simulate DUMP --network {model}"
            )
        parameters: dict[str, Any] = {"command": "simulate", "model": model, "network": network}
        parameters |= {"positions": positions, "exclude": exclude, "input_size": dict(input_size)}
        parameters |= {"sizes": dict(sizes), "accelerators": {m.label: m.options for m in machines}}
        parameters |= wanted.parameters
        inputs: list[Any] = [*([] if dump is None else [dump]), *wanted.files()]
        shapes = Path(network or model)
        if shapes.is_file() and (dump is None or shapes not in dump.files()):
            inputs.append(shapes)
        store = Store.create(output, parameters=parameters, inputs=inputs) if output else nullcontext()
        with store as writer, progress(len(net), "simulate") as bar:
            seen = 0

            def advance(done: int, total: int, layer: str) -> None:
                nonlocal seen
                bar.advance(done - seen, layer)
                seen = done

            with _naming(dump.path if dump else model):
                run = simulate_network(
                    machines,
                    net,
                    dump=dump,
                    traces=traced,
                    weights=drawn,
                    activations=wanted.activations,
                    precisions=wanted.precisions,
                    store=writer,
                    progress=advance,
                )
            compared = field.finish(run, writer) if field else None
        explanations = [
            explain(
                machine,
                net,
                dump=dump,
                traces=traced,
                weights=drawn,
                activations=wanted.activations,
                precisions=wanted.precisions,
                rows=run.of(machine.label),
            )
            for machine in machines * explained
        ]
        source = wanted.weights_anywhere(net, dump)
        published = compare(net, dump=source, basis=_basis(machines)) if beside_published else None
    if compared is not None:
        comparing.show(net, compared, parameters, output, published, as_json)
        return
    if as_json:
        document = report.document(net, run, machines, parameters, output, published)
        document["matching"] = matching_document(matching)
        if explained:
            document["explanations"] = [explanation.document(found) for found in explanations]
        out.print_json(document)
        return
    report.print_run(net, run, machines)
    for found in explanations:
        explanation.print_explanation(found)
    if published is not None:
        report.print_published(*published)
    out.say(out.written_line([output], "-o STORE.h5 keeps these results"))


# -- input -------------------------------------------------------------------------------------


def _bitx_options(given: tuple[tuple[str, dict[str, Any]], ...], shortcuts: dict[str, Any]) -> dict[str, Any]:
    """Options that were set for every bitx."""
    set_shortcuts = {name: value for name, value in shortcuts.items() if value is not None}
    if set_shortcuts.get("fifo_depth") == "inf":
        set_shortcuts["fifo_depth"] = None
    if set_shortcuts and given and not any(name in ("bitx", "all") for name, _ in given):
        option = next(iter(set_shortcuts)).replace("_", "-")
        raise click.UsageError(f"--{option} is an option of bitx, which is not simulated")
    return set_shortcuts


def _machines(
    given: tuple[tuple[str, dict[str, Any]], ...], shortcuts: dict[str, Any]
) -> tuple[Accelerator, ...]:
    from hwmodel import accelerator

    set_shortcuts = _bitx_options(given, shortcuts)
    chosen = given or tuple((name, {}) for name in DEFAULT_ACCELERATORS)
    return tuple(
        accelerator(name, **(set_shortcuts | options if name == "bitx" else options))
        for name, options in chosen
    )


def _basis(machines: tuple[Accelerator, ...]) -> str:
    """Cost basis of the first machine that has one, else the default."""
    from hwmodel.accelerators.bitx import BitX

    return next((m.cost_basis for m in machines if isinstance(m, BitX)), BitX().cost_basis)


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
    weights_elsewhere: bool = False,
) -> Network:
    from hwmodel import load_network, network_from_dump

    source = network or model
    given = dump is None or network is not None or weights_elsewhere
    assumed = not given and dump is not None and dump.container != "onnx"
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
