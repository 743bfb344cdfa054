"""The loss of a batch, by the shortest way that the machine has."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from training.learning.batches import Batch
from training.learning.losses import case_loss
from training.recipe import Loss

_FUSED_CLASSES = 16


class Scorer(Protocol):
    """What an objective asks of a network, wrapped for several processes or not."""

    def __call__(self, images: Tensor, half: bool = False) -> Tensor:
        """The scores, at half resolution if ``half``."""


def batch_loss(network: Scorer, batch: Batch, loss: Loss) -> Tensor:
    """The mean of the cases' losses, weighted by the cases' own weights: a scalar.

    On the CPU, cases with true and complete labels take one compiled sweep from the half-resolution scores
    (``training.network.cpu.fused_loss``); it computes the same.
    """
    if batch.images.device.type != "cpu":
        scores = network(batch.images)
        losses = [_case(scores[case], batch, case, loss) for case in range(len(scores))]
    else:
        half = network(batch.images, half=True)
        losses = [
            _fused(half[case], batch.labels[case], loss)
            if _can_be_fused(batch, case, half.shape[1], loss)
            else _case(_upsampled(half[case]), batch, case, loss)
            for case in range(len(half))
        ]
    weights = torch.tensor(batch.weights, device=losses[0].device)
    return (torch.stack(losses) * weights).mean()


def _case(scores: Tensor, batch: Batch, case: int, loss: Loss) -> Tensor:
    return case_loss(scores, batch.labels[case], batch.annotated[case], batch.is_pseudo[case], loss)


def _can_be_fused(batch: Batch, case: int, classes: int, loss: Loss) -> bool:
    plain = batch.annotated[case] is None and not batch.is_pseudo[case] and loss.dice_weight == 1
    plain = plain and loss.edge_weight == 1 and not loss.tversky_beta
    return plain and classes <= _FUSED_CLASSES and int(batch.labels[case].max()) < classes


def _fused(half_scores: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    # here, so that a run on a GPU compiles nothing for the CPU
    from training.network.cpu.fused_loss import fused_dice_and_cross_entropy

    weights = torch.tensor(loss.class_weights) if loss.class_weights else torch.ones(len(half_scores))
    return fused_dice_and_cross_entropy(half_scores[None], labels[None], weights)


def _upsampled(half_scores: Tensor) -> Tensor:
    return F.interpolate(half_scores[None], scale_factor=2.0, mode="trilinear", align_corners=False)[0]
