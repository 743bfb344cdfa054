"""What a run is trained on: devices, processes and the precision they compute in."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric

from training.errors import TrainingError
from training.recipe import Recipe

_FABRIC_PRECISION = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}

_LAUNCHERS = ("LOCAL_WORLD_SIZE", "SLURM_NTASKS")
"""Set by torchrun and by SLURM, which have started the processes already."""


@dataclass(frozen=True)
class Machine:
    """What to run on, in Fabric's words: ``auto``, ``cpu``, ``cuda``; devices per node, nodes."""

    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    threads: int | None = None

    def launch(self, recipe: Recipe) -> Fabric:
        """Start Fabric, and the other processes if there are to be any."""
        if self.threads:
            torch.set_num_threads(self.threads)
        on_gpu = self.accelerator != "cpu" and torch.cuda.is_available()
        precision = _FABRIC_PRECISION[computed_in(recipe.run.precision, on_gpu)]
        devices = self.devices
        if (gpus := self.gpus(recipe.run.batch)) is not None:
            devices = gpus[0]
        if devices == "auto" and self.accelerator == "cpu":
            # torchrun has started the processes already; else a CPU trains fastest in one, with threads
            devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        fabric = Fabric(
            accelerator=self.accelerator,
            devices=devices,
            num_nodes=self.nodes,
            precision=precision,  # type: ignore[arg-type]
        )
        fabric.launch()
        return fabric

    def gpus(self, batch: int) -> tuple[int, int] | None:
        """How many GPUs of how many a run takes by itself: the most that share its ``batch`` evenly.

        None where it is not the run's to choose: ``devices`` or a launcher says it, or there is no GPU.
        """
        is_said = self.devices != "auto" or self.nodes > 1 or any(name in os.environ for name in _LAUNCHERS)
        if is_said or self.accelerator == "cpu" or not torch.cuda.is_available():
            return None
        there = torch.cuda.device_count()
        return max(count for count in range(1, there + 1) if batch % count == 0), there


def computed_in(precision: str, on_gpu: bool) -> str:
    """The precision that this machine computes in, where the recipe's is ``precision``."""
    if on_gpu:
        missing = precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False)
        return "float16" if missing else precision
    return "bfloat16" if precision == "float16" else precision


def share_of_batch(batch: int, processes: int) -> int:
    """What each process takes of a step's ``batch``. Raises ``TrainingError`` if it cannot be shared out evenly."""
    if batch % processes:
        raise TrainingError(
            f"{processes} processes cannot share a batch of {batch} evenly; make it a multiple with "
            f"--set run.batch={multiple_of(processes, batch)}, or use fewer with --devices"
        )
    return batch // processes


def multiple_of(processes: int, batch: int) -> int:
    """The next batch, from ``batch`` on, that ``processes`` share evenly."""
    return processes * math.ceil(batch / processes)
