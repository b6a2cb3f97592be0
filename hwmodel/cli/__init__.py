"""The command ``bitx``.

One command a file. Modules of this package import nothing but click at the top, and all else when a
command runs, so that ``bitx --help`` answers at once.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from traceback import walk_tb
from typing import Any

import click

__all__ = ["main"]

COMMANDS = {
    "inspect": "hwmodel.cli.inspecting",
    "prune": "hwmodel.cli.pruning",
    "prepare": "hwmodel.cli.preparing",
    "software-prune": "hwmodel.cli.pruning_in_software",
    "trace": "hwmodel.cli.tracing",
    "simulate": "hwmodel.cli.simulating",
    "sweep": "hwmodel.cli.sweeping",
    "evaluate": "hwmodel.cli.evaluating",
    "batch": "hwmodel.cli.batching",
    "reproduce": "hwmodel.cli.reproducing",
    "report": "hwmodel.cli.reporting",
    "verify": "hwmodel.cli.verifying",
    "list": "hwmodel.cli.listing",
    "warmup": "hwmodel.cli.warming",
    "doctor": "hwmodel.cli.doctoring",
}
"""Command to module, whose ``command`` it is; the order is that of ``bitx --help``."""


class Failure(click.ClickException):
    """Bad input: one line on standard error, exit status 1."""

    def show(self, file: Any = None) -> None:
        """Print the line."""
        from bitxcore.showing import printable

        text = printable(" ".join(self.message.split()))
        click.echo(f"bitx: error: {text}", file=file or sys.stderr)


class Bitx(click.Group):
    """The group of commands, which turns errors for bad input into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Load one command."""
        if name not in COMMANDS:
            return None
        found: click.Command = import_module(COMMANDS[name]).command
        return found

    def main(self, args: Sequence[str] | None = None, *others: Any, **options: Any) -> Any:
        """Run the command line; nothing of it but the reader of a URL sees the URL's secrets."""
        given = list(sys.argv[1:] if args is None else args)
        if any("://" in text for text in given):
            from bitxcore.remote.notices import listeners
            from bitxcore.remote.urls import hide_secrets

            given = [hide_secrets(text) for text in given]
            if _say not in listeners:
                listeners.append(_say)
        return super().main(given, *others, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run; bad input becomes a `Failure`."""
        from bitxcore.errors import BitxError
        from bitxcore.showing import printable

        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            vars(error)["message"] = printable(error.message)  # it may name what a file holds
            raise
        except (BitxError, MemoryError, OSError) as error:
            if getattr(error, "hint", None) is not None:
                _in_words_of_the_command(error)
            if ctx.params.get("traceback") or getattr(error, "errno", None) == errno.EPIPE:
                raise
            raise Failure(_told(error) or "out of memory") from error


def _say(notice: str) -> None:
    click.echo(f"bitx: {notice}", err=True)


def _told(error: BaseException) -> str:
    """Return an error's text, and name standard output where writing that raised it: Python does not."""
    if isinstance(error, OSError) and error.filename is None:
        frames = [frame for frame, _ in walk_tb(error.__traceback__)]
        if frames and frames[-1].f_code is click.echo.__code__:
            return f"standard output can't be written: {error.strerror}"
    return str(error)


def _in_words_of_the_command(error: Any) -> None:
    """Let the hint name options of the command, not parameters of the library."""
    from hwmodel.networks.onnx.sizes import SizeError

    if isinstance(error, SizeError) and error.on_command_line:
        error.hint = error.on_command_line


def _print_versions(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print the versions and exit, if that was asked for."""
    if not asked or ctx.resilient_parsing:
        return
    from hwmodel.cli.versions import version_lines

    click.echo("\n".join(version_lines()))
    ctx.exit()


@click.group(
    cls=Bitx,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="DUMP: a .npy, .npz, .safetensors, .h5, .onnx, .pt or .pth file, or a directory of them;"
    " by path or by URL (s3://, gs://, https://).",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Show the versions that a bug report needs; bitx doctor shows more.",
)
@click.option("--traceback", is_flag=True, hidden=True, help="Show where an error was raised.")
def group(traceback: bool) -> None:
    """Hardware run-time pruning: which bits of trained weights matter, and what a machine gains."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit.

    Status 0; 1 for bad input; 2 for bad usage; 128 and the signal's number for what a signal ends: 130 for
    SIGINT, 143 for SIGTERM, 129 for SIGHUP.
    """
    from hwmodel.cli.ending import close_streams, ending_by_signals, open_streams

    open_streams()
    try:
        with ending_by_signals():
            group.main(args, prog_name="bitx")
    except OSError as error:  # help that can't be written
        if "--traceback" in (sys.argv if args is None else args):
            raise
        with suppress(OSError):
            Failure(_told(error)).show()
        sys.exit(1)
    finally:
        close_streams()
