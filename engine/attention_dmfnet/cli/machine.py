"""What this machine has for the engine: instructions, CPUs and memory that may really be used, a GPU and its driver."""

import os
import platform
from pathlib import Path
from typing import Final

import msgspec

from attention_dmfnet.cpus import available_cpus, cpu_quotas, own_groups
from attention_dmfnet.model.cuda_driver import Cuda
from attention_dmfnet.model.network import LoadError
from attention_dmfnet.model.runtimes import find_gpu

_MIB_BYTES = 1 << 20

INSTRUCTIONS: Final = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_bf16", "amx_int8", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve"),
)
"""As Linux calls them, x86 then ARM: those that networks are computed with."""

MEASURED_MIB: Final = {"256x256x52": 275, "122x101x112": 361, "512x512x102": 381, "512x512x160": 516}
"""Peak MiB of a run on the CPU, by the scan's voxels; docs/performance.md says on which machine."""


class Cpu(msgspec.Struct, frozen=True):
    """The processor; ``usable`` CPUs of those ``present``, because of affinity, ``quota`` or OMP_NUM_THREADS."""

    model: str
    instructions: list[str]
    usable: int
    present: int
    quota: float | None


class Memory(msgspec.Struct, frozen=True):
    """Main memory in MiB; ``limit_mib`` is the control group's, None where there is none."""

    total_mib: int | None
    available_mib: int | None
    limit_mib: int | None


class Gpu(msgspec.Struct, frozen=True):
    """The first GPU and its driver; ``cuda`` is the newest version that the driver knows."""

    name: str
    compute_capability: str
    memory_mib: int
    driver: str | None
    cuda: str


def find_cpu(root: Path = Path("/")) -> Cpu:
    """``root`` is where ``proc`` and ``sys`` are looked for."""
    rows = [line.partition(":") for line in _read(root / "proc/cpuinfo").splitlines()]
    said = {key.strip(): value.strip() for key, _, value in reversed(rows)}
    flags = set(said.get("flags", said.get("Features", "")).split())
    quotas = cpu_quotas(root)
    return Cpu(
        said.get("model name") or platform.machine(),
        [name for name in INSTRUCTIONS if name in flags],
        available_cpus(root),
        os.cpu_count() or 1,
        min(quotas) if quotas else None,
    )


def find_memory(root: Path = Path("/")) -> Memory:
    """``root`` is where ``proc`` and ``sys`` are looked for."""
    rows = [line.split() for line in _read(root / "proc/meminfo").splitlines()]
    mib = {row[0]: int(row[1]) // 1024 for row in rows if len(row) > 1 and row[1].isdigit()}
    groups = root / "sys/fs/cgroup"
    limits = []
    for group in own_groups(root, "memory"):
        for folder in (group, *group.parents):
            for file in (groups / folder / "memory.max", groups / "memory" / folder / "memory.limit_in_bytes"):
                text = _read(file).strip()
                # version 1 has a limit of 2**63 where there is none
                if text.isdigit() and int(text) < 1 << 60:
                    limits.append(int(text) // _MIB_BYTES)
    return Memory(mib.get("MemTotal:"), mib.get("MemAvailable:"), min(limits) if limits else None)


def find_nvidia(root: Path = Path("/"), cuda: Cuda | None = None) -> Gpu | str:
    """The GPU, or why there is none to use; ``cuda`` stands in for the driver in tests."""
    try:
        cuda = cuda or Cuda()
        major, minor = cuda.compute_capability
        memory_mib, version = cuda.memory_bytes // _MIB_BYTES, cuda.cuda_version
    except LoadError as error:
        return str(error) if find_gpu(root) else "no NVIDIA GPU found"
    return Gpu(cuda.name, f"{major}.{minor}", memory_mib, _driver_version(root), ".".join(map(str, version)))


def _driver_version(root: Path) -> str | None:
    """From the line ``NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ...``."""
    words = _read(root / "proc/driver/nvidia/version").partition("\n")[0].split()
    return next((word for word in words if word.replace(".", "").isdigit() and "." in word), None)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
