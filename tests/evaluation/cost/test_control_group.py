"""On fake trees of control groups, with the files and the layouts that engines make."""

from pathlib import Path

import pytest

from evaluation.cost.control_group import ContainerGroup

ID = "4f5e0c"


def made(mount: Path, group: str, **files: str) -> None:
    (mount / group).mkdir(parents=True)
    for name, text in files.items():
        (mount / group / name.replace("_", ".", 1)).write_text(text)


@pytest.fixture
def id_file(tmp_path: Path) -> Path:
    (tmp_path / "id").write_text(ID)
    return tmp_path / "id"


@pytest.mark.parametrize(
    "group", [f"docker/{ID}", f"system.slice/docker-{ID}.scope", f"machine.slice/libpod-{ID}.scope"]
)
def test_version_2_counts_microseconds(tmp_path: Path, id_file: Path, group: str) -> None:
    mount = tmp_path / "cgroup"
    made(mount, "system.slice/other", cgroup_procs="7\n", cpu_stat="usage_usec 9\n")
    made(mount, group, cgroup_procs="12\n34\n", cpu_stat="usage_usec 2500000\nuser_usec 2000000\n")
    container = ContainerGroup(id_file, mount)
    assert container.processes() == [12, 34]
    assert container.cpu_s() == 2.5


def test_version_1_counts_nanoseconds_in_a_tree_of_its_own(tmp_path: Path, id_file: Path) -> None:
    mount = tmp_path / "cgroup"
    made(mount, f"memory/docker/{ID}", cgroup_procs="12\n")
    made(mount, f"cpuacct/docker/{ID}", cgroup_procs="12\n", cpu_stat="nr_periods 0\n", cpuacct_usage="1500000000\n")
    container = ContainerGroup(id_file, mount)
    assert container.processes() == [12]
    assert container.cpu_s() == 1.5


def test_before_the_container_runs_nothing_is_measured(tmp_path: Path) -> None:
    mount = tmp_path / "cgroup"
    made(mount, f"docker/{ID}", cgroup_procs="", cpu_stat="usage_usec 0\n")
    container = ContainerGroup(tmp_path / "id", mount)
    assert container.processes() == []
    assert container.cpu_s() is None
    (tmp_path / "id").write_text(ID)
    assert container.processes() == []
    (mount / "docker" / ID / "cgroup.procs").write_text("12\n")
    assert container.processes() == [12]


def test_after_the_container_has_ended_nothing_more_is_measured(tmp_path: Path, id_file: Path) -> None:
    mount = tmp_path / "cgroup"
    made(mount, f"docker/{ID}", cgroup_procs="12\n", cpu_stat="usage_usec 1000000\n")
    container = ContainerGroup(id_file, mount)
    assert container.cpu_s() == 1
    for name in ("cgroup.procs", "cpu.stat"):
        (mount / "docker" / ID / name).unlink()
    assert container.processes() == []
    assert container.cpu_s() is None
