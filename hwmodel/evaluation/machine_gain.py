"""Cycles of BitX where it prunes as a setting does, and its gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import bitxcore as bx
from bitxcore.batch import Selection
from bitxcore.dumps import Dump, Tensor, open_dump
from bitxcore.errors import BitxError, OptionError
from bitxcore.files import scratch_folder
from bitxcore.formats import FLOATS
from hwmodel.accelerators.bitx.selection import is_sparse
from hwmodel.accelerators.registry import accelerator
from hwmodel.evaluation.pruned_models import Norms, Replacement
from hwmodel.evaluation.settings import Setting
from hwmodel.networks.loading import load_network
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.operands.traces import open_traces
from hwmodel.operands.traces.recording import trace
from hwmodel.simulation.results import LayerResult
from hwmodel.simulation.run import simulate_network

_CYCLES = ("cycles", "unpruned_cycles", "work_cycles", "unpruned_work_cycles")


@dataclass(frozen=True)
class MachineGain:
    """What BitX needs for one sample, pruning as a setting does.

    Attributes
    ----------
    cycles, work_cycles : int or None
        As in `hwmodel.LayerResult`: all causes together, and if the lanes of each PE were perfectly balanced.
        Of a setting that prunes nothing: of the same machine without pruning. None where no machine does it.
    unpruned_cycles, unpruned_work_cycles : int or None
        The same machine on the same numbers, without pruning.
    reason : str or None
        Why there are no cycles.
    """

    cycles: int | None = None
    unpruned_cycles: int | None = None
    work_cycles: int | None = None
    unpruned_work_cycles: int | None = None
    reason: str | None = None

    @staticmethod
    def of_runs(parts: Sequence[tuple[MachineGain, float]]) -> MachineGain:
        """Add up several models, each with its runs per sample; without cycles if one has none."""
        for part, _ in parts:
            if part.reason is not None:
                return part
        totals: dict[str, Any] = {
            name: round(sum(runs * (getattr(part, name) or 0) for part, runs in parts)) for name in _CYCLES
        }
        return MachineGain(**totals)

    @property
    def speedup_over_unpruned(self) -> float | None:
        """Gain over the same machine on the same numbers, without pruning."""
        return _ratio(self.unpruned_cycles, self.cycles)

    @property
    def work_speedup(self) -> float | None:
        """The same of perfectly balanced lanes."""
        return _ratio(self.unpruned_work_cycles, self.work_cycles)

    def columns(self) -> dict[str, Any]:
        """Return a table's columns."""
        row = asdict(self)
        row["speedup_over_unpruned"] = self.speedup_over_unpruned
        row["work_speedup"] = self.work_speedup
        return row


def _ratio(some: int | None, other: int | None) -> float | None:
    return some / other if some is not None and other else None


