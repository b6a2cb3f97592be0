"""
All machines side by side
=========================

Cycles of one network on every accelerator, at equal peak, clock and memory.
Weights and activations are drawn from named distributions.
"""

# %%
# ``compare`` scales each machine to the same peak. Machines that run only some of
# the layers stand last.

import matplotlib.pyplot as plt

import hwmodel as hw

network = hw.load_network("resnet20-cifar10")
result = hw.compare(network, weights="normal", activations="relu-normal")

# %%
# Each bar is divided by the cause of the cycles.

figure, ax = plt.subplots(figsize=(7, 6.5), layout="constrained")
hw.plot.cycles_by_accelerator(result, ax=ax)
plt.show()

# %%
# The same as speed-ups over DaDianNao, with the waits for DRAM and without.

figure, ax = plt.subplots(figsize=(7, 6.5), layout="constrained")
hw.plot.speedup_over_baseline(result, ax=ax)
plt.show()
