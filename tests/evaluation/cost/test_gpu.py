"""With a fake of NVIDIA's management library; nothing here has seen a GPU."""

from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.cost.gpu import NoGpuError, NvidiaGpu
from evaluation.cost.sampler import Sampler


class FakeNvml:
    """Two devices; the second has 1,000 MiB in use. ``failing`` names the call that raises."""

    class NVMLError(Exception):
        pass

    def __init__(self, failing: str = "") -> None:
        self.failing = failing

    def _call(self, name: str, answer: Any) -> Any:
        if name == self.failing:
            raise self.NVMLError("Driver Not Loaded")
        return answer

    def nvmlInit(self) -> None:  # noqa: N802
        self._call("nvmlInit", None)

    def nvmlDeviceGetCount(self) -> Any:  # noqa: N802
        return self._call("nvmlDeviceGetCount", 2)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, device: int) -> bytes:  # noqa: N802
        return b"Quadro RTX 5000"

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:  # noqa: N802
        # `used` leaves out what the driver reserves: the organisers take the total minus what is free
        mib = 1 << 20
        return SimpleNamespace(total=16000 * mib, free=(16000 - 1000 * device) * mib, used=600 * mib * device)


def test_used_memory_is_the_whole_devices_total_minus_free() -> None:
    assert NvidiaGpu(1, FakeNvml()).used_mib() == 1000
    assert NvidiaGpu(0, FakeNvml()).used_mib() == 0


def test_the_device_is_named() -> None:
    assert NvidiaGpu(0, FakeNvml()).name == "Quadro RTX 5000"


def test_a_machine_without_a_driver_has_no_gpu_and_says_why() -> None:
    with pytest.raises(NoGpuError, match="NVML says: Driver Not Loaded"):
        NvidiaGpu(0, FakeNvml(failing="nvmlInit"))


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(NoGpuError, match="device 2 was asked for and there are 2"):
        NvidiaGpu(2, FakeNvml())


def test_the_sampler_reads_the_gpu_with_every_sample() -> None:
    with Sampler(NvidiaGpu(1, FakeNvml())) as sampler:
        pass
    assert len(sampler.samples) >= 2
    assert {sample.gpu_mib for sample in sampler.samples} == {1000.0}
