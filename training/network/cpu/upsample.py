"""Trilinear interpolation to twice the resolution, whose gradient on a CPU is three matrix products.

torch's own gradient adds voxel by voxel, in one thread and in the wrong order of memory: a sixth of a training step.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def upsample(x: Tensor) -> Tensor:
    """(b, c, 2z, 2y, 2x) from (b, c, z, y, x): torch's trilinear interpolation without aligned corners."""
    if x.device.type == "cpu" and x.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_exporting():
        upsampled: Tensor = _Upsample.apply(x)  # type: ignore[no-untyped-call]
        return upsampled
    return F.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=False)


class _Upsample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=False)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:
        batch, channels, *sizes = outer.shape
        z, y, x = (_interpolation(size // 2, outer.dtype).T for size in sizes)
        rows = outer.movedim(1, -1).reshape(batch, sizes[0], -1)
        rows = z @ rows
        rows = y @ rows.view(batch * len(z), sizes[1], -1)
        rows = x @ rows.view(batch * len(z) * len(y), sizes[2], -1)
        return rows.view(batch, len(z), len(y), len(x), channels).movedim(-1, 1)


@functools.cache
def _interpolation(size: int, dtype: torch.dtype) -> Tensor:
    """(2 * size, size): the weights of linear interpolation along one axis."""
    weights = torch.zeros(2 * size, size, dtype=dtype)
    for voxel in range(size):
        for half, other in ((0, max(voxel - 1, 0)), (1, min(voxel + 1, size - 1))):
            weights[2 * voxel + half, voxel] += 0.75
            weights[2 * voxel + half, other] += 0.25
    return weights
