"""Assumptions of BitX, shown beside results: from the paper, fitting its numbers, or chosen."""

from hwmodel.accelerators.bitx.selection import PACK_ZEROS_FROM

ASSUMPTIONS = (
    "[paper] A PE has one E-alignment, one Bit-Extraction and 16 CUs; a CU has M shifters, one adder tree,"
    " one register. A lane is serial over its own weight's kept ones; a group costs the most ones of its"
    " weights. [chosen] A group without ones costs a cycle.",
    "[fits] One group feeds the CUs of a PE at as many output positions (Figure 9 is the most ones of 8"
    " weights). cu_operands='weights' is the other reading: the CUs share out a filter's groups; each then"
    " has an E-alignment and an extraction of its own.",
    "[fits] The machine without pruning skips zero bits already. Beside it stand one that takes every bit"
    " of the format, and the unpruned one in fixed16. They keep the fills; zeros are not packed.",
    "[fits] Work is what balanced lanes would take: ones of a filter over the lanes of its PE; the longest"
    " filter of a tile counts. Figure 7 of the paper shows it; no machine reaches it.",
    "[chosen] lane_fifo_depth: a queue of d activations before each lane, and of as many weights before"
    " each selector, lets lanes run ahead. In a group without ones each lane spends the one cycle."
    " Extraction keeps up, also where lanes take more than one group per cycle.",
    "[chosen] C PEs share the activations of a filter tile through a FIFO of D groups. A filter tile never"
    " spans convolution groups, whose filters share no activations; depthwise layers therefore use one PE"
    " at a time.",
    "[chosen] Tiles run one after another; the FIFO is empty at the start of each. Bit-Extraction and"
    " E-align (ceil(log2 M) + 1 cycles each, E-align for floats only) fill the pipeline once for each half"
    " weight buffer of weights (fill='load'), or once per filter tile and position tile (fill='pass').",
    "[chosen] Packed zeros: each PE gets the activations of its own non-zero weights, and the FIFO counts"
    f" packed groups. This is the default from {PACK_ZEROS_FROM:.0%} zeros.",
    "[chosen] A pass (filter tile at a position tile) lasts until its PEs and its buffer ports are done."
    " Weights are read once per pass, activations once for all PEs. Outputs have the activations' width and"
    " leave from a second set of registers while the next pass runs; charged to their own pass.",
    "Each cycle has one cause, the first that applies: fill; compute, for as long as evenly shared work"
    " would last; waiting for the slowest lane of a PE; imbalance, while PEs behind an unbounded FIFO would"
    " be busy; the full FIFO; the weight, activation or output port.",
    "[chosen] Float activations are aligned to 16 bits by their group's largest exponent; a CU's register"
    " sums in fixed point over a filter, with a shift to each group's exponent before it; one conversion at"
    " the end.",
    "[chosen] Energy is components x events, the inventory of each block being ours; the datapath is built"
    " for floats, fixed point uses a part of it and gates E-alignment [paper]. The buffers' outer ports"
    " move what the DRAM moves.",
    "[chosen] Leakage of 10 mW/mm2, and half of a register's write energy to clock it each cycle.",
    "[chosen] serial='activations' treats what each position reads as a vector of its own: values that"
    " overlapping windows share are read, aligned and extracted again for each.",
    "[chosen] serial_unit='row', ours: a lane takes a whole kept row per cycle, so that one shifter serves"
    " all weights of the group; a group of r rows costs max(1, ceil(r / L)) cycles.",
    "Peak: a 16-bit multiply-accumulate is 16 ones of one weight.",
    "Transposed convolution scatters: every weight meets every input position.",
    "[chosen] weights_in_dram='packed' (beyond the paper): weights come pruned and packed from DRAM and"
    " are expanded on their way into the weight buffer, at no cost; with zeros packed away, one bit per"
    " weight says where.",
)
