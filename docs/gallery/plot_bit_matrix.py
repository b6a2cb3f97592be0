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
# The first row holds the leading one of the largest weight. The significance of a
# row is its power of two times the square root of its number of ones. So a row
# with many ones is kept before a higher one with few.

figure, ax = plt.subplots(figsize=(5, 6.4), layout="constrained")
bx.plot.bit_matrix(weights, group=74, rows=6, ax=ax)
plt.show()
