"""A thousand workers that do not exist: the dispatcher itself, on a clock of its own, with faults drawn by a seed.

What is simulated are the workers: how long they take, that they are lost, slow or stalled. What gives them cases is
``dispatch.Dispatcher``, line for line what runs real ones.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from cluster.crew import Event, Finished, Lost, Ready
from cluster.dispatch import Dispatcher, Rules

_TOGETHER_S: Final = 0.2
"""What happens within so long is heard at once, as a busy coordinator does."""

_NOTICED_S: Final = 10.0
"""The loss of a worker is noticed so much later."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with the machines. Times are in seconds.

    A worker lives ``life_s`` on average (exponential; 0: for ever), and one takes ``start_s`` to begin. A share
    ``slow_share`` of the workers takes ``slow_by`` times as long. One case in ``1 / stall_share`` takes ``stall_s``
    more, wherever it is: a disk or a network that stalls.
    """

    life_s: float = 0.0
    start_s: float = 10.0
    slow_share: float = 0.0
    slow_by: float = 1.0
    stall_share: float = 0.0
    stall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of a run: all seconds are simulated ones.

    ``work_s`` is the work of the results that count, ``lost_s`` what workers had done when they were lost, and
    ``twice_s`` what was done on copies that were not needed. ``ideal_s`` is ``work_s`` shared out without any gap.
    """

    seconds: float
    ideal_s: float
    work_s: float
    lost_s: float
    twice_s: float
    done: int
    given_up: int
    lost_workers: int
    copies: int


@dataclass(slots=True)
class _List:
    """Cases that are to be done; see ``dispatch.Book``."""

    waiting: deque[str]
    left: int

    def claim(self, most: int) -> Sequence[str]:
        return [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]

    def attempt(self, name: str) -> None:
        pass

    def renew(self) -> None:
        pass

    def unfinished(self) -> int:
        return self.left


@dataclass(slots=True)
class _Simulated:
    speed: float
    dies_s: float
    free_s: float = 0.0
    """When it has done what it was given."""
    tasks: dict[str, tuple[float, float]] = field(default_factory=dict)
    """When each of them begins and ends."""


class SimulatedCrew:
    """See ``crew.Crew``. A case takes one of ``case_s``, drawn by its name; a worker does one after the other."""

    def __init__(self, case_s: Sequence[float], faults: Faults, seed: int) -> None:
        self._case_s, self._faults = case_s, faults
        self._random, self._seed = Random(seed), seed
        self._now_s, self._count = 0.0, 0
        self._workers: dict[int, _Simulated] = {}
        self._coming: list[tuple[float, int, Event]] = []
        self._order = 0
        self._counted: set[str] = set()
        self.work_s = self.lost_s = self.twice_s = 0.0

    def start(self) -> int:
        """See ``crew.Crew``."""
        self._count += 1
        slow = self._random.random() < self._faults.slow_share
        begins_s = self._now_s + self._faults.start_s
        life_s = self._random.expovariate(1 / self._faults.life_s) if self._faults.life_s else math.inf
        dies_s = begins_s + life_s
        self._workers[self._count] = _Simulated(self._faults.slow_by if slow else 1.0, dies_s)
        self._at(begins_s, Ready(self._count, f"node {self._count}", f"worker {self._count}"))
        if life_s < math.inf:
            self._at(dies_s + _NOTICED_S, Lost(self._count, "it died"))
        return self._count

    def give(self, worker: int, task: str) -> None:
        """See ``crew.Crew``."""
        own = self._workers[worker]
        # the same case takes as long at every attempt, but for what is slow or stalls
        of_case = Random(f"{self._seed} {task}")
        seconds = of_case.choice(self._case_s) * own.speed
        if self._random.random() < self._faults.stall_share:
            seconds += self._faults.stall_s
        begins_s = max(self._now_s, own.free_s)
        own.free_s = begins_s + seconds
        own.tasks[task] = (begins_s, own.free_s)
        if own.free_s <= own.dies_s:
            self._at(own.free_s, Finished(worker, task, None))

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """See ``crew.Crew``."""
        until_s = self._now_s + timeout_s
        if not self._coming or self._coming[0][0] > until_s:
            self._now_s = until_s
            return []
        until_s = min(until_s, max(self._now_s, self._coming[0][0]) + _TOGETHER_S)
        heard: list[Event] = []
        while self._coming and self._coming[0][0] <= until_s:
            at_s, _, event = heapq.heappop(self._coming)
            self._account(event, at_s)
            heard.append(event)
        self._now_s = until_s
        return heard

    def now_s(self) -> float:
        """See ``crew.Crew``."""
        return self._now_s

    def close(self) -> None:
        """See ``crew.Crew``. What is under way on copies was in vain."""
        for worker in self._workers.values():
            for begins_s, ends_s in worker.tasks.values():
                self.twice_s += max(0.0, min(self._now_s, ends_s) - begins_s)

    def _account(self, event: Event, at_s: float) -> None:
        if isinstance(event, Finished):
            begins_s, ends_s = self._workers[event.worker].tasks.pop(event.task)
            if event.task in self._counted:
                self.twice_s += ends_s - begins_s
            else:
                self._counted.add(event.task)
                self.work_s += ends_s - begins_s
        elif isinstance(event, Lost):
            own = self._workers.pop(event.worker)
            for begins_s, ends_s in own.tasks.values():
                self.lost_s += max(0.0, min(own.dies_s, ends_s) - begins_s)

    def _at(self, at_s: float, event: Event) -> None:
        self._order += 1
        heapq.heappush(self._coming, (at_s, self._order, event))


def simulate(case_s: Sequence[float], cases: int, rules: Rules, faults: Faults, seed: int) -> Simulated:
    """Do ``cases`` cases on simulated workers. ``case_s`` are seconds that a case may take on one worker."""
    crew = SimulatedCrew(case_s, faults, seed)
    book = _List(deque(str(n) for n in range(cases)), cases)
    dispatcher = Dispatcher(book, crew, rules)
    given_up = 0
    for outcome in dispatcher.run():
        book.left -= 1
        given_up += outcome.lost is not None
    seconds = crew.now_s()
    crew.close()
    return Simulated(
        seconds,
        crew.work_s / rules.workers,
        crew.work_s,
        crew.lost_s,
        crew.twice_s,
        cases - given_up,
        given_up,
        dispatcher.lost_workers,
        dispatcher.copies,
    )
