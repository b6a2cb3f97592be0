"""A store with all that the rules of stores are about, and edits that break it without breaking its seal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import bitxcore as bx
from bitxcore.store import Store
from bitxcore.store.checksum import checksum_of
from bitxcore.store.count_rules import CAUSES, DRAM_PARTS
from bitxcore.store.seal import check_seal, seal

SEAL_BYTES = 84

_TEXT = ("layer", "accelerator", "reason", "network", "tensor", "dump", "part", "label", "name", "source")
_TEXT_TOO = ("format", "place", "quantity", "on_front")
_UNITS = {"seconds": "s", "energy_j": "J", "power_w": "W", "area_mm2": "mm2", "dram_seconds": "s"}


def units_of(columns: Any) -> dict[str, str]:
    def unit(name: str) -> str:
        if name in _TEXT or name in _TEXT_TOO:
            return ""
        if name.endswith("_cycles") or name == "cycles":
            return "cycles"
        return "B" if name.endswith("_bytes") else _UNITS.get(name, "1")

    return {name: unit(name) for name in columns}


def timed(scale: int) -> dict[str, Any]:
    """Columns of a layer, of which those of a network are sums."""
    causes = {cause: scale * (i + 1) for i, cause in enumerate(CAUSES)}
    cycles = sum(causes.values())
    dram = {part: scale * (i + 5) for i, part in enumerate(DRAM_PARTS)}
    return {
        "macs": 1000 * scale,
        "parameters": 10 * scale,
        **causes,
        "cycles": cycles,
        "on_chip_cycles": cycles // 2,
        "seconds": cycles * 1e-9,
        "energy_j": cycles * 1e-6,
        "power_w": 1e3,
        "dram_bytes": sum(dram.values()),
        **dram,
        "dram_seconds": scale * 1e-9,
        "unpruned_cycles": 2 * cycles,
        "every_bit_cycles": 3 * cycles,
        "unpruned_all_rows_cycles": 5 * cycles,
        "unpruned_nonempty_rows_cycles": 6 * cycles,
        "on_chip_unpruned_fixed16_cycles": cycles,
        "dram_weight_bytes_plain": 20 * scale,
        "window_limited_groups": scale,
        "work_cycles": scale,
        "unpruned_work_cycles": 4 * scale,
        "speedup_over_unpruned": 2.0,
        "speedup_over_every_bit": 3.0,
        "speedup_over_all_rows": 5.0,
        "speedup_over_nonempty_rows": 6.0,
        "work_speedup": 4.0,
    }


def _simulation() -> list[dict[str, Any]]:
    rows = []
    for layer, scale in (("a", 1), ("b", 2)):
        rows.append({"layer": layer, "accelerator": "bitx", "reason": None, **timed(scale)})
        rows[-1] |= {"groups": 4, "kept_rows_mean": 2.5, "kept_ones_mean": 1.5}
    none = dict.fromkeys(timed(1)) | {"macs": 7000, "parameters": 70}
    rows.append({"layer": "b", "accelerator": "eie", "reason": "a convolution", **none})
    rows[-1] |= dict.fromkeys(("groups", "kept_rows_mean", "kept_ones_mean"))
    return rows


def _networks() -> list[dict[str, Any]]:
    rows = [
        {
            "network": "net",
            "accelerator": "bitx",
            "layers": 2,
            "not_applicable": 0,
            "area_mm2": 3.0,
            **timed(3),
        },
        {"network": "net", "accelerator": "eie", "layers": 0, "not_applicable": 1, "area_mm2": 0.5}
        | dict.fromkeys(timed(1)),
    ]
    rows[1] |= {"macs": 0, "parameters": 0}
    return rows


def _counted(name: str, weight: str) -> list[dict[str, Any]]:
    counts = [(1, 2), (2, 2)] if name == "kept_ones" else [(2, 2), (3, 2)]
    return [
        {"layer": layer, "accelerator": "bitx", name: kept, weight: count}
        for layer in "ab"
        for kept, count in counts
    ]


def _energy() -> list[dict[str, Any]]:
    return [
        {"layer": layer, "accelerator": "bitx", "part": part, "energy_j": share * timed(scale)["energy_j"]}
        for layer, scale in (("a", 1), ("b", 2))
        for part, share in (("dram", 0.25), ("pe", 0.75))
    ]


def write_good(path: Path, only: Iterable[str] | None = None) -> None:
    """Write a store that keeps every rule, and has whatever a rule needs: all tables, or some.

    The arrays of the tensor are there with ``"tensors"`` in `only`.
    """
    weights = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 16)
    pruned = bx.prune(weights, rows=2, group=8, window=12)
    packed = bx.pack(pruned)
    found = bx.statistics(weights, group=8, window=12, rows=2)
    assert found.ones is not None
    histogram = pruned.kept_rows_histogram()
    tables: dict[str, list[dict[str, Any]]] = {
        "simulation": _simulation(),
        "networks": _networks(),
        "kept_rows": _counted("kept_rows", "groups"),
        "kept_ones": _counted("kept_ones", "weights"),
        "energy": _energy(),
        "area": [
            {"accelerator": "bitx", "part": "pe", "area_mm2": 1.0},
            {"accelerator": "bitx", "part": "buffers", "area_mm2": 2.0},
            {"accelerator": "eie", "part": "pe", "area_mm2": 0.5},
        ],
        "costs": [{"accelerator": "bitx", "name": "adder", "source": "a paper", "energy_j": 1e-12}],
        "comparison": [
            {"accelerator": "bitx", "label": label, "cycles": 7, "speedup": 1.5}
            for label in ("bitx", "bitx(rows=4)")
        ],
        "sweep": [{"point": i, "reason": None, "on_front": bool(i), **timed(i + 1)} for i in range(2)],
        "evaluation": [
            {"rows": rows, "samples": 72, "reason": None, "on_front": True, **timed(1)} for rows in (None, 6)
        ],
        "reproduction": [
            {"place": "Table 1", "quantity": "x", "published": 2.0, "ours": 3.0, "ratio": 1.5}
        ] * 2,
        "errors": [
            {"tensor": "w", "rows": rows, "relative_error": 0.5 / rows, "values_used": 64} for rows in (1, 2)
        ],
        "statistics": [
            {"dump": "d.npz", "tensor": "w", "values": 64, "zeros": found.zeros}
            | {"value_sparsity": found.value_sparsity, "essential_bits": found.essential_bits}
            | {"essential_bits_per_nonzero": found.essential_bits / (64 - found.zeros)}
            | {"groups": 8, "zero_groups": 0, "nonfinite_groups": 0, "window_rows": 12}
            | {"nonempty_rows_mean": found.mean_nonempty_rows, "window_limited_groups": 0}
            | {"nonempty_rows_max": int(np.flatnonzero(found.nonempty_rows_histogram)[-1])}
            | {"ones_mean": found.ones.before.mean, "pruned_ones_mean": found.ones.after.mean}
        ],
        "pruning": [
            {"tensor": "w", "format": "float32", "values": 64, "groups": 8, "nonfinite_groups": 0}
            | {"window_limited_groups": 0, "kept_rows_mean": float(pruned.kept_rows.mean())}
            | {"kept_rows_max": int(pruned.kept_rows.max()), "changed_values": 60, "zeros_before": 0}
            | {"zeros_after": 3, "packed_bits": packed.bits, "packed_bits_per_weight": packed.bits / 64}
            | {"window_rows": 12}
        ],
    }  # fmt: skip
    arrays: dict[str, Any] = {
        "ones_per_row": found.row_ones,
        "nonempty_rows_histogram": found.nonempty_rows_histogram,
        "ones_histogram": found.ones.before_histogram,
        "pruned_ones_histogram": found.ones.after_histogram,
        "kept_rows_histogram": histogram,
        "kept_rows": pruned.kept_rows,
        "row_masks": pruned.row_masks,
        "exponents": pruned.exponents,
        "signs": packed.signs,
        "rows": packed.rows,
        "values": pruned.values,
    }
    cut = {"format": "float32", "group": 8, "window": 12, "grouping": "flat"}
    wanted = {*tables, "tensors"} if only is None else set(only)
    assert wanted <= {*tables, "tensors"}
    with Store.create(path, parameters={"group": 8}, inputs=[__file__]) as store:
        for name, rows in tables.items():
            if name in wanted:
                store.write_table(name, rows, units=units_of(rows[0]))
        if "tensors" in wanted:
            store.write_tensor_arrays("w", arrays, dict.fromkeys(arrays, "1"), cut)


def edit(
    path: Path, change: Callable[[h5py.File], None], *, checksums: bool = True, sealed: bool = True
) -> None:
    """Change a store in place; then write its checksums and its seal anew, so that these do not tell."""
    assert check_seal(path)
    os.truncate(path, path.stat().st_size - SEAL_BYTES)
    with h5py.File(path, "r+") as file:
        change(file)
        if checksums:
            file.visititems(_sum_up)
    if sealed:
        seal(path)


def _sum_up(_: str, element: Any) -> None:
    if isinstance(element, h5py.Dataset) and "checksum" in element.attrs and "units" in element.attrs:
        is_text = h5py.check_string_dtype(element.dtype) is not None
        values = np.asarray((element.asstr() if is_text else element)[()])
        element.attrs["checksum"] = checksum_of(
            values, element.attrs["units"], has_missing="_FillValue" in element.attrs
        )
