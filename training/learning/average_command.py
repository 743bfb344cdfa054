"""``python -m training average``: one network from several runs that began with the same weights.

Runs that leave the same weights and end in the same valley differ by noise, which the mean of their weights has less of
(Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time", 2022). Runs from scratch have no common valley: their mean labels nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from training.errors import TrainingError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``average``."""
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="two or more run folders with equal networks")
    parser.add_argument("--to", metavar="RUN", type=Path, required=True, help="a new run folder, for `export`")


def average_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status.

    Raises ``TrainingError`` for fewer than two runs, one named twice, unlike networks, and a folder that is there.
    """
    from training.learning.checkpoint import WEIGHTS

    if len(options.runs) < 2:
        raise TrainingError("one run has no mean; name two or more")
    if (options.to / WEIGHTS).exists():
        raise TrainingError(f"{options.to} holds weights already; choose another folder")
    places = [run.resolve() for run in options.runs]
    twice = next((run for run, place in zip(options.runs, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise TrainingError(f"{twice} is named twice and would count twice; name each run once")
    average_runs(options.runs, options.to)
    print(f"{options.to}: the mean of {', '.join(map(str, options.runs))}")
    return 0


def average_runs(runs: Sequence[Path], to: Path) -> None:
    """Write ``to`` with the first run's recipe and the mean of all weights, BatchNorm's running statistics included.

    Raises ``TrainingError`` for runs whose networks see scans differently or have other shapes.
    """
    import torch

    from training.learning.checkpoint import load_trained, save_trained

    trained = [load_trained(run) for run in runs]
    first = trained[0]
    for run, other in zip(runs[1:], trained[1:], strict=True):
        ours, theirs = (
            (each.recipe.stage, each.recipe.network, each.recipe.grid, each.recipe.intensity) for each in (first, other)
        )
        if ours != theirs:
            raise TrainingError(f"{run} has another network, grid or window than {runs[0]}; average runs of one recipe")
    states = [each.network.state_dict() for each in trained]
    mean = {}
    for name, value in states[0].items():
        if value.is_floating_point():
            mean[name] = torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        else:  # BatchNorm counts its batches
            mean[name] = value
    first.network.load_state_dict(mean)
    save_trained(to, first.network, first.recipe)
