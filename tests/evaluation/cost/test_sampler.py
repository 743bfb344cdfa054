from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from evaluation.cost.sampler import Sampler, _used_bytes


def test_used_memory_is_what_is_neither_free_nor_a_buffer_nor_a_cache() -> None:
    # as the organisers' script counted it; psutil's own `used` has come to mean total - available
    memory = SimpleNamespace(total=1000, free=200, buffers=30, cached=270, available=450, used=550)
    assert _used_bytes(memory) == 500


def test_used_memory_is_that_of_proc_meminfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kib = {
        "MemTotal": 24000,
        "MemFree": 8000,
        "MemAvailable": 19000,
        "Buffers": 1000,
        "Cached": 6000,
        "SReclaimable": 200,
    }
    kib |= dict.fromkeys(("Shmem", "Active", "Inactive", "Slab"), 0)
    (tmp_path / "meminfo").write_text("".join(f"{name}: {number * 1024} kB\n" for name, number in kib.items()))
    (tmp_path / "stat").write_text("cpu  10 0 10 80 0 0 0 0 0 0\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    with Sampler(None) as sampler:
        pass
    # total - free - buffers - cached, where `free` (procps) counts reclaimable slabs as cached, too
    assert {sample.ram_mib for sample in sampler.samples} == {24000 - 8000 - 1000 - 6000 - 200}
