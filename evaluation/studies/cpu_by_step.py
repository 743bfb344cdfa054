"""Where the CPU-seconds of a cold start go: the engine's own marks, on one CPU, beside what the whole process took.

    python -m evaluation.studies.cpu_by_step CT --runs 5

On one CPU the networks compute on the thread that asks them, so that their CPU-seconds are in their step. What OpenVINO
compiles on threads of its own, the start of Python and the end of the process are in no step: they are the rest.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attention_dmfnet.json_text import JsonError, decode_json
from attention_dmfnet.marks import TRACE_VARIABLE, Step

from evaluation import markdown
from evaluation.command import DONE, run_command
from evaluation.cost.cold_start import TIME_LIMIT_S
from evaluation.cost.measured_process import MeasuredProcess
from evaluation.errors import EvaluationError

TOTAL, REST = "the whole process", "in no step"


def cpu_by_step(ct: Path, folder: Path) -> dict[str, float]:
    """CPU-seconds of each step of one cold start on ``ct``, by name, then of what is in none, and of all of it.

    Steps within others are left out. Raises ``EvaluationError``, in the engine's own words, if it fails.
    """
    marks = folder / "marks"
    # taskset becomes the engine: the one that watches it keeps to the other CPUs
    words = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), sys.executable, "-m", "attention_dmfnet"]
    words += ["predict", str(ct), str(folder / "out"), "--overwrite"]
    with MeasuredProcess(words, {TRACE_VARIABLE: str(marks)}, folder / "log") as process:
        process.wait(TIME_LIMIT_S)
    if process.status:
        # the last one counts the cases that failed, the one before says why
        raise EvaluationError(f"the engine failed on {ct}: {process.last_lines(2)}")
    total = process.required_cost().cpu_s
    try:
        steps = [decode_json(line, Step) for line in marks.read_bytes().splitlines()]
    except JsonError as error:
        raise EvaluationError(f"{marks} is not a file of step marks: {error}") from error
    seconds: dict[str, float] = {}
    for step in sorted(steps, key=lambda step: step.start_s):
        if "/" not in step.name and step.cpu_s > 0:
            seconds[step.name] = seconds.get(step.name, 0.0) + step.cpu_s
    return {**seconds, REST: total - sum(seconds.values()), TOTAL: total}


def table(runs: Sequence[dict[str, float]]) -> str:
    """A Markdown table: the least and the median of each step's CPU-seconds."""
    rows = []
    for name in dict.fromkeys(name for run in runs for name in run):
        seconds = [run.get(name, 0.0) for run in runs]
        rows.append([name, markdown.number(min(seconds), 3), markdown.number(statistics.median(seconds), 3)])
    return markdown.table(["step", "least CPU-s", "median"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.studies.cpu_by_step", description=__doc__)
    parser.add_argument("ct", metavar="CT", type=Path, help="the scan")
    parser.add_argument("--runs", type=int, default=5, help="cold starts; default: 5")
    options = parser.parse_args(arguments)
    return run_command(parser.prog, lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        runs = [cpu_by_step(options.ct, Path(folder)) for _ in range(max(1, options.runs))]
    print(table(runs))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
