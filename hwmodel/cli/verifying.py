"""``bitx verify``: whether stores are whole, and agree with themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bitxcore.store import Verification


@click.command(name="verify")
@click.argument("stores", metavar="STORE.h5…", nargs=-1, required=True, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, stores: tuple[str, ...], as_json: bool) -> None:
    """Check the seal, layout and checksums of stores, and whether what they tell agrees.

    STORE.h5 was written by any command. In place of one, a folder stands for all .h5 and .hdf5 files in it
    and below. Prints a line for each fault, with file, dataset, row and value. Exit status 1 if there is one.
    """
    from bitxcore.remote.remote_path import as_path
    from bitxcore.store import verify
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress

    paths = list(dict.fromkeys(path for name in stores for path in _files(as_path(name))))
    found = []
    with progress(len(paths), "verify") as bar:
        for path in paths:
            found.append(verify(path))
            bar.advance(1, path.name)
    if as_json:
        out.print_json(document(found))
    else:
        out.say(*lines(found))
    if not all(store.is_sound for store in found):
        ctx.exit(1)


def _files(path: Path) -> list[Path]:
    """Return the stores that an argument stands for."""
    from bitxcore.errors import OptionError
    from bitxcore.remote.remote_path import RemotePath
    from bitxcore.store.writer import SUFFIXES

    if isinstance(path, RemotePath) or not path.is_dir():
        return [path]
    inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file())
    if not inside:
        raise OptionError(f"no file in this folder ends in {' or '.join(SUFFIXES)}", path=path)
    return inside


def document(found: Iterable[Verification]) -> dict[str, Any]:
    """Arrange verifications as ``bitx verify --json`` prints them."""
    stores = [
        {
            "path": store.path,
            "is_sound": store.is_sound,
            "is_sealed": store.is_sealed,
            "version": store.version,
            "tables": store.tables,
            "tensors": store.tensors,
            "arrays": store.arrays,
            "checksums": store.checksums,
            "findings": [vars(finding) | {"text": str(finding)} for finding in store],
        }
        for store in found
    ]
    return {"stores": stores, "is_sound": all(store["is_sound"] for store in stores)}


def lines(found: list[Verification]) -> Iterator[str]:
    """Say what was found: a line for each fault, or one for a store without any."""
    for store in found:
        for finding in store:
            yield f"{store.path}: {finding}"
        if store.is_sound:
            yield f"{store.path}: sound: {_looked_at(store)}"
    faulty = sum(not store.is_sound for store in found)
    if len(found) > 1 and faulty:
        yield f"{faulty:,} of {len(found):,} stores {'has a fault' if faulty == 1 else 'have faults'}"
    elif len(found) > 1:
        yield f"all {len(found):,} stores are sound"


def _looked_at(store: Verification) -> str:
    from hwmodel.cli.output import counted

    parts = [counted(store.tables, "table"), counted(store.tensors, "tensor"), counted(store.arrays, "array")]
    if store.checksums < store.arrays:
        parts.append(f"{store.arrays - store.checksums:,} of them without a checksum")
    if not store.is_sealed:
        parts.append("no seal")
    return ", ".join(parts)
