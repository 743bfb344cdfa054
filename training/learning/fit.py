"""The training loop: one stage, by a recipe, from whatever sources, on whatever machine.

Precision, devices and processes are Lightning Fabric's (``training.learning.learner``): under torchrun, or with several
devices, the same loop trains in parallel: processes share each batch, and a step is what it is with one.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from torch import nn

from training.errors import TrainingError
from training.learning.batches import Batch, SamplesError
from training.learning.checkpoint import (
    BEST,
    CHECKPOINT,
    RECIPE,
    Progress,
    check_beginning,
    check_resumable,
    content_of,
    replace_file,
    save_trained,
)
from training.learning.environment import ENVIRONMENT, describe
from training.learning.journal import Journal
from training.learning.learner import Learner, next_to_zero_is_zero
from training.learning.machine import Machine
from training.learning.plan import Pace, idle_gpus, plan
from training.learning.source import Source
from training.learning.stop import StopRequest, TrainingStoppedError, full_disk_told
from training.learning.validation import CaseScores, ValidationCase, mean_dsc
from training.learning.watch import Watch, is_of_connection
from training.recipe import Recipe, write_recipe

__all__ = ["Machine", "fit"]

_PICTURES = 10
"""A run shows about so many sample pictures."""


def fit(
    recipe: Recipe,
    run: Path,
    source: Source,
    validation: Sequence[ValidationCase] = (),
    machine: Machine | None = None,
    resume: bool = False,
    start_from: Path | None = None,
) -> CaseScores:
    """Train by ``recipe`` into the folder ``run``, and return the validation cases' scores at the end.

    ``resume`` goes on from the run's checkpoint if there is one, on the CPU to the very numbers of an uninterrupted
    run; ``start_from`` is a file of weights to begin with. Where the run has begun it is not read again and may be
    gone, but another file than the run began with is refused. Raises ``TrainingStoppedError`` after SIGTERM or Ctrl-C,
    once a checkpoint is written; ``TrainingError`` for a loss that is no number, a full disk, a folder that cannot be
    used, and ``CheckpointError`` for a run that was begun by another recipe or on other data.
    """
    begun = (run / CHECKPOINT).exists()
    if begun and not resume:
        raise TrainingError(f"{run} holds a run already; add --resume to go on with it, or choose another folder")
    if begun:
        check_resumable(run, recipe)
    machine = machine or Machine()
    fabric = machine.launch(recipe)
    learner = Learner(recipe, fabric, None if begun else start_from)
    with full_disk_told(run), next_to_zero_is_zero():
        progress = learner.restore(run, source) if begun else Progress(began_with=content_of(start_from))
        check_beginning(run, progress, start_from)
        if fabric.is_global_zero:
            run.mkdir(parents=True, exist_ok=True)
            replace_file(run / RECIPE, write_recipe(recipe).encode())
            replace_file(run / ENVIRONMENT, msgspec.json.encode(describe(fabric.world_size, learner.gpus_here)))
        together = Watch(fabric.global_rank, fabric.world_size)
        with together, Journal(run, recipe, progress.step, fabric.is_global_zero) as journal, StopRequest() as stop:
            journal.say(plan(recipe, learner, progress))
            if (idle := idle_gpus(recipe, machine, progress)) is not None:
                journal.say(idle)
            if learner.forms is not None:
                journal.say(f"{learner.precision}; convolutions as timed here: {learner.forms}")
            session = _Session(recipe, run, source, validation, learner, progress, journal, stop, together)
            session.spend_budget()
            return session.finish()


@dataclass(frozen=True)
class _Session:
    """One run, from where ``progress`` is."""

    recipe: Recipe
    run: Path
    source: Source
    validation: Sequence[ValidationCase]
    learner: Learner
    progress: Progress
    journal: Journal
    stop: StopRequest
    together: Watch

    def spend_budget(self) -> None:
        """Take steps until all of the budget, in steps or in time, is spent."""
        learner, progress, how = self.learner, self.progress, self.recipe.run
        if self._has_stopped_improving():
            return
        stream = learner.batches(self.source, first=progress.step * how.batch)
        self._may_be_kept()
        pace = Pace(progress.step)
        last = saved = time.monotonic()
        while (share := self._share_spent()) < 1:
            if self._validation_is_due():
                self._validate_on_the_way()
                last = time.monotonic()  # the budget is for learning
                if self._has_stopped_improving():
                    break
            if share >= self.recipe.schedule.freeze_norm_at and not progress.norms_are_frozen:
                with self._kept_if_another_is_gone():
                    learner.prepare_to_freeze(self.source)
                progress.norms_are_frozen = True
                last = time.monotonic()
            batch = self._next(stream)
            with self._kept_if_another_is_gone():
                loss = learner.gradients(batch, progress.step, share)
                now = time.monotonic()
                spent_s = progress.spent_s + now - last
                loss, stopping, spent_s = learner.all_reduce(loss, self.stop.requested, spent_s)
            last = now
            self._take_step(loss, share, spent_s)
            if (hours := pace.hours_left(progress.step, how.epochs * how.steps_per_epoch)) is not None:
                self.journal.say(f"{hours:.1f} hours to go at the pace of the first steps, scoring apart")
            if _crossed(share, self._share_spent(), _PICTURES) and learner.is_rank_zero:
                self.journal.picture("sample, label, network", progress.step, learner.picture(batch))
            self._keep_snapshots(share)
            self._may_be_kept()  # not before: whoever goes on after this step makes no snapshot of it
            if stopping or (learner.is_rank_zero and now - saved > how.checkpoint_every_s):
                self._save()
                saved = time.monotonic()
            if stopping:
                where = f"step {progress.step}, {self._share_spent():.0%} of the budget"
                raise TrainingStoppedError(f"stopped at {where}; go on with --resume", self.stop.signal_number)

    def _take_step(self, loss: float, share: float, spent_s: float) -> None:
        """The step and all that counts it: a checkpoint has seen both or neither."""
        with self.together.keeping:
            self.together.keep = None
            self.learner.update(loss, self.progress.step, self.run)
            self.progress.step += 1
            self.progress.spent_s = spent_s
            self._note(loss, share)

    def _may_be_kept(self) -> None:
        """The steps until here are whole: the first process writes them if it is ended because of another one."""
        self.together.keep = self._keep if self.learner.is_rank_zero else None

    def _keep(self) -> str:
        """Write them; what is to be said of it."""
        step = self.progress.step
        if not step:
            return "no step was taken: start again"
        try:
            with self.learner.beside_a_step():
                self.learner.save(self.run, self.source, self.progress)
        except (TrainingError, RuntimeError, OSError) as error:
            return f"no checkpoint of step {step} could be written ({error})"
        return f"a checkpoint of step {step} is written: go on with --resume"

    def _save(self) -> None:
        with self.together.keeping:
            self.learner.save(self.run, self.source, self.progress)

    @contextlib.contextmanager
    def _kept_if_another_is_gone(self) -> Iterator[None]:
        """A checkpoint of the steps before, where this one cannot be shared because a process of the run is gone."""
        try:
            yield
        except (RuntimeError, OSError) as error:
            if is_of_connection(error) and self.progress.step and self.learner.is_rank_zero:
                self._save()
                self.together.keep = None  # it is
                self.journal.say(f"another process is gone; a checkpoint of step {self.progress.step} is written")
            raise

    def _next(self, stream: Iterator[Batch]) -> Batch:
        """The next batch; if none comes any more, what was learned until here is kept: by the first process."""
        try:
            return next(stream)
        except SamplesError as error:
            if not self.learner.is_rank_zero:
                raise
            if not self.progress.step:
                raise SamplesError(f"{error}; no step was taken: start again") from error
            self._save()
            where = f"step {self.progress.step}"
            raise SamplesError(f"{error}; a checkpoint of {where} is written: go on with --resume") from error

    def finish(self) -> CaseScores:
        """Write the weights that the run ends with, then score them."""
        learner, progress = self.learner, self.progress
        self._save()
        exported = learner.export_network(self.source)
        if learner.is_rank_zero:
            save_trained(self.run, exported, self.recipe)
        scores = learner.validate(exported, self.validation, self.stop)
        self.journal.validation(progress.step, scores, final=True)
        if progress.best_step:
            self._keep_best(exported, scores)
            self._save()
            best = f"{self.run / BEST} of step {progress.best_step}, mean DSC {progress.best_dsc:.4f}"
            self.journal.say(f"best weights: {best}; {self.run} itself holds the last ones: export either")
        self.journal.say(f"{self.run}: finished after {progress.step} steps, {progress.spent_s / 60:.1f} minutes")
        return scores

    def _share_spent(self) -> float:
        how = self.recipe.run
        if how.epochs:
            return self.progress.step / (how.epochs * how.steps_per_epoch)
        return self.progress.spent_s / (how.minutes * 60)

    def _note(self, loss: float, share: float) -> None:
        progress = self.progress
        progress.epoch_losses.append(loss)
        self.journal.step(progress.step, share, loss)
        if progress.step % self.recipe.run.steps_per_epoch == 0:
            mean = sum(progress.epoch_losses) / len(progress.epoch_losses)
            self.journal.epoch(progress.step, progress.spent_s, mean, self.learner.rate)
            progress.epoch_losses.clear()

    def _keep_snapshots(self, before: float) -> None:
        """Weights on the way, in folders that can be exported: teachers may be asked to agree."""
        for at in self.recipe.run.snapshots_at:
            if before < at <= self._share_spent():
                exported = self.learner.export_network(self.source)
                if self.learner.is_rank_zero:
                    save_trained(self.run / f"snapshot-{round(100 * at)}", exported, self.recipe)

    def _keep_best(self, exported: nn.Module, scores: CaseScores) -> None:
        """Weights with a higher mean DSC than all before, in a folder that can be exported."""
        progress = self.progress
        # rank zero alone has scores
        if scores and (not progress.best_step or mean_dsc(scores) > progress.best_dsc):
            save_trained(self.run / BEST, exported, self.recipe)
            with self.together.keeping:
                progress.best_dsc, progress.best_step = mean_dsc(scores), progress.step

    def _has_stopped_improving(self) -> bool:
        """Whether the recipe's patience is at an end; all processes hear of it from rank zero."""
        how, progress = self.recipe.run, self.progress
        if not how.patience:
            return False
        waited = (progress.step - progress.best_step) // (how.validate_every_epochs * how.steps_per_epoch)
        is_over = self.learner.is_rank_zero and progress.best_step > 0 and waited >= how.patience
        _, is_over, _ = self.learner.all_reduce(0.0, is_over, 0.0)
        if is_over:
            self.journal.say(f"no better mean DSC than {progress.best_dsc:.4f} since step {progress.best_step}: enough")
        return is_over

    def _validation_is_due(self) -> bool:
        every = self.recipe.run.validate_every_epochs * self.recipe.run.steps_per_epoch
        return every > 0 and self.progress.step % every == 0 and self.progress.step > self.progress.validated_step

    def _validate_on_the_way(self) -> None:
        """A checkpoint before and after, so that a stop neither skips nor repeats it."""
        learner, progress = self.learner, self.progress
        self._save()
        if self.validation:
            exported = learner.export_network(self.source)
            scores = learner.validate(exported, self.validation, self.stop)
            self.journal.validation(progress.step, scores, final=False)
            self._keep_best(exported, scores)
        progress.validated_step = progress.step
        self._save()


def _crossed(before: float, after: float, parts: int) -> bool:
    return before == 0 or math.floor(before * parts) != math.floor(after * parts)
