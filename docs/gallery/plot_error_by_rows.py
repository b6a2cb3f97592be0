"""
Error against kept rows
=======================

How far the weights of a network move when each group keeps N rows, by number
format. The error is the Euclidean norm of the change over that of the weights.
"""

# %%
# All tensors of the sample network that layers multiply by, as one vector.

import matplotlib.pyplot as plt
import numpy as np

import bitxcore as bx
from bitxcore.batch import Selection
from hwmodel.evaluation import task

with bx.open_dump(task("digits").model) as dump:
    tensors = [tensor.layout.turn(tensor.read()) for tensor in Selection().choose(dump).tensors]

# %%
# The fixed-point format rounds before it prunes. Its error therefore has a floor
# that more rows do not lower.

formats = {"float32": None, "16-bit fixed point": "fixed16", "8-bit fixed point": "fixed8"}
most_rows = {"float32": 12, "16-bit fixed point": 12, "8-bit fixed point": 7}
total = sum(float(np.sum(w.astype(float) ** 2)) for w in tensors)

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, number_format), marker in zip(formats.items(), "os^", strict=True):
    numbers = range(2, most_rows[name] + 1)
    errors = []
    for rows in numbers:
        moved = sum(
            float(np.sum((bx.prune(w, rows=rows, format=number_format).values.astype(float) - w) ** 2))
            for w in tensors
        )
        errors.append((moved / total) ** 0.5)
    ax.semilogy(numbers, errors, marker=marker, label=name)
ax.set_xlabel("rows kept per group of 8 weights")
ax.set_ylabel("relative error of the weights")
ax.set_title("Each two rows more divide the error by about four")
ax.grid(alpha=0.3)
ax.legend()
plt.show()
