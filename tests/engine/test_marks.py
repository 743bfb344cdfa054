import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from attention_dmfnet.marks import STARTED, Step, TraceError, recording, seconds_by_step, step, tracing


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_steps_are_recorded_in_the_order_in_which_they_end() -> None:
    with recording() as steps:
        with step("coarse"), step("tile"):
            pass
        with step("fine"):
            pass
    assert [mark.name for mark in steps] == ["coarse/tile", "coarse", "fine"]
    assert all(mark.stop_s >= mark.start_s for mark in steps)
    assert {mark.thread for mark in steps} == {threading.current_thread().name}


def test_nothing_is_recorded_when_nobody_listens() -> None:
    with recording() as steps:
        pass
    with step("fine"):
        pass
    assert steps == []
    assert step("fine") is step("coarse")  # not even an object is made


def test_a_step_that_fails_is_recorded_and_fails_on() -> None:
    with recording() as steps, pytest.raises(ValueError, match="no"), step("fine"):
        raise ValueError("no")
    assert [mark.name for mark in steps] == ["fine"]


def test_a_listener_hears_each_outermost_step_as_it_begins() -> None:
    heard: list[str] = []
    with recording(heard.append):
        with step("coarse"), step("tile"):
            assert heard == ["coarse"]
        with step("fine"):
            pass
    assert heard == ["coarse", "fine"]


def test_threads_record_for_themselves() -> None:
    with recording() as steps:
        thread = threading.Thread(target=lambda: step("read").__enter__())
        thread.start()
        thread.join()
    assert steps == []


def test_seconds_add_up_by_outermost_step_in_order_of_their_start() -> None:
    steps = [
        Step("fine/tile", 3.0, 4.0, "main"),
        Step("fine", 3.0, 5.0, "main"),
        Step("read", 0.0, 0.5, "reader"),
        Step("fine", 6.0, 7.0, "main"),
    ]
    assert seconds_by_step(steps) == {"read": 0.5, "fine": 3.0}
    assert list(seconds_by_step(steps)) == ["read", "fine"]


def test_a_trace_holds_the_steps_of_all_threads_whoever_records(tmp_path: Path) -> None:
    def read() -> None:
        with step("read"):
            pass

    before_s = time.perf_counter()
    with tracing(str(tmp_path / "marks")):
        thread = threading.Thread(target=read, name="reader")
        thread.start()
        thread.join()
        with recording() as steps, step("fine"), step("network"):
            pass
    lines = _lines(tmp_path / "marks")
    assert [(line["name"], line["thread"]) for line in lines] == [
        (STARTED, threading.current_thread().name),
        ("read", "reader"),
        ("fine/network", threading.current_thread().name),
        ("fine", threading.current_thread().name),
    ]
    assert [(line["start_s"], line["stop_s"]) for line in lines[2:]] == [(mark.start_s, mark.stop_s) for mark in steps]
    assert [line["cpu_s"] for line in lines[2:]] == [mark.cpu_s for mark in steps]
    assert before_s <= lines[0]["start_s"] <= lines[1]["start_s"] <= time.perf_counter()


def test_a_trace_is_in_the_file_as_soon_as_a_step_ends(tmp_path: Path) -> None:
    with tracing(str(tmp_path / "marks")):
        with step("read"):
            pass
        assert [line["name"] for line in _lines(tmp_path / "marks")] == [STARTED, "read"]


def test_nothing_is_traced_after_the_block_or_without_a_file(tmp_path: Path) -> None:
    with tracing(str(tmp_path / "marks")):
        pass
    with tracing(None):
        assert step("fine") is step("coarse")
    assert len(_lines(tmp_path / "marks")) == 1


def test_a_trace_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no/marks: No such file"), tracing(str(tmp_path / "no" / "marks")):
        pass


def test_a_steps_cpu_seconds_are_its_own_threads() -> None:
    # much beside a collection of garbage, which may fall to either thread
    burnt_s = 0.5

    def work() -> None:
        end_s = time.thread_time() + burnt_s
        while time.thread_time() < end_s:
            pass

    with recording() as steps:
        with step("elsewhere"):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        with step("here"):
            work()
    elsewhere, here = steps
    assert elsewhere.cpu_s < burnt_s / 2
    assert here.cpu_s >= burnt_s
