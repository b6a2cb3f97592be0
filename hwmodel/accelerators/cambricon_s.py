"""Cambricon-S: weights pruned in blocks with shared indices, and activations that are not zero.

X. Zhou, Z. Du, Q. Guo, S. Liu, C. Liu, C. Wang, X. Zhou, L. Li, T. Chen, Y. Chen, "Cambricon-S: Addressing
Irregularity in Sparse Neural Networks through A Cooperative Software/Hardware Approach", MICRO 2018. From its
sections on these topics: coarse-grained pruning of blocks (B_fin, B_fout, B_x, B_y) and (B_in, B_out), local
quantisation, the neuron selector that all PEs share, the synapse selector of each PE, 16 PEs of 16
multipliers. There is no public code; what stands under "Guessed" is not from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.changes import Change
from hwmodel.accelerators.engines.bricks import Bricks, activation_bricks
from hwmodel.accelerators.engines.grid_plan import plan
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import (
    accumulator,
    accumulator_bits,
    adder_tree,
    ones_counter,
    selector,
)
from hwmodel.costs.figures import Cost, Costs
from hwmodel.memory.stored import StoredBits, whole_words
from hwmodel.networks.layers import Conv, Layer, Linear, MatMul
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

WORD_BITS = 16
TABLE_ENTRIES = 16


@dataclass(frozen=True, kw_only=True)
class CambriconS(Accelerator):
    """PEs that work on outputs with one shared index, on the neurons that are needed and not zero.

    Parameters
    ----------
    pes : int
        T_n: outputs that share an index, one per PE.
    multipliers : int
        T_m: of a PE.
    conv_block : tuple of int
        B_fin, B_fout, B_x, B_y: weights of a convolution that are pruned together.
    fc_block : tuple of int
        B_in, B_out: of a fully connected layer. (32, 32) for fc6 and fc7 of AlexNet.
    narrow_fc_block : tuple of int
        B_in, B_out of a fully connected layer with few outputs. (16, 16) for fc8 of AlexNet.
    narrow_fc_outputs : int
        Outputs up to which a fully connected layer takes `narrow_fc_block`. fc8 has 1000.
    neuron_window : int
        Neurons that the neuron selector looks at together.
    synapse_window : int
        Synapses that the synapse selectors look at together.
    conv_code_bits, fc_code_bits : int or None
        Width of a stored weight after local quantisation. None: weights are stored in words
        of 16 bits, so that nothing is lost.
    units : int
        Copies of the whole machine. The paper has one; 16 have the peak of the other machines.
    """

    pes: int = 16
    multipliers: int = 16
    conv_block: tuple[int, int, int, int] = (1, 16, 1, 1)
    fc_block: tuple[int, int] = (32, 32)
    narrow_fc_block: tuple[int, int] = (16, 16)
    narrow_fc_outputs: int = 1000
    neuron_window: int = 256
    synapse_window: int = 64
    conv_code_bits: int | None = 8
    fc_code_bits: int | None = 4
    units: int = 1

    name: ClassVar[str] = "cambricon_s"
    title: ClassVar[str] = "Cambricon-S, MICRO 2018: blocks of zero weights, and zero activations"
    source: ClassVar[str] = (
        "Zhou et al., Cambricon-S: Addressing Irregularity in Sparse Neural Networks through A Cooperative"
        " Software/Hardware Approach, MICRO 2018"
    )
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"units": 16, "conv_code_bits": None, "fc_code_bits": None}
    )
    width_options: ClassVar[frozenset[str]] = frozenset({"conv_code_bits", "fc_code_bits"})
    assumptions: ClassVar[tuple[str, ...]] = (
        "A block of weights is left out if all of them are zero; the machine prunes nothing itself, so"
        " weights pruned one by one keep nearly all blocks. An input is needed by 16 outputs if any of their"
        " blocks is there; a zero in a kept block is multiplied, and counts as work in the utilisation.",
        "The paper's blocks of fully connected layers: 32 x 32 for fc6 and fc7 of AlexNet, 16 x 16 for fc8."
        " Guessed: what tells fc8 from the others is its number of outputs, so layers of up to 1000 outputs"
        " (narrow_fc_outputs) take narrow_fc_block.",
        "Inputs of a window are walked in kernel positions with channels innermost, as on DaDianNao. A cycle"
        " multiplies up to 16 needed neurons that are not zero with the weights of 16 outputs; groups of 16"
        " outputs run one after another, each over the whole window.",
        "Local quantisation (8-bit codes in convolutions, 4-bit in fully connected layers) is storage only;"
        " values are taken as given. Entropy coding and the tables of codes in DRAM are left out. In"
        " comparisons weights are stored in 16-bit words (code bits None), as other machines store them.",
        "No transposed convolutions, no products of activations.",
        "Guessed: the neuron selector takes in 256 neurons at a time and the synapse selectors 64 needed"
        " synapses at a time, both empty before they go on; each such step takes at least one cycle.",
        "Guessed: copies of the machine (units) take windows and groups of outputs in turns, and wait for"
        " each other at the end of the layer, or of a step of a recurrent one. That fills them in small"
        " layers, too, where a grid of 256 filters stands idle: gains over DaDianNao are partly due to it.",
        "Guessed: what the selectors are built of; look-up tables of 16 weights per PE.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        codes = [o for o in ("conv_code_bits", "fc_code_bits") if getattr(self, o) is not None]
        self.check_at_least(1, "pes", "multipliers", "neuron_window", "synapse_window", "units", *codes)
        self.check_at_least(0, "narrow_fc_outputs")
        for option, count in (("conv_block", 4), ("fc_block", 2), ("narrow_fc_block", 2)):
            given = getattr(self, option)
            sizes = tuple(given) if isinstance(given, (tuple, list)) else ()
            if len(sizes) != count or any(type(s) is not int or s < 1 for s in sizes):
                raise self.refusal(f"{option} must be {count} integers of at least 1, got {given!r}")
            object.__setattr__(self, option, sizes)

    @property
    def reads(self) -> Reads:
        """Operands whose values its cycles depend on."""
        return Reads(activations=True)

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits, nothing skipped."""
        return self.units * self.pes * self.multipliers

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse layers whose outputs gather no window of inputs, and those without weights."""
        if isinstance(layer, MatMul):
            return "both operands are activations: there are no weights to index"
        if not isinstance(layer, (Conv, Linear)):
            return "runs convolutions and fully connected layers only"
        return None

    def own_changes(self) -> Iterator[Change]:
        """List changes of its own options, but for which layers take smaller blocks."""
        for change in super().own_changes():
            if "narrow_fc_outputs" not in change.options:
                yield change

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """Selectors, look-up tables, and the arithmetic of the PEs."""
        pes = self.units * self.pes
        decoding = {
            "look_up_tables": Part(costs.register(WORD_BITS), pes * TABLE_ENTRIES),
            "decoders": Part(selector(costs, TABLE_ENTRIES, WORD_BITS), pes * self.multipliers),
        }
        return (decoding if self.conv_code_bits or self.fc_code_bits else {}) | {
            "neuron_selectors": Part(self._neuron_selector(costs), self.units),
            "synapse_selectors": Part(
                self.multipliers * selector(costs, self.synapse_window, WORD_BITS), pes
            ),
            "multipliers": Part(costs.multiplier(WORD_BITS), pes * self.multipliers),
            "adder_trees": Part(adder_tree(costs, self.multipliers, 2 * WORD_BITS), pes),
            "accumulators": Part(accumulator(costs, accumulator_bits(WORD_BITS, WORD_BITS)), pes),
        }

    def _neuron_selector(self, c: Costs) -> Cost:
        """Find zeros, join them with the index, count places, and pick neurons."""
        flags = self.neuron_window * (c.comparator(WORD_BITS) + c.gates("and", 1))
        places = 2 * ones_counter(c, self.neuron_window)
        return flags + places + self.multipliers * selector(c, self.neuron_window, WORD_BITS)

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count codes of the weights that are kept and one bit per block; activations are dense."""
        plain = super().stored_bits(layer, operands, on_chip)
        synapses = sum(
            int(index.sum(axis=1) @ self._outputs(layer)) for index in self._index(layer, operands)
        )
        shape = (layer.filters // layer.conv_groups, *layer.weight_shape[1:])
        blocks = layer.conv_groups * prod(
            -(-n // size) for n, size in zip(shape, self._block(layer), strict=True)
        )
        return StoredBits(
            synapses * self._weight_bits(layer, operands) + blocks, plain.activations, plain.outputs
        )

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.block_selection import Selectors

        select = Selectors(self.neuron_window, self.synapse_window, self.multipliers).select
        bricks = self._bricks(layer, operands)
        at = bricks.index.reshape(layer.positions, -1)
        outputs = self._outputs(layer)
        jobs, products, pe_cycles, synapses = [], 0, 0, 0
        for g, index in enumerate(self._index(layer, operands)):
            spent, selected = select(index, bricks.values[:, g, 0] != 0, at)
            jobs.append(spent.reshape(layer.steps, -1))
            products += int(selected @ outputs)
            pe_cycles += int(spent.sum(axis=0) @ outputs)
            synapses += int(index.sum(axis=1) @ outputs)
        cycles, shared = self._deal(np.concatenate(jobs, axis=1))
        work = self._work(layer, operands, sum(int(j.sum()) for j in jobs), pe_cycles, products, synapses)
        return self.on_chip(
            work=work,
            compute_cycles=shared,
            imbalance_cycles=cycles - shared,
            fill_cycles=0,
            utilisation=products / (cycles * self.peak_macs_per_cycle),
            filter_tiles=layer.conv_groups * len(outputs),
            position_tiles=layer.positions,
        )

    def _deal(self, jobs: npt.NDArray[np.int64]) -> tuple[int, int]:
        """Give the cycles of the unit with most work, and of all if they shared evenly; of (steps, jobs)."""
        jobs = np.pad(jobs, ((0, 0), (0, -jobs.shape[1] % self.units)))
        by_unit = jobs.reshape(len(jobs), -1, self.units).sum(axis=1)
        return int(by_unit.max(axis=1).sum()), int((-(-by_unit.sum(axis=1) // self.units)).sum())

    def _block(self, layer: Layer) -> tuple[int, ...]:
        """Sizes of a block along filters, channels, and the axes of the kernel."""
        if isinstance(layer, Linear):
            narrow = layer.filters <= self.narrow_fc_outputs
            inputs, outputs = self.narrow_fc_block if narrow else self.fc_block
            return outputs, inputs
        b_fin, b_fout, *kernel = self.conv_block
        return (b_fout, b_fin, *(*kernel, 1)[: len(layer.weight_shape) - 2])

    def _code_bits(self, layer: Layer) -> int | None:
        return self.fc_code_bits if isinstance(layer, Linear) else self.conv_code_bits

    def _weight_bits(self, layer: Layer, operands: Operands) -> int:
        """Width of a stored weight."""
        return self._code_bits(layer) or whole_words(operands.weight_precision, WORD_BITS)

    def _outputs(self, layer: Layer) -> npt.NDArray[np.int64]:
        """Count the outputs of each group that works together, of one convolution group."""
        filters = layer.filters // layer.conv_groups
        return np.minimum(self.pes, filters - np.arange(0, filters, self.pes))

    def _index(self, layer: Layer, operands: Operands) -> npt.NDArray[np.bool_]:
        """Say what outputs need: (convolution groups, groups of outputs, reduction) in walk order."""
        from hwmodel.accelerators.engines.block_selection import kept_blocks, reduce_blocks

        held = (operands.integer_weights != 0).reshape(layer.conv_groups, -1, *layer.weight_shape[1:])
        index = reduce_blocks(kept_blocks(held, (1, *self._block(layer))), 1, self.pes)
        walk = (0, 1, *range(index.ndim - 1, 2, -1), 2)
        return index.transpose(walk).reshape(*index.shape[:2], -1)

    @staticmethod
    def _bricks(layer: Layer, operands: Operands) -> Bricks:
        """All channels of a group at each position of the padded input."""
        p = plan(layer, lanes=layer.channels, columns=1, rows=1, tiles=1, fold_first_layer=False)
        p = replace(p, groups=layer.conv_groups, depthwise=False)
        return activation_bricks(p, operands.integer_activations)

    def _work(
        self, layer: Layer, operands: Operands, cycles: int, pe_cycles: int, products: int, synapses: int
    ) -> Work:
        """Work of a layer with `synapses` kept weights, from the cycles of all units and PEs."""
        a_bits, w_bits = operands.activation_precision, operands.weight_precision
        a_share, w_share = min(1.0, a_bits / WORD_BITS), min(1.0, w_bits / WORD_BITS)
        windows = layer.positions * layer.conv_groups * len(self._outputs(layer))
        index_bits = prod(
            -(-n // size) for n, size in zip(layer.weight_shape[1:], self._block(layer)[1:], strict=True)
        )
        sums = accumulator_bits(round(w_share * WORD_BITS), round(a_share * WORD_BITS))
        return Work(
            uses=({"decoders": products * w_share} if self._code_bits(layer) else {})
            | {
                "neuron_selectors": cycles * a_share,
                "synapse_selectors": pe_cycles * w_share,
                "multipliers": products * w_share * a_share,
                "adder_trees": pe_cycles * (w_share + a_share) / 2,
                "accumulators": pe_cycles * sums / accumulator_bits(WORD_BITS, WORD_BITS),
            },
            read_bits={
                "weight_buffer": layer.positions * synapses * self._weight_bits(layer, operands)
                + windows * index_bits,
                "activation_buffer": windows * layer.reduction * a_bits,
            },
            written_bits={"output_buffer": layer.output_count * a_bits},
        )
