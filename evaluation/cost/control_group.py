"""The control group of a container: its processes and their CPU-seconds, seen from outside.

A container's processes are no descendants of the command that starts it, but the kernel counts them together in a
group whose folder is named after the container. Control groups of version 1 and 2 and both mixed are read.
"""

import os
from collections.abc import Iterator
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")


class ContainerGroup:
    """The group of the container whose id the engine writes to ``id_file`` (``docker run --cidfile``).

    Until the container runs, and after it has ended, there are no processes and no CPU-seconds. The same is true where
    the engine runs the container on another machine, or a virtual one: then nothing can be measured from here.
    """

    def __init__(self, id_file: Path, mount: Path = _MOUNT) -> None:
        self._id_file = id_file
        self._mount = mount
        self._group: Path | None = None

    def processes(self) -> list[int]:
        """The processes in the container, by the numbers they have outside."""
        group = self._find()
        return [] if group is None else [int(pid) for pid in _read(group / "cgroup.procs").split()]

    def cpu_s(self) -> float | None:
        """CPU-seconds, user and system, of everything that ran in the container so far."""
        group = self._find()
        if group is None:
            return None
        for line in _read(group / "cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == "usage_usec":
                return int(value) / 1e6
        nanoseconds = _read(group / "cpuacct.usage").strip()
        return int(nanoseconds) / 1e9 if nanoseconds else None

    def _find(self) -> Path | None:
        if self._group is None:
            container = _read(self._id_file).strip()
            if container:
                self._group = next(self._candidates(container), None)
        return self._group

    def _candidates(self, container: str) -> Iterator[Path]:
        """Folders named after the container (``docker/ID``, ``docker-ID.scope``, ``libpod-ID.scope``) that can be read.

        In version 1, only the hierarchy that counts CPU time is of use.
        """
        for folder, subfolders, _ in os.walk(self._mount):
            if Path(folder) == self._mount and (self._mount / "cpuacct").is_dir():
                subfolders[:] = [name for name in subfolders if name in ("cpuacct", "unified")]
            for name in subfolders:
                group = Path(folder, name)
                if container in name and _read(group / "cgroup.procs").strip():
                    yield group


def _read(file: Path) -> str:
    try:
        return file.read_text()
    # not there yet, gone again, or of the other version
    except OSError:
        return ""
