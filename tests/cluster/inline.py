"""One worker within this process: the whole command but for Ray."""

from collections.abc import Callable, Sequence
from typing import Any

from cluster.crew import Event, Finished, Ready
from cluster.dispatch import Rules
from cluster.labelling import Order
from cluster.ray_crew import end_handler


class InlineCrew:
    """See ``cluster.crew.Crew``."""

    def __init__(self, order: Order, payload_of: Callable[[str], Any], rules: Rules) -> None:
        self._order, self._payload_of = order, payload_of
        self._handler: Any = None
        self._events: list[Event] = []
        self._now = 0.0

    def room(self) -> int:
        return 1

    def start(self) -> int:
        self._handler = self._order.make()
        self._events.append(Ready(1, "here", "here:1", getattr(self._handler, "told", None)))
        return 1

    def give(self, worker: int, task: str) -> None:
        self._events.append(Finished(worker, task, self._handler(self._payload_of(task))))

    def wait(self, timeout_s: float) -> Sequence[Event]:
        self._now += 1
        events, self._events = self._events, []
        return events

    def now_s(self) -> float:
        return self._now

    def close(self) -> None:
        end_handler(self._handler)
