"""
Error against kept rows
=======================

How far weights move when each group keeps N rows. The error is the Euclidean
norm of the change over that of the weights.
"""

# %%
# A tensor of the sample network.

import matplotlib.pyplot as plt

import bitxcore as bx
from hwmodel.evaluation import task

with bx.open_dump(task("digits").model) as dump:
    weights = dump["stage3.block1.conv2.weight"].read()

# %%
# Each two rows more divide the error by about four.

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
bx.plot.error_by_rows(weights, ax=ax)
plt.show()

# %%
# In 8-bit fixed point, rounding to eight bits comes first. Its error is a floor
# that more rows do not lower.

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
bx.plot.error_by_rows(weights, range(1, 8), format="fixed8", ax=ax)
plt.show()
