"""Claims about the compiled loss: it is the reference, in value and gradient."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.learning.batches import Batch
from training.learning.losses import IGNORE, dice_and_cross_entropy
from training.learning.objective import batch_loss
from training.network.cpu.fused_loss import fused_dice_and_cross_entropy
from training.recipe import BetaCE, Loss


def upsampled(half: Tensor) -> Tensor:
    return F.interpolate(half, scale_factor=2.0, mode="trilinear", align_corners=False)


def random_case(classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Half-resolution scores (1, k, 3, 4, 5) and labels (1, 6, 8, 10) of which the last class is absent."""
    generator = torch.Generator().manual_seed(seed)
    half = 3 * torch.randn(1, classes, 3, 4, 5, generator=generator)
    return half, torch.randint(0, max(classes - 1, 2), (1, 6, 8, 10), generator=generator)


@pytest.mark.parametrize("classes", [2, 3, 14, 16])
def test_value_and_gradient_are_those_of_the_reference_on_interpolated_scores(classes: int) -> None:
    half, labels = random_case(classes)
    weights = torch.linspace(0.5, 3, classes)
    half.requires_grad_()
    fused = fused_dice_and_cross_entropy(half, labels, weights)
    reference = dice_and_cross_entropy(upsampled(half), labels, weights)
    torch.testing.assert_close(fused, reference, rtol=1e-4, atol=1e-5)
    ours, theirs = torch.autograd.grad(fused, half)[0], torch.autograd.grad(reference, half)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_a_case_without_organs_has_no_dice_part() -> None:
    half, labels = random_case(3)
    weights = torch.ones(3)
    fused = fused_dice_and_cross_entropy(half, labels * 0, weights)
    torch.testing.assert_close(fused, F.cross_entropy(upsampled(half), labels * 0), rtol=1e-4, atol=1e-5)


def test_huge_scores_neither_overflow_nor_vanish() -> None:
    half, labels = random_case(3)
    fused = fused_dice_and_cross_entropy(1000 * half, labels, torch.ones(3))
    torch.testing.assert_close(fused, dice_and_cross_entropy(upsampled(1000 * half), labels), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_no_number_makes_the_loss_none(bad: float) -> None:
    half, labels = random_case(3)
    half[0, 0, 0, 0, 0] = bad
    assert fused_dice_and_cross_entropy(half.requires_grad_(), labels, torch.ones(3)).isnan()


def test_more_classes_than_a_register_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="up to 16 classes, not 17"):
        fused_dice_and_cross_entropy(*random_case(17), torch.ones(17))


class Given:
    """A network whose scores are given."""

    def __init__(self, half: Tensor) -> None:
        self.half = half

    def __call__(self, images: Tensor, half: bool = False) -> Tensor:
        return self.half if half else upsampled(self.half)


@pytest.mark.parametrize("options", [{}, {"edge_weight": 3.0}, {"tversky_beta": (0.5, 0.5, 0.7, 0.9)}], ids=str)
def test_a_batch_of_all_kinds_of_cases_is_the_weighted_mean_of_their_losses(options: dict[str, Any]) -> None:
    from training.learning.losses import case_loss

    half = torch.cat([random_case(4, seed)[0] for seed in range(4)])
    labels = torch.cat([random_case(4, seed)[1] for seed in range(4)]).to(torch.uint8)
    labels[3, 0] = IGNORE
    annotated, pseudo, weights = (
        (None, frozenset({1, 3}), None, None),
        (False, False, True, False),
        (1.0, 1.0, 0.5, 1.0),
    )
    loss = Loss((0.5, 1, 2, 3), pseudo=BetaCE(0.7), pseudo_weight=0.4, **options)
    batch = Batch(torch.zeros(4, 1, 6, 8, 10), labels, annotated, pseudo, weights)
    scores = upsampled(half)
    each = [case_loss(scores[i], labels[i], annotated[i], pseudo[i], loss) * weights[i] for i in range(4)]
    torch.testing.assert_close(batch_loss(Given(half), batch, loss), torch.stack(each).mean(), rtol=1e-4, atol=1e-5)
