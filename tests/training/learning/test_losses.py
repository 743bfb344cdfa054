"""Claims about the losses: their limits, their gradients, and what partial and wrong labels do."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.learning.losses import (
    IGNORE,
    _sum_in_places,
    _sum_one_hot,
    at_edges,
    beta_cross_entropy,
    case_loss,
    cross_entropy,
    dice_and_cross_entropy,
    generalised_cross_entropy,
    merge_unannotated,
    noise_robust_dice_loss,
    robust_loss,
    soft_dice_loss,
    symmetric_cross_entropy,
)
from training.recipe import BetaCE, GeneralisedCE, Loss, PlainCE, RobustLoss, SymmetricCE

ROBUST: list[RobustLoss] = [PlainCE(), GeneralisedCE(0.7), SymmetricCE(0.1, 1.0, -4.0), BetaCE(0.5)]


def random_case(classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores (2, k, 2, 3, 4) in float64 and labels (2, 2, 3, 4)."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(2, classes, 2, 3, 4, generator=generator, dtype=torch.float64)
    return scores, torch.randint(0, classes, (2, 2, 3, 4), generator=generator)


def two_voxels(*p_of_label: float) -> tuple[Tensor, Tensor]:
    """log p (1, 2, n) of voxels labelled 1 whose label has the given probabilities."""
    p = torch.tensor(p_of_label, dtype=torch.float64)
    return torch.stack([1 - p, p])[None].log(), torch.ones(1, len(p), dtype=torch.long)


def test_cross_entropy_is_the_logarithm_of_the_labels_probability() -> None:
    log_p, labels = two_voxels(0.5, 0.25)
    assert cross_entropy(log_p, labels).tolist() == [pytest.approx([math.log(2), math.log(4)])]


def test_generalised_cross_entropy_by_hand() -> None:
    log_p, labels = two_voxels(0.25)
    # (1 - 0.25^0.5) / 0.5 = 1
    assert generalised_cross_entropy(log_p, labels, 0.5).item() == pytest.approx(1.0)


def test_generalised_cross_entropy_becomes_cross_entropy_for_small_q_and_the_error_probability_for_q_1() -> None:
    scores, labels = random_case()
    log_p = F.log_softmax(scores, 1)
    torch.testing.assert_close(generalised_cross_entropy(log_p, labels, 1e-9), cross_entropy(log_p, labels))
    p = log_p.exp().gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(generalised_cross_entropy(log_p, labels, 1.0), 1 - p)


def test_symmetric_cross_entropy_adds_the_reversed_one_with_the_stand_in_for_log_zero() -> None:
    log_p, labels = two_voxels(0.5)
    # 0.1 ln 2 + 1 * 4 * (1 - 0.5)
    assert symmetric_cross_entropy(log_p, labels, 0.1, 1.0, -4.0).item() == pytest.approx(0.1 * math.log(2) + 2)
    assert symmetric_cross_entropy(log_p, labels, 0.0, 1.0, math.log(1e-4)).item() == pytest.approx(4.605170186)


def test_symmetric_cross_entropy_without_its_reverse_is_cross_entropy() -> None:
    scores, labels = random_case()
    log_p = F.log_softmax(scores, 1)
    torch.testing.assert_close(symmetric_cross_entropy(log_p, labels, 1.0, 0.0, -4.0), cross_entropy(log_p, labels))


def test_the_reverse_cross_entropy_is_the_definition_with_a_clamped_one_hot_label() -> None:
    scores, labels = random_case()
    p = F.softmax(scores, 1)
    one_hot = F.one_hot(labels, 4).movedim(-1, 1).double()
    by_definition = -(p * one_hot.clamp(min=1e-4).log()).sum(1)
    torch.testing.assert_close(symmetric_cross_entropy(p.log(), labels, 0.0, 1.0, math.log(1e-4)), by_definition)


def test_beta_cross_entropy_becomes_cross_entropy_and_a_constant_for_small_beta() -> None:
    scores, labels = random_case()
    log_p = F.log_softmax(scores, 1)
    torch.testing.assert_close(beta_cross_entropy(log_p, labels, 1e-9), cross_entropy(log_p, labels) + 1)


def test_beta_cross_entropy_is_half_the_brier_score_and_a_constant_for_beta_1() -> None:
    scores, labels = random_case()
    p = F.softmax(scores, 1)
    brier = (p - F.one_hot(labels, 4).movedim(-1, 1)).square().sum(1)
    torch.testing.assert_close(beta_cross_entropy(p.log(), labels, 1.0), brier / 2 + 0.5)


@pytest.mark.parametrize("beta", [0.1, 0.7, 1.0])
def test_beta_cross_entropy_is_the_generalised_one_and_the_sum_of_powers(beta: float) -> None:
    scores, labels = random_case()
    p = F.softmax(scores, 1)
    expected = generalised_cross_entropy(p.log(), labels, beta) + p.pow(beta + 1).sum(1) / (beta + 1)
    torch.testing.assert_close(beta_cross_entropy(p.log(), labels, beta), expected)


@pytest.mark.parametrize("which", ROBUST, ids=lambda which: type(which).__name__)
def test_gradients_agree_with_finite_differences(which: RobustLoss) -> None:
    scores, labels = random_case()

    def loss(scores: Tensor) -> Tensor:
        return robust_loss(F.log_softmax(scores, 1), labels, which).sum()

    assert torch.autograd.gradcheck(loss, scores.requires_grad_())


@pytest.mark.parametrize("which", ROBUST, ids=lambda which: type(which).__name__)
def test_gradients_of_a_whole_case_with_unknown_voxels_and_organs_agree_with_finite_differences(
    which: RobustLoss,
) -> None:
    scores, labels = random_case()
    labels[0, 0, 0] = IGNORE
    recipe = Loss(class_weights=(0.5, 1, 2, 3), pseudo=which, pseudo_weight=0.3)

    def loss(scores: Tensor) -> Tensor:
        return case_loss(scores[0], labels[0], {1, 3}, True, recipe)

    assert torch.autograd.gradcheck(loss, scores.requires_grad_())


def test_a_perfect_case_has_dice_1_and_a_missed_one_nearly_0() -> None:
    labels = torch.tensor([[[[0, 0, 1, 1]]]])
    sure = 50 * F.one_hot(labels, 2).movedim(-1, 1).double()
    assert soft_dice_loss(F.log_softmax(sure, 1), labels).item() == pytest.approx(0)
    # nothing predicted: (0 + 1) / (2 + 0 + 1) by the smoothing voxel
    nothing = torch.stack([torch.full((1, 1, 1, 4), 50.0), torch.zeros(1, 1, 1, 4)], 1)
    assert soft_dice_loss(F.log_softmax(nothing, 1), labels).item() == pytest.approx(1 - 1 / 3)


def test_dice_of_an_even_guess_by_hand() -> None:
    labels = torch.tensor([[[[0, 0, 1, 1]]]])
    even = torch.zeros(1, 2, 1, 1, 4)
    # overlap 1, reference 2, predicted 2: (2 + 1) / (4 + 1)
    assert soft_dice_loss(F.log_softmax(even, 1), labels).item() == pytest.approx(1 - 3 / 5)


def test_dice_of_a_case_without_organs_is_left_out() -> None:
    labels = torch.zeros(2, 1, 1, 4, dtype=torch.long)
    labels[1] = 1
    loss = soft_dice_loss(F.log_softmax(torch.zeros(2, 2, 1, 1, 4), 1), labels)
    assert loss.tolist() == pytest.approx([0, 1 - 5 / 7])


def test_the_weighted_cross_entropy_is_torchs() -> None:
    scores, labels = random_case()
    weights = torch.tensor([0.5, 1, 2, 3], dtype=torch.float64)
    for case in range(2):
        ours = case_loss(scores[case], labels[case], None, False, Loss((0.5, 1, 2, 3), dice_weight=0))
        torch.testing.assert_close(ours, F.cross_entropy(scores[[case]], labels[[case]], weights))


def test_a_batch_is_the_mean_of_its_cases() -> None:
    scores, labels = random_case()
    weights = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    cases = [dice_and_cross_entropy(scores[[case]], labels[[case]], weights) for case in range(2)]
    torch.testing.assert_close(dice_and_cross_entropy(scores, labels, weights), torch.stack(cases).mean())
    one = case_loss(scores[0], labels[0], None, False, Loss((0.5, 1, 2, 3)))
    torch.testing.assert_close(one, cases[0])


def test_ignored_voxels_change_nothing_whatever_is_predicted_there() -> None:
    scores, labels = random_case()
    labels[0, 0] = IGNORE
    scores.requires_grad_()
    for pseudo in (False, True):
        loss = case_loss(scores[0], labels[0], None, pseudo, Loss(pseudo=BetaCE()))
        (gradient,) = torch.autograd.grad(loss, scores)
        assert gradient[0, :, 0].abs().max() == 0
        assert gradient[0, :, 1].abs().max() > 0


def test_merging_sums_probabilities_and_renumbers_labels() -> None:
    log_p = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().view(1, 4, 1).expand(1, 4, 5)
    merged, labels, kept = merge_unannotated(log_p, torch.tensor([[0, 1, 2, 3, IGNORE]]), {2})
    assert kept == [0, 2]
    assert merged[0, :, 0].exp().tolist() == pytest.approx([0.7, 0.3])
    assert labels.tolist() == [[0, 0, 1, 0, IGNORE]]


@pytest.mark.parametrize("which", ROBUST, ids=lambda which: type(which).__name__)
def test_an_organ_that_is_not_annotated_is_not_taught_to_be_background(which: RobustLoss) -> None:
    # the network is sure that every voxel is organ 2, its source does not annotate organ 2 and says background
    scores = torch.zeros(3, 1, 1, 4, dtype=torch.float64)
    scores[2] = 12.0
    labels = torch.zeros(1, 1, 4, dtype=torch.long)
    recipe = Loss(pseudo=which)
    (partial,) = torch.autograd.grad(case_loss(scores.requires_grad_(), labels, {1}, True, recipe), scores)
    (complete,) = torch.autograd.grad(case_loss(scores, labels, {1, 2}, True, recipe), scores)
    assert partial.abs().max() < 1e-4
    # ... whereas the organ's score would be torn down if it were annotated; a very robust loss gives up on such a voxel
    if isinstance(which, PlainCE):
        assert complete[2].min() > 0.2


def test_how_background_and_an_unannotated_organ_share_their_probability_is_not_taught() -> None:
    scores, labels = random_case()
    labels[labels == 2] = 0
    (gradient,) = torch.autograd.grad(case_loss(scores.requires_grad_()[0], labels[0], {1, 3}, False, Loss()), scores)
    p = F.softmax(scores.detach(), 1)[0]
    # moving both scores by the same amount is all that the loss asks for: each moves in proportion to its probability
    torch.testing.assert_close(gradient[0, 2] * p[0], gradient[0, 0] * p[2])
    assert gradient[0, 2].abs().max() > 0


def test_a_complete_annotation_and_none_named_are_the_same() -> None:
    scores, labels = random_case()
    assert case_loss(scores[0], labels[0], {1, 2, 3}, False, Loss()) == case_loss(
        scores[0], labels[0], None, False, Loss()
    )


def separate(which: RobustLoss, flipped: float) -> float:
    """Accuracy on true labels of a linear classifier with wide margins, taught with a share of labels flipped."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(400, 20, generator=generator, dtype=torch.float64)
    truth = (x[:, 0] + 0.3 * x[:, 1] > 0).long()
    # one-sided noise: a share of class 1 is called 0
    noise = (torch.rand(400, generator=generator) < flipped) & (truth == 1)
    labels = torch.where(noise, 0, truth)
    weight = torch.zeros(20, 2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([weight], lr=0.05)
    for _ in range(250):
        optimiser.zero_grad()
        robust_loss(F.log_softmax(x @ weight, 1)[..., None], labels[:, None], which).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return ((x @ weight).argmax(1) == truth).double().mean().item()


@pytest.mark.parametrize("which", ROBUST[1:], ids=lambda which: type(which).__name__)
def test_robust_losses_learn_more_from_labels_of_which_many_are_wrong(which: RobustLoss) -> None:
    assert separate(which, 0.4) > separate(PlainCE(), 0.4) + 0.01


def test_all_losses_learn_from_right_labels() -> None:
    assert all(separate(which, 0.0) > 0.97 for which in ROBUST)


def test_the_noise_robust_dice_is_its_formula_and_ignores_what_is_unknown() -> None:
    scores = torch.randn(2, 3, 2, 3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 2, 3, 4), generator=torch.Generator().manual_seed(4))
    p = scores.softmax(1)
    for gamma in (1.0, 1.5, 2.0):
        expected = []
        for case in range(2):
            terms = []
            for label in (1, 2):
                g = (labels[case] == label).double()
                difference = (p[case, label] - g).abs().pow(gamma).sum()
                terms.append(difference / (p[case, label].square().sum() + g.sum() + 1))
            expected.append(torch.stack(terms).mean())
        got = noise_robust_dice_loss(scores.log_softmax(1), labels, gamma)
        torch.testing.assert_close(got, torch.stack(expected), rtol=1e-6, atol=1e-6)
    # a voxel that is unknown counts for nothing, whatever its scores are
    unknown = labels.clone()
    unknown[0, 0, 0, 0] = IGNORE
    other = scores.clone()
    other[0, :, 0, 0, 0] += torch.tensor([5.0, -3.0, 1.0])
    one, two = (noise_robust_dice_loss(each.log_softmax(1), unknown, 1.5) for each in (scores, other))
    torch.testing.assert_close(one, two)


