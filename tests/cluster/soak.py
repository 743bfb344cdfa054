"""``python -m tests.cluster.soak``: many cases on two nodes, while workers, a node and the coordinator are killed.

Every case has to be done exactly once by the ledger, and every label map to be that of a solo run, byte for byte. The
last line has the figures for docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.cluster.conftest import write_scans
from tests.cluster.nodes import Nodes, nodes
from tests.engine.tiny import write_models

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'engine'}"}


@dataclass
class Soaked:
    """What was done to a run, and what came of it."""

    cases: int
    seconds: float = 0.0
    workers_killed: int = 0
    nodes_lost: int = 0
    coordinators_killed: int = 0
    attempts: int = 0
    done_once: int = 0
    equal_to_solo: int = 0
    workers: int = 0
    partial: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every case was done once, as alone, and nothing else is there."""
        return self.done_once == self.equal_to_solo == self.cases and not self.partial


def soak(there: Nodes, folder: Path, cases: int, every_s: float, lose_a_node: bool = True, seed: int = 1) -> Soaked:
    """Label ``cases`` scans, and kill a worker every ``every_s`` seconds, but not before a case was done since."""
    inputs = write_scans(folder / "in", [f"case_{n:04}" for n in range(cases)])
    models = write_models(folder / "models")
    _run("attention_dmfnet", "predict", str(inputs), str(folder / "solo"), "--models", str(models)).wait()
    outputs, random, said = folder / "out", Random(seed), Soaked(cases)
    words = ["predict", str(inputs), str(outputs), "--models", str(models), "--address", there.address]
    words += ["--attempts", "50", "--worker-memory-mb", "500", "--workers", "2"]
    began_s = killed_s = time.monotonic()
    coordinator, done_then = _run("cluster", *words), 0
    try:
        while True:
            # often: of few cases, the moment to kill is soon over
            time.sleep(0.05)
            done = _done(outputs)
            status = coordinator.poll()
            if status is not None:
                assert status == 0, f"the coordinator ended with status {status}"
                break
            if not said.coordinators_killed and done >= cases // 3:
                coordinator.kill()
                coordinator.wait()
                said.coordinators_killed += 1
                coordinator = _run("cluster", *words)
            elif lose_a_node and not said.nodes_lost and done >= cases // 2:
                there.lose(there.others.pop())
                said.nodes_lost += 1
                there.others.append(there.add())
            elif time.monotonic() - killed_s >= every_s and done > done_then and done < cases - 1:
                said.workers_killed += there.kill_a_worker(random) is not None
                killed_s, done_then = time.monotonic(), done
    finally:
        coordinator.kill()
    said.seconds = time.monotonic() - began_s
    # what a worker was writing when it was killed, the next run removes
    assert _run("cluster", *words).wait() == 0
    return _judged(said, outputs, folder / "solo")


def _run(module: str, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **ENVIRONMENT}
    return subprocess.Popen(
        [sys.executable, "-m", module, *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )


def _done(outputs: Path) -> int:
    try:
        rows = sqlite3.connect(f"file:{outputs / 'ledger.sqlite'}?mode=ro", uri=True)
        with rows:
            found: int = rows.execute("SELECT count(*) FROM cases WHERE state = 'done'").fetchone()[0]
        rows.close()
    except sqlite3.Error:  # it is not there yet
        return 0
    return found


def _judged(said: Soaked, outputs: Path, solo: Path) -> Soaked:
    rows = sqlite3.connect(outputs / "ledger.sqlite")
    said.attempts, said.done_once, said.workers = rows.execute(
        "SELECT sum(attempts), total(state = 'done' AND completions = 1), count(DISTINCT worker) FROM cases"
    ).fetchone()
    rows.close()
    said.done_once = int(said.done_once)
    expected = {path.name: path.read_bytes() for path in solo.glob("*.nii.gz")}
    said.equal_to_solo = sum((outputs / name).read_bytes() == content for name, content in expected.items())
    ours = {*expected, "run.json", "ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"}
    said.partial = sorted(path.name for path in outputs.iterdir() if path.name not in ours)
    return said


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.soak", description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--every-s", type=float, default=5.0, help="a worker is killed so often")
    parser.add_argument("--to", type=Path, metavar="DIR", help="keep scans, label maps and ledger in this new folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, nodes(2) as there:
        said = soak(there, options.to or Path(folder), options.cases, options.every_s)
    print(said)
    return 0 if said.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