class MachineGains:
    """Simulates a model on BitX, setting by setting.

    Parameters
    ----------
    model : pathlib.Path
        ONNX.
    shapes : mapping of str to tuple of int
        Of one sample of each input, without the batch; what the model leaves open is taken from there.
    selection : Selection
        Which tensors are pruned; layers of others run unpruned.
    sample : mapping of str to ndarray, optional
        By input, batch first: what activations are traced on, of the unpruned model, where a machine prunes
        them.
    norms : mapping of str to ndarray, optional
        By tensor, of criterion ``"calibrated"``: weights are pruned before the machine gets them.
    """

    def __init__(
        self,
        model: Path,
        shapes: Mapping[str, tuple[int, ...]],
        selection: Selection,
        sample: Mapping[str, npt.NDArray[Any]] | None = None,
        norms: Norms | None = None,
    ) -> None:
        self._model, self._selection, self._sample = model, selection, sample
        self._norms = norms
        self._activations: dict[str, npt.NDArray[Any]] | None = None
        self._network: Network | None = None
        try:
            self._network = load_network(model, input_size=sample_sizes(model, shapes))
        except BitxError as error:
            self._reason = error.message

    def gain(self, setting: Setting) -> MachineGain:
        """Simulate one setting; what can't be simulated has the reason."""
        if self._network is None:
            return MachineGain(reason=self._reason)
        try:
            with open_dump(self._model) as dump:
                return self._simulated(self._network, setting, dump)
        except BitxError as error:
            return MachineGain(reason=error.message)

    def by_tensors(self, setting: Setting) -> dict[tuple[str, ...], int]:
        """Simulate one setting: cycles by tensors; those that a layer has together stay together.

        Raises
        ------
        BitxError
            If it can't be simulated.
        """
        if self._network is None:
            raise OptionError(self._reason)
        with open_dump(self._model) as dump:
            pruned = {tensor.name for tensor in setting.chosen(dump, self._selection)}
            rows = self._rows(self._network, setting, dump)
        found: dict[frozenset[str], int] = {}
        for entry, gain in rows:
            names = frozenset(entry.tensors) & pruned
            if not names:
                continue
            cycles = gain.cycles or 0
            for other in [other for other in found if other & names]:
                names |= other
                cycles += found.pop(other)
            found[names] = cycles
        return {tuple(sorted(names)): cycles for names, cycles in found.items()}

    def _simulated(self, network: Network, setting: Setting, dump: Dump) -> MachineGain:
        return MachineGain.of_runs([(gain, 1) for _, gain in self._rows(network, setting, dump)])

    def _rows(self, network: Network, setting: Setting, dump: Dump) -> list[tuple[NetworkLayer, MachineGain]]:
        """Simulate every layer that BitX runs."""
        machine = accelerator("bitx", **setting.machine)
        tensors = setting.chosen(dump, self._selection)
        pruned = {tensor.name for tensor in tensors}
        weights: Mapping[str, Any] = dump
        if setting.format in FLOATS:
            weights = {name: _cast(t, setting.format) if name in pruned else t for name, t in dump.items()}
        traces = self._traced(setting) if setting.activation_rows is not None else None
        result = simulate_network(machine, network, dump=weights, traces=traces, policy=setting.policy)
        entries = {entry.layer.name: entry for entry in network.layers}
        rows = [row for row in result.layers if row.applicable]
        if not rows:
            reasons = sorted({row.reason or "" for row in result.layers})
            raise OptionError("BitX runs no layer of the model" + "".join(f"; {r}" for r in reasons[:1]))
        found = []
        by_norms = self._by_norms(network, setting, dump, tensors) if setting.takes_norms else {}
        for row in rows:
            entry = entries[row.layer]
            # Products of two activations are not pruned here, whatever the machine does.
            prunes = setting.prunes if traces is None else bool(entry.tensors)
            prunes = prunes and pruned.issuperset(entry.tensors)
            values: dict[str, Any] = {}
            for name in _CYCLES:
                is_unpruned = name.startswith("unpruned")
                source = name if prunes or is_unpruned else f"unpruned_{name}"
                values[name] = getattr(row if is_unpruned else by_norms.get(row.layer, row), source) or 0
            found.append((entry, MachineGain(**values)))
        return found

    def _by_norms(
        self, network: Network, setting: Setting, dump: Dump, tensors: tuple[Tensor, ...]
    ) -> dict[str, LayerResult]:
        """Simulate weights that were pruned before the machine gets them.

        Zeros are left out where the machine leaves out those of the unpruned weights: cycles then stand
        beside those of the other criteria.
        """
        replaced = Replacement(setting, dump, tensors, self._norms)
        names = {tensor.name for tensor in tensors}
        weights = {name: replaced(t) if name in names else t for name, t in dump.items()}
        packs: dict[str, bool] = {}
        for entry in network.layers:
            values = entry.read(dump)
            packs[entry.layer.name] = values is not None and is_sparse(values)
        found: dict[str, LayerResult] = {}
        for packing in sorted(set(packs.values())):
            machine = accelerator("bitx", **setting.machine, pack_zeros=packing)
            rows = simulate_network(machine, network, dump=weights).layers
            found |= {row.layer: row for row in rows if packs[row.layer] is packing}
        return found

    def _traced(self, setting: Setting) -> dict[str, npt.NDArray[Any]]:
        """Activations of all layers on the sample, in the setting's float format; the model runs once."""
        if self._activations is None:
            if not self._sample:
                raise OptionError("no sample was run that activations could be traced on")
            with scratch_folder() as folder:
                trace(self._model, self._sample, folder / "traces.h5")
                with open_traces(folder / "traces.h5") as traces:
                    self._activations = {name: np.asarray(traces[name]) for name in traces}
        if setting.format not in FLOATS:
            return self._activations
        dtype = bx.number_format(setting.format or "").dtype
        return {k: x.astype(dtype) if x.dtype.kind == "f" else x for k, x in self._activations.items()}


def _cast(tensor: Tensor, form: str | None) -> npt.NDArray[Any]:
    """Weights as a float format has them; its dtype tells the machine which one it is."""
    values = tensor.read()
    return values.astype(bx.number_format(form or "").dtype) if values.dtype.kind == "f" else values


def sample_sizes(model: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """One sample per run, where the model leaves the batch open; the other sizes are the samples'."""
    from hwmodel.networks.onnx import graph_inputs, read_model

    found = {}
    for name, sizes, _ in graph_inputs(read_model(model)):
        if name in shapes and len(sizes) == len(shapes[name]) + 1:
            given = (1, *shapes[name])
            found[name] = tuple(
                size if isinstance(size, int) else int(own) for size, own in zip(sizes, given, strict=True)
            )
    return found
