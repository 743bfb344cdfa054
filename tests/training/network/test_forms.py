"""Claims about the forms of a convolution: they are one function, and the fastest on the device at hand is picked."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision

from tests.training.spheres import Spheres, recipe
from training.errors import TrainingError
from training.learning.learner import Learner
from training.learning.machine import computed_in
from training.network.attention_dmfnet import AttentionDMFNet, GroupedConv3d
from training.network.cpu import subgrids
from training.network.forms import LAYOUTS, Form, forms_of, pick_forms, seconds_on_gpu

IMAGES = torch.rand(2, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
FEW = IMAGES[..., :16, :16, :16]
"""Enough for a clock that is made up."""


def network() -> AttentionDMFNet:
    torch.manual_seed(0)
    return AttentionDMFNet(3, stem=8, width=16, groups=4)


def kinds() -> dict[str, GroupedConv3d]:
    """One of each kind of convolution that the network has."""
    found = {}
    for module in network().modules():
        if isinstance(module, GroupedConv3d):
            found[f"{module.kernel_size} / {module.stride}, {module.dilation}, {min(module.groups, 2)}"] = module
    return found


@pytest.mark.parametrize("kind", kinds())
def test_every_form_in_either_layout_is_the_same_function_in_float64(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subgrids, "FROM_ELEMENTS", 0)
    convolution = kinds()[kind].double()
    x = torch.randn(2, convolution.in_channels, 6, 8, 10, dtype=torch.float64, requires_grad=True)
    want = convolution(x)
    outer = torch.randn_like(want)
    gradients = torch.autograd.grad(want, (x, convolution.weight), outer)
    assert len(forms_of(convolution)) in (1, 2, 4)
    for form in forms_of(convolution):
        form.put(convolution)
        for layout in LAYOUTS.values():
            got = convolution(x.to(memory_format=layout))
            torch.testing.assert_close(got, want)
            for mine, theirs in zip(torch.autograd.grad(got, (x, convolution.weight), outer), gradients, strict=True):
                torch.testing.assert_close(mine, theirs)


def test_dilated_grouped_convolutions_have_four_forms_and_plain_ones_one() -> None:
    assert [str(form) for form in forms_of(GroupedConv3d(8, 8, 3, padding=2, dilation=2, groups=4))] == [
        *("groups", "dense", "groups on sub-grids", "dense on sub-grids"),
    ]
    assert forms_of(GroupedConv3d(8, 8, 3, padding=1, groups=1)) == [Form()]
    # of stride 2 and dilation 4 the sub-grids would overlap
    assert forms_of(GroupedConv3d(8, 8, 3, 2, padding=4, dilation=4)) == [Form()]


def clock(step: Callable[[int], float]) -> Callable[[Callable[[], object]], float]:
    """Does what it is to time, and says that the n-th piece took ``step(n)`` seconds."""
    count = 0

    def time(work: Callable[[], object]) -> float:
        nonlocal count
        work()
        count += 1
        return step(count)

    return time


def test_what_the_clock_says_is_fastest_is_picked() -> None:
    net = network()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    choice = pick_forms(net, FEW, nullcontext, clock(lambda n: 1 / n))  # the last is always the fastest
    assert choice.layout == "NDHWC"
    for name, form in choice.forms.items():
        convolution = net.get_submodule(name)
        assert isinstance(convolution, GroupedConv3d)
        assert form == forms_of(convolution)[-1], name
    assert choice.seconds < choice.seconds_before == 1
    assert "NDHWC; " in str(choice)
    assert " dense on sub-grids" in str(choice)
    # timing left no trace in the weights, nor in BatchNorm's statistics
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_what_was_fastest_before_stays() -> None:
    choice = pick_forms(network(), FEW, nullcontext, clock(float))  # the first is always the fastest
    assert choice.layout == "NDHWC"
    assert set(choice.forms.values()) == {Form()}
    assert choice.seconds == choice.seconds_before


def refuse(what: str) -> None:
    raise RuntimeError(f"GET was unable to find an engine to execute this computation: {what}")


def seconds(work: Callable[[], object]) -> float:
    """As ``seconds_on_gpu`` where there is no GPU: the form that cannot run takes infinitely long, others a second."""
    try:
        work()
    except RuntimeError:
        return math.inf
    return 1.0


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("out of memory"), RuntimeError("unable to find")])
def test_a_form_that_the_gpu_cannot_compute_takes_infinitely_long(error: RuntimeError) -> None:
    def work() -> None:
        raise error

    assert seconds_on_gpu(work) == math.inf


@pytest.mark.parametrize(("takes_s", "times"), [(1.0, 2), (0.06, 3), (0.001, 4)])
def test_slow_work_is_not_repeated_as_often_as_quick_work(
    takes_s: float, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, done = [0.0], [0]

    def work() -> None:
        clock[0] += takes_s
        done[0] += 1

    monkeypatch.setattr("torch.cuda.synchronize", lambda: None)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    assert seconds_on_gpu(work) == pytest.approx(takes_s)
    assert done == [times]


def test_a_form_that_cannot_run_is_left_out_and_the_others_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = GroupedConv3d.forward

    def without_groups(convolution: GroupedConv3d, x: torch.Tensor) -> torch.Tensor:
        if convolution.groups > 1 and not convolution.dense:
            refuse("groups")
        return forward(convolution, x)

    monkeypatch.setattr(GroupedConv3d, "forward", without_groups)
    net = network()
    choice = pick_forms(net, FEW, nullcontext, seconds)
    assert (choice.seconds_before, choice.seconds) == (math.inf, 1)
    grouped = [name for name in choice.forms if net.get_submodule(name).groups > 1]  # type: ignore[operator]
    assert grouped
    assert all(choice.forms[name].dense for name in grouped)
    choice.put(net)
    assert net(FEW).isfinite().all()


def test_where_no_form_runs_the_devices_own_words_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GroupedConv3d, "forward", lambda convolution, x: refuse("any"))
    with pytest.raises(TrainingError, match=r"no form .* 2 samples of 16 x 16 x 16 .*unable to find an engine.*any"):
        pick_forms(network(), FEW, nullcontext, seconds)


def test_the_network_is_the_same_function_in_the_forms_that_were_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subgrids, "FROM_ELEMENTS", 0)
    plain, picked = network().double(), network().double()
    pick_forms(picked, FEW.double(), nullcontext, clock(lambda n: 1 / n)).put(picked)
    results = []
    for net in (plain, picked):
        scores = net(IMAGES.double())
        scores.square().mean().backward()
        results.append([scores.detach(), *(parameter.grad for parameter in net.parameters())])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9)


def test_float16_takes_the_place_of_a_bfloat16_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, expected in ((True, "bfloat16"), (False, "float16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has)
        assert computed_in("bfloat16", on_gpu=True) == expected
    assert computed_in("float32", on_gpu=True) == "float32"
    assert computed_in("float16", on_gpu=False) == "bfloat16"


def test_in_float16_a_gradient_that_overflows_leaves_the_step_out_and_lowers_the_scale(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=1000)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler))
    fabric.launch()
    learner = Learner(recipe(), fabric, None)
    assert learner.precision.endswith("loss scaled")
    stream = learner.batches(Spheres(), first=0)
    weight = learner.network.head.weight
    first = weight.detach().clone()
    loss = learner.gradients(next(stream), 0, 0.0)
    learner.update(loss, 0, tmp_path)
    torch.testing.assert_close(weight, first, rtol=0, atol=0)
    assert scaler.get_scale() == 2.0**39
    scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0**8})
    loss = learner.gradients(next(stream), 1, 0.0)
    learner.update(loss, 1, tmp_path)
    assert not torch.equal(weight, first)
    assert bool(weight.isfinite().all())
    scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0**-11})
    with pytest.raises(TrainingError, match="gradient's norm became inf"):
        learner.update(loss, 2, tmp_path)
