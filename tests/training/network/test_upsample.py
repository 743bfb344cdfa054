"""Upsampling is torch's trilinear interpolation, and so is its gradient."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from training.network.cpu import upsample


def reference(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=False)


@settings(max_examples=40)
@given(st.tuples(st.integers(1, 2), st.integers(1, 3), *[st.integers(1, 6)] * 3))
def test_it_is_trilinear_interpolation(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    got, want = upsample.upsample(x), reference(x)
    assert torch.equal(got, want)
    outer = torch.randn_like(want)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, outer)[0] for y in (got, want)))


def test_it_is_taken_only_for_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upsample, "_Upsample", None)
    x = torch.randn(1, 2, 3, 4, 5)
    assert torch.equal(upsample.upsample(x), reference(x))
    with torch.no_grad():
        assert torch.equal(upsample.upsample(x.requires_grad_()), reference(x))
