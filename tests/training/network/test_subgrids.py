"""A dilated convolution on sub-grids is the dilated convolution: outputs and gradients, in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from training.network.cpu.subgrids import convolve_on_subgrids


@settings(max_examples=60)
@given(
    st.sampled_from([(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3), (3, 2)]),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
)
def test_it_is_the_dilated_convolution(
    stride_dilation: tuple[int, int], size: tuple[int, int, int], groups: int, channels_last: bool
) -> None:
    stride, dilation = stride_dilation
    torch.manual_seed(0)
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    if channels_last:
        x = x.to(memory_format=torch.channels_last_3d)
    x.requires_grad_()
    weight = torch.randn(8, 4 // groups, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    want = F.conv3d(x, weight, None, stride, dilation, dilation, groups)
    got = convolve_on_subgrids(x, weight, stride, dilation, groups)
    torch.testing.assert_close(got, want)
    outer = torch.randn_like(want)
    mine, theirs = (torch.autograd.grad(y, (x, weight), outer) for y in (got, want))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_a_stride_that_skips_whole_subgrids_is_refused() -> None:
    with pytest.raises(ValueError, match="stride 2 and dilation 4 have a common divisor"):
        convolve_on_subgrids(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 3, 3, 3), 2, 4, 1)
