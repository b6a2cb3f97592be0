"""Tables 2 and 3: how many zero bits pruning adds, network by network."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from math import prod
from statistics import fmean

from hwmodel.networks.loading import load_network
from hwmodel.studies.published.printed_numbers import printed
from hwmodel.studies.reproduction.line import Line, Mark
from hwmodel.studies.reproduction.simulations import ROWS, Simulations, table_of

LARGEST_KERNEL = 9
"""Weights of a kernel from which kernels are taken like one of 3 x 3."""

AVERAGE = "(average)"
WEIGHTS = "synthetic: normal, seeds 1 and 9 (weights of a kernel)"
WHY = (
    "Each k x k kernel is a group of its own (grouping='kernel', group=None), and kernels of 7 x 7"
    " are treated like 3 x 3. Ones are counted once for each size of kernel and N, and weighted by"
    " the layers of the table. Nothing is fitted."
)
WHY_FLAT = (
    "Groups of 8 weights along a filter, as the machine takes them. They give one number for all"
    " networks. No published figure is for these groups."
)


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give both tables, and the same of the machine's groups."""
    for place in ("Table 2", "Table 3"):
        found: dict[int, list[float]] = defaultdict(list)
        for row in printed(place):
            name = row.quantity.removeprefix("average ")
            kept = row.setting.partition("N=")[2]
            if not name.startswith("zero-bit count") or not kept:
                continue
            rows = int(kept)
            if row.network == AVERAGE:
                ours, table = fmean(found[rows]), "all tables above"
            else:
                table = table_of(row.network, row.dataset)
                ours = increment(simulations, table, rows)
                found[rows].append(ours)
                table = f"table {table}"
            yield _line(place, row.network, rows, row.value, ours, f"{WEIGHTS}; {table}")
        for rows in ROWS:
            flat = simulations.kernel_ones(1, rows, 8).sparsity_increment
            yield _line(place, "any", rows, None, flat, "synthetic: normal, seed 1")


def increment(simulations: Simulations, table: str, rows: int) -> float:
    """Zero bits of a network's weights after pruning whole kernels, over those before."""
    weights = simulations.once(("weights by kernel", table), lambda: _by_kernel(table))
    zeros = [0.0, 0.0]
    for kernel, count in weights.items():
        ones = simulations.kernel_ones(kernel, rows, None)
        for at, mean in enumerate((ones.before.mean, ones.after.mean)):
            zeros[at] += count * (ones.significand_bits - mean)
    return zeros[1] / zeros[0]


def _by_kernel(table: str) -> Counter[int]:
    """Count a network's weights by the weights of their kernel."""
    found: Counter[int] = Counter()
    for layer in load_network(table):
        if layer.has_weights:
            found[min(prod(layer.weight_shape[2:]), LARGEST_KERNEL)] += layer.parameters
    return found


def _line(place: str, network: str, rows: int, published: float | None, ours: float, weights: str) -> Line:
    by_machine = network == "any"
    return Line(
        place=place,
        network=network,
        setting=f"fp32, N={rows}",
        quantity="zero bits over those before" + (", groups of 8" if by_machine else ""),
        unit="x",
        published=published,
        ours=ours,
        weights=weights,
        why=WHY_FLAT if by_machine else WHY,
        mark=Mark.PAPER if by_machine else Mark.FITS,
    )
