"""What Ray costs on one machine: a folder by ``attention-dmfnet predict``, then by so many workers.

python -m evaluation.studies.many_machines SCANS --workers 1 2
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation import markdown
from evaluation.command import DONE, run_command
from evaluation.cost.measured_process import MeasuredProcess
from evaluation.errors import EvaluationError

_LIMIT_S = 3600.0

COMMANDS = {"alone": "attention_dmfnet", "workers": "cluster"}
"""The module that labels, by how."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run over a folder. CPU-seconds and peak memory are of all processes, Ray's own too; None if not seen."""

    what: str
    cases: int
    wall_s: float
    cpu_s: float | None
    peak_mib: float | None


def measure(scans: Path, workers: int | None, options: Sequence[str], folder: Path) -> Measured:
    """Label ``scans`` into a new folder; alone where ``workers`` is None. Raises ``EvaluationError`` if that fails."""
    outputs = folder / f"labels-{workers or 0}"
    words = [sys.executable, "-m", COMMANDS["alone" if workers is None else "workers"], "predict"]
    words += [str(scans), str(outputs), *options]
    words += [] if workers is None else ["--workers", str(workers)]
    root = Path(__file__).parents[2]
    variables: Mapping[str, str] = {"PYTHONPATH": f"{root}{os.pathsep}{root / 'engine'}"}
    with MeasuredProcess(words, variables, folder / "log") as process:
        process.wait(_LIMIT_S)
    if process.status != 0:
        raise EvaluationError(f"{' '.join(words)} ended with status {process.status}: {process.last_lines(5)}")
    cost = process.cost()
    made = len(list(outputs.glob("*.nii.gz")))
    what = "attention-dmfnet predict" if workers is None else f"cluster predict, {workers} workers"
    seconds = process.stop_s - process.start_s
    if cost is None:
        return Measured(what, made, seconds, None, None)
    return Measured(what, made, seconds, cost.cpu_s, cost.peak_mib)


def table(runs: Sequence[Measured]) -> str:
    """A row a run, in Markdown; ``CPU`` in parts of the first run's."""
    rows = []
    first = runs[0].cpu_s
    for run in runs:
        times = "-" if run.cpu_s is None or not first else f"{run.cpu_s / first:.2f}x"
        wall, cpu, peak = (markdown.number(value, 0, "-") for value in (run.wall_s, run.cpu_s, run.peak_mib))
        rows.append([run.what, str(run.cases), wall, cpu, times, peak])
    return markdown.table(["run", "cases", "wall s", "CPU-s", "CPU", "peak MiB"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.studies.many_machines", description=__doc__)
    parser.add_argument("scans", type=Path, metavar="SCANS")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    parser.add_argument("--models", metavar="DIR", help="default: this release's")
    options = parser.parse_args(arguments)

    def run() -> int:
        more = [] if options.models is None else ["--models", options.models]
        with tempfile.TemporaryDirectory() as folder:
            runs = [measure(options.scans, workers, more, Path(folder)) for workers in (None, *options.workers)]
        print(table(runs))
        return DONE

    return run_command("many_machines", run)


if __name__ == "__main__":
    sys.exit(main())
