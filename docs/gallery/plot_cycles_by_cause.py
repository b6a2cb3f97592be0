"""
Cycles by cause and layer
=========================

Each cycle of a simulated layer has one cause. On a small network the waits for
weights take most of them; they are what faster compute cannot remove.
"""

# %%
# The sample network on BitX, one image.

import matplotlib.pyplot as plt

import hwmodel as hw
from hwmodel.evaluation import task

network = hw.load_network(task("digits").model, sizes={"N": 1})
result = hw.simulate_network("bitx", network)

# %%
# One bar per layer, from the input at the top to the output at the bottom. The
# cycles of the causes add up to those of the layer.

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
hw.plot.cycles_by_layer(result, "bitx", ax=ax)
plt.show()

# %%
# The numbers are in a data frame, too.

frame = result.to_pandas()
print(frame[["layer", "cycles", "weight_wait_cycles", "bound_by"]].to_string(index=False))
