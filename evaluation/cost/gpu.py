"""The memory of one NVIDIA GPU, counted as the organisers count it: the whole device's total minus what is free.

That includes the driver's context and every other process on the device, so it is read before a case starts, too.
"""

import importlib
from typing import Any, Protocol

_MIB_BYTES = 1 << 20


class NoGpuError(Exception):
    """There is no GPU to be measured; the sentence says why."""


class Gpu(Protocol):
    """A device whose memory can be asked for at any time."""

    @property
    def name(self) -> str:
        """What the device is called."""

    def used_mib(self) -> float:
        """Total minus free memory of the whole device, in MiB."""


class NvidiaGpu:
    """The NVIDIA device number ``index``, through its management library (NVML)."""

    def __init__(self, index: int, nvml: Any = None) -> None:
        """``nvml`` has the interface of the module ``pynvml`` and is that module if None. Raises ``NoGpuError``."""
        if nvml is None:
            try:
                nvml = importlib.import_module("pynvml")
            except ImportError:
                raise NoGpuError('nvidia-ml-py is not installed; pip install "attention-dmfnet[evaluation]"') from None
        try:
            nvml.nvmlInit()
            count = nvml.nvmlDeviceGetCount()
            if index >= count:
                raise NoGpuError(f"device {index} was asked for and there are {count}")
            self._device = nvml.nvmlDeviceGetHandleByIndex(index)
            name = nvml.nvmlDeviceGetName(self._device)
        except nvml.NVMLError as error:
            raise NoGpuError(f"NVML says: {error}") from error
        self._nvml = nvml
        self._name: str = name.decode() if isinstance(name, bytes) else name

    @property
    def name(self) -> str:
        return self._name

    def used_mib(self) -> float:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(self._device)
        used_bytes: int = memory.total - memory.free
        return used_bytes / _MIB_BYTES


def find_gpu(index: int) -> tuple[Gpu | None, str]:
    """The device and its name, or None and why there is none, in words."""
    try:
        gpu = NvidiaGpu(index)
    except NoGpuError as error:
        return None, f"no GPU ({error})"
    return gpu, gpu.name
