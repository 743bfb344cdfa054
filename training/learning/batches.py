"""Samples in batches, drawn ahead by worker processes.

Sample n of a run depends on the seed and n alone, whichever process draws it: a run can go on where it stopped, and two
processes, which share each batch, see together what one sees alone.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from attention_dmfnet.steps.intensity import normalise
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from training.errors import TrainingError
from training.learning.source import Sample, Source
from training.recipe import Intensity, Recipe

RECALIBRATION = 10**12
"""Samples from this number on are drawn for BatchNorm's final statistics, never for training."""


@dataclass(frozen=True)
class Batch:
    """Normalised ``images`` (b, 1, z, y, x), ``labels`` (b, z, y, x) uint8, and what is known of each case."""

    images: Tensor
    labels: Tensor
    annotated: tuple[frozenset[int] | None, ...]
    is_pseudo: tuple[bool, ...]
    weights: tuple[float, ...]

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from where a GPU fetches it while it computes: the loader asks."""
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        images, labels = (each.to(device, non_blocking=True) for each in (self.images, self.labels))
        return replace(self, images=images, labels=labels)


def batches(source: Source, recipe: Recipe, first: int, rank: int, processes: int) -> Iterator[Batch]:
    """This process's batches of an endless run, from sample ``first`` of the whole run on.

    Of each step's samples, the recipe's ``batch``, process ``rank`` takes an even share.
    """
    each = recipe.run.batch // processes
    numbers = _BatchNumbers(first + rank * each, each, recipe.run.batch)
    workers = recipe.sampling.workers
    loader: DataLoader[Sample] = DataLoader(
        _Drawn(source, recipe.run.seed),
        batch_sampler=numbers,
        num_workers=workers,
        collate_fn=_Collate(recipe.intensity),
        worker_init_fn=_begin_worker,
        prefetch_factor=3 if workers else None,
        pin_memory=torch.cuda.is_available(),
        # its own, as the loader draws a number from it: the run's generator must not notice how often it was resumed
        generator=torch.Generator(),
    )
    return _told(loader)


class SamplesError(TrainingError):
    """Samples that no longer come, though neither the data nor the run is to blame: why, and what to do."""


def _told(loader: DataLoader[Sample]) -> Iterator[Batch]:
    """The loader's batches. Raises ``SamplesError`` where torch has pages of words."""
    workers: Sequence[Any] = ()
    try:
        with _child_signal_kept():
            samples: Any = iter(loader)
        workers = getattr(samples, "_workers", ())
        with _killed_at_exit(workers):
            yield from samples
    except (RuntimeError, OSError) as error:
        text = str(error)
        if "DataLoader worker" in text and "unexpectedly" in text:
            # a full /dev/shm ends a worker that writes to it by this signal
            if any(worker.exitcode == -signal.SIGBUS for worker in workers):
                raise SamplesError(_SHARED_MEMORY_FULL) from error
            raise SamplesError(
                "a data worker was killed, most likely for want of memory; use fewer of them, each holds a body or a "
                "case: --set sampling.workers=1, or 0 for none"
            ) from error
        if "No space left" in text or "shared memory" in text:
            raise SamplesError(_SHARED_MEMORY_FULL) from error
        raise


@contextlib.contextmanager
def _killed_at_exit(workers: Sequence[Any]) -> Iterator[None]:
    """An error on the way out may keep the loader until Python ends.

    Then Python asks the workers to end, by the very signal that they ignore, and waits.
    """

    def kill() -> None:
        for worker in workers:
            worker.kill()

    atexit.register(kill)
    try:
        yield
    finally:
        atexit.unregister(kill)


@contextlib.contextmanager
def _child_signal_kept() -> Iterator[None]:
    """Without torch's answer to the end of a worker: an error amid whatever is being done, half an update say.

    The loader notices as well when it waits for the worker's next batch.
    """
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before)


_SHARED_MEMORY_FULL = (
    "/dev/shm, through which data workers hand over their samples, is full; give it more room (docker run --shm-size "
    "2g), or use fewer of them: --set sampling.workers=1, or 0 for none"
)


class _Drawn(Dataset[Sample]):
    """Sample n of a run."""

    def __init__(self, source: Source, seed: int) -> None:
        self._source, self._seed = source, seed

    def __getitem__(self, number: int) -> Sample:
        return self._source.sample(np.random.default_rng((self._seed, number)))


class _BatchNumbers(Sampler[list[int]]):
    def __init__(self, start: int, size: int, step: int) -> None:
        self._start, self._size, self._step = start, size, step

    def __iter__(self) -> Iterator[list[int]]:
        for start in itertools.count(self._start, self._step):
            yield list(range(start, start + self._size))


@dataclass(frozen=True)
class _Collate:
    intensity: Intensity

    def __call__(self, samples: list[Sample]) -> Batch:
        how = self.intensity
        images = [normalise(sample.image, how.window_hu, how.mean_hu, how.std_hu) for sample in samples]
        return Batch(
            torch.from_numpy(np.stack(images))[:, None],
            torch.from_numpy(np.stack([sample.labels for sample in samples])),
            tuple(sample.annotated for sample in samples),
            tuple(sample.is_pseudo for sample in samples),
            tuple(sample.weight for sample in samples),
        )


def _begin_worker(number: int) -> None:
    # Ctrl-C, and what cluster schedulers send, reaches all processes: the main one finishes its step, which may need
    # more samples, saves, and then ends the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
