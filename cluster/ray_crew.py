"""Workers that are Ray actors. The only file here that knows Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from attention_dmfnet.cpus import available_cpus
from attention_dmfnet.files.cases import InputError
from attention_dmfnet.model.manifest import ManifestError
from attention_dmfnet.model.network import NetworkError

from cluster.crew import Event, Finished, Lost, Ready
from cluster.errors import ClusterError

_OBJECT_STORE_BYTES: Final = 100 << 20
"""Of a Ray that is started here: scans never go through it, and the least that Ray takes is 75 MiB."""

_SETTINGS: Final = {
    # no machine that holds scans calls home
    "RAY_USAGE_STATS_ENABLED": "0",
    # a machine that is busy takes longer to start Ray than the 15 and 30 s that Ray allows
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_agent_register_timeout_ms": "180000",
    # workers have the priority of who starts them; Ray would give them the lowest but four
    "RAY_worker_niceness": "0",
}

_END_S: Final = 5.0
"""Workers get so long to clean up behind themselves."""

Handler = Callable[[Any], Any]
"""What a worker does with the payload of one task; ``end_handler`` is called at the end."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What each worker takes of its machine, for Ray to place it."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory_mb: int = 1500


class _Actor:
    """In a worker's process: makes its handler once, then does one payload after the other, or several at once."""

    def __init__(self, make: Callable[[], Handler]) -> None:
        self._make = make
        self._handler: Handler | None = None

    def begin(self) -> tuple[str, str, Any, str | None]:
        """Node, name, what the handler tells of itself, and why it cannot begin."""
        import ray

        context = ray.get_runtime_context()
        name = f"{socket.gethostname()}:{os.getpid()}"
        try:
            self._handler = self._make()
        except (InputError, ManifestError, NetworkError) as error:
            return context.get_node_id(), name, None, str(error)
        return context.get_node_id(), name, getattr(self._handler, "told", None), None

    def do(self, payload: Any) -> Any:
        """What comes of one payload."""
        assert self._handler is not None
        return self._handler(payload)

    def end(self) -> None:
        """Clean up: the process is killed next."""
        end_handler(self._handler)


def end_handler(handler: Handler | None) -> None:
    """Let a handler clean up behind itself, where it was made and has a ``close``."""
    close = getattr(handler, "close", None)
    if close is not None:
        close()


class RayCrew:
    """See ``crew.Crew``. A worker makes its handler by ``make``, which all machines can import.

    ``payload_of`` has what a task's name stands for. Without an ``address``, Ray is started on this machine and ended
    by ``close``, unless ``RAY_ADDRESS`` names one. Raises ``ClusterError`` if there is no Ray at the address.
    """

    def __init__(
        self,
        make: Callable[[], Handler],
        payload_of: Callable[[str], Any],
        needs: Needs,
        each: int,
        address: str | None = None,
    ) -> None:
        self._ray, self._make, self._payload_of = _connected(address), make, payload_of
        self._needs = needs
        self._actor = self._ray.remote(_Actor).options(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=needs.memory_mb << 20,
            max_concurrency=each,
            # a worker that is lost is replaced by another one, and its cases given to whoever is free
            max_restarts=0,
            max_task_retries=0,
        )
        self._actors: dict[int, Any] = {}
        self._ready: set[int] = set()
        self._asked: dict[Any, tuple[int, str | None]] = {}
        self._count = 0

    def room(self) -> int:
        """How many workers there is room for on the machines that are there now."""
        needs, found = self._needs, 0
        for node in self._ray.nodes():
            if node["Alive"]:
                have = node["Resources"]
                shares = [have.get("CPU", 0.0) / needs.cpus, have.get("memory", 0.0) / (needs.memory_mb << 20)]
                shares += [have.get("GPU", 0.0) / needs.gpus] if needs.gpus else []
                found += int(min(shares))
        return found

    def start(self) -> int:
        """See ``crew.Crew``."""
        self._count += 1
        actor = self._actor.remote(self._make)
        self._actors[self._count] = actor
        self._asked[actor.begin.remote()] = (self._count, None)
        return self._count

    def give(self, worker: int, task: str) -> None:
        """See ``crew.Crew``."""
        self._asked[self._actors[worker].do.remote(self._payload_of(task))] = (worker, task)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """See ``crew.Crew``."""
        if not self._asked:
            time.sleep(timeout_s)
            return []
        asked = list(self._asked)
        ready, _ = self._ray.wait(asked, num_returns=1, timeout=timeout_s)
        if ready and len(asked) > 1:
            ready, _ = self._ray.wait(asked, num_returns=len(asked), timeout=0)
        return [event for reference in ready for event in self._heard(reference)]

    def now_s(self) -> float:
        """See ``crew.Crew``."""
        return time.monotonic()

    def close(self) -> None:
        """See ``crew.Crew``. A Ray that was started here is ended."""
        # a worker that never began has nothing to clean up, and would not answer
        ending = [self._actors[worker].end.remote() for worker in self._ready if worker in self._actors]
        try:
            if ending:
                self._ray.wait(ending, num_returns=len(ending), timeout=_END_S)
        finally:
            for worker in list(self._actors):
                self._let_go(worker)
            self._ray.shutdown()

    def _heard(self, reference: Any) -> list[Event]:
        # of a worker that was lost with several tasks, the first one says so
        if reference not in self._asked:
            return []
        worker, task = self._asked.pop(reference)
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._let_go(worker)
            return [Lost(worker, _why(error))]
        if task is not None:
            return [Finished(worker, task, result)]
        node, name, told, refusal = result
        if refusal is not None:
            self._let_go(worker)
            return [Lost(worker, refusal, refusal)]
        self._ready.add(worker)
        return [Ready(worker, node, name, told)]

    def _let_go(self, worker: int) -> None:
        actor = self._actors.pop(worker)
        with contextlib.suppress(Exception):  # it is gone, or its machine is
            self._ray.kill(actor)
        for reference in [one for one, (whose, _) in self._asked.items() if whose == worker]:
            del self._asked[reference]


def _connected(address: str | None) -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ClusterError(missing_ray(error.name or "ray")) from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None and not os.environ.get("RAY_ADDRESS"):
        # `local`: never another one that happens to run on this machine
        size: dict[str, Any] = {"num_cpus": available_cpus(), "object_store_memory": _OBJECT_STORE_BYTES}
        try:
            ray.init(address="local", include_dashboard=False, **size, **quiet)
        except Exception as error:  # Ray has no class of its own for a node that does not come up
            ray.shutdown()
            raise ClusterError(
                f"Ray did not start on this machine ({_first_line(error)}); it gives up where its agents take longer "
                "than 15 s to begin: is the machine busy?"
            ) from error
        return ray
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = address or os.environ["RAY_ADDRESS"]
        raise ClusterError(
            f"there is no Ray at {where} ({_first_line(error)}); start it with `ray start --head`, and give the "
            "address that it prints, on one of its machines"
        ) from error
    return ray


def missing_ray(package: str) -> str:
    """What to do where Ray is not installed."""
    return (
        f"the Python package {package} is missing: `pip install -c constraints.txt -e '.[cluster]'` in the clone "
        "brings what many machines need; one machine needs none of it: attention-dmfnet predict"
    )


def _why(error: Exception) -> str:
    cause = getattr(error, "cause", None)
    return f"{type(cause or error).__name__}: {_first_line(cause or error)}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:200]
