"""How large a network is: parameters, and the multiply-accumulates of its convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def parameters(network: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in network.parameters())


def convolution_macs(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of all convolutions for one input of ``shape`` (b, c, z, y, x); nothing is computed.

    The network is moved to the meta device, so that its weights are lost.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv3d)
        # each output voxel sums over the kernel's voxels and the input channels of its group
        total += output.numel() * module.weight[0].numel()

    network = network.to("meta")
    handles = [each.register_forward_hook(count) for each in network.modules() if isinstance(each, nn.Conv3d)]
    with torch.no_grad():
        network(torch.empty(shape, device="meta"))
    for handle in handles:
        handle.remove()
    return total
