"""Losses on class scores (b, k, z, y, x) against labels (b, z, y, x); p below is the softmax of the scores.

True labels are taught with Dice + cross-entropy, pseudo labels with a loss that forgives wrong ones. Every loss is
computed case by case and then averaged over the batch, so that two processes with a case each compute what one process
with both computes, and so that each case may annotate other organs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.arrays import UNKNOWN
from training.recipe import BetaCE, GeneralisedCE, Loss, PlainCE, RobustLoss, SymmetricCE

IGNORE = UNKNOWN


def cross_entropy(log_p: Tensor, labels: Tensor) -> Tensor:
    """-log p of the label. ``log_p`` (b, k, ...) and ``labels`` (b, ...) give (b, ...), as below."""
    return -_of_label(log_p, labels)


def generalised_cross_entropy(log_p: Tensor, labels: Tensor, q: float) -> Tensor:
    """(1 - p^q) / q with the label's p (Zhang & Sabuncu 2018, eq. 6): cross-entropy for q -> 0, 1 - p for q = 1."""
    # expm1 keeps the digits that 1 - p^q would lose for small q
    return -torch.expm1(q * _of_label(log_p, labels)) / q


def symmetric_cross_entropy(log_p: Tensor, labels: Tensor, alpha: float, beta: float, log_zero: float) -> Tensor:
    """alpha CE + beta RCE (Wang et al. 2019, eq. 7); the reverse one is -A (1 - p), A = ``log_zero`` < 0.

    A stands for log 0: -4 in the paper's text, the logarithm of its clamp 1e-4 (-9.21) in its code.
    """
    of_label = _of_label(log_p, labels)
    return -alpha * of_label - beta * log_zero * (1 - of_label.exp())


def beta_cross_entropy(log_p: Tensor, labels: Tensor, beta: float) -> Tensor:
    """-(p^beta - 1) / beta + sum over k of p_k^(beta + 1) / (beta + 1) (Cui et al. 2022, from the beta divergence).

    Cross-entropy + 1 for beta -> 0, half the Brier score + 1/2 for beta = 1.
    """
    return generalised_cross_entropy(log_p, labels, beta) + ((beta + 1) * log_p).exp().sum(1) / (beta + 1)


def robust_loss(log_p: Tensor, labels: Tensor, which: RobustLoss) -> Tensor:
    """The voxelwise loss that a recipe names, (b, ...)."""
    match which:
        case PlainCE():
            return cross_entropy(log_p, labels)
        case GeneralisedCE(q=q):
            return generalised_cross_entropy(log_p, labels, q)
        case SymmetricCE(alpha=alpha, beta=beta, log_zero=log_zero):
            return symmetric_cross_entropy(log_p, labels, alpha, beta, log_zero)
        case BetaCE(beta=beta):
            return beta_cross_entropy(log_p, labels, beta)


def soft_dice_loss(log_p: Tensor, labels: Tensor, tversky_beta: Tensor | None = None) -> Tensor:
    """1 - the mean soft Dice of the classes that a case shows, background apart: (b,); 0 for a case that shows none.

    With ``tversky_beta`` (k,) it is each class's Tversky index instead, TP / (TP + (1 - beta) FP + beta FN) (Salehi et
    al., "Tversky loss function for image segmentation using 3D fully convolutional deep networks", 2017, eq. 3 with
    alpha = 1 - beta). Of beta = 0.5 it is Dice; above, what is missed costs more than what is too much.

    Voxels labelled ``IGNORE`` count nowhere.
    """
    classes = log_p.shape[1]
    flat_p, flat = log_p.flatten(2).exp(), labels.flatten(1).long()
    known = flat != IGNORE
    flat = torch.where(known, flat, 0)
    counted = known.to(flat_p.dtype)
    p_of_label = flat_p.gather(1, flat[:, None])[:, 0] * counted
    overlap, reference = (_sum_by_label(each, flat, classes) for each in (p_of_label, counted))
    predicted = (flat_p * counted[:, None]).sum(2)
    sizes = reference + predicted
    if tversky_beta is not None:
        sizes = 2 * (tversky_beta * reference + (1 - tversky_beta) * predicted)
    # + 1 voxel: the Dice of a class that is a few voxels large stays smooth
    dice = (2 * overlap + 1) / (sizes + 1)
    present = reference[:, 1:] > 0
    count = present.sum(1)
    return torch.where(count > 0, 1 - (dice[:, 1:] * present).sum(1) / count.clamp(min=1), 0.0)


