"""Tetris: essential bits of weights, kneaded.

H. Lu, X. Wei, N. Lin, G. Yan, X. Li, "Tetris: Re-architecting Convolutional Neural Network Computation for
Machine Learning Accelerators", ICCAD 2018. Weight kneading: the essential bits of `KS` consecutive weights of
a lane close up at each bit position, which makes as many kneaded weights as the fullest position has ones;
each bit keeps a pointer to its activation. 16 PEs of 16 SAC units of 16 lanes. The lanes of a SAC unit run on
by themselves to the pass mark at the end of an output sum; the tree behind the segments opens when all 16 are
there. Weights of 8 bits go two at a time (dual issue). The SAC unit is `hwmodel.accelerators.families.sac`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.engines.bricks import weight_bricks, words
from hwmodel.accelerators.engines.grid_plan import GridPlan
from hwmodel.accelerators.families.sac import SAC_ASSUMPTIONS, SplitAccumulate
from hwmodel.operands.operands import Operands

ENCODINGS = ("sign-magnitude", "twos-complement")


@dataclass(frozen=True, kw_only=True)
class Tetris(SplitAccumulate):
    """SAC units that take one kneaded weight per lane and cycle.

    Parameters
    ----------
    lanes, columns, rows, tiles, word_bits, fold_first_layer, barrier, fifo_depth, throttle_depth, dual_issue
        As in `SplitAccumulate`. A throttle buffer counts kneaded weights; with barrier "round", groups.
    kneading_stride : int
        KS: weights of a lane that are kneaded together.
    skip_zero_groups : bool
        Whether a group of zeros takes no cycle, as it leaves no kneaded weight; otherwise it takes one.
    encoding : {"sign-magnitude", "twos-complement"}
        How weights are kneaded. In two's complement the top bit's column is that of the signs, and its
        segment is subtracted.
    clock_hz, cost_basis, weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes
        As in `Accelerator`.
    """

    kneading_stride: int = 16
    skip_zero_groups: bool = True
    encoding: str = "sign-magnitude"
    barrier: str = "pe"
    dual_issue: bool = True

    leaves_out_zeros: ClassVar[bool] = False
    """Whether weights of 0 are left out before kneading."""

    name: ClassVar[str] = "tetris"
    title: ClassVar[str] = "Tetris, ICCAD 2018: kneaded essential bits of weights"
    source: ClassVar[str] = (
        "Lu et al., Tetris: Re-architecting Convolutional Neural Network Computation for Machine Learning"
        " Accelerators, ICCAD 2018"
    )
    assumptions: ClassVar[tuple[str, ...]] = (
        "A group of KS weights of a lane takes as many cycles as its fullest bit position has ones, none if"
        " all are 0; the last group of a filter may have fewer weights. Guessed: groups are not merged.",
        "Guessed: the group is KS consecutive time steps of one lane.",
        "Lanes of an output sum run on by themselves to its end. Guessed: the SAC units of a PE share"
        " activations, as those of a DaDianNao tile do, and begin a sum together (barrier='pe'); PEs go on to"
        " their next window and filters by themselves.",
        "Throttle buffers hold 2 kneaded weights per lane (throttle_depth): of 80 bits, they are the paper's"
        " 5 KB of a PE. Guessed: they are filled in time, activations of two groups per lane beside them.",
        "Weights of 8 bits or fewer go two at a time, as the paper says of 8 (dual_issue).",
        "A kneaded weight's bit comes with a pointer of ceil(log2 KS) bits and, in sign and magnitude, the"
        " sign of its weight. Guessed: sign and magnitude. The paper negates behind the top bit's decoder,"
        " which is two's complement (encoding='twos-complement'), but its profile of ones by position has a"
        " sign column and empty columns behind it, as only sign and magnitude has.",
        *SAC_ASSUMPTIONS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "kneading_stride")
        self.check_one_of(ENCODINGS, "encoding")

    @property
    def _stride(self) -> int:
        return self.kneading_stride

    @property
    def _entry_bits(self) -> int:
        sign = self.encoding == "sign-magnitude"
        return self.word_bits * (1 + sign + (self.kneading_stride - 1).bit_length())

    def _words(self, p: GridPlan, operands: Operands) -> npt.NDArray[np.uint16]:
        if self.encoding == "sign-magnitude":
            return super()._words(p, operands)
        # Above the precision there are no columns: the sign is not extended.
        bricks = weight_bricks(p, operands.integer_weights).astype(np.int64)
        return words(bricks & ((1 << operands.weight_precision) - 1), p.weight_words, p.word_bits)

    def _entries(self, streams: npt.NDArray[np.uint16]) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
        from hwmodel.accelerators.engines.kneading import kneaded_costs

        costs, lengths = kneaded_costs(streams, self.kneading_stride, self.leaves_out_zeros)
        return costs if self.skip_zero_groups else np.maximum(costs, 1), lengths
