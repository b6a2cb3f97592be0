"""
All machines side by side
=========================

Cycles of one network on every accelerator, at equal peak, clock and memory.
Weights and activations are drawn from named distributions.
"""

# %%
# ``compare`` scales each machine to the same peak. A machine that does not run
# every layer has no total and is left out of the picture.

import matplotlib.pyplot as plt

import hwmodel as hw

network = hw.load_network("resnet20-cifar10")
result = hw.compare(network, weights="normal", activations="relu-normal")
totals = sorted((t for t in result.run.totals if t.layers == len(network)), key=lambda t: t.cycles)

# %%
# The whole bar is the total. The dark part is what remains without waits for
# DRAM, which is where the machines differ most.

short = {row.label: row.accelerator for row in result.rows}
names = [short[total.accelerator] for total in totals]
figure, ax = plt.subplots(figsize=(7, 7), layout="constrained")
ax.barh(names, [total.cycles / 1000 for total in totals], color="lightsteelblue", label="waits for DRAM")
ax.barh(names, [total.on_chip_cycles / 1000 for total in totals], color="tab:blue", label="on the chip")
ax.invert_yaxis()
ax.set_xlabel("thousand cycles per image")
ax.set_title("ResNet-20, synthetic operands")
ax.tick_params(axis="y", labelsize=8)
ax.legend()
plt.show()
