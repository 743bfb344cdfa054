"""Where the seconds go: the engine's own step marks, from cold starts and from a process that is warm already."""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from attention_dmfnet.files.cases import case_name, stem
from attention_dmfnet.marks import Step

from evaluation.cost.cold_start import TIME_LIMIT_S, CaseRun, cold_start
from evaluation.cost.measured_process import MeasuredProcess
from evaluation.cost.system import MARKS_NAME, System
from evaluation.cost.trace import EXIT, START, Trace, read_trace
from evaluation.errors import EvaluationError

LAST_STEP = "write"
"""With the end of this step a case is done."""

_ONCE_A_PROCESS = frozenset({START, EXIT, "import", "load coarse", "load fine"})


@dataclass(frozen=True, slots=True)
class Latency:
    """One scan: ``cold`` starts, each in a process of its own, and one ``warm`` process with the scan several times.

    ``warm`` has run the scan ``warm_cases`` times after a first one that warmed it up.
    """

    case: str
    cold: tuple[CaseRun, ...]
    warm: Trace
    warm_cases: int

    def cold_seconds(self) -> dict[str, float]:
        """The median seconds of each step over the cold starts, in the order of the first one's steps."""
        runs = [_trace(run).seconds() for run in self.cold]
        return {name: statistics.median(run.get(name, 0.0) for run in runs) for name in _names(runs)}

    def warm_seconds(self) -> dict[str, float]:
        """The median seconds of each step over the warm cases."""
        by_case = warm_steps(self.warm, self.warm_cases)
        return {name: statistics.median(case.get(name, 0.0) for case in by_case) for name in _names(by_case)}

    def cold_wall_s(self) -> float:
        return statistics.median(run.wall_s for run in self.cold)

    def warm_wall_s(self) -> float:
        """The median time from the end of one warm case to the end of the next: the same scan once more."""
        return statistics.median(seconds_a_case(self.warm))

    def overhead_share(self) -> float:
        """The median share of a cold start in which neither a network was computing nor the scan was being read."""
        return statistics.median(
            1 - _trace(run).covered_s(lambda name: name.endswith("/network") or name == "read") / run.wall_s
            for run in self.cold
        )

    def traces(self) -> list[Trace]:
        """Every process that was measured, the cold ones first."""
        return [*(_trace(run) for run in self.cold), self.warm]

    def typical_cold_trace(self) -> Trace:
        """The cold start of median length (the longer of the middle two)."""
        return _trace(sorted(self.cold, key=lambda run: run.wall_s)[len(self.cold) // 2])


def measure_latency(
    system: System, scans: Sequence[Path], runs: int, folder: Path, tell: Callable[[str], None] = lambda line: None
) -> list[Latency]:
    """``runs`` cold starts and as many warm cases of each scan; the scans take turns, so that a slow minute hits all.

    Raises ``EvaluationError`` if the system fails, or writes no step marks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cold: dict[Path, list[CaseRun]] = {scan: [] for scan in scans}
    for number in range(1, runs + 1):
        for scan in scans:
            run = cold_start(system, scan, folder)
            if run.failure is not None:
                raise EvaluationError(f"{run.case} failed: {run.failure}; see {folder / 'logs' / run.case}.txt")
            _trace(run)
            cold[scan].append(run)
            tell(f"{run.case}: cold start {number} of {runs}, {run.wall_s:.2f} s")
    latencies = []
    for scan in scans:
        warm = _warm_trace(system, scan, runs, folder)
        latencies.append(Latency(case_name(scan), tuple(cold[scan]), warm, runs))
        tell(f"{case_name(scan)}: warm, {latencies[-1].warm_wall_s():.2f} s a case")
    return latencies


def measure_folder(system: System, scans: Sequence[Path], folder: Path) -> dict[str, float]:
    """Seconds by case for each of the different ``scans`` but the first, in one process that gets them all.

    Raises ``EvaluationError`` if the system fails, or writes no step marks.
    """
    trace = _folder_trace(system, {scan.name: scan for scan in scans}, "folder", folder)
    # the cases of a folder are taken in the order of their names
    cases = [case_name(Path(name)) for name in sorted(scan.name for scan in scans)]
    return dict(zip(cases[1:], seconds_a_case(trace), strict=True))


def seconds_a_case(trace: Trace) -> list[float]:
    """From the end of one case to the end of the next, for each case but the first."""
    ends_s = [step.stop_s for step in trace.steps if step.name == LAST_STEP]
    return [after - before for before, after in pairwise(ends_s)]


def warm_steps(trace: Trace, cases: int) -> list[dict[str, float]]:
    """Seconds by step for each of the last ``cases`` cases of a process that ran one case more.

    The first mark of a name belongs to the first case and so on, as each case goes through each outermost step once;
    inner steps belong to the outermost one around them. Steps that happen once a process (import, load) are left out.
    """
    outermost: dict[str, list[Step]] = {}
    for step in trace.steps:
        if "/" not in step.name:
            outermost.setdefault(step.name, []).append(step)
    return [_case_seconds(trace, outermost, cases, case) for case in range(1, cases + 1)]


def _case_seconds(trace: Trace, outermost: dict[str, list[Step]], cases: int, case: int) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for name, steps in outermost.items():
        if name in _ONCE_A_PROCESS or len(steps) != cases + 1:
            continue
        outer = steps[case]
        seconds[name] = outer.stop_s - outer.start_s
        for inner in trace.steps:
            if inner.name.startswith(f"{name}/") and outer.start_s <= inner.start_s < outer.stop_s:
                seconds[inner.name] = seconds.get(inner.name, 0.0) + inner.stop_s - inner.start_s
    return seconds


def _warm_trace(system: System, scan: Path, cases: int, folder: Path) -> Trace:
    """The trace of one process that gets the scan ``cases`` + 1 times, under different names."""
    name = case_name(scan)
    copies = {f"{name}_{number:03d}_0000{scan.name[len(stem(scan)) :]}": scan for number in range(cases + 1)}
    return _folder_trace(system, copies, f"{name}_warm", folder)


def _folder_trace(system: System, scans: dict[str, Path], name: str, folder: Path) -> Trace:
    """The trace of one process that gets all ``scans``, each under the name that is its key."""
    log = folder / "logs" / f"{name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="warm-") as temporary:
        inputs, outputs = Path(temporary).resolve() / "inputs", Path(temporary).resolve() / "outputs"
        for place in (inputs, outputs):
            place.mkdir()
        for called, scan in scans.items():
            (inputs / called).symlink_to(scan.resolve())
        with MeasuredProcess(system.command(inputs, outputs), system.variables(outputs), log) as process:
            process.wait(TIME_LIMIT_S * len(scans))
        trace = read_trace(outputs / MARKS_NAME, f"{name}: {system.name}", process.start_s, process.stop_s)
    if process.status or trace is None:
        raise EvaluationError(f"{name}: a folder of {len(scans)} scans failed; see {log}")
    return trace


def _trace(run: CaseRun) -> Trace:
    if run.trace is None:
        raise EvaluationError(f"{run.system} wrote no step marks, so where its seconds go cannot be told")
    return run.trace


def _names(runs: Sequence[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run))
