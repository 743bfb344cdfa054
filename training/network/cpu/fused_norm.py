"""BatchNorm and ReLU as one step on the CPU, forward and backward, in float32 or bfloat16.

Every convolution of the network has a BatchNorm and a ReLU before it. Done by torch each reads and writes the whole
tensor, and so does each gradient: together more than 40 % of a training step on a CPU that multiplies matrices in
bfloat16 (docs/decisions/0005-how-a-cpu-trains.md). Here a row of channels goes through all of it in registers, and only
the input is kept for the gradient. The two modules one after the other are the reference that the tests compare with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload
from torch import Tensor, nn

_ROWS_IN_FLOAT32 = 512
"""So many rows are summed up in single precision before they are added to the sums in double precision."""

FROM_ELEMENTS = 2**18
"""What is smaller stays in the caches anyway, and goes through the modules one after the other."""

_pool = ThreadPoolExecutor()

_FAST = {"nsz", "arcp", "contract", "reassoc"}
"""What the compiler may do with sums and products. Not: suppose that every value is a number."""

_Vector = npt.NDArray[np.float32]
_Sums = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.float32] | npt.NDArray[np.uint16]


def can_fuse(x: Tensor) -> bool:
    """Whether ``x`` is large enough to gain, and of a precision that there is compiled code for."""
    return x.numel() >= FROM_ELEMENTS and x.dtype in (torch.float32, torch.bfloat16)


def norm_relu(x: Tensor, norm: nn.BatchNorm3d) -> Tensor:
    """``relu(norm(x))``: (b, channels, z, y, x) in the precision of ``x``, float32 or bfloat16, channels last.

    In training mode the running statistics are moved on as torch's BatchNorm does.
    """
    rows = x.movedim(1, -1)
    shape = rows.shape
    rows = rows.reshape(-1, shape[-1]).contiguous()
    mean, variance = _statistics(rows.detach(), norm)
    invstd = torch.rsqrt(variance + norm.eps)
    out: Tensor = _Fused.apply(rows, norm.weight, norm.bias, mean, invstd, norm.training)  # type: ignore[no-untyped-call]
    return out.view(shape).movedim(-1, 1)


@torch.no_grad()
def _statistics(rows: Tensor, norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """The mean and variance of each channel that ``norm`` is to use, the running ones moved on in training mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    if not norm.training:
        return norm.running_mean, norm.running_var
    # around a mean that is nearly right: the squares of values far from zero would lose the variance
    centre = rows[:: max(len(rows) // 256, 1)].float().mean(0)
    array, around = _array(rows), centre.numpy()
    parts = _in_parts(len(rows), lambda at: _moments(array[at], around))
    sums = torch.from_numpy(np.sum(parts, axis=0)) / len(rows)
    mean = (centre + sums[0]).float()
    variance = (sums[1] - sums[0].square()).clamp_(min=0).float()
    norm.num_batches_tracked += 1
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance * (len(rows) / max(len(rows) - 1, 1)), momentum)
    return mean, variance


class _Fused(torch.autograd.Function):
    """``rows`` (voxels, channels) to as many."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, invstd: Tensor, train: bool
    ) -> Tensor:
        ctx.save_for_backward(rows, scale, shift, mean, invstd)
        ctx.train = train
        factor, offset = _line(scale, shift, mean, invstd)
        out = torch.empty_like(rows)
        array, result = _array(rows), _array(out)
        _in_parts(len(rows), lambda at: _forward(array[at], factor, offset, result[at]))
        return out

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        rows, scale, shift, mean, invstd = ctx.saved_tensors
        factor, offset = _line(scale, shift, mean, invstd)
        outer = outer.contiguous()
        inner = torch.empty_like(rows)
        x, gradient, result = _array(rows), _array(outer), _array(inner)

        # gradients of ``shift``, and of ``scale`` but for what does not depend on the voxel
        parts = _in_parts(len(rows), lambda at: _sums(x[at], gradient[at], factor, offset))
        by_shift, by_product = torch.from_numpy(np.sum(parts, axis=0)).float()
        by_scale = (by_product - mean * by_shift) * invstd
        along_x, constant = torch.zeros_like(mean), torch.zeros_like(mean)
        if ctx.train:
            # the statistics depend on every voxel: the gradient loses its part along the mean and the deviation
            step = scale * invstd / len(rows)
            along_x = -step * by_scale * invstd
            constant = -step * by_shift - along_x * mean
        line = along_x.numpy(), constant.numpy()
        _in_parts(len(rows), lambda at: _backward(x[at], gradient[at], factor, offset, *line, result[at]))
        return inner, by_scale, by_shift, None, None, None


def _line(scale: Tensor, shift: Tensor, mean: Tensor, invstd: Tensor) -> tuple[_Vector, _Vector]:
    factor = scale.detach() * invstd
    return factor.numpy(), (shift.detach() - mean * factor).numpy()


def _array(rows: Tensor) -> _Rows:
    """The same memory; numpy knows no bfloat16, so its bits."""
    array: _Rows = (rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows).numpy()
    return array


def _in_parts(count: int, work: Callable[[slice], Any]) -> list[Any]:
    """``work`` on all of ``count`` rows, a part in each of torch's threads."""
    threads = torch.get_num_threads()
    if threads == 1:
        return [work(slice(0, count))]
    edges = np.linspace(0, count, threads + 1).astype(int)
    return list(_pool.map(work, [slice(a, b) for a, b in itertools.pairwise(edges)]))


def _bitcast_to_float(_: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


def _bitcast_to_int(_: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


_float_of_bits: Any = intrinsic(_bitcast_to_float)
_bits_of_float: Any = intrinsic(_bitcast_to_int)


def _load(value: Any) -> Any:
    """A value of either precision in float32."""
    raise NotImplementedError("compiled code only")


def _rounded(value: Any, like: Any) -> Any:
    """``value`` in the precision of ``like``: the nearest, ties to even."""
    raise NotImplementedError("compiled code only")


@overload(_load, inline="always", strict=False)
def _load_for(value: Any) -> Callable[..., Any]:
    if value == types.uint16:
        # a bfloat16 is the upper half of a float32
        return lambda value: _float_of_bits(np.uint32(value) << np.uint32(16))
    return lambda value: value


@overload(_rounded, inline="always", strict=False)
def _rounded_for(value: Any, like: Any) -> Callable[..., Any]:
    if like == types.uint16:

        def nearest(value: Any, like: Any) -> Any:
            bits = _bits_of_float(value)
            return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

        return nearest
    return lambda value, like: value


@numba.njit(cache=True, fastmath=_FAST, nogil=True)
def _moments(rows: _Rows, centre: _Vector) -> _Sums:
    """(2, channels) float64 sums of the deviations from ``centre`` and of their squares."""
    count, channels = rows.shape
    total = np.zeros((2, channels))
    first, second = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for start in range(0, count, _ROWS_IN_FLOAT32):
        first[:] = 0
        second[:] = 0
        for n in range(start, min(start + _ROWS_IN_FLOAT32, count)):
            for c in range(channels):
                deviation = _load(rows[n, c]) - centre[c]
                first[c] += deviation
                second[c] += deviation * deviation
        for c in range(channels):
            total[0, c] += first[c]
            total[1, c] += second[c]
    return total


@numba.njit(cache=True, fastmath=_FAST, nogil=True)
def _forward(rows: _Rows, factor: _Vector, offset: _Vector, out: _Rows) -> None:
    for n in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            value = _load(rows[n, c]) * factor[c] + offset[c]
            # a value that is no number stays one, so that the training stops at it
            out[n, c] = _rounded(np.float32(0) if value < 0 else value, rows[n, c])


@numba.njit(cache=True, fastmath=_FAST, nogil=True)
def _sums(rows: _Rows, outer: _Rows, factor: _Vector, offset: _Vector) -> _Sums:
    """(2, channels) float64 sums of the gradient that passes the ReLU, and of it times ``rows``."""
    count, channels = rows.shape
    total = np.zeros((2, channels))
    first, second = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for start in range(0, count, _ROWS_IN_FLOAT32):
        first[:] = 0
        second[:] = 0
        for n in range(start, min(start + _ROWS_IN_FLOAT32, count)):
            for c in range(channels):
                x = _load(rows[n, c])
                gradient = _load(outer[n, c]) if x * factor[c] + offset[c] > 0 else np.float32(0)
                first[c] += gradient
                second[c] += gradient * x
        for c in range(channels):
            total[0, c] += first[c]
            total[1, c] += second[c]
    return total


@numba.njit(cache=True, fastmath=_FAST, nogil=True)
def _backward(
    rows: _Rows, outer: _Rows, factor: _Vector, offset: _Vector, along_x: _Vector, constant: _Vector, inner: _Rows
) -> None:
    for n in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            x = _load(rows[n, c])
            gradient = _load(outer[n, c]) if x * factor[c] + offset[c] > 0 else np.float32(0)
            inner[n, c] = _rounded(gradient * factor[c] + x * along_x[c] + constant[c], rows[n, c])
