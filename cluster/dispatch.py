"""Who does which case: a bounded number in flight, losses made good, slow workers overtaken, each case ended once.

Nothing here knows Ray, scans or clocks: the same code runs real workers (``ray_crew``) and a thousand simulated ones
(``simulation``).
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from cluster.crew import Crew, Finished, Lost, Ready
from cluster.errors import ClusterError

_POLL_S = 1.0
_RENEW_S = 5.0
"""Leases are renewed so often."""

_RECENT = 101
"""The median of so many cases says how long one takes."""

_STARTS_LOST = 5
"""So many workers in a row, lost before one was ready, mean that none will be."""


class Book(Protocol):
    """Which cases are to be done: the ledger, or a plain list."""

    def claim(self, most: int) -> Sequence[str]:
        """Take up to ``most`` cases that nobody works on."""
        ...

    def attempt(self, name: str) -> None:
        """Note that a case was given to one more worker."""
        ...

    def renew(self) -> None:
        """Say that the cases that were taken are still being worked on."""
        ...

    def unfinished(self) -> int:
        """How many cases are not ended yet, taken or not, by whomever."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """How cases are given out.

    ``workers`` are asked for, each with up to ``each`` cases in flight. A case whose worker was lost ``attempts`` times
    is given up. When nothing waits, a case that takes longer than ``slow_factor`` times the median and ``slow_least_s``
    is given to another worker as well; ``slow_factor`` 0 leaves that out.
    """

    workers: int
    each: int = 2
    attempts: int = 3
    slow_factor: float = 3.0
    slow_least_s: float = 20.0

    def with_workers(self, room: int) -> Rules:
        """The same; where no number of workers was asked for, as many as there is ``room`` for, at least one."""
        return self if self.workers else replace(self, workers=max(1, room))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case: a worker's ``result``, or ``lost``, why it was given up."""

    name: str
    worker: int
    result: Any = None
    lost: str | None = None


@dataclass(slots=True)
class _Worker:
    node: str
    tasks: set[str] = field(default_factory=set)
    exclusive: bool = False
    """It has, or waits until it can have, a case that nothing else is to suffer from."""


@dataclass(slots=True)
class _Running:
    began_s: float
    copies: set[int]


