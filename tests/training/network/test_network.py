"""Claims about the network: its size as published, shapes, gates, initialisation, and that all of it learns."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from training.network.attention_dmfnet import (
    AttentionDMFNet,
    AttentionGate,
    DilatedConv3d,
    GroupedConv3d,
    MultiFiberUnit,
    use_cpu_kernels,
)
from training.network.cpu import fused_norm, subgrids
from training.network.size import convolution_macs, parameters


def tiny(classes: int = 3, gates: bool = True, units: tuple[int, ...] = (3, 3, 3)) -> AttentionDMFNet:
    torch.manual_seed(0)
    return AttentionDMFNet(classes, stem=8, width=16, groups=4, gates=gates, units=units)


@pytest.mark.parametrize(("channels_in", "classes", "millions"), [(4, 3, 3.88), (1, 14, 3.87)])
def test_without_gates_it_has_the_published_number_of_parameters(
    channels_in: int, classes: int, millions: float
) -> None:
    with torch.device("meta"):
        network = AttentionDMFNet(classes, channels_in=channels_in, gates=False)
    assert parameters(network) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(("channels_in", "classes"), [(4, 3), (1, 14)])
def test_without_gates_it_does_the_published_work_once_the_head_is_counted_at_full_resolution(
    channels_in: int, classes: int
) -> None:
    with torch.device("meta"):
        network = AttentionDMFNet(classes, channels_in=channels_in, gates=False)
    here = convolution_macs(network, (1, channels_in, 128, 128, 128))
    # the published network interpolates first: there, the head works on eight times as many voxels as here
    head_at_full_resolution = 128**3 * 32 * classes
    published = here + head_at_full_resolution * 7 // 8
    # one input spares 0.68 G in the stem, 14 classes cost 0.74 G in the head
    assert published / 1e9 == pytest.approx(26.4, rel=0.01)


def test_gates_add_a_tenth() -> None:
    with torch.device("meta"):
        plain, gated = (AttentionDMFNet(14, gates=gates) for gates in (False, True))
    assert parameters(gated) / parameters(plain) == pytest.approx(1.12, abs=0.01)


@pytest.mark.parametrize("shape_zyx", [(16, 48, 80), (32, 32, 32), (80, 16, 16)])
def test_scores_have_the_images_shape_at_any_multiples_of_16(shape_zyx: tuple[int, int, int]) -> None:
    network = tiny().eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 1, *shape_zyx)).shape == (2, 3, *shape_zyx)
        half = tuple(side // 2 for side in shape_zyx)
        assert network.half_scores(torch.zeros(2, 1, *shape_zyx)).shape == (2, 3, *half)


@pytest.mark.parametrize(("units", "convolutions"), [((3, 3, 3), 77), ((1, 1, 1), 44), ((1, 2), 36), ((1, 1), 30)])
@pytest.mark.parametrize("gates", [False, True])
def test_fewer_units_make_a_network_of_fewer_convolutions_of_which_all_learn(
    units: tuple[int, ...], convolutions: int, gates: bool
) -> None:
    network = tiny(gates=gates, units=units)
    of_gates = 4 * sum(isinstance(module, AttentionGate) for module in network.modules())
    assert of_gates == (4 * (len(units) - 1) if gates else 0)
    counted = sum(isinstance(module, nn.Conv3d) for module in network.modules())
    assert counted - of_gates == convolutions - 4 * (len(units) - 1)
    scores = network(torch.randn(1, 1, 32, 32, 48))
    assert scores.shape == (1, 3, 32, 32, 48)
    scores.square().mean().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in network.parameters())


def test_the_head_before_the_last_interpolation_is_the_head_after_it() -> None:
    network = tiny().eval()
    x = torch.randn(1, 8, 4, 4, 4)
    head_last = network.head(F.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=False))
    head_first = F.interpolate(network.head(x), scale_factor=2.0, mode="trilinear", align_corners=False)
    torch.testing.assert_close(head_first, head_last)


def test_gates_let_between_nothing_and_all_through() -> None:
    torch.manual_seed(0)
    gate = AttentionGate(8, 16)
    alpha = gate.attention(10 * torch.randn(2, 8, 8, 8, 8), 10 * torch.randn(2, 16, 4, 4, 4))
    assert alpha.shape == (2, 1, 8, 8, 8)
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    assert alpha.max() - alpha.min() > 0.3


def test_the_gate_of_the_level_below_decides_about_a_skip() -> None:
    gate = AttentionGate(4, 4).eval()
    assert gate.psi.bias is not None
    nn.init.zeros_(gate.psi.weight)
    x, g = torch.randn(1, 4, 4, 4, 4), torch.randn(1, 4, 2, 2, 2)
    nn.init.constant_(gate.psi.bias, -50)
    assert gate.attention(x, g).max() < 1e-6
    nn.init.constant_(gate.psi.bias, 50)
    torch.testing.assert_close(gate(x, g), gate.norm(gate.project(x)))


def test_every_parameter_gets_a_gradient() -> None:
    network = tiny()
    image = torch.randn(2, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1))
    # not the plain sum: what every voxel and class gains alike changes no probability
    F.cross_entropy(network(image), (image[:, 0] > 0).long()).backward()  # type: ignore[no-untyped-call]
    # a constant before a BatchNorm is taken away by it: of these the true gradient is zero
    without = {"gate2.project.bias", "gate3.project.bias"}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        if name not in without:
            assert parameter.grad.abs().max() > 0, name


def test_kernels_begin_he_normal_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    network = AttentionDMFNet(14)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d):
            fan_in = module.weight[0].numel()
            # the standard deviation of n draws is within 5 of its own standard errors
            n = module.weight.numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=5 / (2 * n) ** 0.5), name
            assert module.bias is None or module.bias.abs().max() == 0


def test_the_dilated_convolutions_are_summed_with_equal_weights_at_first() -> None:
    unit = DilatedConv3d(16, 16, stride=1, groups=4)
    assert unit.weights.tolist() == [1, 1, 1]
    x = torch.randn(1, 16, 6, 6, 6)
    torch.testing.assert_close(unit(x), torch.stack([branch(x) for branch in unit.branches]).sum(0))


def test_dilations_reach_one_two_and_three_voxels_far() -> None:
    unit = DilatedConv3d(16, 16, stride=1, groups=4)
    convolutions = [module for module in unit.modules() if isinstance(module, GroupedConv3d)]
    dot = torch.zeros(1, 16, 9, 9, 9)
    dot[:, :, 4, 4, 4] = 1
    for convolution, rate in zip(convolutions, (1, 2, 3), strict=True):
        nn.init.ones_(convolution.weight)
        assert (convolution(dot)[0, 0].nonzero() - 4).abs().max() == rate


def test_only_units_of_the_second_and_third_stage_are_dilated() -> None:
    dilated = {name.split(".")[0] for name, module in tiny().named_modules() if isinstance(module, DilatedConv3d)}
    assert dilated == {"encode2", "encode3"}


def test_the_in_plane_convolution_does_not_look_at_other_slices() -> None:
    unit = MultiFiberUnit(16, 16, groups=4).eval()
    one_slice = torch.zeros(1, 16, 5, 5, 5)
    one_slice[:, :, 2] = torch.rand(16, 5, 5)
    convolved = unit.fibers_in_plane[2](one_slice)
    assert convolved[:, :, 2].abs().max() > 0
    assert convolved[:, :, [0, 1, 3, 4]].abs().max() == 0


@pytest.mark.parametrize("make", [
    lambda: GroupedConv3d(8, 8, 3, 1, 1, 1, 4, bias=False),
    lambda: GroupedConv3d(8, 16, 3, 2, 2, 2, 4, bias=False),
    lambda: GroupedConv3d(8, 8, (1, 3, 3), 1, (0, 1, 1), 1, 8, bias=False),
])  # fmt: skip
def test_a_grouped_convolution_run_densely_has_the_same_output_and_gradients(make: Callable[[], GroupedConv3d]) -> None:
    torch.manual_seed(0)
    grouped = make().double()
    x = torch.randn(2, 8, 6, 6, 6, dtype=torch.float64, requires_grad=True)
    results = []
    for dense in (False, True):
        grouped.dense = dense
        y = grouped(x)
        results.append((y, *torch.autograd.grad(y.pow(3).sum(), (x, grouped.weight))))
    for without, densely in zip(*results, strict=True):
        torch.testing.assert_close(densely, without)


def test_a_whole_network_with_cpu_kernels_is_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_norm, "FROM_ELEMENTS", 0)
    monkeypatch.setattr(subgrids, "FROM_ELEMENTS", 0)
    # frozen norms: in training the deepest ones have eight voxels to go by, and blow rounding up
    network = tiny().eval()
    x = torch.randn(1, 1, 32, 32, 32)
    weights = list(network.parameters())
    results = []
    for on in (False, True):
        use_cpu_kernels(network, on)
        y = network(x)
        results.append([y, *torch.autograd.grad(y.square().mean(), weights)])
    assert any(module.dense for module in network.modules() if isinstance(module, GroupedConv3d))
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-3 * plain.abs().max().item())


def test_only_narrow_convolutions_are_run_densely() -> None:
    with torch.device("meta"):
        network = AttentionDMFNet(14)
    use_cpu_kernels(network, True)
    dense = {m.in_channels for m in network.modules() if isinstance(m, GroupedConv3d) and m.dense and m.groups > 1}
    assert dense == {32}


def test_the_work_of_one_grouped_convolution_by_hand() -> None:
    # 4 x 5 x 6 voxels of 8 channels, each from 27 voxels of the 2 channels of its group
    convolution = nn.Conv3d(8, 8, 3, padding=1, groups=4)
    assert convolution_macs(convolution, (1, 8, 4, 5, 6)) == 4 * 5 * 6 * 8 * 27 * 2


@pytest.mark.parametrize("rate", [1, 2, 3])
@pytest.mark.parametrize("slices", [1, 2, 3])
def test_in_bfloat16_the_gradient_of_few_slices_depends_on_nothing_but_them(slices: int, rate: int) -> None:
    torch.manual_seed(0)
    convolution = GroupedConv3d(16, 16, 3, 1, rate, rate, 4, bias=False)
    use_cpu_kernels(convolution, on=True)
    x = torch.randn(2, 16, slices, 4, 6).contiguous(memory_format=torch.channels_last_3d)
    outer = torch.randn(2, 16, slices, 4, 6)
    (expected,) = torch.autograd.grad(convolution(x), convolution.weight, outer)
    for _ in range(4):
        # freed at once: what is allocated next and read before it is written holds NaN
        [torch.full((2**power,), torch.nan) for power in range(4, 20) for _ in range(6)]
        with torch.autocast("cpu", torch.bfloat16):
            output = convolution(x)
        (gradient,) = torch.autograd.grad(output, convolution.weight, outer.to(output.dtype))
        torch.testing.assert_close(gradient, expected, rtol=0.05, atol=0.05 * float(expected.abs().max()))
