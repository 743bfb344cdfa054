"""Attention DMFNet: a 3-D dilated multi-fiber network whose skip connections pass attention gates.

Sources: Chen et al., "3D Dilated Multi-Fiber Network for Real-time Brain Tumor Segmentation in MRI", MICCAI 2019
(units, stages and widths); Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", 2018 (gates).
Every convolution is pre-activation, BatchNorm -> ReLU -> convolution without bias, save the stem, the shortcuts'
own block and the head. Arrays are (batch, channel, z, y, x).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.arrays import TILE_MULTIPLE as TILE_MULTIPLE
from training.network.cpu import subgrids
from training.network.cpu.fused_norm import can_fuse, norm_relu
from training.network.cpu.subgrids import convolve_on_subgrids
from training.network.cpu.upsample import upsample


class GroupedConv3d(nn.Conv3d):
    """A grouped convolution that can run in other ways: the same function and gradient.

    On CPUs the backward pass of convolutions with a few channels a group is many times slower than the dense one with
    block-diagonal weights (docs/decisions/0002-build-the-network.md), so training there sets :attr:`dense`; exports
    keep the groups. A dense 1x1x1 convolution becomes a matrix product: with one thread torch has only a slow way of
    its own for it. :attr:`on_subgrids` turns dilated convolutions into plain ones (training.network.cpu.subgrids).
    """

    dense = False
    on_subgrids = False

    def forward(self, input: Tensor) -> Tensor:
        if self.is_dense_pointwise():
            return F.linear(input.movedim(1, -1), self.weight.flatten(1)).movedim(-1, 1)
        dense = self.dense and self.groups > 1
        weight, groups = (self._block_diagonal(), 1) if dense else (self.weight, self.groups)
        if self.on_subgrids and self.dilation[0] > 1 and input.numel() >= subgrids.FROM_ELEMENTS:
            return convolve_on_subgrids(input, weight, self.stride[0], self.dilation[0], groups)
        z, y, x = cast(tuple[int, int, int], self.padding)
        if self.on_subgrids and z == 1 and input.shape[2] == 2 and torch.is_autocast_enabled("cpu"):
            # oneDNN's bfloat16 gradient of two padded slices reads memory that nobody wrote: NaN in half of the runs
            input, z = F.pad(input, (0, 0, 0, 0, 1, 1)), 0
        return F.conv3d(input, weight, None, self.stride, (z, y, x), self.dilation, groups)

    def is_dense_pointwise(self) -> bool:
        """Whether this is a 1x1x1 convolution of all channels that is to run as a matrix product."""
        return self.dense and self.groups == 1 and self.kernel_size == (1, 1, 1)

    def _block_diagonal(self) -> Tensor:
        fibers, kernel = self.groups, self.kernel_size
        out_each, in_each = self.out_channels // fibers, self.in_channels // fibers
        blocks = self.weight.view(fibers, out_each, in_each, *kernel)
        dense = self.weight.new_zeros(fibers, out_each, fibers, in_each, *kernel)
        diagonal = torch.arange(fibers)
        dense[diagonal, :, diagonal] = blocks
        return dense.view(self.out_channels, self.in_channels, *kernel)


class PreActivationConv3d(nn.Sequential):
    """BatchNorm, ReLU, convolution without bias; the padding keeps the size at stride 1."""

    fused = False

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: Sequence[int] = (1, 1, 1),
        stride: int = 1,
        groups: int = 1,
        dilation: Sequence[int] = (1, 1, 1),
    ) -> None:
        # an even kernel (the 2x2x2 shortcut of a strided unit) tiles its input and takes no padding
        padding = [(size - 1) // 2 * step for size, step in zip(kernel, dilation, strict=True)]
        super().__init__(
            nn.BatchNorm3d(channels_in),
            nn.ReLU(inplace=True),
            GroupedConv3d(
                channels_in,
                channels_out,
                tuple(kernel),  # type: ignore[arg-type]
                stride,
                tuple(padding),  # type: ignore[arg-type]
                tuple(dilation),  # type: ignore[arg-type]
                groups,
                bias=False,
            ),
        )

    def forward(self, input: Tensor) -> Tensor:
        norm, _, convolution = self
        assert isinstance(norm, nn.BatchNorm3d)
        alone = type(norm) is nn.BatchNorm3d  # statistics shared between processes are gathered by their own module
        if self.fused and alone and can_fuse(input) and torch.is_grad_enabled():
            output: Tensor = convolution(norm_relu(input, norm))
            return output
        output = super().forward(input)  # type: ignore[no-untyped-call]
        return output


def use_cpu_kernels(network: nn.Module, on: bool, dense_up_to: int = 64) -> None:
    """Switch ``network`` to the same functions computed in the ways that CPUs train fastest, or back.

    Grouped convolutions of up to ``dense_up_to`` inputs run as dense ones, dilated ones on sub-grids, and BatchNorm and
    ReLU as one step.
    """
    for module in network.modules():
        if isinstance(module, GroupedConv3d):
            module.dense = on and (module.groups == 1 or module.in_channels <= dense_up_to)
            module.on_subgrids = on
        elif isinstance(module, PreActivationConv3d):
            module.fused = on
        elif isinstance(module, AttentionDMFNet):
            module.layout = torch.channels_last_3d if on else None


class DilatedConv3d(nn.Module):
    """Three parallel grouped 3x3x3 convolutions of dilation 1, 2 and 3, summed with learned weights that start at 1."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, groups: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            PreActivationConv3d(channels_in, channels_out, (3, 3, 3), stride, groups, (rate, rate, rate))
            for rate in (1, 2, 3)
        )
        self.weights = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.weights[0] * self.branches[0](x)
        for weight, branch in zip(self.weights[1:], self.branches[1:], strict=True):
            total = total + weight * branch(x)
        return total


