"""Workers somewhere, and what is heard of them. ``ray_crew`` has real ones, ``simulation`` invented ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has loaded what it works with. ``node`` tells its machine apart, ``name`` is for people.

    ``told`` is what it says of itself.
    """

    worker: int
    node: str
    name: str
    told: Any = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker has done a task; ``result`` is what came of it."""

    worker: int
    task: str
    result: Any


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is gone, with all that it was given. ``refusal`` is its own sentence, where it could not begin."""

    worker: int
    why: str
    refusal: str | None = None


Event = Ready | Finished | Lost


class Crew(Protocol):
    """Workers that are started, given tasks, and lost at any time."""

    def start(self) -> int:
        """Ask for one more worker; its number. ``Ready`` or ``Lost`` is heard of it, perhaps never."""
        ...

    def give(self, worker: int, task: str) -> None:
        """Give a task to a worker that is ready; ``Finished`` or ``Lost`` is heard of it."""
        ...

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What has happened since the last call; waits up to ``timeout_s`` for something."""
        ...

    def now_s(self) -> float:
        """The time, from whatever beginning."""
        ...

    def close(self) -> None:
        """Let all workers go."""
        ...
