"""Which machine a figure was measured on, in one line that may stand in a document: no names, no paths."""

import platform
from pathlib import Path

import psutil
from attention_dmfnet.cpus import available_cpus

from evaluation.cost.gpu import Gpu

_GIB_BYTES = 1 << 30


def describe_machine(gpu: Gpu | None = None, root: Path = Path("/")) -> str:
    """CPU model, how many CPUs may be used, RAM, GPU, system and Python. ``root`` is where ``proc`` is looked for."""
    cpus = available_cpus()
    parts = [
        f"{_cpu_model(root)}, {cpus} CPU{'s' * (cpus > 1)}",
        f"{psutil.virtual_memory().total / _GIB_BYTES:.0f} GiB RAM",
        gpu.name if gpu is not None else "no GPU",
        platform.system(),
        f"Python {platform.python_version()}",
    ]
    return ", ".join(parts)


def _cpu_model(root: Path) -> str:
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
