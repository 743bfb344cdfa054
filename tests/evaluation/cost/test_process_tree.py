"""Costs of fakes that burn a known CPU time and touch a known amount of memory, within wide physical bounds."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from evaluation.cost.measured_process import MeasuredProcess
from evaluation.cost.process_tree import Descendants, TreeCost, TreeWatcher
from evaluation.errors import EvaluationError

# interpreter start-up, of which there may be three, on any machine
SLACK_CPU_S = 1.5
SLACK_MIB = 80.0

BURN = "import time\nwhile time.process_time() < {cpu_s}: pass\n"
PATIENCE_S = 600.0


def hold(folder: Path, mib: int, then: str = "", at_the_end: str = "") -> str:
    """A program that takes memory and ends when it has been looked at: see ``let_go``."""
    return f"""
import os, time
from pathlib import Path
folder = Path({str(folder)!r})
memory = b"x" * ({mib} << 20)
{then}
(folder / f"held-{{os.getpid()}}").touch()
while not (folder / "seen").exists():
    time.sleep(0.02)
{at_the_end}
"""


def let_go(process: MeasuredProcess, folder: Path, holding: int) -> None:
    """Wait until ``holding`` processes hold their memory, and the watcher has looked at them from then on."""
    watcher, until_s = process.watcher, time.monotonic() + PATIENCE_S
    before: int | None = None
    while process.status is None and time.monotonic() < until_s:
        if before is None and len(list(folder.glob("held-*"))) == holding:
            before = len(watcher.samples)
        # the first of them may have been begun before; of several processes, what they share is looked at more rarely
        if before is not None and any(
            holding == 1 or sample.pss_mib is not None for sample in watcher.samples[before + 1 :]
        ):
            break
        time.sleep(0.02)
    (folder / "seen").touch()


def measured(tmp_path: Path, code: str, holding: int = 0) -> TreeCost:
    with MeasuredProcess([sys.executable, "-c", code], {}, tmp_path / "log") as process:
        if holding:
            threading.Thread(target=let_go, args=(process, tmp_path, holding), daemon=True).start()
        process.wait(PATIENCE_S)
    assert process.status == 0, (tmp_path / "log").read_text()
    cost = process.cost()
    assert cost is not None
    return cost


def test_cpu_seconds_are_those_of_the_command(tmp_path: Path) -> None:
    assert 0.6 <= measured(tmp_path, BURN.format(cpu_s=0.6)).cpu_s < 0.6 + SLACK_CPU_S


def test_sleeping_costs_no_cpu_seconds(tmp_path: Path) -> None:
    assert measured(tmp_path, "import time; time.sleep(1)").cpu_s < SLACK_CPU_S


def test_cpu_seconds_of_children_count_even_when_they_have_ended(tmp_path: Path) -> None:
    child = BURN.format(cpu_s=0.4)
    code = f"import subprocess, sys\nfor _ in range(2): subprocess.run([sys.executable, '-c', {child!r}])"
    assert 0.8 <= measured(tmp_path, code).cpu_s < 0.8 + SLACK_CPU_S


def test_peak_memory_is_what_was_touched(tmp_path: Path) -> None:
    cost = measured(tmp_path, hold(tmp_path, 200), holding=1)
    assert 200 <= cost.peak_mib < 200 + SLACK_MIB
    assert 200 <= cost.peak_rss_mib < 200 + SLACK_MIB


def test_a_peak_between_two_samples_is_not_missed(tmp_path: Path) -> None:
    cost = measured(tmp_path, hold(tmp_path, 200, "del memory"), holding=1)
    assert 200 <= cost.peak_process_mib < 200 + SLACK_MIB
    assert cost.peak_mib == cost.peak_process_mib


def test_memory_of_processes_that_run_together_is_added_up(tmp_path: Path) -> None:
    child = hold(tmp_path, 100)
    code = (
        "import subprocess, sys\n"
        f"children = [subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in range(2)]\n"
        "for child in children: child.wait()"
    )
    cost = measured(tmp_path, code, holding=2)
    assert 100 <= cost.peak_process_mib < 100 + SLACK_MIB
    assert 200 <= cost.peak_rss_mib < 200 + 3 * SLACK_MIB
    assert 180 <= cost.peak_mib <= cost.peak_rss_mib


def test_memory_that_processes_share_counts_once(tmp_path: Path) -> None:
    code = hold(tmp_path, 200, "child = os.fork()", "if child: os.wait()")
    cost = measured(tmp_path, code, holding=2)
    assert cost.peak_rss_mib >= 400
    assert cost.peak_pss_mib is not None
    assert cost.peak_pss_mib < 200 + SLACK_MIB
    assert 200 <= cost.peak_mib < 200 + SLACK_MIB


def test_descendants_are_found_as_they_come_and_go_orphans_too() -> None:
    code = "import os, time\nif os.fork() == 0: time.sleep(600)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as parent:
        family = Descendants(parent.pid)
        while len(family()) < 2:
            time.sleep(0.01)
        (child,) = set(family()) - {parent.pid}
        parent.communicate(b"\n")
    assert set(family()) == {child}
    os.kill(child, signal.SIGKILL)
    assert_ends(child)


def test_other_processes_are_no_descendants() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert set(Descendants(process.pid)()) == {process.pid}
        process.communicate(b"\n")


def test_without_processes_there_is_no_cost() -> None:
    with TreeWatcher(lambda: []) as watcher:
        pass
    assert watcher.cost(cpu_s=1.0) is None


def test_a_process_that_overruns_its_time_is_ended_with_all_its_children(tmp_path: Path) -> None:
    child = "import time; time.sleep(600)"
    code = (
        "import subprocess, sys, pathlib\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "child.wait()"
    )
    with MeasuredProcess([sys.executable, "-c", code], {}, tmp_path / "log") as process:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        process.wait(0.1)
    assert process.late
    assert process.status is not None
    assert process.status < 0
    assert_ends(int((tmp_path / "pid").read_text()))


def test_an_interrupted_measurement_leaves_nothing_running(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        MeasuredProcess([sys.executable, "-c", "import time; time.sleep(600)"], {}, tmp_path / "log") as process,
    ):
        raise KeyboardInterrupt
    assert process.status is not None
    assert process.status < 0


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="cannot start 'no-such-program': No such file"):
        MeasuredProcess(["no-such-program"], {}, tmp_path / "log").__enter__()


def test_what_the_command_prints_is_kept_and_it_hears_its_variables(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['COLOUR']); print('bad', file=sys.stderr)"
    with MeasuredProcess([sys.executable, "-c", code], {"COLOUR": "blue"}, tmp_path / "log") as process:
        process.wait(PATIENCE_S)
    assert sorted((tmp_path / "log").read_text().split()) == ["bad", "blue"]


def assert_ends(pid: int) -> None:
    """The child's own parent is gone, so the system reaps it, but not at once."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} is still running")


def test_a_process_that_ends_before_it_is_looked_at_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(subprocess.Popen[bytes]):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            time.sleep(0.3)

    monkeypatch.setattr(subprocess, "Popen", Late)
    with MeasuredProcess(["sh", "-c", "exit 3"], {}, tmp_path / "log") as process:
        process.wait(PATIENCE_S)
    assert process.status == 3
