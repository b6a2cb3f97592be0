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

from hwmodel.evaluation import Setting, evaluate, task

found = evaluate(task("digits"), [Setting(rows=rows) for rows in (10, 8, 6, 5, 4, 3, 2)], resamples=200)

# %%
# The bars are 95 % intervals by the bootstrap. With 360 samples, one error is
# 0.28 points.

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for point in found.points:
    score = point.scores["top1"]
    cycles = point.machine.cycles
    error = [[100 * (score.value - score.low)], [100 * (score.high - score.value)]]
    ax.errorbar(cycles, 100 * score.value, yerr=error, fmt="o", color="tab:blue", capsize=3)
    label = "unpruned" if point.setting.rows is None else f"{point.setting.rows} rows"
    ax.annotate(
        label, (cycles, 100 * score.value), (0, 8), textcoords="offset points", rotation=60, fontsize=8
    )
ax.set_xlabel("cycles per image")
ax.set_ylabel("top-1 accuracy, %")
ax.set_title("Accuracy holds down to 4 rows")
ax.set_ylim(0, 122)
ax.margins(x=0.08)
ax.grid(alpha=0.3)
plt.show()
