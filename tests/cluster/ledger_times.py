"""``python -m tests.cluster.ledger_times``: what the ledger takes of a core and of a disk for each case.

Rows are made; then cases are taken and ended as a coordinator does it, with two transactions each. The first line is of
a ledger where all cases are ended, the second one of a ledger with many more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.ledger import Ending, Ledger

_IN_FLIGHT = 200


@dataclass(frozen=True, slots=True)
class Timed:
    """CPU-seconds of making all rows, CPU-seconds and seconds of ``cases`` that were ended, and the file's size."""

    rows: int
    cases: int
    prepare_cpu_s: float
    cpu_s: float
    wall_s: float
    file_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.rows} rows, {self.cases} of them ended: {self.prepare_cpu_s:.1f} CPU-s to make them, "
            f"{self.file_bytes / self.rows:.0f} bytes each; a case takes {self.cpu_s / self.cases * 1e3:.2f} CPU-ms, "
            f"{self.wall_s / self.cases * 1e3:.2f} ms"
        )


def timed(rows: int, cases: int, folder: Path) -> Timed:
    """End ``cases`` of a ledger of so many ``rows``, in the new folder."""
    path = folder / "ledger.sqlite"
    began_s = time.process_time()
    with Ledger(path, "ab" * 32) as ledger:
        ledger.prepare([f"patient_{n:08}_series_1" for n in range(rows)], {})
        prepared_s = time.process_time()
        running = ledger.claim(min(_IN_FLIGHT, cases))
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        ended = 0
        while running:
            name = running.pop(0)
            ended += ledger.end(name, Ending("node-1:1234", 0.5, 8_700_000, 100_000, "cd" * 32, 100_000))
            if ended + len(running) < cases:
                running += ledger.claim(1)
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        assert ended == cases
    return Timed(rows, cases, prepared_s - began_s, cpu_s, wall_s, path.stat().st_size)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.ledger_times", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="more than --cases")
    parser.add_argument("--cases", type=int, default=20_000, help="that are taken and ended")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for rows in (options.cases, options.rows):
            (Path(folder) / str(rows)).mkdir()
            print(timed(rows, options.cases, Path(folder) / str(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
