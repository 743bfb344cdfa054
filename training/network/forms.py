"""How each convolution is computed on a GPU: timed there once, as no form is the fastest on every card.

The same convolution can run in its groups, as a dense one with block-diagonal weights, or, dilated, on sub-grids
(``attention_dmfnet.GroupedConv3d``), and tensors can lie in the order of channels or of voxels. Grouped 3-D
convolutions' gradients are slow in cuDNN (pytorch issue 37406); by how much depends on the card and its library.
"""

from __future__ import annotations

import contextlib
import copy
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from training.errors import TrainingError
from training.network.attention_dmfnet import AttentionDMFNet, GroupedConv3d

Timer = Callable[[Callable[[], object]], float]
"""Seconds that a piece of work takes; infinite for one that the device cannot do."""

Precision = Callable[[], AbstractContextManager[Any]]

LAYOUTS = {"NCDHW": torch.contiguous_format, "NDHWC": torch.channels_last_3d}

_REPEATS = 3

_ENOUGH_S = 0.1
"""A piece of work that took so long is told from a faster one without being done again."""


@dataclass(frozen=True, order=True)
class Form:
    """One of the ways in which a convolution can run: the same function and the same gradient."""

    dense: bool = False
    on_subgrids: bool = False

    def __str__(self) -> str:
        return " on ".join(["dense" if self.dense else "groups", *(["sub-grids"] if self.on_subgrids else [])])

    def put(self, convolution: GroupedConv3d) -> None:
        """Let ``convolution`` run so."""
        convolution.dense, convolution.on_subgrids = self.dense, self.on_subgrids


@dataclass(frozen=True)
class Choice:
    """What was picked: the layout, each convolution's form by its name, and seconds of a step, as it was and now."""

    layout: str
    forms: dict[str, Form]
    seconds_before: float
    seconds: float

    def put(self, network: AttentionDMFNet) -> None:
        """Let ``network`` run so."""
        network.to(memory_format=LAYOUTS[self.layout])  # type: ignore[call-overload]
        network.layout = LAYOUTS[self.layout]
        for name, form in self.forms.items():
            form.put(cast(GroupedConv3d, network.get_submodule(name)))

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {form}" for form, count in sorted(Counter(map(str, self.forms.values())).items()))
        return f"{self.layout}; {counts}; {self.seconds:.3f} s a step, {self.seconds_before:.3f} s in groups in NDHWC"


def forms_of(convolution: GroupedConv3d) -> list[Form]:
    """The forms that differ for this one, its own groups first."""
    dense = convolution.groups > 1 or convolution.kernel_size == (1, 1, 1)
    stride, dilation = convolution.stride[0], convolution.dilation[0]
    subgrids = dilation > 1 and (stride == dilation or math.gcd(stride, dilation) == 1)
    forms = [Form()]
    forms += [Form(dense=True)] if dense else []
    forms += [Form(on_subgrids=True)] if subgrids else []
    forms += [Form(dense=True, on_subgrids=True)] if subgrids and convolution.groups > 1 else []
    return forms


def pick_forms(network: AttentionDMFNet, images: Tensor, precision: Precision, timer: Timer) -> Choice:
    """The fastest form of each convolution, in the layout in which a whole step is the fastest.

    ``images`` (b, 1, z, y, x) is as large as a step's, on the device. ``network`` is left as it is: a copy is timed.
    Raises ``TrainingError`` if the device can compute no form of it.
    """
    probe = copy.deepcopy(network).train()
    in_groups = {name: Form() for name, module in probe.named_modules() if isinstance(module, GroupedConv3d)}
    before = _step(probe, Choice("NDHWC", in_groups, 0, 0), images, precision, timer)
    choices = []
    for layout, memory_format in LAYOUTS.items():
        Choice(layout, in_groups, 0, 0).put(probe)
        known: dict[str, Form] = {}
        forms = {}
        for name, (convolution, shape, dtype) in _inputs(probe, images, precision).items():
            # units repeat: what has been timed once need not be again
            kind = f"{convolution} {tuple(shape)}"
            if kind not in known:
                known[kind] = _fastest(convolution, shape, dtype, memory_format, images.device, precision, timer)
            forms[name] = known[kind]
        choices.append(Choice(layout, forms, before, 0))
    seconds = [_step(probe, choice, images, precision, timer) for choice in choices]
    best = min(range(len(choices)), key=seconds.__getitem__)
    if min(before, seconds[best]) == math.inf:
        raise TrainingError(_why_none(probe, Choice("NDHWC", in_groups, 0, 0), images, precision))
    if before <= seconds[best]:
        return Choice("NDHWC", in_groups, before, before)
    return Choice(choices[best].layout, choices[best].forms, before, seconds[best])