def test_the_robust_dice_is_for_pseudo_labels_alone() -> None:
    scores = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(5))
    labels = torch.randint(0, 3, (2, 3, 4), generator=torch.Generator().manual_seed(6))
    robust = Loss(pseudo_dice_gamma=1.5)
    for is_pseudo in (False, True):
        with_it, without = (case_loss(scores, labels, None, is_pseudo, loss) for loss in (robust, Loss()))
        assert bool(torch.isclose(with_it, without)) is not is_pseudo
    with pytest.raises(ValueError, match="from 1 to 2"):
        Loss(pseudo_dice_gamma=0.5)


def row(*p_of_one: float) -> Tensor:
    """log p (1, 2, 1, 1, n) of voxels in a row whose class 1 has the given probabilities."""
    p = torch.tensor(p_of_one, dtype=torch.float64)
    return torch.stack([1 - p, p])[None, :, None, None].log()


def test_the_tversky_index_by_hand() -> None:
    beta = torch.tensor([0.5, 0.7], dtype=torch.float64)
    # half of the organ is missed: TP 1, FN 1, FP 0; Dice (2 + 1) / (3 + 1)
    missed, labels = row(0.5, 0.5, 0, 0), torch.tensor([1, 1, 0, 0])[None, None, None]
    assert soft_dice_loss(missed, labels).item() == pytest.approx(1 - 3 / 4)
    assert soft_dice_loss(missed, labels, beta).item() == pytest.approx(1 - 3 / (2 * (1 + 0.7) + 1))
    # twice the organ is found: TP 1, FN 0, FP 1; the same Dice
    too_much, labels = row(1, 1, 0, 0), torch.tensor([1, 0, 0, 0])[None, None, None]
    assert soft_dice_loss(too_much, labels).item() == pytest.approx(1 - 3 / 4)
    assert soft_dice_loss(too_much, labels, beta).item() == pytest.approx(1 - 3 / (2 * (1 + 0.3) + 1))


