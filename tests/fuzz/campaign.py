"""Fuzzing as a whole: one process a target, watched from outside, each finding once with the number that makes it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.targets import TARGETS

PATIENCE_S = 60.0
MOST_CPU_S = 30.0
"""A mutant hangs if its process does nothing at all for so long three times, or has computed for so long.

Time on the clock alone says more about what else the machine does.
"""


@dataclass
class Findings:
    """Of one target: how many mutants were read, and each kind of finding with the first mutant that showed it."""

    target: str
    mutants: int = 0
    kinds: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, number: int, what: str) -> None:
        # the same place with other numbers in the text is the same finding
        self.kinds.setdefault(re.sub(r"[\d.]+|'[^']*'|\S*/\S*", "#", what)[:120], (number, what))


def fuzz(target: str, first: int, seconds: float, most: int | None = None) -> Findings:
    """Read mutants of ``target`` from number ``first`` on for so many ``seconds``, the seeds themselves before.

    With ``most``, no more than so many: what is read does not depend on how fast the machine is.
    """
    found = Findings(target)
    seeds = len(TARGETS[target].seeds())
    numbers = itertools.chain(range(seeds), itertools.count(max(first, seeds)))
    ends = float("inf")
    process = None
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        for number in numbers:
            if time.monotonic() > ends or (most is not None and found.mutants >= seeds + most):
                break
            if process is None:
                process = _start(target, folder)
                if found.mutants:
                    _ask(process, 0)  # a seed first: the limit on memory is set after one
                    if process.poll() is not None:
                        raise RuntimeError(f"{target}: the seed that was read before is not read any more")
            answer = _ask(process, number)
            found.mutants += 1
            if found.mutants == seeds:
                # loading libraries is not what the time is for
                ends = time.monotonic() + seconds
            if answer is None:
                continue
            found.add(number, answer)
            if process.poll() is not None:
                process = None
                shutil.rmtree(folder / "mutant", ignore_errors=True)
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(folder, ignore_errors=True)
    return found


def fuzz_all(targets: Sequence[str], first: int, seconds: float) -> list[Findings]:
    """Each of ``targets`` for its share of ``seconds``."""
    return [fuzz(target, first, seconds / len(targets)) for target in targets]


def _start(target: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.fuzz.worker", target, str(folder)]
    noise = (folder / "noise.txt").open("w")
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, text=True)


def _ask(process: subprocess.Popen[str], number: int) -> str | None:
    """What mutant ``number`` did, or None if nothing is wrong. A process that crashed or hangs is over afterwards."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        if not _answers(process):
            _stop(process)
            return "no answer: it hangs"
        line = process.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        status = process.wait()
        return f"crashed: {signal.Signals(-status).name if status < 0 else f'status {status}'}"
    answer: str | None = json.loads(line)
    return answer


def _answers(process: subprocess.Popen[str]) -> bool:
    """Wait for an answer, or for the end of the process; False if it hangs."""
    begun_s = last_s = _cpu_s(process.pid)
    idle = 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout or 0, selectors.EVENT_READ)
        while not selector.select(PATIENCE_S):
            now_s = _cpu_s(process.pid)
            idle = idle + 1 if now_s == last_s else 0
            if idle == 3 or now_s - begun_s > MOST_CPU_S:
                return False
            last_s = now_s
    return True


def _cpu_s(pid: int) -> float:
    """What a process and those that it has waited for have computed."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
