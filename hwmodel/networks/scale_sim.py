"""Topologies of SCALE-Sim, versions 2 and 3: CSV files of convolutions, or of matrix products.

A row of convolutions is a name, height and width of the input, height and width of the filter, channels,
filters, and one stride or two; one of products is a name, M, N and K, of (M x K) times (K x N). SCALE-Sim
goes by the columns' places, and takes the header for nothing; here the header also tells what further columns
are. Inputs are stated with their padding.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bitxcore.checks import shown
from bitxcore.dumps.trust import read_small
from bitxcore.errors import DumpError, TensorError
from hwmodel.networks.layers import Conv, Layer, Linear
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.networks.table_files import MAX_TABLE_BYTES, NO_TENSOR

CONV = ("ifmapheight", "ifmapwidth", "filterheight", "filterwidth", "channels", "numfilter", "strides")
GEMM = ("m", "n", "k")

_SAME = {
    "numfilters": "numfilter",
    "channel": "channels",
    "stride": "strides",
    "strideheight": "strides",
    "batch": "batchsize",
}
"""Columns by other names; case, spaces and punctuation do not count."""

_KINDS = {"strides", "stridewidth", "sparsity", "batchsize", *CONV, *GEMM}
_RATIO = re.compile(r"\d+ *: *\d+")
_DEPTHWISE = "DP"
"""In a layer's name: SCALE-Sim then has every filter meet every channel alone."""


@dataclass(frozen=True)
class _Row:
    """A line of the file: its number, a layer's name, and the cells behind it."""

    line: int
    name: str
    cells: tuple[str, ...]


def read_topology(path: Path) -> Network:
    """Read a topology; no tensors have names in it.

    Raises
    ------
    DumpError
        If the file can't be read or is not a topology; the message has the line.
    """
    rows = list(_rows(path))
    header: tuple[str, ...] = ()
    if rows and not _numbers(rows[0].cells):
        header = tuple(_column(cell) for cell in rows.pop(0).cells)
    if not rows:
        raise DumpError("is no topology of SCALE-Sim: it has no layer", path=path)
    gemm = header[:3] == GEMM or (header[:1] != CONV[:1] and len(_numbers(rows[0].cells)) < len(CONV))
    columns = GEMM if gemm else CONV
    if any(name in columns and name != place for name, place in zip(header, columns, strict=False)):
        raise DumpError(
            f"is no topology of SCALE-Sim: its columns are {', '.join(header)}, by place they would be"
            f" {', '.join(columns)}",
            path=path,
        )
    extra = header[len(columns) :]
    seen: Counter[str] = Counter()
    entries, sparse = [], 0
    for row in rows:
        try:
            values, further = _values(row, columns, extra)
            entry = _product(row, values) if gemm else _convolution(row, values, further)
        except TensorError as error:
            raise DumpError(f"line {row.line}: {error.message}", path=path, value=error.value) from error
        seen[row.name] += 1
        if seen[row.name] > 1:
            entry = replace(entry, layer=replace(entry.layer, name=f"{row.name}#{seen[row.name]}"))
        sparse += "sparsity" in further
        entries.append(entry)
    try:
        return Network(path.stem, entries, source=str(path), notes=_notes(sparse, len(entries)))
    except TensorError as error:
        raise DumpError(error.message, path=path, value=error.value) from error


def _rows(path: Path) -> Iterator[_Row]:
    """Lines that say something, cut at commas, or at tabs where there are none."""
    try:
        text = read_small(path, "a topology", MAX_TABLE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DumpError(f"is no topology of SCALE-Sim: {error}", path=path) from error
    separator = "," if "," in text else "\t"
    for number, line in enumerate(text.splitlines(), 1):
        # The file's own remarks stand behind the last comma, which SCALE-Sim does not read.
        cells = [cell.strip() for cell in line.partition("#")[0].split(separator)]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield _Row(number, cells[0], tuple(cells[1:]))


def _column(cell: str) -> str:
    name = re.sub(r"[^a-z0-9]", "", cell.lower())
    return _SAME.get(name, name)


def _numbers(cells: Sequence[str]) -> list[str]:
    return [cell for cell in cells if cell.isdecimal()]


def _values(
    row: _Row, columns: tuple[str, ...], extra: tuple[str, ...]
) -> tuple[list[int], dict[str, int | str]]:
    """Cut a row into what every layer has, and what only some files say."""
    if len(row.cells) < len(columns):
        raise TensorError(
            f"has {len(row.cells)} values, {len(columns)} are needed ({', '.join(columns)})", value=row.cells
        )
    values = [_integer(cell, name) for cell, name in zip(row.cells, columns, strict=False)]
    further: dict[str, int | str] = {}
    for place, cell in enumerate(row.cells[len(columns) :]):
        name = extra[place] if place < len(extra) else ""
        if name == "sparsity" or (name not in _KINDS and _RATIO.fullmatch(cell)):
            further["sparsity"] = cell
        elif columns == CONV and name == "batchsize":
            further[name] = _integer(cell, name)
        elif columns == CONV and place == 0:
            further["stridewidth"] = _integer(cell, name or "stridewidth")
        else:
            raise TensorError(f"has a value more than SCALE-Sim reads: {shown(cell)}", value=cell)
    return values, further


def _integer(cell: str, name: str) -> int:
    if not cell.isdecimal() or len(cell) > 18:
        raise TensorError(f"{name} must be an integer, got {shown(cell)}", value=cell)
    return int(cell)


def _product(row: _Row, values: Sequence[int]) -> NetworkLayer:
    m, n, k = values
    return _untied(Linear(row.name, in_features=k, out_features=n, positions=m))


def _convolution(row: _Row, values: Sequence[int], further: dict[str, int | str]) -> NetworkLayer:
    height, width, filter_height, filter_width, channels, filters, stride = values
    strides = (stride, int(further.get("stridewidth", stride)))
    notes = []
    groups = 1
    if _DEPTHWISE in row.name and channels > 1:
        groups, filters = channels, channels * filters
        notes.append(f"depthwise, as SCALE-Sim takes names with {_DEPTHWISE} in them")
    sizes = zip((height, width), (filter_height, filter_width), strides, strict=True)
    missing = [-(size - kernel) % step if step else 0 for size, kernel, step in sizes]
    if any(missing):
        notes.append("the last window reaches beyond the input, and SCALE-Sim counts it: padded there")
    layer = Conv(
        row.name,
        in_channels=channels,
        out_channels=filters,
        in_size=(height, width),
        kernel=(filter_height, filter_width),
        stride=strides,
        padding=[(0, more) for more in missing],
        groups=groups,
        batch=int(further.get("batchsize", 1)),
    )
    if filter_height > height or filter_width > width:
        raise TensorError(f"layer {row.name!r} has a filter larger than its input", value=row.cells)
    return _untied(layer, tuple(notes))


def _untied(layer: Layer, notes: tuple[str, ...] = ()) -> NetworkLayer:
    return NetworkLayer(layer, weight_missing=NO_TENSOR, notes=notes)


def _notes(sparse: int, layers: int) -> tuple[str, ...]:
    notes = ["a topology of SCALE-Sim: its inputs have their padding, so traffic counts it"]
    if sparse:
        notes.append(
            f"the sparsity that the topology states for {sparse} of {layers} layers is not used: the weights"
            " say which of them are 0"
        )
    return tuple(notes)
