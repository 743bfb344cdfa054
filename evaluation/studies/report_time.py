"""What a report costs beside the labels that it shows, in CPU-seconds of whole commands.

    python -m evaluation.studies.report_time SCAN --copies 50

Labels as many links to one scan as are asked for, without and with ``--report``, and makes the report afterwards. CPU
time, because other work on a machine makes wall-clock time say little. docs/report.md has the figures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import DONE, run_command
from evaluation.cost.measured_process import MeasuredProcess
from evaluation.errors import EvaluationError

_COMMAND = (sys.executable, "-m", "attention_dmfnet")
_LIMIT_S = 24 * 3600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the row; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.studies.report_time", description=__doc__)
    parser.add_argument("scan", type=Path, metavar="SCAN")
    parser.add_argument("--copies", type=int, default=50)
    options = parser.parse_args(arguments)

    def run() -> int:
        with tempfile.TemporaryDirectory() as folder:
            print(table(options.scan.resolve(), options.copies, Path(folder)))
        return DONE

    return run_command("report_time", run)


def table(scan: Path, copies: int, folder: Path) -> str:
    """The row of the page's table, as Markdown."""
    scans, plain, reported = folder / "scans", folder / "plain", folder / "reported"
    scans.mkdir()
    for number in range(copies):
        (scans / f"case{number:03}_0000.nii.gz").symlink_to(scan)
    seconds = [
        cpu_seconds("predict", scans, plain),
        cpu_seconds("predict", scans, reported, "--report"),
        cpu_seconds("report", plain, "--scans", scans),
    ]
    pages = [path.stat().st_size / 1e6 for path in (reported / "report").iterdir()]
    index_mb = (reported / "report.html").stat().st_size / 1e6
    cells = [f"{copies} x {scan.name}", *(f"{one:.1f}" for one in seconds)]
    cells += [f"{index_mb:.2f} MB", f"{max(pages):.1f} MB each at most"]
    return "| " + " | ".join(cells) + " |"


def cpu_seconds(*words: str | Path) -> float:
    """Of the engine's command ``words``, with one thread and all that it starts. Raises ``EvaluationError``."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*_COMMAND, *map(str, words)]
        with MeasuredProcess(command, {"OMP_NUM_THREADS": "1"}, Path(folder) / "log") as process:
            process.wait(_LIMIT_S)
        if process.status:
            # the last but one names a case that failed
            raise EvaluationError(f"{words[0]} ended with status {process.status}: {process.last_lines(2)}")
    return process.required_cost().cpu_s


if __name__ == "__main__":
    sys.exit(main())
