"""Who does which case, with workers that fail as they are told to: the dispatcher that also runs Ray's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from cluster.crew import Event, Finished, Lost, Ready
from cluster.dispatch import Dispatcher, Outcome, Rules
from cluster.errors import ClusterError


@dataclass
class Book:
    """A plain list of cases."""

    names: list[str]
    attempts: dict[str, int] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    total: int = 0

    def __post_init__(self) -> None:
        self.total = len(self.names)

    def claim(self, most: int) -> Sequence[str]:
        taken, self.names = self.names[:most], self.names[most:]
        for name in taken:
            self.attempt(name)
        return taken

    def attempt(self, name: str) -> None:
        self.attempts[name] = self.attempts.get(name, 0) + 1

    def renew(self) -> None:
        pass

    def unfinished(self) -> int:
        return self.total - len(self.ended)


@dataclass
class Crew:
    """Workers that take one second a case; ``fate`` says of a worker and its tasks what happens instead."""

    fate: Callable[[int, set[str]], str] = lambda worker, tasks: "works"
    most_in_flight: int = 0
    count: int = 0
    now: float = 0.0
    tasks: dict[int, set[str]] = field(default_factory=dict)
    begun: list[int] = field(default_factory=list)
    alone: dict[str, list[bool]] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)

    def start(self) -> int:
        self.count += 1
        self.begun.append(self.count)
        return self.count

    def give(self, worker: int, task: str) -> None:
        self.tasks[worker].add(task)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        self.now += 1
        assert self.now < 1000, "the run does not end"
        events: list[Event] = []
        for worker in self.begun:
            if self.fate(worker, set()) == "refuses":
                events.append(Lost(worker, "no", "the models are damaged"))
            elif self.fate(worker, set()) == "never begins":
                events.append(Lost(worker, "out of memory"))
            else:
                self.tasks[worker] = set()
                events.append(Ready(worker, f"node {worker % 2}", f"worker {worker}"))
        self.begun = []
        for worker, tasks in list(self.tasks.items()):
            self.most_in_flight = max(self.most_in_flight, len(tasks))
            what = self.fate(worker, tasks) if tasks else "idle"
            for task in tasks:
                self.alone.setdefault(task, []).append(len(tasks) == 1)
            if what == "dies":
                del self.tasks[worker]
                events.append(Lost(worker, "killed"))
            elif what == "works":
                task = min(tasks)
                tasks.discard(task)
                self.finished.append(task)
                events.append(Finished(worker, task, f"{task} by {worker}"))
        return events

    def now_s(self) -> float:
        return self.now

    def close(self) -> None:
        pass


def run(book: Book, crew: Crew, rules: Rules) -> tuple[list[Outcome], Dispatcher]:
    dispatcher = Dispatcher(book, crew, rules)
    outcomes = []
    for outcome in dispatcher.run():
        book.ended.append(outcome.name)
        outcomes.append(outcome)
    return outcomes, dispatcher


def names(count: int) -> list[str]:
    return [f"case {n:03}" for n in range(count)]


def test_every_case_is_done_once_and_no_worker_has_more_than_its_share_in_flight() -> None:
    crew = Crew()
    outcomes, _ = run(Book(names(20)), crew, Rules(workers=3, each=2))
    assert sorted(outcome.name for outcome in outcomes) == names(20)
    assert (crew.count, crew.most_in_flight) == (3, 2)


def test_no_more_workers_are_asked_for_than_there_are_cases() -> None:
    crew = Crew()
    run(Book(names(2)), crew, Rules(workers=50, slow_factor=0))
    assert crew.count == 2


def test_what_a_lost_worker_had_is_done_by_another_one() -> None:
    crew = Crew(lambda worker, tasks: "dies" if worker == 1 and tasks else "works")
    book = Book(names(10))
    outcomes, dispatcher = run(book, crew, Rules(workers=2))
    assert sorted(outcome.name for outcome in outcomes) == names(10)
    assert all(outcome.lost is None for outcome in outcomes)
    assert (dispatcher.lost_workers, crew.count) == (1, 3)
    assert sorted(book.attempts.values()) == [1] * 8 + [2] * 2


def test_a_case_that_kills_its_worker_is_given_up_and_costs_no_other_case_more_than_one_loss() -> None:
    crew = Crew(lambda worker, tasks: "dies" if "case 003" in tasks else "works")
    book = Book(names(12))
    outcomes, dispatcher = run(book, crew, Rules(workers=2, attempts=3))
    lost = [outcome for outcome in outcomes if outcome.lost is not None]
    assert [outcome.name for outcome in lost] == ["case 003"]
    assert lost[0].lost == "given up: its worker was lost 3 times (last: killed)"
    assert dispatcher.lost_workers == 3
    assert len(outcomes) == 12
    assert max(count for name, count in book.attempts.items() if name != "case 003") == 2
    # the second and the third time it had a worker to itself
    assert crew.alone["case 003"][-2:] == [True, True]


def test_a_slow_case_is_given_to_a_second_worker_and_one_result_counts() -> None:
    crew = Crew(lambda worker, tasks: "works" if worker == 2 else "hangs")
    book = Book(names(6))
    outcomes, dispatcher = run(book, crew, Rules(workers=2, slow_least_s=5))
    assert sorted(outcome.name for outcome in outcomes) == names(6)
    assert {outcome.worker for outcome in outcomes} == {2}
    assert dispatcher.copies == 2  # what the first worker holds for ever
    assert sum(book.attempts.values()) == 8


def test_the_second_result_of_a_case_is_dropped() -> None:
    crew = Crew()
    # the first worker goes on when the second one has its case as well: both end it in the same second
    crew.fate = lambda worker, tasks: "works" if worker == 2 or tasks & crew.tasks.get(2, set()) else "hangs"
    outcomes, dispatcher = run(Book(names(40)), crew, Rules(workers=2, each=1, slow_least_s=2))
    assert sorted(outcome.name for outcome in outcomes) == names(40)
    assert dispatcher.copies == 1
    (twice,) = {task for task in crew.finished if crew.finished.count(task) == 2}
    assert [outcome.worker for outcome in outcomes if outcome.name == twice] == [1]


def test_models_that_no_worker_can_load_end_the_run_with_their_sentence() -> None:
    with pytest.raises(ClusterError, match="the models are damaged"):
        run(Book(names(3)), Crew(lambda worker, tasks: "refuses"), Rules(workers=2))


def test_workers_that_never_begin_end_the_run() -> None:
    with pytest.raises(ClusterError, match=r"no worker can begin \(out of memory\)"):
        run(Book(names(30)), Crew(lambda worker, tasks: "never begins"), Rules(workers=2))


def test_the_last_worker_that_dies_after_others_never_began_ends_the_run() -> None:
    crew = Crew()
    # of three, two never begin, as often as they are asked for; the third one lives until that has been given up
    crew.fate = lambda worker, tasks: "never begins" if worker > 1 else "dies" if tasks and crew.now > 20 else "hangs"
    with pytest.raises(ClusterError, match=r"no worker can begin \(out of memory\)"):
        run(Book(names(30)), crew, Rules(workers=3))


def test_a_machine_whose_workers_do_not_begin_costs_the_others_nothing() -> None:
    crew = Crew(lambda worker, tasks: "works" if worker == 1 else "never begins")
    outcomes, _ = run(Book(names(30)), crew, Rules(workers=3))
    assert len(outcomes) == 30
    assert crew.count < 10
