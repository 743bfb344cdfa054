"""The organisers' sampler: the whole machine's CPU counters, used RAM and GPU memory, with 0.1 s of sleep between.

A sample itself takes time, so the samples lie further apart than 0.1 s; unlike the organisers' own, these say when
they were taken. Source: FLARE22's efficiency script, whose sums are in ``evaluation.cost.efficiency``.
"""

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psutil

from evaluation.cost.gpu import Gpu

SLEEP_S = 0.1
"""Between the end of one sample and the start of the next."""

_MIB_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """The whole machine at one moment.

    ``time_s`` is ``time.perf_counter``'s. The next three are the system's counters in CPU-seconds, all CPUs added up.
    ``busy_s`` holds all that is neither idle nor waiting for a disk: besides ``user_s`` and ``system_s`` also the time
    of processes with a lower priority (nice), of interrupts, and what a hypervisor took, which the organisers' rule
    does not see. ``gpu_mib`` is None where there is no GPU.
    """

    time_s: float
    user_s: float
    system_s: float
    idle_s: float
    busy_s: float
    ram_mib: float
    gpu_mib: float | None


class Sampler:
    """Samples on a thread of its own while the ``with`` block runs.

    The first entry of ``samples`` is the machine before the block and ``SLEEP_S`` before the second, so that every
    later one can be compared with the one before it; the last is taken as the block ends.
    """

    def __init__(self, gpu: Gpu | None) -> None:
        self.samples: list[Sample] = []
        self._gpu = gpu
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def __enter__(self) -> Self:
        self.samples.append(self._sample())
        time.sleep(SLEEP_S)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.samples.append(self._sample())

    def _run(self) -> None:
        while not self._stop.is_set():
            self.samples.append(self._sample())
            self._stop.wait(SLEEP_S)

    def _sample(self) -> Sample:
        gpu_mib = None if self._gpu is None else self._gpu.used_mib()
        cpu = psutil.cpu_times()
        # on Linux `user` already contains `guest`, and `nice` contains `guest_nice`
        busy_s = sum(getattr(cpu, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))
        ram_mib = _used_bytes(psutil.virtual_memory()) / _MIB_BYTES
        return Sample(time.perf_counter(), cpu.user, cpu.system, cpu.idle, busy_s, ram_mib, gpu_mib)


def _used_bytes(memory: Any) -> float:
    """What the organisers' script counted; psutil's own ``used`` has come to mean total - available."""
    kept: float = memory.total - memory.free - getattr(memory, "buffers", 0) - getattr(memory, "cached", 0)
    return kept
