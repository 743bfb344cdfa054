"""``python -m training curve``: the loss of several runs after each other, and the scores reached on the way."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import numpy as np

from training.errors import TrainingError
from training.learning.run_files import read_log

RUNS = "runs.json"
_SMOOTHED = 5


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run: its stage, its log, how many samples were seen before it, and how many it sees a step."""

    stage: str
    log: str
    seen_before: int
    samples_per_step: int


class Story(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``runs.json``: the runs, and by case the (fine samples seen, mean DSC) that were measured."""

    runs: list[Run]
    mean_dsc: dict[str, list[tuple[int, float]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``curve``."""
    parser.add_argument("logs", metavar="LOGS", type=Path, help=f"a folder with {RUNS} and the logs that it names")
    parser.add_argument("--to", metavar="PNG", type=Path, required=True)


def curve(options: argparse.Namespace) -> int:
    """Draw the picture; returns the exit status. Raises ``TrainingError`` for what is missing or malformed."""
    try:
        story = msgspec.json.decode((options.logs / RUNS).read_bytes(), type=Story)
        losses = [loss_by_samples(run, options.logs) for run in story.runs]
    except (OSError, msgspec.DecodeError) as error:
        raise TrainingError(f"{options.logs}: {error}; see training/reports/curve.py for what {RUNS} holds") from error
    from evaluation.figure import as_png, colour_of, new_figure

    figure = new_figure(10, 3.6)
    left, right = figure.subplots(1, 2)
    stages = sorted({run.stage for run in story.runs})
    named: set[str] = set()
    for run, (samples, loss) in zip(story.runs, losses, strict=True):
        colour = colour_of(run.stage, stages)
        left.plot(samples, loss, color=colour, alpha=0.3, linewidth=0.8)
        label = None if run.stage in named else run.stage
        left.plot(samples, _smoothed(loss), color=colour, label=label)
        named.add(run.stage)
    left.set_xlabel("samples seen by that stage")
    left.set_ylabel(f"loss (thick: mean of {_SMOOTHED} epochs)")
    left.set_ylim(bottom=0)
    for case, points in story.mean_dsc.items():
        right.plot(*zip(*points, strict=True), marker="o", label=case, color=colour_of(case, list(story.mean_dsc)))
    right.set_xlabel("samples seen by the fine stage")
    right.set_ylabel("mean DSC")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    options.to.write_bytes(as_png(figure))
    return 0


def loss_by_samples(run: Run, folder: Path) -> tuple[list[int], list[float]]:
    """The samples that the stage has seen at the end of each epoch of ``run``, and the epoch's mean loss."""
    rows = [row for row in read_log(folder / run.log) if "loss" in row]
    samples = [run.seen_before + run.samples_per_step * int(str(row["step"])) for row in rows]
    return samples, [float(str(row["loss"])) for row in rows]


def _smoothed(loss: list[float]) -> list[float]:
    half = _SMOOTHED // 2
    return [float(np.mean(loss[max(0, at - half) : at + half + 1])) for at in range(len(loss))]