def seconds_on_gpu(work: Callable[[], object]) -> float:
    """The median of a few times, after one that lets cuDNN choose its algorithm.

    Infinite without enough memory, and for what cuDNN has no algorithm for.
    """
    try:
        work()
        times: list[float] = []
        while len(times) < _REPEATS and sum(times) < _ENOUGH_S:
            torch.cuda.synchronize()
            start = time.perf_counter()
            work()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    except RuntimeError:  # torch's error for want of memory is one, "unable to find an engine" another
        torch.cuda.empty_cache()
        return math.inf
    return statistics.median(times)


def _inputs(
    network: AttentionDMFNet, images: Tensor, precision: Precision
) -> dict[str, tuple[GroupedConv3d, torch.Size, torch.dtype]]:
    """Every convolution with the shape and precision of what it is given, whichever forms the device can compute."""
    found: dict[str, tuple[GroupedConv3d, torch.Size, torch.dtype]] = {}
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, GroupedConv3d):

            def note(module: GroupedConv3d, inputs: tuple[Tensor, ...], name: str = name) -> None:
                found[name] = module, inputs[0].shape, inputs[0].dtype

            handles.append(module.register_forward_pre_hook(note))
    convolutions = [module for module in network.modules() if isinstance(module, GroupedConv3d)]
    forms = [forms_of(convolution) for convolution in convolutions]
    for number in range(max(map(len, forms))):
        for convolution, of_it in zip(convolutions, forms, strict=True):
            of_it[min(number, len(of_it) - 1)].put(convolution)
        with contextlib.suppress(RuntimeError), torch.no_grad(), precision():
            network(images)
            break
    for convolution in convolutions:
        Form().put(convolution)
    for handle in handles:
        handle.remove()
    return found


def _fastest(
    convolution: GroupedConv3d,
    shape: torch.Size,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    device: torch.device,
    precision: Precision,
    timer: Timer,
) -> Form:
    x = torch.ones(shape, dtype=dtype, device=device).to(memory_format=memory_format).requires_grad_()

    def forward_and_backward() -> None:
        with precision():
            y = convolution(x)
        torch.autograd.grad(y, (x, convolution.weight), torch.ones_like(y))

    seconds = {}
    for form in forms_of(convolution):
        form.put(convolution)
        seconds[form] = timer(forward_and_backward)
    Form().put(convolution)
    return min(seconds, key=seconds.__getitem__)


def _step(probe: AttentionDMFNet, choice: Choice, images: Tensor, precision: Precision, timer: Timer) -> float:
    choice.put(probe)

    def step() -> None:
        probe.zero_grad(set_to_none=True)
        with precision():
            scores = probe(images)
        scores.float().mean().backward()

    return timer(step)


def _why_none(probe: AttentionDMFNet, choice: Choice, images: Tensor, precision: Precision) -> str:
    """The sentence for a device that computes no form: what it says of the plain one."""
    said: list[str] = []

    def once(work: Callable[[], object]) -> float:
        try:
            work()
        except RuntimeError as error:
            said.extend(str(error).splitlines()[:1])
        return math.inf

    _step(probe, choice, images, precision, once)
    shape = " x ".join(map(str, images.shape[2:]))
    return (
        f"no form of the network's convolutions can be computed on this device, {len(images)} samples of {shape} "
        f"voxels at once ({' '.join(said)}); for want of memory take a smaller grid.tile_zyx or run.batch, else "
        "another run.precision"
    )
