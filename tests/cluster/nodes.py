"""Ray's nodes on this machine: started, killed, and taken down with all of their processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from random import Random
from typing import Any
from unittest.mock import patch

import psutil

from cluster import ray_crew

_SETTINGS = {
    **ray_crew._SETTINGS,
    # no token is written into anybody's home
    "RAY_AUTH_MODE": "disabled",
    # a node that is gone is noticed within seconds
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "10",
    # a worker is killed by a test, never by Ray because something else on this machine takes memory
    "RAY_memory_monitor_refresh_ms": "0",
}


class Nodes:
    """A head node, which is never killed, and others; each has room for ``cpus`` workers."""

    def __init__(self, count: int, cpus: int = 1) -> None:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        from ray.cluster_utils import Cluster

        # of memory as much as the workers are asked to have: what is free at this moment says nothing
        self._settings = {"object_store_memory": 80 << 20, "memory": 4 << 30, "include_dashboard": False}
        head = {**self._settings, "num_cpus": cpus}
        self._cluster: Any = _begun(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.others = [self.add(cpus) for _ in range(count - 1)]
        self.address: str = self._cluster.address

    def add(self, cpus: int = 1) -> Any:
        """One more node."""
        return _begun(lambda: self._cluster.add_node(num_cpus=cpus, wait=True, **self._settings))

    def lose(self, node: Any) -> None:
        """A node is gone, with all that runs on it, without a word."""
        self._cluster.remove_node(node, allow_graceful=False)

    def kill_a_worker(self, random: Random) -> int | None:
        """Kill one of the processes that label; its number, or None if none is there."""
        found = self.labelling()
        if not found:
            return None
        process = random.choice(found)
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return None
        return int(process.pid)

    def labelling(self) -> list[psutil.Process]:
        """The workers' processes that are there."""
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::_Actor"):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def stop(self) -> None:
        """Take all nodes down, and whatever of theirs is left."""
        left = psutil.Process().children(recursive=True)
        mine = [process for process in left if _is_of_ray(process)]
        self._cluster.shutdown()
        _, alive = psutil.wait_procs(mine, timeout=10)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _begun(start: Callable[[], Any], tries: int = 10) -> Any:
    """What ``start`` makes; again where a node ended itself because its agents took longer than 15 s to begin."""
    before = set(psutil.Process().children(recursive=True))
    for left in reversed(range(tries)):
        try:
            with _patience(before):
                return start()
        except Exception:  # Ray has no class of its own for a node that does not come up
            if not left:
                raise
            for process in set(psutil.Process().children(recursive=True)) - before:
                if _is_of_ray(process):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
    return None


@contextmanager
def _patience(before: Set[psutil.Process], seconds: float = 600.0) -> Iterator[None]:
    """Ray gives up on a node that does not show itself within 30 s, whatever is set; a busy machine takes longer.

    Not where none of its processes is left but those that were there ``before``.
    """
    from ray._private import services

    find: Any = services.get_node

    def is_left() -> bool:
        return any(_is_of_ray(one, "/raylet/raylet") for one in psutil.Process().children(True) if one not in before)

    def find_patiently(*given: Any) -> Any:
        until = time.monotonic() + seconds
        while True:
            try:
                return find(*given)
            except RuntimeError:
                if time.monotonic() > until or not is_left():
                    raise
            time.sleep(0.5)

    with patch.object(services, "get_node", find_patiently):
        yield


def _is_of_ray(process: psutil.Process, *programs: str) -> bool:
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return any(program in words for program in programs or ("ray::", "/ray/"))


@contextmanager
def nodes(count: int, cpus: int = 1) -> Iterator[Nodes]:
    """Nodes that are taken down when the block is left."""
    made = Nodes(count, cpus)
    try:
        yield made
    finally:
        made.stop()


def wait_until(what: Callable[[], object], seconds: float = 600.0, every_s: float = 0.2) -> None:
    """Wait until ``what()`` is true; fails after ``seconds``, of which a busy machine may need many."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(every_s)
