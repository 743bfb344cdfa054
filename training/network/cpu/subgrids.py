"""Dilated 3x3x3 convolutions as plain ones on the interleaved sub-grids that a dilation leaves apart.

Every ``dilation``-th voxel of a dilated convolution's output comes from every ``dilation``-th voxel of its input alone,
so one convolution of dilation d is d^3 small ones without: the same products, the same sums. CPUs have a fast gradient
for those only: the weights' gradient of a dilated convolution takes four times as long
(docs/decisions/0005-how-a-cpu-trains.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FROM_ELEMENTS = 2**18
"""What is smaller is convolved in no time, and cut up in more than that."""

_Slices = tuple[slice, slice, slice]


def convolve_on_subgrids(x: Tensor, weight: Tensor, stride: int, dilation: int, groups: int) -> Tensor:
    """``conv3d(x, weight, None, stride, dilation, dilation, groups)`` for 3x3x3 kernels: (b, channels out, z, y, x).

    Raises ``ValueError`` for a stride and a dilation that have a common divisor, unless they are equal.
    """
    if stride == dilation:
        # the kernel sees only the sub-grid that the stride picks
        seen = x[..., ::stride, ::stride, ::stride].contiguous(memory_format=torch.channels_last_3d)
        return F.conv3d(seen, weight, None, 1, 1, 1, groups)
    if dilation > 1 and stride > 1 and (stride % dilation == 0 or dilation % stride == 0):
        raise ValueError(f"stride {stride} and dilation {dilation} have a common divisor")
    sizes = [(size - 1) // stride + 1 for size in x.shape[2:]]
    blocks = [-(-size // dilation) for size in sizes]
    parts = F.conv3d(_Subgrids.apply(x, stride, dilation), weight, None, stride, 0, 1, groups)  # type: ignore[no-untyped-call]
    # part (i, j, k) holds every dilation-th voxel from (i, j, k) on
    parts = parts.movedim(1, -1).view(dilation, dilation, dilation, len(x), *blocks, -1)
    whole = parts.permute(3, 4, 0, 5, 1, 6, 2, 7).reshape(len(x), *(dilation * count for count in blocks), -1)
    return whole.movedim(-1, 1)[..., : sizes[0], : sizes[1], : sizes[2]]


class _Subgrids(torch.autograd.Function):
    """(d^3 * b, c, ...): the sub-grids that the output's sub-grids come from, with their zero padding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.layout = stride, dilation, x.shape
        padded = x.new_zeros(len(x), *_padded_sizes(x.shape, stride, dilation), x.shape[1])
        _inner(padded, x.shape, dilation).copy_(x.movedim(1, -1))
        parts = torch.stack([padded[:, *where] for where in _places(x.shape, stride, dilation)])
        return parts.flatten(0, 1).movedim(-1, 1)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        stride, dilation, shape = ctx.layout
        padded = outer.new_zeros(shape[0], *_padded_sizes(shape, stride, dilation), shape[1])
        rows = outer.movedim(1, -1)
        parts = rows.reshape(dilation**3, shape[0], *rows.shape[1:])
        for part, where in zip(parts, _places(shape, stride, dilation), strict=True):
            padded[:, *where] = part
        return _inner(padded, shape, dilation).movedim(-1, 1), None, None


def _length(size: int, stride: int, dilation: int) -> int:
    """Voxels along one axis of every sub-grid."""
    outputs = (size - 1) // stride + 1
    return stride * (-(-outputs // dilation) - 1) + 3


def _padded_sizes(shape: torch.Size, stride: int, dilation: int) -> list[int]:
    # the last sub-grid starts at stride * (dilation - 1)
    return [
        max(dilation * (_length(size, stride, dilation) - 1) + stride * (dilation - 1) + 1, size + dilation)
        for size in shape[2:]
    ]


def _inner(padded: Tensor, shape: torch.Size, dilation: int) -> Tensor:
    z, y, x = shape[2:]
    return padded[:, dilation : dilation + z, dilation : dilation + y, dilation : dilation + x]


def _places(shape: torch.Size, stride: int, dilation: int) -> Iterator[_Slices]:
    """Where each sub-grid lies in the padded input. They are disjoint, as stride and dilation share no divisor."""
    lengths = [_length(size, stride, dilation) for size in shape[2:]]
    for starts in product(range(0, stride * dilation, stride), repeat=3):
        z, y, x = (
            slice(start, start + dilation * (count - 1) + 1, dilation)
            for start, count in zip(starts, lengths, strict=True)
        )
        yield z, y, x