def _sum_by_label(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(b, classes) sums of ``values`` (b, n) over the voxels of each of ``labels`` (b, n)."""
    # on a CPU a one-hot tensor is most of the naive cost; a GPU would add up a million voxels in a dozen places, one
    # after the other
    return (_sum_in_places if values.device.type == "cpu" else _sum_one_hot)(values, labels, classes)


def _sum_in_places(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    place = (labels + classes * torch.arange(len(labels), device=labels.device)[:, None]).reshape(-1)
    return values.new_zeros(len(labels) * classes).index_add(0, place, values.reshape(-1)).view(-1, classes)


def _sum_one_hot(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    of_class = labels[:, None] == torch.arange(classes, device=labels.device)[:, None]
    return (values[:, None] * of_class).sum(2)


def noise_robust_dice_loss(log_p: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """The mean over the classes as in ``soft_dice_loss`` of sum |p - g|^gamma / (sum p^2 + sum g^2), g the label: (b,).

    Wang et al., "A noise-robust framework for automatic segmentation of COVID-19 pneumonia lesions from CT images",
    2020. Of gamma = 2 it is a Dice loss; of 1 the mean absolute error, relative to the sizes.
    """
    classes = log_p.shape[1]
    flat_p, flat = log_p.flatten(2).exp(), labels.flatten(1).long()
    known = flat != IGNORE
    flat = torch.where(known, flat, 0)
    counted = known.to(flat_p.dtype)
    p_of_label = flat_p.gather(1, flat[:, None])[:, 0]
    # voxels of the class itself differ by 1 - p, all others by p; the clamp keeps the root's gradient finite at 0
    here, there = (each.clamp(min=1e-7).pow(gamma) for each in (1 - p_of_label, p_of_label))
    corrected, reference = (_sum_by_label(each, flat, classes) for each in ((here - there) * counted, counted))
    weighted = counted[:, None]
    difference = (flat_p.clamp(min=1e-7).pow(gamma) * weighted).sum(2) + corrected
    # + 1 voxel, as in the soft Dice
    loss = difference / ((flat_p.square() * weighted).sum(2) + reference + 1)
    present = reference[:, 1:] > 0
    count = present.sum(1)
    return torch.where(count > 0, (loss[:, 1:] * present).sum(1) / count.clamp(min=1), 0.0)


def dice_and_cross_entropy(scores: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Soft Dice + (weighted) cross-entropy, each averaged within a case and then over the cases: a scalar."""
    log_p = _log_softmax(scores)
    voxelwise = _weighted_mean(cross_entropy(log_p, labels), labels, class_weights)
    return (voxelwise + soft_dice_loss(log_p, labels)).mean()


def case_loss(scores: Tensor, labels: Tensor, annotated: Iterable[int] | None, is_pseudo: bool, loss: Loss) -> Tensor:
    """The loss of one case by its recipe: a scalar from ``scores`` (k, z, y, x) and ``labels`` (z, y, x).

    ``annotated`` are the organs that the case's source annotates (None: all). The others are merged with the
    background, as the voxels that their source calls background may well be theirs: the merged class has the sum of
    their probabilities, and nothing is taught about how it is shared out (marginal loss).
    """
    log_p, labels = _log_softmax(scores[None]), labels[None].long()
    weights = log_p.new_tensor(loss.class_weights) if loss.class_weights else None
    tversky_beta = log_p.new_tensor(loss.tversky_beta) if loss.tversky_beta else None
    if annotated is not None and not set(annotated) >= set(range(1, len(scores))):
        log_p, labels, kept = merge_unannotated(log_p, labels, annotated)
        weights = None if weights is None else weights[kept]
        tversky_beta = None if tversky_beta is None else tversky_beta[kept]
    voxelwise = robust_loss(log_p, labels, loss.pseudo if is_pseudo else PlainCE())
    total = _weighted_mean(voxelwise, labels, weights, loss.edge_weight)
    dice_weight = loss.pseudo_dice_weight if is_pseudo else loss.dice_weight
    if dice_weight > 0:
        gamma = loss.pseudo_dice_gamma if is_pseudo else 0
        dice = noise_robust_dice_loss(log_p, labels, gamma) if gamma else soft_dice_loss(log_p, labels, tversky_beta)
        total = total + dice_weight * dice
    return (loss.pseudo_weight if is_pseudo else 1.0) * total[0]


def merge_unannotated(log_p: Tensor, labels: Tensor, annotated: Iterable[int]) -> tuple[Tensor, Tensor, list[int]]:
    """Merge the classes that are not annotated into the background.

    From ``log_p`` (b, k, ...) and ``labels`` (b, ...): log p (b, m, ...) and labels of the background and the m - 1
    classes that are kept, and the numbers that these had.
    """
    classes = log_p.shape[1]
    kept = [0, *sorted(set(annotated) & set(range(1, classes)))]
    merged = [label for label in range(classes) if label == 0 or label not in kept]
    background = torch.logsumexp(log_p[:, merged], 1, keepdim=True)
    table = torch.zeros(IGNORE + 1, dtype=torch.long, device=labels.device)
    table[IGNORE] = IGNORE
    table[kept] = torch.arange(len(kept), device=labels.device)
    return torch.cat([background, log_p[:, kept[1:]]], 1), table[labels], kept


def _log_softmax(scores: Tensor) -> Tensor:
    # half precision would lose the small differences that a nearly right score is about
    return F.log_softmax(scores if scores.dtype == torch.float64 else scores.float(), 1)


def _of_label(log_p: Tensor, labels: Tensor) -> Tensor:
    # ignored voxels get some class's value, which _weighted_mean then leaves out
    known = torch.where(labels == IGNORE, 0, labels.long())
    return log_p.gather(1, known[:, None])[:, 0]


def at_edges(labels: Tensor) -> Tensor:
    """(b, z, y, x) whether a voxel touches, along an axis, one of another label. Beside ``IGNORE`` nothing is known.

    A light form of the weight map of Ronneberger et al., "U-Net", 2015, eq. 2, which decays with the distance.
    """
    found = torch.zeros_like(labels, dtype=torch.bool)
    for axis in range(1, labels.ndim):
        one, other = labels.narrow(axis, 0, labels.shape[axis] - 1), labels.narrow(axis, 1, labels.shape[axis] - 1)
        differ = (one != other) & (one != IGNORE) & (other != IGNORE)
        found.narrow(axis, 0, differ.shape[axis]).logical_or_(differ)
        found.narrow(axis, 1, differ.shape[axis]).logical_or_(differ)
    return found


def _weighted_mean(voxelwise: Tensor, labels: Tensor, class_weights: Tensor | None, edge_weight: float = 1.0) -> Tensor:
    """(b,) the mean of each case's voxels, weighted by the class of their label; 0 where all are ignored."""
    known = labels != IGNORE
    if class_weights is None:
        weights = known.to(voxelwise.dtype)
    else:
        weights = class_weights.to(voxelwise)[torch.where(known, labels, 0)] * known
    if edge_weight != 1:
        weights = torch.where(at_edges(labels), edge_weight * weights, weights)
    total = weights.flatten(1).sum(1)
    return (voxelwise * weights).flatten(1).sum(1) / torch.where(total > 0, total, 1)
