"""What a run says about itself beforehand: devices, samples, and the hours that they take."""

from __future__ import annotations

import time

from training.learning.checkpoint import Progress
from training.learning.learner import Learner
from training.learning.machine import Machine, multiple_of
from training.recipe import Recipe


class Pace:
    """How long the rest of a run takes, once a few steps are timed; the very first wait for workers and algorithms."""

    _FROM, _TO = 10, 40

    def __init__(self, first: int) -> None:
        self._first, self._start = first, 0.0

    def hours_left(self, step: int, steps: int) -> float | None:
        """Said once, of a budget in ``steps`` (0: the budget is time); else None."""
        if step - self._first == self._FROM:
            self._start = time.monotonic()
        if step - self._first != self._TO or not steps:
            return None
        return (time.monotonic() - self._start) / (self._TO - self._FROM) * (steps - step) / 3600


def plan(recipe: Recipe, learner: Learner, progress: Progress) -> str:
    """The line that a run begins with: devices, the batch of each, steps and samples an epoch and in all."""
    how = recipe.run
    devices = f"{learner.processes} {learner.fabric.device.type} device{'s' * (learner.processes > 1)}"
    epoch = f"{how.steps_per_epoch} steps ({how.steps_per_epoch * how.batch} samples) an epoch"
    steps = how.epochs * how.steps_per_epoch
    budget = f"{how.epochs} epochs ({steps * how.batch} samples)" if how.epochs else f"{how.minutes:g} minutes"
    after = f", from step {progress.step} on" if progress.step else ""
    each = f" ({learner.batch_each} each)" if learner.processes > 1 else ""
    return f"{devices}, batch {how.batch}{each}; {epoch}, {budget}{after}"


def idle_gpus(recipe: Recipe, machine: Machine, progress: Progress) -> str | None:
    """The line for GPUs that a run leaves alone, as they cannot share its batch evenly; None if it leaves none."""
    batch = recipe.run.batch
    used, there = machine.gpus(batch) or (0, 0)
    if used == there:
        return None
    # a run that goes on keeps its batch
    more = "" if progress.step else f"; --set run.batch={multiple_of(there, batch)} uses all"
    return f"{used} of {there} GPUs: a batch of {batch} is shared evenly{more}"
