"""Colours of names: the same name has the same colour in every figure."""

from __future__ import annotations

from zlib import crc32

from bitxcore.plot.chart import SERIES_COLOURS

REST_COLOUR = "#999999"
"""Of what represents all names without a colour of their own."""

_HUES = tuple(colour for colour in SERIES_COLOURS if colour != REST_COLOUR)


def _mixed(colour: str, other: int, share: float) -> str:
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part * (1 - share) + other * share):02x}" for part in parts)


MANY_COLOURS = (
    *_HUES,
    *(_mixed(colour, 255, 0.5) for colour in _HUES),
    *(_mixed(colour, 0, 0.4) for colour in _HUES),
)
"""The colours of series without grey, then lighter, then darker."""

_PARTS = (
    "DRAM", "clock", "leakage", "weight buffer", "activation buffer", "output buffer", "multipliers",
    "PEs", "compute units", "splitters", "activation registers", "lookups", "activation selectors",
    "synapse selectors", "histograms", "shifters", "accumulators", "lane shifters", "adder trees",
    "accumulator banks", "weight registers",
    # From here on colours begin anew.
    "partial sums", "weight throttle", "crossbars", "segment adders", "activation queues", "row windows",
    "activation accumulators", "selectors", "count adders", "decoders", "neuron selectors",
    "exponent adders", "tables", "sums", "AND gates", "bank queues", "pair buffers", "sum shifters",
    "dispatcher", "adders", "width detectors", "oneffset generators", "joining trees", "row adders",
    "float packers", "addresses", "booth encoders", "bit extraction", "accumulator adders", "e alignment",
    "activation throttle", "segment registers", "bit selectors", "column parsers", "aligners",
    "coordinates", "activation sums", "weight sets", "weight fifos", "conversion", "exponents",
    "index decoders", "schedulers", "operand registers", "group sums", "term generators",
    "nonzero detection", "lowest offset", "activation fifo", "activation alignment", "encoders",
    "lane queues",
)  # fmt: skip
_PLACES = {name.lower(): place for place, name in enumerate(_PARTS)}


def part_colour(name: str) -> str:
    """Give a part of a machine its colour, whichever other parts there are.

    Known parts take the colours in a fixed order, of which the first each have one of their own. A part
    that is not known takes the one that a checksum of its name says.

    Examples
    --------
    >>> part_colour("DRAM"), part_colour("clock"), part_colour("warp drive") in MANY_COLOURS
    ('#0072b2', '#e69f00', True)
    """
    place = _PLACES.get(name.lower())
    place = crc32(name.encode()) if place is None else place
    return MANY_COLOURS[place % len(MANY_COLOURS)]
