import json
from pathlib import Path

import pytest
from attention_dmfnet.marks import STARTED, Step

from evaluation.cost.trace import Trace, read_trace, write_chrome_trace
from evaluation.errors import EvaluationError


def marks(file: Path, *steps: tuple[str, float, float, str]) -> Path:
    names = ("name", "start_s", "stop_s", "thread")
    file.write_text("".join(json.dumps(dict(zip(names, step, strict=True))) + "\n" for step in steps))
    return file


def test_what_comes_before_the_first_mark_and_after_the_last_are_steps_too(tmp_path: Path) -> None:
    file = marks(
        tmp_path / "marks",
        (STARTED, 10.5, 10.5, "MainThread"),
        ("read", 11.0, 12.0, "reader_0"),
        ("import", 10.5, 11.5, "MainThread"),
    )
    trace = read_trace(file, "a case", start_s=10.0, stop_s=12.25)
    assert trace is not None
    assert trace.steps == (
        Step("start", 10.0, 10.5, "MainThread"),
        Step("import", 10.5, 11.5, "MainThread"),
        Step("read", 11.0, 12.0, "reader_0"),
        Step("exit", 12.0, 12.25, "MainThread"),
    )
    assert trace.wall_s == 2.25


def test_a_process_that_wrote_no_marks_has_no_trace(tmp_path: Path) -> None:
    assert read_trace(tmp_path / "none", "a case", 0.0, 1.0) is None
    assert read_trace(marks(tmp_path / "empty"), "a case", 0.0, 1.0) is None


@pytest.mark.parametrize(
    "text", ["no JSON", '{"name": "read"}', '{"name": 1, "start_s": 0, "stop_s": 0, "thread": ""}']
)
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "marks").write_text(text)
    with pytest.raises(EvaluationError, match=r"marks is not a file of step marks"):
        read_trace(tmp_path / "marks", "a case", 0.0, 1.0)


def trace_of(*steps: tuple[str, float, float, str]) -> Trace:
    return Trace("a case", 0.0, 10.0, tuple(Step(*step) for step in steps))


def test_seconds_add_up_by_name() -> None:
    trace = trace_of(("fine", 1, 5, "m"), ("fine/network", 1, 2, "m"), ("fine/network", 3, 5, "m"))
    assert trace.seconds() == {"fine": 4, "fine/network": 3}


def test_steps_that_overlap_cover_their_time_once() -> None:
    trace = trace_of(("read", 0, 3, "r"), ("a", 1, 2, "m"), ("a", 2, 4, "m"), ("a", 6, 7, "m"), ("b", 8, 9, "m"))
    assert trace.covered_s(lambda name: name in ("read", "a")) == 4 + 1
    assert trace.covered_s(lambda name: False) == 0


def test_the_trace_viewers_get_each_process_from_zero_with_a_row_for_each_thread(tmp_path: Path) -> None:
    first = trace_of(("read", 1.5, 2.0, "reader_0"), ("fine/network", 2.0, 2.25, "MainThread"))
    second = Trace("another", 100.0, 101.0, (Step("read", 100.5, 100.75, "reader_0"),))
    write_chrome_trace([first, second], tmp_path / "traces" / "t.json")
    events = json.loads((tmp_path / "traces" / "t.json").read_text())["traceEvents"]
    names = [
        (event["name"], event["pid"], event["tid"], event["args"]["name"]) for event in events if event["ph"] == "M"
    ]
    assert names == [
        ("process_name", 1, 0, "a case"),
        ("thread_name", 1, 1, "reader_0"),
        ("thread_name", 1, 2, "MainThread"),
        ("process_name", 2, 0, "another"),
        ("thread_name", 2, 1, "reader_0"),
    ]
    spans = [
        (event["name"], event["pid"], event["tid"], event["ts"], event["dur"]) for event in events if event["ph"] == "X"
    ]
    # microseconds
    assert spans == [
        ("read", 1, 1, 1_500_000, 500_000),
        ("network", 1, 2, 2_000_000, 250_000),
        ("read", 2, 1, 500_000, 250_000),
    ]
