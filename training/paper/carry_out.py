"""Doing the steps in their turn: what has not changed is skipped, and a stop anywhere loses nothing."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from training.data.cache import write_text
from training.errors import TrainingError
from training.paper.content import Hashes
from training.paper.processes import Ended, run_commands
from training.paper.status import write_status
from training.paper.steps import Protocol, Step, as_typed, inputs_of

RECORDS, HASHES, LOCK, ASIDE = "steps.json", "hashes.json", ".lock", "set-aside"
COMPLAINED = 1

Runner = Callable[[Sequence[Sequence[str]], int], list[Ended]]
"""Runs ``python -m`` with the words of each command, so many at once."""

_log = logging.getLogger(__name__)


class Record(msgspec.Struct):
    """How a step went the last time: ``inputs`` are the hashes of what it was given, by name."""

    name: str
    what: str
    command: str
    state: Literal["waiting", "begun", "done", "failed"] = "waiting"
    inputs: dict[str, str] = {}
    begun_s: float = 0.0
    """Seconds since 1970."""
    took_s: float = 0.0
    said: str = ""


class Records(msgspec.Struct):
    """The whole of ``steps.json``: what was typed, and the steps known so far in their order."""

    typed: str
    steps: dict[str, Record]


class StepFailedError(TrainingError):
    """A step that failed or was stopped; ``signal_number`` makes the exit status of a stop."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        if status > 128:
            self.signal_number = status - 128


def carry_out(protocol: Protocol, typed: str, run: Runner | None = None) -> None:
    """Take every step that is not done yet. Raises ``TrainingError`` where one fails; the same again goes on there."""
    protocol.to.mkdir(parents=True, exist_ok=True)
    with _alone(protocol.to):
        records = read_records(protocol.to)
        work = _Work(protocol, Records(typed, {}), records.steps if records else {}, run or run_commands)
        try:
            for steps in protocol.steps():
                work.take(steps)
        finally:
            work.hashes.save()
            work.tell()
        _log.info("%s: all %d steps are done; see %s", protocol.to, len(work.records.steps), protocol.to / "status.md")


def read_records(to: Path) -> Records | None:
    """``steps.json`` of ``to``; None if there is none that can be read."""
    try:
        return msgspec.json.decode((to / RECORDS).read_bytes(), type=Records)
    except (OSError, msgspec.MsgspecError):
        return None


@dataclass
class _Work:
    protocol: Protocol
    records: Records
    earlier: Mapping[str, Record]
    run: Runner
    repeated: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.hashes = Hashes(self.protocol.to / HASHES)

    def take(self, steps: Sequence[Step]) -> None:
        """Do what of ``steps`` is not done with the same inputs; none of them depends on another."""
        due = [(step, record) for step in steps if (record := self._due(step)) is not None]
        if not due:
            return
        times = [_times(step.made) for step, _ in due]
        for step, record in due:
            _log.info("%s: %s\n  %s", step.name, step.what, as_typed(step))
            record.state, record.begun_s = "begun", time.time()
        self.tell()
        ended = self.run([(*step.words, *step.how) for step, _ in due], self.protocol.at_once)
        wrong = []
        for (step, record), before, end in zip(due, times, ended, strict=True):
            record.took_s = end.took_s
            try:
                _judge(step, record, before, end.status)
            except TrainingError as error:
                wrong.append(error)
        self.tell()
        if wrong:
            raise wrong[0]

    def _due(self, step: Step) -> Record | None:
        """The new record of ``step``; None if it is done already."""
        inputs = {name: each.digest(self.hashes) for name, each in inputs_of(step, self.protocol).items()}
        before = self.earlier.get(step.name)
        record = Record(step.name, step.what, as_typed(step), inputs=inputs)
        self.records.steps[step.name] = record
        changed = [name for name in inputs if before and before.inputs.get(name) != inputs[name]]
        is_same = before is not None and not changed and step.after not in self.repeated
        if before is not None and is_same and before.state == "done" and all(path.exists() for path in step.made):
            _log.info("%s: as it was", step.name)
            self.records.steps[step.name] = msgspec.structs.replace(before, what=step.what, command=as_typed(step))
            return None
        if changed:
            _log.info("%s: again, as %s changed", step.name, ", ".join(changed))
            self._set_aside(step)
        self.repeated.add(step.name)
        return record

    def tell(self) -> None:
        """Write the records and the page."""
        # steps that are not reached yet keep what is known of them
        known = Records(self.records.typed, {**self.earlier, **self.records.steps})
        write_text(
            msgspec.json.format(msgspec.json.encode(known), indent=1).decode() + "\n", self.protocol.to / RECORDS
        )
        write_status(self.protocol.to, known.typed, list(known.steps.values()))

    def _set_aside(self, step: Step) -> None:
        """A run that was begun on other data or options may be hours of work: it is kept, but not gone on with."""
        if step.run_folder is None or not step.run_folder.exists():
            return
        aside = self.protocol.to / ASIDE
        aside.mkdir(exist_ok=True)
        number = 1 + sum(path.name.startswith(f"{step.name}-") for path in aside.iterdir())
        step.run_folder.rename(aside / f"{step.name}-{number}")
        _log.info("%s: the run of before is in %s", step.name, aside / f"{step.name}-{number}")


def _judge(step: Step, record: Record, before: Sequence[int | None], status: int) -> None:
    """Note how ``step`` ended; ``before`` are the times of what it was to make. Raises ``TrainingError`` if badly."""
    now = _times(step.made)
    is_there = all(time_ns is not None for time_ns in now)
    if step.may_complain and status == COMPLAINED and is_there and now[-1] != before[-1]:
        record.said = "some cases were left out: see what it said, or its report"
    elif status:
        record.state = "failed" if status < 128 else "begun"
        record.said = f"status {status}"
        verb = "was stopped" if status >= 128 else "failed: what is wrong is said above"
        raise StepFailedError(f"the step {step.name} {verb}; the same command goes on from here", status)
    elif not is_there:
        record.state = "failed"
        raise TrainingError(f"the step {step.name} did not make {', '.join(map(str, step.made))}")
    record.state = "done"


@contextlib.contextmanager
def _alone(to: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises ``TrainingError`` if another process does."""
    with (to / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TrainingError(f"{shlex.quote(str(to))} is being worked on by another process; see --status") from None
        yield


def is_worked_on(to: Path) -> bool:
    """Whether some process holds the folder's lock."""
    try:
        with _alone(to):
            return False
    except TrainingError:
        return True
    except OSError:
        return False


def _times(paths: Sequence[Path]) -> list[int | None]:
    return [path.stat().st_mtime_ns if path.exists() else None for path in paths]
