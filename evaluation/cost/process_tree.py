"""What a process and all its descendants use: figures that do not depend on what else runs on the machine. Linux only.

Memory is counted three ways, because each alone misleads. RSS counts what processes share once for each of them. PSS
shares it out among them, but is costly to read. The kernel's high-water mark forgets no peak, but knows one process.
"""

import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SLEEP_S = 0.025
# Reading PSS walks the page tables of the process and stops its page faults meanwhile: at most 1/40 of the time.
_PSS_REST = 40

_KIB_PER_MIB = 1024
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class TreeSample:
    """All processes of the tree at one moment: memory in MiB, and the CPU-seconds since they began.

    ``pss_mib`` is None where it was not read, ``cpu_s`` where it could not be.
    """

    time_s: float
    rss_mib: float
    pss_mib: float | None
    cpu_s: float | None


@dataclass(frozen=True, slots=True)
class TreeCost:
    """CPU-seconds and peak memory (MiB) of a process tree.

    ``peak_mib``, the figure to compare, is the largest sum of PSS that was seen (of RSS, where PSS may not be read),
    and at least the high-water mark of the largest single process, which holds what happened between the samples.
    PSS is None also where there never was more than one process.
    """

    cpu_s: float
    peak_mib: float
    peak_process_mib: float
    peak_rss_mib: float
    peak_pss_mib: float | None


class TreeWatcher:
    """Watches the processes that ``members`` names, on a thread of its own, while the ``with`` block runs.

    ``cpu_s`` may read their CPU-seconds from elsewhere (a control group); without it the processes' own are added up.
    """

    def __init__(self, members: Callable[[], Collection[int]], cpu_s: Callable[[], float | None] | None = None) -> None:
        self.samples: list[TreeSample] = []
        self._members = members
        self._cpu_s = cpu_s
        self._peak_process_mib = 0.0
        self._pss_due_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tree watcher")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def cost(self, cpu_s: float | None = None) -> TreeCost | None:
        """What was seen; ``cpu_s`` is what the system accounted when the tree ended, if it did.

        None if there never was a process to look at, or its CPU-seconds are not known.
        """
        seen_cpu_s = [sample.cpu_s for sample in self.samples if sample.cpu_s is not None]
        total_cpu_s = max([*seen_cpu_s, *([] if cpu_s is None else [cpu_s])], default=None)
        if not self._peak_process_mib or total_cpu_s is None:
            return None
        peak_rss_mib = max(sample.rss_mib for sample in self.samples)
        pss_mib = [sample.pss_mib for sample in self.samples if sample.pss_mib is not None]
        peak_pss_mib = max(pss_mib) if pss_mib else None
        peak_mib = max(self._peak_process_mib, peak_rss_mib if peak_pss_mib is None else peak_pss_mib)
        return TreeCost(total_cpu_s, peak_mib, self._peak_process_mib, peak_rss_mib, peak_pss_mib)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._sample(self._members())
            self._stop.wait(SLEEP_S)

    def _sample(self, members: Collection[int]) -> None:
        # what has ended and was not waited for yet has CPU-seconds but no memory
        memory = {pid: found for pid in members if (found := _rss_and_peak_mib(pid)) is not None}
        if not memory:
            return
        self._peak_process_mib = max(self._peak_process_mib, *(peak_mib for _, peak_mib in memory.values()))
        now_s = time.perf_counter()
        rss_mib = sum(rss_mib for rss_mib, _ in memory.values())
        cpu_s = self._cpu_s() if self._cpu_s is not None else sum(map(_cpu_s, members))
        pss_mib = None
        # of a single process, PSS would say nothing that its RSS and high-water mark do not
        if len(memory) > 1 and now_s >= self._pss_due_s:
            pss_mib = _sum_or_none([_pss_mib(pid) for pid in memory])
            read_s = time.perf_counter()
            self._pss_due_s = read_s + _PSS_REST * (read_s - now_s)
        self.samples.append(TreeSample(now_s, rss_mib, pss_mib, cpu_s))


class Descendants:
    """The process ``pid`` and all that it started, directly or not, as far as they are still running at each call.

    One that outlives its parent stays among them. Each process of the machine is looked at only once: a full search at
    every sample would cost more than many a case.
    """

    def __init__(self, pid: int) -> None:
        self._tree = {pid}
        self._others: set[int] = set()

    def __call__(self) -> Collection[int]:
        running = {int(name) for name in os.listdir(_PROC) if name.isdigit()}
        parents = {pid: _parent(pid) for pid in running - self._tree - self._others}
        # in rounds: a child may be listed before its parent
        while children := {pid for pid, parent in parents.items() if parent in self._tree}:
            self._tree |= children
            parents = {pid: parent for pid, parent in parents.items() if pid not in children}
        self._tree &= running
        self._others = (self._others & running) | parents.keys()
        return self._tree


def _rss_and_peak_mib(pid: int) -> tuple[float, float] | None:
    """None for a process that has ended."""
    fields = dict(line.partition(":")[::2] for line in _read(_PROC / str(pid) / "status").splitlines())
    if "VmHWM" not in fields:
        return None
    rss_kib, peak_kib = (int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return rss_kib / _KIB_PER_MIB, peak_kib / _KIB_PER_MIB


def _pss_mib(pid: int) -> float | None:
    for line in _read(_PROC / str(pid) / "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / _KIB_PER_MIB
    return None


def _cpu_s(pid: int) -> float:
    """The process's own CPU-seconds and those of its children that have ended and were waited for."""
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / _TICKS_PER_S if fields else 0.0


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _stat(pid: int) -> list[str]:
    """What the kernel tells in one line, from the process's state on; empty if it has ended."""
    # the name of the program comes before, in brackets, and may hold anything
    return _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()


def _sum_or_none(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _read(file: Path) -> str:
    try:
        return file.read_text()
    # the process may end between any two of these calls, and another user's memory map may not be read
    except OSError:
        return ""
