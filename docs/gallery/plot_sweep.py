"""
The space of a sweep
====================

Cycles, energy and area of BitX over three of its options.
"""

# %%
# 36 points. Each line is one of them; its colour is its cycles.

import matplotlib.pyplot as plt

import hwmodel as hw
from hwmodel.evaluation import task

space = {"rows": [3, 4, 6, 8], "lane_fifo_depth": [0, 1, 4], "processing_elements": [256, 512, 1024]}
network = hw.load_network(task("digits").model, sizes={"N": 1})
found = hw.sweep(network, space, jobs=1)

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
hw.plot.sweep_coordinates(found, ax=ax)
plt.show()

# %%
# Points on the Pareto front are no worse than any other in all of cycles, energy
# and area.

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
hw.plot.sweep_area(found, ax=ax)
plt.show()
