"""Energy and area of components, each figure with its source.

Figures are files of ``data/costs``. A *basis* is a self-consistent set of them; what it lacks is derived
from its own 16-bit adder by the ratio of NAND2 equivalents, and says so. Published figures of whole
accelerators are never among them.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import ceil

from bitxcore.data import data_folder
from bitxcore.errors import OptionError

BASES = ("aladdin", "neurosim", "horowitz")
BANK_BYTES = 1 << 15
BANK_WIDTH_BITS = 256

_PJ = 1e-12
_MM2_PER_UM2 = 1e-6


@dataclass(frozen=True)
class Cost:
    """Energy of one use, and area of one instance.

    Parameters
    ----------
    energy_j, area_mm2 : float
    register_bits : float
        Flip-flops in it, for the clock.
    """

    energy_j: float = 0.0
    area_mm2: float = 0.0
    register_bits: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.energy_j + other.energy_j,
            self.area_mm2 + other.area_mm2,
            self.register_bits + other.register_bits,
        )

    def __rmul__(self, count: float) -> Cost:
        return Cost(count * self.energy_j, count * self.area_mm2, count * self.register_bits)


@dataclass(frozen=True)
class Figure:
    """One figure that entered a result.

    Parameters
    ----------
    name : str
        What it is, its size included.
    energy_j, area_mm2 : float or None
        Of one use, of one instance.
    value, unit
        Of figures that are neither.
    source : str
    """

    name: str
    source: str
    energy_j: float | None = None
    area_mm2: float | None = None
    value: float | None = None
    unit: str = ""


def _rows(name: str) -> list[dict[str, str]]:
    with (data_folder("costs") / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Costs:
    """Figures of one basis, by component.

    Parameters
    ----------
    basis : {"aladdin", "neurosim", "horowitz"}

    Raises
    ------
    OptionError
        For a basis that is not known.

    Examples
    --------
    >>> costs = Costs("aladdin")
    >>> f"{costs.adder(16).energy_j * 1e12:.4f} pJ"
    '0.0620 pJ'
    """

    def __init__(self, basis: str) -> None:
        if basis not in BASES:
            raise OptionError(f"cost_basis must be one of {', '.join(BASES)}, got {basis!r}", value=basis)
        self.basis = basis
        self._logic: dict[str, list[tuple[int, Cost, str]]] = defaultdict(list)
        for row in _rows("logic-28nm.csv"):
            if row["basis"] == basis:
                bits = int(row["bits"])
                cost = Cost(float(row["energy_pj"]) * _PJ, float(row["area_um2"]) * _MM2_PER_UM2)
                self._logic[row["component"]].append((bits, cost, row["source"]))
        self._cells = {r["cell"]: (float(r["nand2_equivalents"]), r["source"]) for r in _rows("cells.csv")}
        self._technology = {r["quantity"]: r for r in _rows("technology.csv")}
        self._found: dict[tuple[str, float], tuple[Cost, str]] = {}
        self._srams = {(int(r["bytes"]), int(r["width_bits"])): r for r in _rows("sram-28nm.csv")}
        widths = sorted({width for _, width in self._srams})
        self._smallest_banks = {w: min(b for b, width in self._srams if width == w) for w in widths}

    def adder(self, bits: float) -> Cost:
        """Integer adder."""
        return self._scaled("integer adder", bits)[0]

    def register(self, bits: float) -> Cost:
        """Register, written or read once."""
        cost = self._scaled("register", bits)[0]
        return Cost(cost.energy_j, cost.area_mm2, bits)

    def multiplier(self, bits: int, other_bits: int | None = None) -> Cost:
        """Integer multiplier of two operands, of equal widths by default."""
        return self._multiplier(bits, bits if other_bits is None else other_bits)[0]

    def comparator(self, bits: float) -> Cost:
        """Integer comparator."""
        return self._scaled("comparator", bits)[0]

    def gates(self, cell: str, count: float) -> Cost:
        """`count` cells of one kind of ``cells.csv``."""
        return self._scaled(cell, count)[0]

    def shifter(self, bits: int, places: int) -> Cost:
        """Barrel shifter of ``ceil(log2 places)`` stages."""
        return self.gates("multiplexer", bits * max(0, (places - 1).bit_length()))

    def float32_adder(self) -> Cost:
        """Adder of two float32."""
        return self._float32_adder()[0]

    @property
    def leakage_w_per_mm2(self) -> float:
        """Leakage of logic and SRAM."""
        return float(self._technology["leakage"]["value"])

    @property
    def clock_j_per_bit(self) -> float:
        """Energy of clocking one register bit for one cycle."""
        return float(self._technology["clock"]["value"]) * self.register(1).energy_j

    def sram(self, size_bytes: int, width_bits: int = BANK_WIDTH_BITS) -> Sram:
        """Buffer of `size_bytes` in banks of up to 32 KiB, as wide as the next width that the tables have."""
        width_bits = next((w for w in self._smallest_banks if w >= width_bits), max(self._smallest_banks))
        bank = max(self._smallest_banks[width_bits], min(BANK_BYTES, 1 << (size_bytes - 1).bit_length()))
        row = self._srams[bank, width_bits]
        return Sram(
            bank_bytes=bank,
            banks=ceil(size_bytes / bank),
            width_bits=width_bits,
            read_j=float(row["read_pj"]) * _PJ,
            write_j=float(row["write_pj"]) * _PJ,
            bank_area_mm2=float(row["area_mm2"]),
            source=row["source"],
        )

    def figures(self) -> tuple[Figure, ...]:
        """Every logic and technology figure of this basis, with its source."""
        names = ("integer adder", "register", "comparator", "and", "xor", "multiplexer")
        found = []
        for name in names:
            bits = 16 if name in ("integer adder", "comparator") else 1
            cost, source = self._scaled(name, bits)
            found.append(Figure(f"{name}, {bits} bit", source, cost.energy_j, cost.area_mm2))
        cost, source = self._multiplier(16, 16)
        found.append(Figure("multiplier, 16 x 16 bit", source, cost.energy_j, cost.area_mm2))
        cost, source = self._float32_adder()
        found.append(Figure("float32 adder", source, cost.energy_j, cost.area_mm2))
        for name in ("leakage", "clock"):
            row = self._technology[name]
            found.append(Figure(name, row["source"], value=float(row["value"]), unit=row["unit"]))
        return tuple(found)

    def _scaled(self, component: str, bits: float) -> tuple[Cost, str]:
        """Cost and source at a width, looked up once."""
        if (component, bits) not in self._found:
            self._found[component, bits] = self._interpolated(component, bits)
        return self._found[component, bits]

    def _interpolated(self, component: str, bits: float) -> tuple[Cost, str]:
        """Cost at a width: between the rows that there are, in proportion beyond them."""
        rows = sorted(self._logic.get(component, ()), key=lambda row: row[0])
        if not rows:
            equivalents, source = self._cells[component]
            whole, _ = self._cells["full adder"]
            adder_bits, adder, adder_source = min(self._logic["integer adder"], key=lambda row: row[0])
            share = bits * equivalents / whole / adder_bits
            ratio = f"{equivalents:g} of the {whole:g} NAND2 equivalents of an adder's bit"
            return share * adder, f"{ratio} ({source}); {adder_source}"
        return _between(rows, bits)

    def _multiplier(self, bits: int, other_bits: int) -> tuple[Cost, str]:
        """Cost and source; widths that no row has are in proportion to the product of both."""
        rows = [(width**2, cost, source) for width, cost, source in self._logic.get("integer multiplier", ())]
        if rows:
            cost, source = _between(sorted(rows, key=lambda row: row[0]), bits * other_bits)
            return cost, f"{source}; other widths in proportion to the product of both widths"
        ands, adders = array_multiplier_cells(bits, other_bits)
        (gates, _), (adds, source) = self._scaled("and", ands), self._scaled("full adder", adders)
        built = f"array of {ands} AND gates and {adders} full adders by NAND2 equivalents"
        return gates + adds, f"{built} ({self._cells['and'][1]}; {source})"

    def _float32_adder(self) -> tuple[Cost, str]:
        rows = self._logic.get("float32 adder")
        if rows:
            return rows[0][1], rows[0][2]
        integer, source = self._scaled("integer adder", 32)
        energy, area = (self._technology[f"float32 adder {what}"] for what in ("energy", "area"))
        cost = Cost(float(energy["value"]) * integer.energy_j, float(area["value"]) * integer.area_mm2)
        return cost, f"{energy['source']}; {area['source']}; {source}"


@dataclass(frozen=True)
class Sram:
    """A buffer of equal banks.

    Parameters
    ----------
    bank_bytes, banks, width_bits : int
    read_j, write_j : float
        Energy of an access of the whole width.
    bank_area_mm2 : float
    source : str
    """

    bank_bytes: int
    banks: int
    width_bits: int
    read_j: float
    write_j: float
    bank_area_mm2: float
    source: str

    @property
    def area_mm2(self) -> float:
        """Of all banks."""
        return self.banks * self.bank_area_mm2

    def accesses(self, bits: int) -> int:
        """Count the accesses that move `bits`."""
        return -(-bits // self.width_bits)

    def figure(self, name: str, operation: str) -> Figure:
        """Energy of one access, ``"read"`` or ``"write"``, and area of one bank."""
        energy = self.read_j if operation == "read" else self.write_j
        size = f"bank of {self.bank_bytes} bytes x {self.width_bits} bit, {operation}"
        return Figure(f"{name}: {size}", self.source, energy, self.bank_area_mm2)


def array_multiplier_cells(bits: int, other_bits: int) -> tuple[int, int]:
    """AND gates and full adders of an array multiplier: partial products, and adders for all but one row."""
    rows, width = sorted((bits, other_bits))
    return rows * width, (rows - 1) * width


def _between(rows: Sequence[tuple[float, Cost, str]], size: float) -> tuple[Cost, str]:
    """Cost at a size: between the sorted rows that there are, in proportion beyond them."""
    for (low, a, source), (high, b, _) in pairwise(rows):
        if low <= size <= high:
            at = (size - low) / (high - low)
            return (1 - at) * a + at * b, source
    nearest, cost, source = rows[0] if size < rows[0][0] else rows[-1]
    return (size / nearest) * cost, source


@cache
def costs(basis: str) -> Costs:
    """Read the figures of a basis, once."""
    return Costs(basis)
