"""What learns: the network, its average and its optimiser, on whatever devices and processes there are."""

from __future__ import annotations

import copy
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from training.arrays import Rgb
from training.errors import TrainingError
from training.learning import norms
from training.learning.batches import RECALIBRATION, Batch, batches
from training.learning.checkpoint import (
    CHECKPOINT,
    Progress,
    build_network,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from training.learning.energy import Meter
from training.learning.machine import computed_in, share_of_batch
from training.learning.objective import Scorer, batch_loss
from training.learning.optimiser import Averaged, build_optimiser, learning_rate
from training.learning.source import Source
from training.learning.stop import StopRequest, TrainingStoppedError
from training.learning.validation import CaseScores, ValidationCase, validate
from training.network.attention_dmfnet import AttentionDMFNet, use_cpu_kernels
from training.network.forms import Choice, pick_forms, seconds_on_gpu
from training.pictures import fullest_slice, row_of, slice_with_labels
from training.recipe import Recipe


@contextmanager
def next_to_zero_is_zero() -> Iterator[None]:
    """Take denormal numbers for zero: they slow a CPU down many times, and gradients of sure voxels are of their kind.

    A setting of the thread and those that it starts; afterwards it is torch's usual one.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


_SMALLEST_SCALE = 2.0**-10
"""Of the loss in float16: where gradients overflow even then, they are no numbers at all."""


class Learner:
    """The network, its average and its optimiser, on the devices that Fabric found."""

    def __init__(self, recipe: Recipe, fabric: Fabric, start_from: Path | None) -> None:
        self.recipe, self.fabric = recipe, fabric
        self.processes, self.is_rank_zero = fabric.world_size, fabric.is_global_zero
        self.batch_each = share_of_batch(recipe.run.batch, self.processes)
        self.rate = 0.0
        torch.manual_seed(recipe.run.seed)
        network: nn.Module = build_network(recipe)
        if start_from is not None:
            load_weights(network, start_from)
        on_cpu = fabric.device.type == "cpu"
        # before processes wait for each other in it: they may find other times
        self.forms = _pick_forms(network, recipe, fabric, self.batch_each)
        if self.processes > 1 and recipe.run.shared_norms:
            network = norms.synchronise(network, on_cpu)
        if self.forms is None:
            network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if on_cpu:
            # in float32 the groups themselves are as fast or faster (docs/decisions/0005-how-a-cpu-trains.md); 1x1x1
            # has none and stays dense
            use_cpu_kernels(network, on=True, dense_up_to=64 if recipe.run.precision == "bfloat16" else 0)
        self.averaged = Averaged(network, recipe.run.ema)
        self.averaged.network.to(fabric.device)
        self._wrapped, self._optimiser = fabric.setup(network, build_optimiser(network, recipe.optimiser))
        self.network = cast(AttentionDMFNet, self._wrapped.module)
        self.network.train()
        self._meter = Meter(fabric.device, self.processes_here)
        on_gpu = fabric.device.type == "cuda"
        self._step_done = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]

    @property
    def processes_here(self) -> int:
        """Processes of the run on this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.processes))

    @property
    def gpus_here(self) -> int:
        """GPUs of this machine that the run uses: one a process."""
        return self.processes_here if self.fabric.device.type == "cuda" else 0

    @property
    def precision(self) -> str:
        """What the network computes in, for the person who watches."""
        scaled = ", loss scaled" if self._scaler is not None else ""
        return f"{computed_in(self.recipe.run.precision, self.fabric.device.type == 'cuda')}{scaled}"

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        """What keeps small gradients from vanishing in float16; None in other precisions."""
        scaler: torch.amp.GradScaler | None = getattr(self.fabric.strategy.precision, "scaler", None)
        return scaler

    def restore(self, run: Path, source: Source) -> Progress:
        """Go on from the run's checkpoint."""
        optimiser = cast(torch.optim.Optimizer, self._optimiser.optimizer)
        progress = load_checkpoint(run, self.network, self.averaged.network, optimiser, source.fingerprint)
        if self._scaler is not None and progress.loss_scale:
            self._scaler.load_state_dict(self._scaler.state_dict() | {"scale": progress.loss_scale})
        return progress

    def batches(self, source: Source, first: int) -> Iterator[Batch]:
        """This process's batches from the run's sample ``first`` on, on its device."""
        for batch in batches(source, self.recipe, first, self.fabric.global_rank, self.processes):
            yield batch.to(self.fabric.device)

    def gradients(self, batch: Batch, step: int, share: float) -> float:
        """Compute the loss of ``batch`` and the gradients, summed up over all processes."""
        if share >= self.recipe.schedule.freeze_norm_at:
            norms.freeze(self.network)
        self.rate = learning_rate(self.recipe, step, share)
        for group in self._optimiser.param_groups:
            group["lr"] = self.rate
        loss = batch_loss(cast(Scorer, self._wrapped), self._laid_out(batch), self.recipe.loss)
        self._optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        return loss.item()

    def all_reduce(self, loss: float, stop: bool, spent_s: float) -> tuple[float, bool, float]:
        """The processes' mean loss, whether any is to stop, and rank zero's clock: all must turn back together."""
        if self.processes == 1:
            return loss, stop, spent_s
        mine = [loss, float(stop), spent_s if self.fabric.is_global_zero else 0.0]
        total = cast(Tensor, self.fabric.all_reduce(torch.tensor(mine, device=self.fabric.device), reduce_op="sum"))
        loss_sum, stops, rank_zero_spent_s = total.tolist()
        return loss_sum / self.processes, stops > 0, rank_zero_spent_s

    def update(self, loss: float, step: int, run: Path) -> None:
        """Take the step, unless the loss or the gradient has become infinite or no number."""
        norm = self._clip(self.recipe.optimiser.clip_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = f"loss became {loss}" if not math.isfinite(loss) else f"gradient's norm became {norm}"
            raise TrainingError(f"the {what} at step {step + 1}; {_good_checkpoint(run)}; try a lower learning rate")
        self._optimiser.step()
        self.averaged.follow(self.network, step)
        if self._step_done is not None:
            self._step_done.record()

    def _clip(self, largest: float) -> float:
        """Clip the gradient to the norm ``largest`` (0: not), and return the norm it had, 0 if nobody looked.

        In float16 a gradient that overflows is the scaler's matter: it leaves the step out and scales less.
        """
        if self._scaler is None:
            return float(nn.utils.clip_grad_norm_(self.network.parameters(), largest)) if largest else 0.0
        if largest:
            self.fabric.clip_gradients(self._wrapped, self._optimiser, max_norm=largest, error_if_nonfinite=False)
        return 0.0 if self._scaler.get_scale() > _SMALLEST_SCALE else math.inf

    def save(self, run: Path, source: Source, progress: Progress) -> None:
        """Replace the checkpoint, unless the weights are infinite or no numbers: then the last good one stays."""
        if not self.is_rank_zero:
            return
        # on the CPU: a GPU that waits for a lost process may not begin anything new (``beside_a_step``)
        if not all(bool(parameter.detach().cpu().isfinite().all()) for parameter in self.network.parameters()):
            raise TrainingError(
                f"the weights became infinite by step {progress.step}; {_good_checkpoint(run)}; "
                "try a lower learning rate"
            )
        self._meter.add_to(progress)
        progress.loss_scale = 0.0 if self._scaler is None else self._scaler.get_scale()
        optimiser = cast(torch.optim.Optimizer, self._optimiser.optimizer)
        save_checkpoint(run, self.network, self.averaged.network, optimiser, progress, source.fingerprint)

    @contextmanager
    def beside_a_step(self) -> Iterator[None]:
        """Where another thread may ``save`` the last whole step while the next one waits for other processes."""
        if self._step_done is None:
            yield
            return
        # the device's usual stream waits as well; this one does so only for the step that is done
        stream = torch.cuda.Stream(self.fabric.device)  # type: ignore[no-untyped-call]
        stream.wait_event(self._step_done)
        with torch.cuda.stream(stream):
            yield

    def export_network(self, source: Source) -> nn.Module:
        """The averaged network as it would be exported: with BatchNorm statistics of its own."""
        network = copy.deepcopy(self.averaged.network)
        self._recalibrate(network, source, self.recipe.schedule.recalibrate_samples)
        return network.eval()

    def _laid_out(self, batch: Batch) -> Batch:
        """``batch`` in the order in which the network computes."""
        return replace(batch, images=batch.images.to(memory_format=self.network.layout or torch.channels_last_3d))

    def prepare_to_freeze(self, source: Source) -> None:
        """Give BatchNorm the statistics of the weights as they are now; it is about to keep them."""
        self._recalibrate(self.network, source, self.recipe.schedule.freeze_samples)
        self.network.train()
        self.averaged.share_buffers(self.network)

    def _recalibrate(self, network: nn.Module, source: Source, samples: int) -> None:
        count = math.ceil(samples / self.recipe.run.batch)
        if count:
            images = (self._laid_out(batch).images for batch in self.batches(source, RECALIBRATION))
            norms.recalibrate(network, itertools.islice(images, count), self.fabric.autocast)

    def validate(self, network: nn.Module, cases: Sequence[ValidationCase], stop: StopRequest) -> CaseScores:
        """The scores of a network from ``export_network``; only rank zero scores, the others get none.

        Raises ``TrainingStoppedError`` if any process was asked to stop meanwhile.
        """
        scores: CaseScores = {}
        if not cases:
            return scores
        if self.is_rank_zero:
            with self.fabric.autocast():
                scores = validate(network, self.recipe, cases, self.fabric.device, lambda: stop.requested)
        if self.all_reduce(0.0, stop.requested, 0.0)[1]:
            raise TrainingStoppedError("stopped while cases were being scored; go on with --resume", stop.signal_number)
        return scores

    @torch.no_grad()
    def picture(self, batch: Batch) -> Rgb:
        """The first sample's fullest slice: as it is, with its labels, and with the network's."""
        how = self.recipe.intensity
        with self.fabric.autocast():
            found = self.averaged.network(batch.images[:1])[0].argmax(0).cpu().numpy().astype("uint8")
        hu = (batch.images[0, 0] * how.std_hu + how.mean_hu).cpu().numpy()
        labels = batch.labels[0].cpu().numpy()
        z = fullest_slice(labels)
        return row_of([slice_with_labels(hu[z], over) for over in (labels[z] * 0, labels[z], found[z])])


def _pick_forms(network: nn.Module, recipe: Recipe, fabric: Fabric, batch_each: int) -> Choice | None:
    """Time the forms of the network's convolutions on the GPU at hand, and let it run in the fastest.

    None on a CPU, and where the recipe wants none timed: they stay in their groups.
    """
    if fabric.device.type != "cuda":
        return None
    torch.backends.cudnn.benchmark = True  # every step has the same shapes
    network.to(fabric.device)
    if not recipe.run.time_forms:
        return None
    images = torch.ones(batch_each, 1, *recipe.grid.tile_zyx, device=fabric.device)
    choice = pick_forms(cast(AttentionDMFNet, network), images, fabric.autocast, seconds_on_gpu)
    choice.put(cast(AttentionDMFNet, network))
    return choice


def _good_checkpoint(run: Path) -> str:
    if (run / CHECKPOINT).exists():
        return f"{run / CHECKPOINT} is from before and still good"
    return "there is no checkpoint yet"