@dataclass(slots=True)
class Dispatcher:
    """One run of cases over a crew. ``told`` hears of each worker that is ready, ``show`` how far it is."""

    book: Book
    crew: Crew
    rules: Rules
    told: Callable[[Ready], None] = lambda ready: None
    show: Callable[[str], None] = lambda line: None
    warn: Callable[[str], None] = lambda line: None
    lost_workers: int = 0
    copies: int = 0
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _starting: set[int] = field(default_factory=set)
    _waiting: deque[str] = field(default_factory=deque)
    _suspects: deque[str] = field(default_factory=deque)
    _running: dict[str, _Running] = field(default_factory=dict)
    _losses: dict[str, int] = field(default_factory=dict)
    _took_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _starts_lost: int = 0
    _was_ready: bool = False

    def run(self) -> Iterator[Outcome]:
        """Do all cases of the book; each that is ended here is yielded once, as it ends.

        The caller enters it into the book before it asks for the next. Raises ``ClusterError`` if no worker can begin.
        """
        renewed_s = self.crew.now_s()
        while True:
            self._fill()
            if not self._running and not self._waiting and not self._suspects and not self.book.unfinished():
                return
            self._keep_strength()
            for event in self.crew.wait(_POLL_S):
                if isinstance(event, Ready):
                    self._ready(event)
                elif isinstance(event, Finished):
                    yield from self._finished(event)
                else:
                    yield from self._lost(event)
            if self.crew.now_s() - renewed_s >= _RENEW_S:
                self.book.renew()
                renewed_s = self.crew.now_s()
            self.show(f"{len(self._running)} in flight on {len(self._workers)} workers")

    def _keep_strength(self) -> None:
        """As many workers as the rules say, but no more than there are cases left, and one to overtake the last."""
        here = len(self._workers) + len(self._starting)
        # where none is left, another try ends the run, or goes on with it
        if here >= self.rules.workers or (here and self._starts_lost >= _STARTS_LOST):
            return
        left = len(self._running) + len(self._waiting) + len(self._suspects)
        left = left + bool(self.rules.slow_factor) if left else self.book.unfinished()
        for _ in range(min(self.rules.workers, left) - here):
            self._starting.add(self.crew.start())

    def _ready(self, event: Ready) -> None:
        self._starting.discard(event.worker)
        self._workers[event.worker] = _Worker(event.node)
        self._was_ready, self._starts_lost = True, 0
        self.told(event)

    def _fill(self) -> None:
        """Give every free place a case: a suspect to a worker that has no other, else the next, else a slow one."""
        for worker in self._workers.values():
            if not worker.tasks:
                worker.exclusive = False
        # for each suspect that waits, a worker takes no more until it is empty
        short = len(self._suspects) - sum(worker.exclusive for worker in self._workers.values())
        if short > 0:
            free_ones = (worker for worker in self._workers.values() if not worker.exclusive)
            for worker in sorted(free_ones, key=lambda worker: len(worker.tasks))[:short]:
                worker.exclusive = True
        free = sum(self.rules.each - len(worker.tasks) for worker in self._workers.values() if not worker.exclusive)
        if free > len(self._waiting):
            self._waiting += self.book.claim(free - len(self._waiting))
        # the least laden first, so that few cases are spread over many workers
        for load in range(self.rules.each):
            for number, worker in self._workers.items():
                if len(worker.tasks) > load:
                    continue
                if worker.exclusive:
                    if not worker.tasks and self._suspects:
                        self._give(number, self._suspects.popleft(), again=True)
                elif self._waiting:
                    self._give(number, self._waiting.popleft())
        if not self._waiting and not self._suspects and self.rules.slow_factor:
            self._overtake()

    def _overtake(self) -> None:
        """Give cases that take too long to workers that have nothing to do, the oldest first."""
        idle = [number for number, worker in self._workers.items() if not worker.tasks]
        if not idle or not self._took_s:
            return
        slow_s = max(self.rules.slow_least_s, self.rules.slow_factor * statistics.median(self._took_s))
        now_s = self.crew.now_s()
        # in the order of their beginning
        for name, running in list(self._running.items()):
            if not idle or now_s - running.began_s <= slow_s:
                return
            if len(running.copies) > 1:
                continue
            nodes = {self._workers[number].node for number in running.copies}
            number = next((one for one in idle if self._workers[one].node not in nodes), idle[0])
            idle.remove(number)
            self.copies += 1
            self._give(number, name, again=True)

    def _give(self, number: int, name: str, again: bool = False) -> None:
        if again:
            self.book.attempt(name)
        self._workers[number].tasks.add(name)
        self._running.setdefault(name, _Running(self.crew.now_s(), set())).copies.add(number)
        self.crew.give(number, name)

    def _finished(self, event: Finished) -> Iterator[Outcome]:
        worker = self._workers.get(event.worker)
        if worker is not None:
            worker.tasks.discard(event.task)
        # the first result counts; whoever was overtaken brings a second one
        running = self._running.pop(event.task, None)
        if running is not None:
            self._took_s.append(self.crew.now_s() - running.began_s)
            yield Outcome(event.task, event.worker, event.result)

    def _lost(self, event: Lost) -> Iterator[Outcome]:
        if event.worker in self._starting:
            self._starting.discard(event.worker)
            self._starts_lost += 1
            in_vain = self._starts_lost >= _STARTS_LOST and not self._workers and not self._starting
            if in_vain or (event.refusal and not self._was_ready):
                raise ClusterError(
                    event.refusal or f"no worker can begin ({event.why}); see Ray's logs on that machine"
                )
            self.warn(f"a worker did not begin: {event.refusal or event.why}")
            return
        worker = self._workers.pop(event.worker, None)
        if worker is None:
            return
        self.lost_workers += 1
        self.warn(f"a worker was lost ({event.why}); what it had is done again")
        for name in sorted(worker.tasks):
            running = self._running.get(name)
            if running is None:
                continue
            running.copies.discard(event.worker)
            self._losses[name] = self._losses.get(name, 0) + 1
            if running.copies:
                continue
            del self._running[name]
            if self._losses[name] >= self.rules.attempts:
                why = f"given up: its worker was lost {self._losses[name]} times (last: {event.why})"
                yield Outcome(name, event.worker, lost=why)
            else:
                # alone from now on: if it is what kills workers, no other case suffers
                self._suspects.append(name)
