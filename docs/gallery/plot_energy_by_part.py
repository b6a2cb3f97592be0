"""
Energy by part
==============

Where the energy of one image goes on BitX and on DaDianNao, by component, with
one of the three sets of published component costs.
"""

# %%
# ``energy_parts_j`` of a total has the joules of each component, DRAM among them.
# Parts with less than 1 % on both machines are left out of the picture.

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

shares = [{part: j / total.energy_j for part, j in total.energy_parts_j.items()} for total in totals]
parts = [
    part for part in dict.fromkeys(p for s in shares for p in s) if any(s.get(part, 0) > 0.01 for s in shares)
]
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
