"""The picture of an ablation: each arm's mean DSC, the spread of its seeds, and every seed."""

from __future__ import annotations

import numpy as np

from evaluation.figure import as_png, new_figure
from training.learning.validation import mean_dsc
from training.reports.ablation_table import ArmScores


def draw(arms: ArmScores) -> bytes:
    """A PNG: a bar an arm, mean ± standard deviation over the seeds, and a dot a seed."""
    figure = new_figure(8, 0.6 + 0.45 * len(arms))
    axes = figure.subplots()
    rows = np.arange(len(arms))[::-1]
    by_arm = [[mean_dsc(scores) for scores in seeds] for seeds in arms.values()]
    spread = [float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for values in by_arm]
    axes.barh(rows, [float(np.mean(values)) for values in by_arm], xerr=spread, color="lightsteelblue", capsize=4)
    for row, values in zip(rows, by_arm, strict=True):
        axes.plot(values, [row] * len(values), "o", color="black", markersize=4)
    axes.set_yticks(rows, list(arms))
    axes.set_xlabel("mean DSC (bar: mean over the seeds ± standard deviation; dot: a seed)")
    axes.grid(axis="x", alpha=0.3)
    return as_png(figure)
