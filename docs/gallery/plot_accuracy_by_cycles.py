"""
Accuracy against cycles
=======================

Top-1 accuracy of the sample network on 360 digits that it was not trained on,
and the cycles of BitX for one digit, for each number of kept rows.
"""

# %%
# ``evaluate`` prunes the model, runs it with ONNX Runtime, and simulates the
# accelerator with the same setting. The first point is the unpruned model.

import matplotlib.pyplot as plt

import hwmodel as hw
from hwmodel.evaluation import Setting, evaluate, task

found = evaluate(task("digits"), [Setting(rows=rows) for rows in (10, 8, 6, 5, 4, 3, 2)], resamples=200)

# %%
# The bars are 95 % intervals by the bootstrap. With 360 samples, one error is
# 0.28 points.

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
hw.plot.score_by_cycles(found, "top1", ax=ax)
plt.show()