class MultiFiberUnit(nn.Module):
    """MF unit: a 1x1x1 bottleneck that mixes the fibers, two grouped convolutions and a shortcut.

    ``dilated`` makes it a DMF unit: the 3x3x3 convolution becomes :class:`DilatedConv3d`. The second grouped kernel,
    3x3x1 in the paper, lies in the axial plane, here (1, 3, 3) in (z, y, x): CT slices are finer in plane than across.
    """

    def __init__(
        self, channels_in: int, channels_out: int, groups: int, stride: int = 1, dilated: bool = False
    ) -> None:
        super().__init__()
        middle = min(channels_in, channels_out)
        self.mix_in = PreActivationConv3d(channels_in, channels_in // 4)
        self.mix_out = PreActivationConv3d(channels_in // 4, middle)
        self.fibers: nn.Module = (
            DilatedConv3d(middle, channels_out, stride, groups)
            if dilated
            else PreActivationConv3d(middle, channels_out, (3, 3, 3), stride, groups)
        )
        self.fibers_in_plane = PreActivationConv3d(channels_out, channels_out, (1, 3, 3), 1, groups)
        self.shortcut: nn.Module
        if stride == 2:
            self.shortcut = PreActivationConv3d(channels_in, channels_out, (2, 2, 2), 2)
        elif channels_in != channels_out:
            self.shortcut = PreActivationConv3d(channels_in, channels_out)
        else:
            self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        deep: Tensor = self.fibers_in_plane(self.fibers(self.mix_out(self.mix_in(x))))
        aside: Tensor = self.shortcut(x)
        return deep + aside


class AttentionGate(nn.Module):
    """Additive attention (Oktay et al. 2018, eq. 1-2): the coarser level says where the skip matters.

    ``x`` (b, channels_x, z, y, x) is the skip, ``g`` (b, channels_g, z/2, y/2, x/2) the gating signal.
    """

    def __init__(self, channels_x: int, channels_g: int) -> None:
        super().__init__()
        middle = max(channels_x // 2, 1)
        self.theta = nn.Conv3d(channels_x, middle, 2, 2, bias=False)
        self.phi = nn.Conv3d(channels_g, middle, 1)
        self.psi = nn.Conv3d(middle, 1, 1)
        self.project = nn.Conv3d(channels_x, channels_x, 1)
        self.norm = nn.BatchNorm3d(channels_x)

    def attention(self, x: Tensor, g: Tensor) -> Tensor:
        """α in [0, 1], (b, 1, z, y, x)."""
        alpha = torch.sigmoid(self.psi(F.relu(self.theta(x) + self.phi(g))))
        return F.interpolate(alpha, scale_factor=2.0, mode="trilinear", align_corners=False)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        gated: Tensor = self.norm(self.project(self.attention(x, g) * x))
        return gated


class AttentionDMFNet(nn.Module):
    """Class scores before softmax, (b, classes, z, y, x), from intensities (b, 1, z, y, x), sides multiples of 16.

    Args:
        classes: 2 for the coarse stage (background, organs), 14 for the fine one.
        stem: channels at half resolution (n of the paper, 32).
        width: channels at a quarter of the resolution (128 in the paper); the deeper stages are 2x and 3x as wide.
        groups: fibers (16 in the paper).
        gates: attention gates on the skips at 1/8 and 1/4; without them the network is DMFNet, whose published
            parameter and multiply-accumulate counts the tests check.
        units: units of each encoder stage below the stem. Two numbers leave out the deepest stage, its gate and its
            decoder: enough for a coarse stage, whose deepest voxels are 48 mm as it is.
    """

    layout: torch.memory_format | None = None
    """In which order tensors lie from the first convolution on; None: as it left them."""

    def __init__(
        self,
        classes: int,
        stem: int = 32,
        width: int = 128,
        groups: int = 16,
        channels_in: int = 1,
        gates: bool = True,
        units: Sequence[int] = (3, 3, 3),
    ) -> None:
        super().__init__()

        def unit(channels_in: int, channels_out: int, stride: int = 1, dilated: bool = False) -> MultiFiberUnit:
            return MultiFiberUnit(channels_in, channels_out, groups, stride, dilated)

        def stage(channels_in: int, channels_out: int, count: int) -> nn.Sequential:
            more = (unit(channels_out, channels_out, dilated=True) for _ in range(count - 1))
            return nn.Sequential(unit(channels_in, channels_out, 2, True), *more)

        # the last unit of three narrows what goes up again
        deepest = 2 * width if units[-1] > 1 else 3 * width
        self.encode1 = nn.Conv3d(channels_in, stem, 3, 2, 1, bias=False)
        self.encode2 = stage(stem, width, units[0])
        self.encode3 = stage(width, 2 * width, units[1])
        self.encode4: nn.Module | None = None
        self.gate3: AttentionGate | None = None
        self.decode1: nn.Module | None = None
        if len(units) == 3:
            self.encode4 = nn.Sequential(
                unit(2 * width, 3 * width, 2),
                *(unit(3 * width, 3 * width) for _ in range(units[2] - 2)),
                *([unit(3 * width, 2 * width)] if units[2] > 1 else []),
            )
            self.gate3 = AttentionGate(2 * width, deepest) if gates else None
            self.decode1 = unit(2 * width + deepest, 2 * width)
        self.gate2 = AttentionGate(width, 2 * width) if gates else None
        self.decode2 = unit(3 * width, width)
        self.decode3 = unit(width + stem, stem)
        self.head = nn.Conv3d(stem, classes, 1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, half: bool = False) -> Tensor:
        """Class scores; with ``half`` those at half resolution."""
        scores = self.half_scores(x)
        return scores if half else upsample(scores)

    def half_scores(self, x: Tensor) -> Tensor:
        """The scores at half resolution, (b, classes, z/2, y/2, x/2); ``forward`` interpolates them trilinearly."""
        skip1 = self.encode1(x)
        if self.layout is not None:
            # of one channel's order torch cannot tell which it is, and sometimes goes on in the slower one
            skip1 = skip1.contiguous(memory_format=self.layout)
        skip2 = self.encode2(skip1)
        skip3 = self.encode3(skip2)
        deep = skip3
        if self.encode4 is not None and self.decode1 is not None:
            deep = self.encode4(skip3)
            if self.gate3 is not None:
                skip3 = self.gate3(skip3, deep)
            deep = self.decode1(torch.cat([upsample(deep), skip3], 1))
        if self.gate2 is not None:
            skip2 = self.gate2(skip2, deep)
        deep = self.decode2(torch.cat([upsample(deep), skip2], 1))
        deep = self.decode3(torch.cat([upsample(deep), skip1], 1))
        # a 1x1x1 convolution and an interpolation whose weights sum to 1 commute: the head first is an eighth the work
        half: Tensor = self.head(deep)
        return half
