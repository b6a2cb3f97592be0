"""
Rooflines
=========

What bounds each layer: the peak of the machine, or the bandwidth of its DRAM.
"""

# %%
# Each point is a layer: MACs per byte of DRAM traffic, and MACs per second.

import matplotlib.pyplot as plt

import hwmodel as hw

result = hw.simulate_network(["bitx", "dadiannao"], "resnet20-cifar10", weights="normal")

for accelerator in ("bitx", "dadiannao"):
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    hw.plot.roofline(result, accelerator, ax=ax)
    plt.show()
