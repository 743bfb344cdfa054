import os
from pathlib import Path

import pytest
from attention_dmfnet.cpus import available_cpus


@pytest.fixture(autouse=True)
def _sixteen_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def _file(root: Path, path: str, content: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


def test_without_a_quota_all_cpus_of_the_affinity_count(tmp_path: Path) -> None:
    assert available_cpus(tmp_path) == 16


@pytest.mark.parametrize(
    ("content", "cpus"), [("200000 100000", 2), ("150000 100000", 1), ("max 100000", 16), ("5000 100000", 1)]
)
def test_a_containers_quota_limits_the_threads(tmp_path: Path, content: str, cpus: int) -> None:
    _file(tmp_path, "sys/fs/cgroup/cpu.max", content)
    assert available_cpus(tmp_path) == cpus


def test_where_there_is_no_affinity_the_machines_cpus_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # as on macOS
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cpus(tmp_path) == 6


def test_a_quota_of_a_group_further_up_limits_as_well(tmp_path: Path) -> None:
    _file(tmp_path, "proc/self/cgroup", "0::/system.slice/job.scope\n")
    _file(tmp_path, "sys/fs/cgroup/system.slice/job.scope/cpu.max", "max 100000")
    _file(tmp_path, "sys/fs/cgroup/system.slice/cpu.max", "300000 100000")
    assert available_cpus(tmp_path) == 3


@pytest.mark.parametrize(("quota", "cpus"), [("400000", 4), ("-1", 16)])
def test_the_older_control_groups_are_read_too(tmp_path: Path, quota: str, cpus: int) -> None:
    _file(tmp_path, "proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n2:memory:/docker/abc\n")
    _file(tmp_path, "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", quota)
    _file(tmp_path, "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000")
    assert available_cpus(tmp_path) == cpus


def test_a_number_of_threads_that_the_user_asked_for_is_an_upper_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert available_cpus(tmp_path) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "99")
    assert available_cpus(tmp_path) == 16
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert available_cpus(tmp_path) == 16
