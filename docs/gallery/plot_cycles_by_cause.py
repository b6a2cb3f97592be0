"""
Cycles by cause and layer
=========================

Each cycle of a simulated layer has one cause. On a small network the waits for
weights take most of them; they are what faster compute cannot remove.
"""

# %%
# The sample network on BitX, one image. Cycles of the causes add up to those of
# the layer.

import matplotlib.pyplot as plt

import hwmodel as hw
from hwmodel.evaluation import task

network = hw.load_network(task("digits").model, sizes={"N": 1})
rows = hw.simulate_network("bitx", network).of("bitx")

causes = {
    "compute": "compute_cycles",
    "lane wait": "lane_wait_cycles",
    "imbalance": "imbalance_cycles",
    "FIFO full": "fifo_full_cycles",
    "fill": "fill_cycles",
    "weight wait": "weight_wait_cycles",
    "activation wait": "activation_wait_cycles",
    "output wait": "output_wait_cycles",
}

# %%
# One bar per layer, from the input at the top to the output at the bottom.

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
left = [0] * len(rows)
for colour, (label, column) in zip(plt.get_cmap("tab10").colors, causes.items(), strict=False):
    cycles = [getattr(row, column) or 0 for row in rows]
    if any(cycles):
        ax.barh([row.layer for row in rows], cycles, left=left, label=label, color=colour)
    left = [a + b for a, b in zip(left, cycles, strict=True)]
assert left == [row.cycles for row in rows]
ax.invert_yaxis()
ax.set_xlabel("cycles")
ax.set_title("BitX, 6 rows, DDR4-2400")
ax.legend(fontsize=8)
plt.show()
