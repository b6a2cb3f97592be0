"""Tetris: essential bits of weights, kneaded.

H. Lu, X. Wei, N. Lin, G. Yan, X. Li, "Tetris: Re-architecting Convolutional Neural Network Computation for
Machine Learning Accelerators", ICCAD 2018. From its description of weight kneading: the essential bits of
`KS` consecutive weights of a lane close up at each bit position, which makes as many kneaded weights as
the fullest position has ones; each bit keeps a pointer to its activation. From that of the SAC unit: see
`hwmodel.accelerators.families.sac`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.families.sac import SAC_ASSUMPTIONS, SplitAccumulate


@dataclass(frozen=True, kw_only=True)
class Tetris(SplitAccumulate):
    """SAC units that take one kneaded weight a lane and cycle.

    Parameters
    ----------
    lanes, columns, rows, tiles, word_bits, fold_first_layer, fifo_depth, dual_issue
        As in `SplitAccumulate`.
    kneading_stride : int
        KS: weights of a lane that are kneaded together.
    skip_zero_groups : bool
        Whether a group of zeros takes no cycle; otherwise it takes one.
    clock_hz, cost_basis, weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes
        As in `Accelerator`.
    """

    kneading_stride: int = 16
    skip_zero_groups: bool = False

    leaves_out_zeros: ClassVar[bool] = False
    """Whether weights of 0 are left out before kneading."""

    name: ClassVar[str] = "tetris"
    title: ClassVar[str] = "Tetris, ICCAD 2018: kneaded essential bits of weights"
    source: ClassVar[str] = (
        "Lu et al., Tetris: Re-architecting Convolutional Neural Network Computation for Machine Learning"
        " Accelerators, ICCAD 2018"
    )
    assumptions: ClassVar[tuple[str, ...]] = (
        "A group of KS weights of a lane takes as many cycles as its fullest bit position has ones; the last"
        " group of a filter may have fewer weights.",
        "Guessed: the group is KS consecutive time steps of one lane, and one entry of its throttle buffer.",
        "Guessed: a group of zeros takes one cycle (skip_zero_groups: none).",
        "A kneaded weight's bit comes with a pointer of ceil(log2 KS) bits and the sign of its weight.",
        *SAC_ASSUMPTIONS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "kneading_stride")

    @property
    def _stride(self) -> int:
        return self.kneading_stride

    @property
    def _entry_bits(self) -> int:
        return self.word_bits * (2 + (self.kneading_stride - 1).bit_length())

    def _entries(self, streams: npt.NDArray[np.uint16]) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
        from hwmodel.accelerators.engines.kneading import kneaded_costs

        costs, lengths = kneaded_costs(streams, self.kneading_stride, self.leaves_out_zeros)
        return costs if self.skip_zero_groups else np.maximum(costs, 1), lengths
