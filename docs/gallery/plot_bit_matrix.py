"""
Bits of a group of weights
==========================

The significands of eight weights of the sample network, aligned to the
largest exponent of the group. Pruning keeps six rows and clears all others.
"""

# %%
# ``bx.prune`` returns the kept rows of each group as a mask.

import matplotlib.pyplot as plt

import bitxcore as bx
from hwmodel.evaluation import task

with bx.open_dump(task("digits").model) as dump:
    weights = dump["stage1.block1.conv2.weight"].read()

# %%
# Row 0 holds the leading one of the largest weight. Most ones lie in the rows
# that are dropped, but each of them weighs less.

figure, ax = plt.subplots(figsize=(5, 6.4), layout="constrained")
bx.plot.bit_matrix(weights, group=74, rows=6, ax=ax)
plt.show()
