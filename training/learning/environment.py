"""What a run was trained on: recorded when it starts, for the protocol table."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import torch

from training.learning.energy import uuid_of

ENVIRONMENT = "environment.json"

_PACKAGES = ("torch", "lightning-fabric", "monai", "numpy", "SimpleITK")


class Environment(msgspec.Struct, frozen=True):
    """``gpus`` are those that the run used on one machine, ``gpu_watts`` the limits of their power, all together; None
    where there is none or it cannot be asked. ``processes`` are all, on however many machines.
    """

    system: str
    python: str
    packages: dict[str, str]
    cpu: str
    threads: int
    ram_gib: float
    gpus: tuple[str, ...]
    cuda: str | None
    gpu_watts: float | None
    processes: int


def describe(processes: int, gpus_used: int = 0) -> Environment:
    """This machine, of which each of ``processes`` uses torch's number of threads, and the run so many GPUs."""
    gpus = tuple(torch.cuda.get_device_name(i) for i in range(gpus_used))
    return Environment(
        system=f"{platform.system()} {platform.release()}",
        python=sys.version.split()[0],
        packages={name: _version(name) for name in _PACKAGES},
        cpu=_cpu(),
        threads=torch.get_num_threads(),
        ram_gib=_ram_gib(),
        gpus=gpus,
        cuda=torch.version.cuda if gpus else None,
        gpu_watts=_gpu_watts(gpus_used) if gpus else None,
        processes=processes,
    )


def read_environment(run: Path) -> Environment | None:
    """What the run recorded; None for a run that did not."""
    path = run / ENVIRONMENT
    return msgspec.json.decode(path.read_bytes(), type=Environment) if path.exists() else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} logical cores" if names else platform.machine()


def _ram_gib() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    kib = next((line.split()[1] for line in lines if line.startswith("MemTotal")), "0")
    return round(int(kib) / 2**20, 1)


def _gpu_watts(gpus: int) -> float | None:
    try:
        import pynvml
    except ImportError:  # it comes with the extra `evaluation`
        return None
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid_of(gpu)) for gpu in range(gpus)]
        return float(sum(pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) for handle in handles) / 1000)
    except pynvml.NVMLError:
        return None
