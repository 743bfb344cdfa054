"""The ledger: each case is ended once, whoever works on it and whoever is killed."""

import contextlib
import functools
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from cluster.__main__ import main
from cluster.errors import ClusterError
from cluster.ledger import Ending, Ledger
from cluster.status import summary
from tests.cluster.nodes import wait_until
from tests.cluster.soak import Soaked, _judged

NAMES = [f"case {n}" for n in range(6)]


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(folder: Path, clock: Clock, model: str = "model", **there: int) -> Ledger:
    ledger = Ledger(folder / "ledger.sqlite", model, clock)
    ledger.prepare(NAMES, there)
    return ledger


def done(size: int = 7, error: str | None = None) -> Ending:
    return Ending("here:1", 0.5, 100, 10, "ab" * 32, size, error)


def finish(ledger: Ledger) -> None:
    for name in ledger.claim(100):
        assert ledger.end(name, done())


def column(folder: Path, name: str) -> list[object]:
    rows = sqlite3.connect(folder / "ledger.sqlite")
    return [value for (value,) in rows.execute(f"SELECT {name} FROM cases ORDER BY name")]


def test_two_coordinators_never_have_the_same_case(tmp_path: Path) -> None:
    clock = Clock()
    one, other = opened(tmp_path, clock), opened(tmp_path, clock)
    taken = [one.claim(4), other.claim(4)]
    assert [len(names) for names in taken] == [4, 2]
    assert sorted(taken[0] + taken[1]) == NAMES
    assert one.claim(1) == []


def test_a_lease_that_is_renewed_is_kept_and_one_that_has_run_out_is_anybodys(tmp_path: Path) -> None:
    clock = Clock()
    one, other = opened(tmp_path, clock), opened(tmp_path, clock)
    one.claim(6)
    clock.now += 20
    one.renew()
    clock.now += 20
    assert other.claim(6) == []
    clock.now += 20
    assert other.claim(6) == NAMES
    # whoever lost the lease comes back with a result: it does not count
    assert not one.end(NAMES[0], done())
    assert other.end(NAMES[0], done())
    assert not other.end(NAMES[0], done())
    assert column(tmp_path, "completions") == [1, 0, 0, 0, 0, 0]
    assert column(tmp_path, "attempts") == [2] * 6


def test_a_coordinator_that_stalled_does_not_take_its_own_cases_again(tmp_path: Path) -> None:
    clock = Clock()
    one, other = opened(tmp_path, clock), opened(tmp_path, clock)
    one.claim(4)
    clock.now += 31
    assert one.claim(6) == NAMES[4:]
    assert one.end(NAMES[0], done())
    assert column(tmp_path, "attempts") == [1] * 6
    assert other.claim(6) == NAMES[1:4]


def test_what_was_done_twice_is_counted_and_the_soak_says_so(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "solo").mkdir()
    (tmp_path / "out").mkdir()
    for name in NAMES:
        for folder in ("solo", "out"):
            (tmp_path / folder / f"{name}.nii.gz").write_bytes(b"labels!")
    with opened(tmp_path / "out", clock) as one:
        finish(one)
    assert _judged(Soaked(len(NAMES)), tmp_path / "out", tmp_path / "solo").is_good
    with Ledger(tmp_path / "out" / "ledger.sqlite", "model", clock) as again:
        again.prepare(NAMES, dict.fromkeys(NAMES[1:], 7))
        finish(again)
    said = _judged(Soaked(len(NAMES)), tmp_path / "out", tmp_path / "solo")
    assert (said.done_once, said.is_good) == (5, False)


def test_what_a_coordinator_held_when_it_ended_is_free_at_once(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock) as one:
        one.claim(6)
    assert opened(tmp_path, clock).claim(6) == NAMES


def test_a_repeated_run_has_nothing_to_do(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock) as one:
        finish(one)
    again = Ledger(tmp_path / "ledger.sqlite", "model", clock)
    assert again.prepare(NAMES, dict.fromkeys(NAMES, 7)) == NAMES
    assert again.claim(6) == []
    assert again.unfinished() == 0


def test_a_label_map_that_is_gone_or_of_another_size_is_made_again(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock) as one:
        finish(one)
    again = Ledger(tmp_path / "ledger.sqlite", "model", clock)
    there = dict.fromkeys(NAMES, 7) | {"case 2": 6}
    del there["case 4"]
    assert again.prepare(NAMES, there) == ["case 0", "case 1", "case 3", "case 5"]
    assert again.claim(6) == ["case 2", "case 4"]


