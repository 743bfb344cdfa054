"""What a report costs beside the labels that it shows, in CPU-seconds of whole commands.

    python -m evaluation.studies.report_time SCAN --copies 50

Labels as many links to one scan as are asked for, without and with ``--report``, and makes the report afterwards. CPU
time, because other work on a machine makes wall-clock time say little. docs/report.md has the figures.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

_COMMAND = (sys.executable, "-m", "attention_dmfnet")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m evaluation.studies.report_time", description=__doc__)
    parser.add_argument("scan", type=Path, metavar="SCAN")
    parser.add_argument("--copies", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(table(options.scan.resolve(), options.copies, Path(folder)))


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
    """Of the engine's command ``words``, with one thread and all that it starts. Raises ``CalledProcessError``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*_COMMAND, *map(str, words)], env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
