"""
Energy by part
==============

Where the energy of one image goes on BitX and on DaDianNao, by part of the
machine, with one of the three sets of published component costs. BitX takes the
weights as they are, in float32; DaDianNao takes them in 16 bits.
"""

# %%
# The network is small, so each weight is used a few times only. Its DRAM traffic
# costs more than computing with it.

import matplotlib.pyplot as plt

import hwmodel as hw
from hwmodel.evaluation import task

network = hw.load_network(task("digits").model, sizes={"N": 1})
result = hw.simulate_network(["bitx", "dadiannao"], network)

figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
hw.plot.energy_by_accelerator(result, ax=ax)
plt.show()

# %%
# The same by layer.

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
hw.plot.energy_by_layer(result, "bitx", ax=ax)
plt.show()