def test_label_maps_of_another_model_are_made_anew_and_failed_cases_are_tried_again(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock) as one:
        finish(one)
    with Ledger(tmp_path / "ledger.sqlite", "newer", clock) as newer:
        assert newer.prepare(NAMES, dict.fromkeys(NAMES, 7)) == []
        assert newer.claim(6) == NAMES
        assert newer.end("case 0", done(error="no CT"))
    assert column(tmp_path, "state") == ["failed", *["waiting"] * 5]
    assert column(tmp_path, "completions") == [1] * 6  # of the older model
    with Ledger(tmp_path / "ledger.sqlite", "newer", clock) as newer:
        newer.prepare(NAMES, {})
        assert "case 0" in newer.claim(6)


def test_label_maps_that_no_row_tells_of_are_kept_and_overwriting_does_all_again(tmp_path: Path) -> None:
    clock = Clock()
    there = {"case 1": 5}
    one = Ledger(tmp_path / "ledger.sqlite", "model", clock)
    assert one.unknown(["case 1"]) == ["case 1"]
    assert one.prepare(NAMES, there) == ["case 1"]
    assert one.unknown(["case 1"]) == []
    one.close()
    again = Ledger(tmp_path / "ledger.sqlite", "model", clock)
    assert again.prepare(NAMES, there, again=True) == []


def test_two_runs_with_different_models_do_not_share_a_ledger(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock), pytest.raises(ClusterError, match="a run with other models is at work"):
        opened(tmp_path, clock, "newer")
    opened(tmp_path, clock, "newer")  # that one has ended


def test_a_file_that_is_no_ledger_is_not_touched(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("my notes, which are longer than a header of SQLite\n" * 10)
    before = text.read_bytes()
    with pytest.raises(ClusterError, match="cannot open the ledger"):
        Ledger(text, "model")
    other = tmp_path / "other.sqlite"
    sqlite3.connect(other).execute("CREATE TABLE mine(x)").connection.commit()
    with pytest.raises(ClusterError, match="no ledger of version 1"):
        Ledger(other, "model")
    assert text.read_bytes() == before


def test_one_that_begins_while_another_makes_the_ledger_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[threading.Thread] = []
    opened_too: list[Ledger] = []

    class Interrupted(sqlite3.Connection):
        """Tables are there, their version is not, when somebody else comes."""

        def execute(self, question: str, *given: Any) -> sqlite3.Cursor:
            if question.startswith("PRAGMA user_version =") and not others:
                others.append(threading.Thread(target=lambda: opened_too.append(Ledger(path, "model"))))
                others[0].start()
                others[0].join(0.3)
            return super().execute(question, *given)

    path = tmp_path / "ledger.sqlite"
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Interrupted))
    Ledger(path, "model").close()
    others[0].join()
    assert len(opened_too) == 1


def _work(path: Path, ready: Barrier) -> None:
    ledger = Ledger(path, "model", lease_s=0.5)
    ledger.prepare(COMMON, {})
    # nobody has done anything yet that another one's list of label maps would lack
    ready.wait(PATIENCE_S)
    while ledger.unfinished():
        for name in ledger.claim(3):
            time.sleep(0.005)
            ledger.end(name, done())
    ledger.close()


def _count(path: Path, question: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as rows:
        return int(rows.execute(question).fetchone()[0])


COMMON = [f"{n:03}" for n in range(150)]
PATIENCE_S = 600.0
"""Three processes import a lot before they begin, on a machine that may be busy."""


def test_coordinators_that_are_killed_leave_a_ledger_in_which_the_others_end_every_case_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(3)
    workers = [context.Process(target=_work, args=(path, ready), daemon=True) for _ in range(3)]
    for worker in workers:
        worker.start()
    made = "SELECT count(*) FROM sqlite_master WHERE name = 'runs'"
    wait_until(lambda: path.exists() and _count(path, made) > 0, PATIENCE_S, every_s=0.02)
    wait_until(lambda: _count(path, "SELECT count(*) FROM cases WHERE state = 'done'") >= 10, PATIENCE_S, every_s=0.02)
    pid = workers[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for worker in workers[1:]:
        worker.join(PATIENCE_S)
        assert worker.exitcode == 0
    assert column(tmp_path, "completions") == [1] * 150
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_status_counts_and_names_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = opened(tmp_path, Clock())
    for name in ledger.claim(3):
        ledger.end(name, done(error="given up: its worker was lost 3 times" if name == "case 1" else None))
    ledger.claim(1)
    found = summary(tmp_path / "ledger.sqlite", now=1001.0)
    assert found["states"] == {"waiting": 2, "running": 1, "done": 2, "failed": 1}
    assert (found["attempts"], found["bytes_read"], found["worker_seconds"]) == (4, 300, 1.5)
    assert found["workers"] == [{"worker": "here:1", "cases": 2, "seconds": 1.0}]
    assert main(["status", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "2 waiting, 1 running, 2 done, 1 failed" in out
    assert "case 1  FAILED after 1 attempts: given up: its worker was lost 3 times" in out
    assert main(["status", str(tmp_path / "nothing.sqlite")]) == 2
    assert "there is no ledger" in capsys.readouterr().err
