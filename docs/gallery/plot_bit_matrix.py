"""
Bits of a group of weights
==========================

The significands of eight weights of the sample network, aligned to the
largest exponent of the group. Pruning keeps six rows and clears all others.
"""

# %%
# ``bx.prune`` returns the kept rows as one mask per group. Its highest bit is the
# most significant row.

import matplotlib.pyplot as plt
import numpy as np

import bitxcore as bx
from hwmodel.evaluation import task

with bx.open_dump(task("digits").model) as dump:
    weights = dump["stage1.block1.conv2.weight"].read()

group = weights.reshape(-1, 8)[74]
pruned = bx.prune(group, rows=6)
window = pruned.window
mask = int(pruned.row_masks.item())

# %%
# Row 0 holds the leading one of the largest weight. The significand of each other
# weight is shifted right by the difference of the exponents.

parts = bx.decompose(group)
emax = int(parts.exponent.max())
width = bx.number_format("float32").significand_bits
rows = np.arange(window)[:, None]
position = rows - (emax - parts.exponent.astype(int))  # bit of the weight, from its leading one
shift = np.clip(width - 1 - position, 0, width - 1).astype(np.uint64)
inside = (position >= 0) & (position < width)
bits = np.where(inside, (parts.significand.astype(np.uint64) >> shift) & np.uint64(1), 0)
kept = np.array([mask >> (window - 1 - row) & 1 for row in range(window)], bool)

# %%
# The kept ones (dark) lie in rows near the top. Dropped ones (light) are more, but
# each weighs less.

shown = bits * np.where(kept, 2, 1)[:, None]
figure, ax = plt.subplots(figsize=(4.2, 6.4), layout="constrained")
ax.imshow(shown, cmap="Blues", vmin=0, vmax=2.6, aspect="auto", interpolation="nearest")
ax.set_xticks(range(8), [f"{weight:+.3f}" for weight in group], rotation=60, fontsize=8)
ax.set_yticks(range(0, window, 4), [f"$2^{{{emax - 127 - row}}}$" for row in range(0, window, 4)])
ax.set_xlabel("weight")
ax.set_ylabel("value of a one in the row")
ax.set_title(f"{int(bits[kept].sum())} of {int(bits.sum())} ones are kept")
plt.show()
