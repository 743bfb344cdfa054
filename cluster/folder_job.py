"""Any work on named items, on many machines with a ledger: for rooms above this one, such as pseudo-labelling."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_dmfnet.cli.case_line import failed_line
from attention_dmfnet.cli.progress import Progress

from cluster.dispatch import Dispatcher, Rules
from cluster.errors import ClusterError
from cluster.ledger import LEDGER_NAME, Ending, Ledger
from cluster.ray_crew import Handler, Needs, RayCrew

__all__ = ["ClusterError", "Done", "Needs", "do_all", "timed"]


@dataclass(frozen=True, slots=True)
class Done:
    """What a worker says of an item: an error, or None; it has written what came of it itself."""

    seconds: float
    error: str | None = None


def timed(handler: Callable[[Any], str | None]) -> Handler:
    """A worker's handler of one that returns why an item could not be done, or None."""

    def handle(payload: Any) -> Done:
        began_s = time.perf_counter()
        return Done(error=handler(payload), seconds=time.perf_counter() - began_s)

    return handle


def do_all(
    items: Mapping[str, Any],
    make: Callable[[], Handler],
    folder: Path,
    made_by: str,
    needs: Needs,
    address: str,
) -> Iterator[tuple[str, str | None]]:
    """Each item's name as it ends, with why it could not be done, or None; standard error says so, too.

    A worker makes its handler by ``make`` (see ``timed``), and ``items`` holds what it is given. The ledger lies in
    ``folder``, and ``made_by`` tells what does the work, as a hash. ``address`` is Ray's. Raises ``ClusterError``.
    """
    progress = Progress(len(items), sys.stderr)
    rules = Rules(workers=0)
    with Ledger(folder / LEDGER_NAME, made_by) as ledger:
        # which of them need work, the caller knows
        ledger.prepare(list(items), {}, again=True)
        crew = RayCrew(make, items.__getitem__, needs, rules.each, address)
        try:
            rules = rules.with_workers(crew.room())
            for name, error in _endings(Dispatcher(ledger, crew, rules, show=progress.show), ledger, progress):
                if error is not None:
                    progress.print_line(failed_line(name, error), sys.stderr)
                progress.case_done()
                yield name, error
        finally:
            progress.clear()
            crew.close()


def _endings(dispatcher: Dispatcher, ledger: Ledger, progress: Progress) -> Iterator[tuple[str, str | None]]:
    """Each item as it ends here, then those that another coordinator has ended; with its error or None."""
    names: dict[int, str] = {}
    dispatcher.warn = lambda line: progress.print_line(line, sys.stderr)
    dispatcher.told = lambda ready: names.update({ready.worker: ready.name})
    ours = []
    for outcome in dispatcher.run():
        result: Done | None = outcome.result
        error = outcome.lost if result is None else result.error
        seconds = 0.0 if result is None else result.seconds
        if ledger.end(outcome.name, Ending(names.get(outcome.worker, ""), seconds, error=error)):
            ours.append(outcome.name)
            yield outcome.name, error
    yield from ledger.ended_elsewhere(ours)
