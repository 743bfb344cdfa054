"""A switch that the whole process has once, off as long as any thread wants it off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class OffWithin:
    """A block within which the switch is off; it is back as it was when the last thread within such a block leaves."""

    def __init__(self, turn_off: Callable[[], Callable[[], object]]) -> None:
        """``turn_off`` turns the switch off and returns what puts it back."""
        self._turn_off = turn_off
        self._lock = threading.Lock()
        self._blocks = 0
        self._put_back: Callable[[], object] = lambda: None

    def __enter__(self) -> None:
        with self._lock:
            if self._blocks == 0:
                self._put_back = self._turn_off()
            self._blocks += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0:
                self._put_back()
