"""The fused step is BatchNorm and ReLU one after the other: outputs, gradients and running statistics."""

from __future__ import annotations

import copy
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from training.network.attention_dmfnet import PreActivationConv3d
from training.network.cpu import fused_norm


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_norm, "FROM_ELEMENTS", 0)


def unit(training: bool = True, momentum: float | None = 0.1) -> PreActivationConv3d:
    torch.manual_seed(0)
    made = PreActivationConv3d(6, 4)
    norm = made[0]
    assert isinstance(norm, nn.BatchNorm3d)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    assert norm.running_mean is not None
    nn.init.normal_(norm.running_mean)
    norm.momentum = momentum
    return made.train(training)


def run(module: PreActivationConv3d, x: Tensor) -> list[Tensor]:
    norm = module[0]
    assert isinstance(norm, nn.BatchNorm3d)
    y = module(x)
    gradients = torch.autograd.grad(y.sin().sum(), (x, *module.parameters()))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    return [each.double() for each in (y, *gradients, norm.running_mean, norm.running_var, norm.num_batches_tracked)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_it_is_the_modules_one_after_the_other(
    threads: int, training: bool, momentum: float | None, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_norm, "_ROWS_IN_FLOAT32", 7)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    taken = Mock(wraps=fused_norm.norm_relu)
    monkeypatch.setattr("training.network.attention_dmfnet.norm_relu", taken)
    tried = unit(training, momentum)
    reference = copy.deepcopy(tried).double()
    tried.fused = True
    # far from zero, where a careless variance is lost
    x = (torch.randn(2, 6, 3, 4, 5) * 3 + 1e2).to(memory_format=layout)
    want = run(reference, x.double().requires_grad_())
    assert not taken.called
    got = run(tried, x.clone().requires_grad_())
    assert taken.called
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-4, atol=2e-4)


def test_in_bfloat16_it_is_as_near_to_double_precision_as_the_modules_are() -> None:
    module = unit()
    norm = module[0]
    assert isinstance(norm, nn.BatchNorm3d)
    exact = copy.deepcopy(norm).double()
    x = (torch.randn(2, 6, 3, 4, 5) * 3 + 10).bfloat16().requires_grad_()
    wide = x.detach().double().requires_grad_()
    outer = torch.randn(2, 6, 3, 4, 5).bfloat16()
    y, want = fused_norm.norm_relu(x, norm), torch.relu(exact(wide))
    assert y.dtype == torch.bfloat16
    # half a unit in the last of eight places
    torch.testing.assert_close(y.double(), want, rtol=2**-8, atol=1e-3)
    mine = torch.autograd.grad(y, (x, norm.weight, norm.bias), outer)
    theirs = torch.autograd.grad(want, (wide, exact.weight, exact.bias), outer.double())
    torch.testing.assert_close(mine[0].double(), theirs[0], rtol=2**-8, atol=1e-4)
    for sums, exact_sums in zip(mine[1:], theirs[1:], strict=True):
        torch.testing.assert_close(sums.double(), exact_sums, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_rounded_to_the_nearest_and_to_even_as_torch_does() -> None:
    norm = nn.BatchNorm3d(1).eval()
    values = torch.tensor([1.00390625, 1.01171875, 1.0039, 3.1415927, 1e-30, 0.0])
    # the affine part makes each of them from 1, exactly
    for value in values.tolist():
        norm.running_var = torch.ones(1) - norm.eps
        nn.init.constant_(norm.weight, value)
        nn.init.zeros_(norm.bias)
        x = torch.ones(1, 1, 1, 1, 1, dtype=torch.bfloat16, requires_grad=True)
        assert fused_norm.norm_relu(x, norm).item() == torch.tensor(value).bfloat16().item()


def test_what_is_no_number_stays_none() -> None:
    norm = nn.BatchNorm3d(2).eval()
    x = torch.full((1, 2, 1, 1, 1), float("nan"), requires_grad=True)
    assert bool(fused_norm.norm_relu(x, norm).isnan().all())


def test_its_result_is_channels_last() -> None:
    y = fused_norm.norm_relu(torch.randn(1, 6, 3, 4, 5, requires_grad=True), nn.BatchNorm3d(6))
    assert y.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("change", ["double precision", "no gradient", "small", "shared statistics"])
def test_where_it_would_not_be_the_same_the_modules_run(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shared(nn.BatchNorm3d):
        pass

    def refuse(*_: object) -> None:
        raise AssertionError("the fused step was taken")

    monkeypatch.setattr("training.network.attention_dmfnet.norm_relu", refuse)
    module = unit()
    module.fused = True
    x = torch.randn(1, 6, 3, 4, 5)
    if change == "small":
        monkeypatch.setattr(fused_norm, "FROM_ELEMENTS", 2**18)
    if change == "double precision":
        module, x = module.double(), x.double()
    if change == "shared statistics":
        module[0] = Shared(6)
    with torch.set_grad_enabled(change != "no gradient"):
        assert module(x).shape == (1, 4, 3, 4, 5)
