"""What is found of a machine, from the files that Linux and the drivers show; and from a driver that is a fake."""

from pathlib import Path
from typing import Any

import pytest
from attention_dmfnet.cli.machine import find_cpu, find_memory, find_nvidia
from attention_dmfnet.model.cuda_driver import Cuda

from tests.engine.fake_cuda import FakeDriver


def _put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("cpuinfo", "model", "instructions"),
    [
        (
            "processor\t: 0\nmodel name\t: Xeon 1\nflags\t\t: fpu avx2 amx_bf16 avx512f\n\n"
            "processor\t: 1\nmodel name\t: Xeon 1\nflags\t\t: fpu avx2 amx_bf16 avx512f\n",
            "Xeon 1",
            ["avx2", "avx512f", "amx_bf16"],
        ),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\nCPU part\t: 0xd40\n", None, ["asimd", "bf16"]),
        ("", None, []),
    ],
)
def test_the_instructions_that_count_are_found(
    cpuinfo: str, model: str | None, instructions: list[str], tmp_path: Path
) -> None:
    found = find_cpu(_put(tmp_path, {"proc/cpuinfo": cpuinfo}))
    assert found.instructions == instructions
    assert found.model == model or (model is None and found.model)


def test_a_quota_of_one_and_a_half_cpus_leaves_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    files = {"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/cpu.max": "150000 100000\n"}
    found = find_cpu(_put(tmp_path, files))
    assert (found.quota, found.usable) == (1.5, 1)


@pytest.mark.parametrize(
    ("files", "limit_mib"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "2147483648\n"}, 2048),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, None),
        (
            {
                "proc/self/cgroup": "5:memory:/box\n4:cpu:/other\n",
                "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "1073741824\n",
                "sys/fs/cgroup/memory/other/memory.limit_in_bytes": "1048576\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            1024,
        ),
    ],
)
def test_memory_is_what_the_control_group_allows(files: dict[str, str], limit_mib: int | None, tmp_path: Path) -> None:
    files = {**files, "proc/meminfo": "MemTotal:       16384000 kB\nMemAvailable:   8192000 kB\n"}
    found = find_memory(_put(tmp_path, files))
    assert (found.total_mib, found.available_mib, found.limit_mib) == (16000, 8000, limit_mib)


def test_a_gpu_is_told_with_its_driver(tmp_path: Path) -> None:
    line = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n"
    library: Any = FakeDriver()
    found = find_nvidia(_put(tmp_path, {"proc/driver/nvidia/version": line}), Cuda(library))
    assert not isinstance(found, str)
    assert (found.name, found.compute_capability, found.memory_mib) == ("Quadro RTX 5000", "7.5", 16384)
    assert (found.driver, found.cuda) == ("550.54.15", "13.1")


def test_without_a_gpu_it_is_said_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attention_dmfnet.model.cuda_driver._LIBRARY", "libno.so.1")
    assert find_nvidia(tmp_path) == "no NVIDIA GPU found"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    assert find_nvidia(tmp_path) == "no NVIDIA driver here (libno.so.1 is missing); use --device cpu"
