"""Architecting Effectual Computation, for performance: no zero weights, bits kneaded.

H. Lu, M. Zhang, Y. Han, Q. Wang, H. Li, X. Li, "Architecting Effectual Computation for Machine Learning
Accelerators", TCAD 2020. Its abstract names two kinds of ineffectual work, weights of 0 and zero bits in
other weights, that are "addressed in tandem", and two designs. This is the one for high performance: Tetris
(`hwmodel.accelerators.tetris`) on the weights that are not 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwmodel.accelerators.families.sac import SAC_ASSUMPTIONS
from hwmodel.accelerators.tetris import Tetris

AEC_SOURCE = "Lu et al., Architecting Effectual Computation for Machine Learning Accelerators, TCAD 2020"


@dataclass(frozen=True, kw_only=True)
class AecKneading(Tetris):
    """SAC units that take one kneaded weight per lane and cycle, zero weights left out.

    Parameters
    ----------
    lanes, columns, rows, tiles, word_bits, fold_first_layer, barrier, fifo_depth, throttle_depth, dual_issue
        As in `SplitAccumulate`; the FIFO counts groups of weights that are not 0.
    kneading_stride : int
        KS: weights of a lane, zeros not counted, that are kneaded together.
    skip_zero_groups : bool
        Without effect unless a weight of more than `word_bits` has a word of zeros: no group is empty.
    encoding : {"sign-magnitude", "twos-complement"}
        As in `Tetris`.
    clock_hz, cost_basis, weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes
        As in `Accelerator`.
    """

    barrier: str = "round"
    dual_issue: bool = False

    leaves_out_zeros: ClassVar[bool] = True

    name: ClassVar[str] = "aec_kneading"
    title: ClassVar[str] = "Architecting Effectual Computation, TCAD 2020: no zero weights, kneaded bits"
    source: ClassVar[str] = AEC_SOURCE
    assumptions: ClassVar[tuple[str, ...]] = (
        "Guessed: weights of 0 are left out of each lane, then KS of the others are kneaded together, be they"
        " consecutive or not; such a group takes as many cycles as its fullest bit position has ones.",
        "Guessed: every lane fetches the activations of its own weights, at no cost, so the throttle buffer"
        " counts groups. A lane without weights takes no cycle.",
        "Groups form anew when a weight becomes 0, which can cost cycles; clearing bits that leaves"
        " every weight other than 0 never does.",
        "Guessed: SAC units wait for each other as before it was known how Tetris's do (barrier='round'), and"
        " take one weight at a time (dual_issue=False): this paper's text is not at hand.",
        "A kneaded weight's bit comes with a pointer of ceil(log2 KS) bits and the sign of its weight"
        " (encoding).",
        *SAC_ASSUMPTIONS,
    )
