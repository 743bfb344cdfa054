"""The table of an ablation, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evaluation.accuracy.flare22 import OrganScore
from evaluation.organs import ORGANS
from training.learning.validation import CaseScores, mean_by_label
from training.recipe import Recipe

ArmScores = dict[str, list[CaseScores]]
"""By arm, in the order of the columns: the scores of each seed."""


def table(arms: ArmScores, recipe: Recipe, seeds: Sequence[int], notes: Sequence[str]) -> str:
    """DSC and NSD by organ and arm: the mean over the cases, then mean ± standard deviation over the seeds."""
    how = recipe.run
    budget = f"{how.epochs} epochs of {how.steps_per_epoch} steps" if how.epochs else f"{how.minutes:g} minutes"
    cases = len(next(iter(arms.values()))[0])
    lines = [
        "# The effect of unlabelled cases",
        "",
        f"The {recipe.stage} stage, {budget} a run, batch {how.batch}, seeds {', '.join(map(str, seeds))}; {cases} "
        "cases scored, none of them trained on. Mean over the cases, then mean ± standard deviation over the seeds.",
        "",
        *(f"- {note}" for note in notes),
    ]
    for title, of in (("DSC", _dsc), ("NSD", _nsd)):
        lines += ["", f"## {title}", "", *_one(arms, recipe, of)]
    return "\n".join(lines) + "\n"


def _one(arms: ArmScores, recipe: Recipe, of: Callable[[OrganScore], float]) -> list[str]:
    lines = ["| organ | " + " | ".join(arms) + " |", "|---" * (len(arms) + 1) + "|"]
    by_arm = {arm: [_by_label(scores, of) for scores in by_seed] for arm, by_seed in arms.items()}
    labels = sorted({label for seeds in by_arm.values() for scores in seeds for label in scores})
    for label in labels:
        cells = [_cell([scores[label] for scores in seeds if label in scores]) for seeds in by_arm.values()]
        lines.append(f"| {_name(label, recipe)} | " + " | ".join(cells) + " |")
    means = [_cell([float(np.mean(list(scores.values()))) for scores in seeds]) for seeds in by_arm.values()]
    lines.append("| **mean** | " + " | ".join(means) + " |")
    return lines


def _by_label(scores: CaseScores, of: Callable[[OrganScore], float]) -> dict[int, float]:
    return {label: of(score) for label, score in mean_by_label(scores).items()}


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def _name(label: int, recipe: Recipe) -> str:
    return "organs" if recipe.stage == "coarse" else ORGANS[label - 1]


def _dsc(score: OrganScore) -> float:
    return score.dsc


def _nsd(score: OrganScore) -> float:
    return score.nsd