def test_a_tversky_beta_of_a_half_is_dice_and_goes_with_its_class() -> None:
    scores, labels = random_case()
    half = case_loss(scores[0], labels[0], None, False, Loss(tversky_beta=(0.5, 0.5, 0.5, 0.5)))
    assert half == case_loss(scores[0], labels[0], None, False, Loss())
    # class 2 was not drawn: its beta is not class 3's
    labels[labels == 2] = 0
    one, other = (Loss(tversky_beta=(0.5, 0.5, of_two, 0.7)) for of_two in (0.1, 0.9))
    assert case_loss(scores[0], labels[0], {1, 3}, False, one) == case_loss(scores[0], labels[0], {1, 3}, False, other)
    assert case_loss(scores[0], labels[0], {1, 3}, False, one) != case_loss(scores[0], labels[0], {1, 3}, False, Loss())


def test_edges_are_where_labels_meet_and_not_beside_what_is_unknown() -> None:
    labels = torch.tensor([0, 0, 1, 1, IGNORE, 0])[None, None, None]
    assert at_edges(labels).flatten().tolist() == [False, True, True, False, False, False]
    # along z, y and x
    one = torch.zeros(1, 3, 3, 3, dtype=torch.long)
    one[0, 1, 1, 1] = 2
    assert at_edges(one).sum() == 7


def test_voxels_at_edges_count_more_by_hand() -> None:
    labels = torch.tensor([0, 0, 1, 1])[None, None]
    scores = row(0.5, 0.75, 0.25, 0.5)[0]
    # -ln p of the labels: ln 2, ln 4, ln 4, ln 2; the middle two weigh 3 each of 8
    loss = case_loss(scores, labels, None, False, Loss(dice_weight=0, edge_weight=3))
    assert loss.item() == pytest.approx((2 * math.log(2) + 6 * math.log(4)) / 8)
    plain = case_loss(scores, labels, None, False, Loss(dice_weight=0))
    assert plain.item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_the_sums_by_label_of_a_gpu_are_those_of_a_cpu() -> None:
    generator = torch.Generator().manual_seed(7)
    values = torch.randn(2, 500, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, 5, (2, 500), generator=generator)
    sums = [by(values, labels, 5) for by in (_sum_in_places, _sum_one_hot)]
    assert sums[0][1, 3].item() == pytest.approx(values[1][labels[1] == 3].sum().item())
    torch.testing.assert_close(*sums)
    torch.testing.assert_close(*(torch.autograd.grad(each.square().sum(), values)[0] for each in sums))
