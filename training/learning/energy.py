"""What a run used: CPU-seconds of its processes, and the energy of its GPUs where they count it themselves."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from training.learning.checkpoint import Progress


class Meter:
    """Counts from when it is made; ``add_to`` adds what came since it was last asked."""

    def __init__(self, device: torch.device, local_processes: int) -> None:
        self._gpus = range(local_processes) if device.type == "cuda" else range(0)
        self._cpu_s, self._joules = cpu_seconds(), gpu_joules(self._gpus)

    def add_to(self, progress: Progress) -> None:
        """Add to the run's counters: this process and its workers, and all GPUs of this machine that the run uses."""
        cpu_s, joules = cpu_seconds(), gpu_joules(self._gpus)
        # a worker that has ended takes its time with it
        progress.cpu_s += max(cpu_s - self._cpu_s, 0.0)
        if joules is not None and self._joules is not None:
            progress.gpu_joules += joules - self._joules
        self._cpu_s, self._joules = cpu_s, joules


def cpu_seconds() -> float:
    """Of this process and of its children, living or gone."""
    own = os.times()
    total = own.user + own.system + own.children_user + own.children_system
    for task in Path("/proc/self/task").glob("*/children"):
        for child in task.read_text(encoding="utf-8").split():
            total += _seconds_of(child)
    return total


def gpu_joules(gpus: range) -> float | None:
    """What the GPUs have used since their driver was loaded, by NVML; None if there are none, or they do not count."""
    if not gpus:
        return None
    try:
        import pynvml
    except ImportError:  # it comes with the extra `evaluation`
        return None
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid_of(gpu)) for gpu in gpus]
        return float(sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles) / 1000)
    except pynvml.NVMLError:
        return None


def uuid_of(gpu: int) -> str:
    """By which NVML knows torch's GPU: it counts others too, which CUDA_VISIBLE_DEVICES hides."""
    return f"GPU-{torch.cuda.get_device_properties(gpu).uuid}"


def _seconds_of(process: str) -> float:
    try:
        # after the name, which may hold anything: the fields from the third on
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
