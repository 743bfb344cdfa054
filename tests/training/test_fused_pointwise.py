"""The fused step is the three modules one after the other: outputs, gradients and running statistics, in float64."""

from __future__ import annotations

import copy
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from training import fused_pointwise
from training.network import PreActivationConv3d


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_pointwise, "FROM_BYTES", 0)


def unit(training: bool, momentum: float | None) -> PreActivationConv3d:
    torch.manual_seed(0)
    made = PreActivationConv3d(6, 4).double()
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
    y = module(x)
    gradients = torch.autograd.grad(y.pow(3).sum(), (x, *module.parameters()))
    return [y, *gradients, norm.running_mean, norm.running_var, norm.num_batches_tracked]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_it_is_the_three_modules_one_after_the_other(
    training: bool, momentum: float | None, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_pointwise, "_BLOCK_BYTES", 7 * 6 * 8)  # blocks of 7 voxels, the last one shorter
    fused = Mock(wraps=fused_pointwise.norm_relu_pointwise)
    monkeypatch.setattr("training.network.norm_relu_pointwise", fused)
    reference = unit(training, momentum)
    tried = copy.deepcopy(reference)
    tried[2].dense = True  # type: ignore[assignment]
    # far from zero, where a careless variance is lost
    x = (torch.randn(2, 6, 3, 4, 5, dtype=torch.float64) * 3 + 1e3).to(memory_format=layout)
    want = run(reference, x.clone().requires_grad_())
    assert not fused.called
    got = run(tried, x.clone().requires_grad_())
    assert fused.called
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_its_result_is_channels_last() -> None:
    module = unit(True, 0.1)
    module[2].dense = True  # type: ignore[assignment]
    y = module(torch.randn(1, 6, 3, 4, 5, dtype=torch.float64, requires_grad=True))
    assert y.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("change", ["autocast", "half", "no gradient", "small"])
def test_where_it_would_not_be_the_same_the_modules_run(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the fused step was taken")

    monkeypatch.setattr("training.network.norm_relu_pointwise", refuse)
    if change == "small":
        monkeypatch.setattr(fused_pointwise, "FROM_BYTES", 2**22)
    module = unit(True, 0.1).float()
    module[2].dense = True  # type: ignore[assignment]
    x = torch.randn(1, 6, 3, 4, 5, dtype=torch.bfloat16 if change == "half" else torch.float32)
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=change in ("autocast", "half")),
        torch.set_grad_enabled(change != "no gradient"),
    ):
        assert module(x).shape == (1, 4, 3, 4, 5)
