"""BatchNorm, ReLU and a 1x1x1 convolution as one step, on the CPU, a few rows of voxels at a time.

Done one after the other, each of the three reads and writes the whole tensor, and so does each of their gradients:
for the widest unit of the network, 160 channels at half resolution, that is a third of a training step where the
memory is shared with other work (docs/performance.md). Here a block of voxels goes through all of it while it is in
the cache, and nothing but the input is kept for the gradient. The three modules one after the other are the reference
that the tests compare with.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FROM_BYTES = 2**22
"""What is smaller stays in the caches anyway, and goes through the modules one after the other."""

_BLOCK_BYTES = 2**18
"""What a block of voxels may take: it, its normalised values and their gradient stay in a core's own cache."""


def norm_relu_pointwise(x: Tensor, norm: nn.BatchNorm3d, weight: Tensor) -> Tensor:
    """``conv(relu(norm(x)))`` with ``weight`` (channels out, channels in, 1, 1, 1): (b, channels out, z, y, x).

    ``x`` is (b, channels in, z, y, x) in any one precision, fastest in the channels-last order, which the result has.
    In training mode the running statistics are moved on as torch's BatchNorm does.
    """
    rows = x.movedim(1, -1)
    shape = rows.shape[:-1]
    rows = rows.reshape(-1, rows.shape[-1])
    mean, variance = _statistics(rows, norm)
    invstd = torch.rsqrt(variance + norm.eps)
    out: Tensor = _Fused.apply(  # type: ignore[no-untyped-call]
        rows, norm.weight, norm.bias, weight.flatten(1), mean, invstd, norm.training
    )
    return out.view(*shape, -1).movedim(-1, 1)


def _blocks(rows: Tensor) -> list[slice]:
    count = max(_BLOCK_BYTES // (rows.element_size() * rows.shape[1]), 1)
    return [slice(start, start + count) for start in range(0, len(rows), count)]


@torch.no_grad()
def _statistics(rows: Tensor, norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """The mean and variance of each channel that ``norm`` is to use, the running ones moved on in training mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    if not norm.training:
        return norm.running_mean, norm.running_var
    # around a mean that is nearly right: the squares of values far from zero would lose the variance
    centre = rows[:: max(len(rows) // 256, 1)].mean(0)
    first = torch.zeros_like(centre)
    second = torch.zeros_like(centre)
    for block in _blocks(rows):
        deviation = rows[block] - centre
        first += deviation.sum(0)
        second += deviation.square_().sum(0)
    first /= len(rows)
    mean = centre + first
    variance = (second / len(rows) - first * first).clamp_(min=0)
    norm.num_batches_tracked += 1
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance * (len(rows) / max(len(rows) - 1, 1)), momentum)
    return mean, variance


class _Fused(torch.autograd.Function):
    """``rows`` (voxels, channels in) to (voxels, channels out)."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, mean: Tensor, invstd: Tensor, train: bool
    ) -> Tensor:
        ctx.save_for_backward(rows, scale, shift, weight, mean, invstd)
        ctx.train = train
        factor = scale * invstd
        offset = shift - mean * factor
        transposed = weight.t().contiguous()
        out = rows.new_empty(len(rows), len(weight))
        for block in _blocks(rows):
            torch.mm(torch.addcmul(offset, rows[block], factor).relu_(), transposed, out=out[block])
        return out

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        rows, scale, shift, weight, mean, invstd = ctx.saved_tensors
        factor = scale * invstd
        offset = shift - mean * factor
        outer = outer.contiguous()
        inner = torch.empty_like(rows)
        by_weight = torch.zeros_like(weight)
        by_shift = torch.zeros_like(shift)
        by_product = torch.zeros_like(scale)
        for block in _blocks(rows):
            x, gradient = rows[block], inner[block]
            active = torch.addcmul(offset, x, factor).relu_()
            by_weight.addmm_(outer[block].t(), active)
            torch.mm(outer[block], weight, out=gradient)
            gradient.mul_(active.sign_())
            by_shift += gradient.sum(0)
            by_product += torch.mul(gradient, x, out=active).sum(0)
        by_scale = (by_product - mean * by_shift) * invstd
        if not ctx.train:
            for block in _blocks(rows):
                inner[block].mul_(factor)
            return inner, by_scale, by_shift, by_weight, None, None, None
        # the statistics depend on every voxel: the gradient loses its part along the mean and along the deviation
        along_x = -factor * by_scale * invstd / len(rows)
        constant = -factor * by_shift / len(rows) - along_x * mean
        for block in _blocks(rows):
            inner[block].mul_(factor).addcmul_(rows[block], along_x).add_(constant)
        return inner, by_scale, by_shift, by_weight, None, None, None
