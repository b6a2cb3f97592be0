"""
Energy by part
==============

Where the energy of one image goes on BitX and on DaDianNao, by component, with
one of the three sets of published component costs.
"""

# %%
# ``energy_parts_j`` of a total has the joules of each component, DRAM among them.

import matplotlib.pyplot as plt

import hwmodel as hw
from hwmodel.evaluation import task

network = hw.load_network(task("digits").model, sizes={"N": 1})
totals = hw.simulate_network(["bitx", "dadiannao"], network).totals
for total in totals:
    assert abs(sum(total.energy_parts_j.values()) - total.energy_j) < 1e-12

# %%
# The network is small, so that each weight is used a few times only. Its DRAM
# traffic costs more than computing with it.

parts = dict.fromkeys(name for total in totals for name in total.energy_parts_j)
figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
for place, total in enumerate(totals):
    values = [1e6 * total.energy_parts_j.get(part, 0) for part in parts]
    positions = [i + 0.4 * place for i in range(len(parts))]
    ax.barh(positions, values, height=0.38, label=total.accelerator)
ax.set_yticks([i + 0.2 for i in range(len(parts))], [part.replace("_", " ") for part in parts])
ax.invert_yaxis()
ax.set_xlabel("energy per image, µJ")
ax.set_title("Costs of components by Aladdin, 16-bit words")
ax.legend()
plt.show()
