"""Dice + cross-entropy from half-resolution scores, on the CPU: interpolation, softmax, loss and gradient in one sweep.

Done by torch at full resolution, the last interpolation, the softmax and both losses with their gradients are a
quarter of a training step on a CPU (docs/decisions/0005-how-a-cpu-trains.md). Here no full-resolution tensor of scores
ever exists: rows are interpolated, turned into probabilities and folded back on to the half-resolution grid one after
another.
``losses.dice_and_cross_entropy`` on the interpolated scores is the reference that the tests compare with.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

_LANES = 16
"""Classes are padded to one vector register; the padding scores so low that it gets no probability."""


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, half_scores: Tensor, labels: Tensor, class_weights: Tensor) -> Tensor:
        batch, classes = half_scores.shape[:2]
        if not bool(half_scores.isfinite().all()):
            # the compiled sweep is told that all numbers are finite, and would make some number of what is none
            ctx.gradient = torch.zeros_like(half_scores)
            return torch.tensor(float("nan"))
        last = half_scores.detach().float().permute(0, 2, 3, 4, 1).contiguous().numpy()
        padded = np.full((*last.shape[:-1], _LANES), -1e4, np.float32)
        padded[..., :classes] = last
        gradient = np.zeros_like(padded)
        truth = labels.to(torch.uint8).numpy()
        weights = np.zeros(_LANES, np.float32)
        weights[:classes] = class_weights.numpy()
        sums = np.zeros((3, _LANES))  # predicted, overlap, reference
        cross_entropy = 0.0
        none = np.zeros(_LANES, np.float32)
        for image in range(batch):
            cross_entropy += _sweep(padded[image], truth[image], weights, none, none, 0.0, gradient[image], sums, False)
        predicted, overlap, reference = sums
        weight_total = float((reference * weights).sum())
        present = reference > 0
        present[0] = False
        count = int(present.sum())
        total = predicted + reference + 1
        by_predicted = np.where(present, (2 * overlap + 1) / total**2, 0) / max(count, 1)
        by_overlap = np.where(present, -2 / total, 0) / max(count, 1)
        for image in range(batch):
            _sweep(
                padded[image], truth[image], weights, by_predicted.astype(np.float32), by_overlap.astype(np.float32),
                1 / weight_total, gradient[image], sums, True,
            )  # fmt: skip
        ctx.gradient = torch.from_numpy(gradient[..., :classes]).permute(0, 4, 1, 2, 3).to(half_scores.dtype)
        dice = ((2 * overlap + 1) / total)[present].mean() if count else 1.0
        return torch.tensor(cross_entropy / weight_total + 1 - dice, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        return ctx.gradient * outer, None, None


def fused_dice_and_cross_entropy(half_scores: Tensor, labels: Tensor, class_weights: Tensor) -> Tensor:
    """The scalar ``dice_and_cross_entropy`` of the trilinearly upsampled scores.

    ``half_scores`` (b, k, z, y, x) with k <= 16, on the CPU; ``labels`` (b, 2z, 2y, 2x); ``class_weights`` (k,).
    Raises ``ValueError`` if there are more than 16 classes.
    """
    if half_scores.shape[1] > _LANES:
        raise ValueError(f"the fused loss takes up to {_LANES} classes, not {half_scores.shape[1]}; use losses.py")
    loss: Tensor = _Fused.apply(half_scores, labels, class_weights)  # type: ignore[no-untyped-call]
    return loss


@numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _sweep(half, truth, weights, by_predicted, by_overlap, cross_scale, gradient, sums, backward):  # type: ignore[no-untyped-def]
    """One pass over an image: sums of the losses, or (``backward``) the gradient on the half-resolution grid."""
    depth, height, width, _ = half.shape
    lanes = _LANES  # a constant, so that every inner loop is one vector instruction
    plane, plane_gradient = np.empty((height, width, lanes), np.float32), np.empty((height, width, lanes), np.float32)
    row, row_gradient = np.empty((width, lanes), np.float32), np.empty((width, lanes), np.float32)
    p, slope = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    power = np.empty(lanes, np.int32)
    power_as_float = power.view(np.float32)
    near, far = np.float32(0.75), np.float32(0.25)
    cross_entropy = 0.0
    for z in range(2 * depth):
        z0 = z // 2
        z1 = min(max(z0 + (1 if z % 2 else -1), 0), depth - 1)
        for y in range(height):
            for x in range(width):
                for k in range(lanes):
                    plane[y, x, k] = near * half[z0, y, x, k] + far * half[z1, y, x, k]
        plane_gradient[:] = 0
        for y in range(2 * height):
            y0 = y // 2
            y1 = min(max(y0 + (1 if y % 2 else -1), 0), height - 1)
            for x in range(width):
                for k in range(lanes):
                    row[x, k] = near * plane[y0, x, k] + far * plane[y1, x, k]
            row_gradient[:] = 0
            for x in range(2 * width):
                x0 = x // 2
                x1 = min(max(x0 + (1 if x % 2 else -1), 0), width - 1)
                top = np.float32(-1e30)
                for k in range(lanes):
                    p[k] = near * row[x0, k] + far * row[x1, k]
                    top = max(top, p[k])
                label = truth[z, y, x]
                true_score = p[label] - top
                total = np.float32(0)
                for k in range(lanes):
                    # exp as 2 to a whole power, by its bits, times a polynomial for the rest: relative error below 1e-5
                    # and not below 2^-60, or products with it come so near to zero that a CPU slows down
                    t = max((p[k] - top) * np.float32(1.4426950409), np.float32(-60))
                    whole = np.floor(t)
                    rest = t - whole
                    power[k] = (np.int32(whole) + 127) << 23
                    p[k] = np.float32(1) + rest * (np.float32(0.693147) + rest * (np.float32(0.240227) + rest * (
                        np.float32(0.0554906) + rest * (np.float32(0.00968380) + rest * np.float32(0.00134))))
                    )  # fmt: skip
                for k in range(lanes):
                    p[k] *= power_as_float[k]
                    total += p[k]
                scale = np.float32(1) / total
                for k in range(lanes):
                    p[k] *= scale
                if not backward:
                    cross_entropy += weights[label] * (np.log(total) - true_score)
                    for k in range(lanes):
                        sums[0, k] += p[k]
                    sums[1, label] += p[label]
                    sums[2, label] += 1
                    continue
                mean = by_overlap[label] * p[label]
                for k in range(lanes):
                    mean += p[k] * by_predicted[k]
                cross = np.float32(cross_scale) * weights[label]
                for k in range(lanes):
                    slope[k] = p[k] * (by_predicted[k] - mean + cross)
                slope[label] += p[label] * by_overlap[label] - cross
                for k in range(lanes):
                    row_gradient[x0, k] += near * slope[k]
                    row_gradient[x1, k] += far * slope[k]
            if backward:
                for x in range(width):
                    for k in range(lanes):
                        plane_gradient[y0, x, k] += near * row_gradient[x, k]
                        plane_gradient[y1, x, k] += far * row_gradient[x, k]
        if backward:
            for y in range(height):
                for x in range(width):
                    for k in range(lanes):
                        gradient[z0, y, x, k] += near * plane_gradient[y, x, k]
                        gradient[z1, y, x, k] += far * plane_gradient[y, x, k]
    return cross_entropy
