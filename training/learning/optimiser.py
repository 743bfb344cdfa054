"""The optimiser of a recipe, its learning rate along the run, and the average of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from training.recipe import SGD, AdamW, Recipe, Schedule


def build_optimiser(network: nn.Module, how: SGD | AdamW) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay is for kernels, not for norms and biases."""
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": how.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if isinstance(how, SGD):
        return torch.optim.SGD(groups, how.learning_rate, how.momentum, nesterov=how.nesterov)
    return torch.optim.AdamW(groups, how.learning_rate)


def learning_rate(recipe: Recipe, step: int, share: float) -> float:
    """The rate of ``step`` (from 0), at ``share`` of the budget."""
    schedule = recipe.schedule
    warm = min(1.0, (step + 1) / schedule.warm_up_steps) if schedule.warm_up_steps else 1.0
    return recipe.optimiser.learning_rate * warm * _shape(schedule, step // recipe.run.steps_per_epoch, share)


def _shape(schedule: Schedule, epoch: int, share: float) -> float:
    if schedule.shape == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    if schedule.shape == "halving":
        return 0.5 ** (epoch // schedule.halve_every_epochs)
    return 1.0


class Averaged:
    """An exponential average of a network's weights; its buffers are the network's own."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._decay = decay

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        """Move towards ``network`` after its ``step`` (from 0); at first faster, or the average would be of noise."""
        decay = min(self._decay, (1 + step) / (10 + step)) if self._decay else 0.0
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - decay)
        self.share_buffers(network)

    @torch.no_grad()
    def share_buffers(self, network: nn.Module) -> None:
        """Take BatchNorm's statistics from ``network``."""
        for mean, now in zip(self.network.buffers(), network.buffers(), strict=True):
            mean.copy_(now)
