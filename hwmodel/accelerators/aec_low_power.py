"""Architecting Effectual Computation, the design for low power: one weight at a time.

H. Lu, M. Zhang, Y. Han, Q. Wang, H. Li, X. Li, "Architecting Effectual Computation for Machine Learning
Accelerators", TCAD 2020. Its abstract names two designs, told apart by how they detect essential bits. This
is the one for low power: nothing is kneaded, so a splitter has no activation to choose; a weight of 0 is
left out, and of another weight only the essential bits drive segment adders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.aec_kneading import AEC_SOURCE
from hwmodel.accelerators.families.sac import SAC_ASSUMPTIONS, SplitAccumulate


@dataclass(frozen=True, kw_only=True)
class AecLowPower(SplitAccumulate):
    """SAC units whose lanes take one weight at a time.

    Parameters
    ----------
    lanes, columns, rows, tiles, word_bits, fold_first_layer, barrier, throttle_depth, dual_issue
        As in `SplitAccumulate`.
    fifo_depth : int or None
        Weights, zeros counted, by which a lane may be ahead of the slowest.
    bits_per_cycle : int or None
        Essential bits of a weight that a splitter sends off in a cycle. None: all of them.
    clock_hz, cost_basis, weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes
        As in `Accelerator`.
    """

    fifo_depth: int | None = 32
    bits_per_cycle: int | None = None

    name: ClassVar[str] = "aec_low_power"
    title: ClassVar[str] = "Architecting Effectual Computation, TCAD 2020: low power, one weight at a time"
    source: ClassVar[str] = AEC_SOURCE
    assumptions: ClassVar[tuple[str, ...]] = (
        "Guessed: a weight other than 0 takes one cycle, in which all its essential bits drive their segment"
        " adders; so its cycles depend on zero weights, its energy on essential bits. bits_per_cycle=1 sends"
        " them off one by one, at a sixteenth of the peak.",
        "A weight of 0 takes no cycle.",
        "Weights are sign and magnitude.",
        "Guessed: a throttle buffer of 32 weights, as long as two kneading strides of Tetris; SAC units wait"
        " for each other round by round (barrier='round').",
        *SAC_ASSUMPTIONS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits_per_cycle is not None:
            self.check_at_least(1, "bits_per_cycle")

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits, nothing skipped."""
        cycles = 1 if self.bits_per_cycle is None else -(-16 // self.bits_per_cycle)
        return super().peak_macs_per_cycle / cycles

    @property
    def _stride(self) -> int:
        return 1

    @property
    def _entry_bits(self) -> int:
        return self.word_bits + 1

    def _entries(self, streams: npt.NDArray[np.uint16]) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
        ones = np.bitwise_count(streams).astype(np.int32)
        costs = np.minimum(ones, 1) if self.bits_per_cycle is None else -(-ones // self.bits_per_cycle)
        return costs, np.full(len(streams), streams.shape[1])
