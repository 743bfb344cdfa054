"""How many CPUs this process may really use: in a container, fewer than the host has."""

import math
import os
from pathlib import Path


def available_cpus(root: Path = Path("/")) -> int:
    """The least of the scheduler's affinity, the control group's quota and ``OMP_NUM_THREADS``; at least 1.

    More threads than the quota allows are stopped by the kernel in mid-computation and all wait for each other.
    ``root`` is where ``proc`` and ``sys`` are looked for.
    """
    # macOS has no affinity
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits: list[float] = [here, *cpu_quotas(root)]
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        limits.append(int(asked))
    return max(1, math.floor(min(limits)))


def cpu_quotas(root: Path) -> list[float]:
    """The CPU quotas of the process's control group and of the groups around it, versions 1 and 2."""
    groups = root / "sys/fs/cgroup"
    quotas = []
    for group in own_groups(root, "cpu"):
        for folder in (group, *group.parents):
            quotas.append(_quota_v2(groups / folder / "cpu.max"))
            quotas.append(_quota_v1(groups / "cpu" / folder))
            quotas.append(_quota_v1(groups / "cpu,cpuacct" / folder))
    return [quota for quota in quotas if quota is not None]


def own_groups(root: Path, controller: str) -> set[Path]:
    """The process's groups for ``controller``, below the mount of the control groups.

    The top itself is among them, as a container sees its own there.
    """
    groups = {Path()}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            groups.add(Path(path.lstrip("/")))
    return groups


def _quota_v2(file: Path) -> float | None:
    numbers = _read(file).split()
    return int(numbers[0]) / int(numbers[1]) if len(numbers) == 2 and numbers[0] != "max" else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
