"""Ours and the peers on the same scans, in one interleaved run: wall time, CPU-seconds and peak memory of cold starts.

On a shared machine a slow minute must not decide, so the systems take turns on every scan and medians are compared;
CPU-seconds and memory are those of each system's own processes.
"""

import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.cost.cold_start import CaseRun, cold_start
from evaluation.cost.efficiency import measured_cost
from evaluation.cost.system import System
from evaluation.errors import ArgumentsError, EvaluationError
from evaluation.markdown import number, table
from evaluation.phantom import phantom_geometry, write_phantom

PEERS = Path(__file__).resolve().parents[1] / "peers"

NNUNET, MONAI = "nnU-Net v2, FLARE22 winner's small configuration", "MONAI sliding window, our fine network"
LAPTOP = "nnU-Net v2 through OpenVINO, FLARE24's laptop recipe"
# the script of each, and what it is told when its model is made
_SCRIPTS: dict[str, tuple[str, ...]] = {
    NNUNET: ("nnunet.py", "--recipe", "flare22-winner"),
    LAPTOP: ("nnunet.py", "--recipe", "flare24-laptop"),
    MONAI: ("monai_inferer.py",),
}


@dataclass(frozen=True, slots=True)
class Compared:
    """The median cost of one system on one scan over ``runs`` cold starts, and the range of its wall times.

    ``other_cpus`` is the largest share of the machine that anything else took in any of them.
    """

    case: str
    system: str
    runs: int
    wall_s: float
    wall_range_s: tuple[float, float]
    cpu_s: float
    peak_mib: float
    other_cpus: float


def peer_systems(python: Path, models: Path, manifest: Path) -> list[System]:
    """The peers, run by the interpreter ``python`` of their own environment; their models are made in ``models``.

    MONAI's takes the settings of the fine stage from ``manifest``, if it is there.
    Raises ``ArgumentsError`` if there is no such interpreter, ``EvaluationError`` if a model cannot be made.
    """
    if not python.is_file():
        raise ArgumentsError(
            f"no {python}; make the peers' environment with `sh evaluation/peers/install.sh VENV`, "
            "or leave the peers out with --no-peers"
        )
    return [_peer(name, python, models.resolve() / _folder_name(name), manifest) for name in _SCRIPTS]


def compare(
    systems: Sequence[System],
    scans: Sequence[Path],
    runs: int,
    folder: Path,
    tell: Callable[[str], None] = lambda line: None,
) -> list[CaseRun]:
    """``runs`` cold starts of every system on every scan; who goes first changes from turn to turn.

    Raises ``EvaluationError`` if any of them fails: a system that fails early would look cheap.
    """
    done = []
    for number_of_run in range(runs):
        for scan in scans:
            first = number_of_run % len(systems)
            for system in (*systems[first:], *systems[:first]):
                place = folder / _folder_name(system.name)
                run = cold_start(system, scan, place)
                if run.failure is not None or run.tree is None:
                    why = run.failure or "its processes could not be watched"
                    raise EvaluationError(f"{system.name} on {run.case}: {why}; see {place / 'logs' / run.case}.txt")
                tell(
                    f"{run.case}, run {number_of_run + 1} of {runs}, {system.name}: {run.wall_s:.2f} s, "
                    f"{run.tree.cpu_s:.2f} CPU-seconds, {run.tree.peak_mib:,.0f} MiB"
                )
                done.append(run)
    return done


def predictions_of(system: System, folder: Path) -> Path:
    """Where ``compare`` leaves the label maps of ``system``."""
    return folder / _folder_name(system.name) / "predictions"


def medians(runs: Sequence[CaseRun]) -> list[Compared]:
    """One line for each scan and system, in the order of their first run."""
    groups: dict[tuple[str, str], list[CaseRun]] = {}
    for run in runs:
        groups.setdefault((run.case, run.system), []).append(run)
    return [_median(case, system, group) for (case, system), group in groups.items()]


def comparison_table(compared: Sequence[Compared], ours: str) -> str:
    """Markdown; behind each figure of the others, how many times ours it is."""
    rows = []
    for line in compared:
        base = next(other for other in compared if other.case == line.case and other.system == ours)
        rows.append(
            [
                line.case,
                line.system,
                _with_ratio(line.wall_s, base.wall_s, 2) + " ({:.2f} to {:.2f})".format(*line.wall_range_s),
                _with_ratio(line.cpu_s, base.cpu_s, 2),
                _with_ratio(line.peak_mib, base.peak_mib, 0),
                number(line.other_cpus, 2),
                str(line.runs),
            ]
        )
    header = ["case", "system", "wall s (range)", "CPU-seconds", "peak MiB", "other processes, CPUs", "runs"]
    return table(header, rows)


def bench_page(runs: Sequence[CaseRun], ours: str, machine: str) -> str:
    """Markdown: the table with the machine and how it was measured."""
    return (
        f"{comparison_table(medians(runs), ours)}\n\n"
        f"Machine: {machine}. Medians of cold starts (process start, imports, model loading, reading and writing "
        "included), in turns; (2.0x) is twice ours. *Other processes*: the most CPUs that anything else "
        "kept busy; far from 0, wall times say little, CPU-seconds and memory still hold.\n"
    )


def runs_csv(runs: Sequence[CaseRun]) -> str:
    """Every single run, in the order in which they ran."""
    lines = ["case,system,wall_s,cpu_s,peak_mib,other_cpus"]
    for run in runs:
        cost = measured_cost(run)
        if cost.tree is not None:
            figures = (cost.wall_s, cost.tree.cpu_s, cost.tree.peak_mib, cost.other_cpus or 0.0)
            lines.append(",".join([run.case, f'"{run.system}"', *(f"{figure:.3f}" for figure in figures)]))
    return "\n".join(lines) + "\n"


def bench_phantom(folder: Path) -> Path:
    """A made-up CT of 512 x 512 x 129 voxels in ``folder``: the same on every machine, and nobody's data."""
    scan, _ = write_phantom(folder, seed=1, geometry=phantom_geometry((129, 512, 512), (2.5, 0.8, 0.8)))
    return scan


def _peer(name: str, python: Path, model: Path, manifest: Path) -> System:
    script, settings = PEERS / _SCRIPTS[name][0], _SCRIPTS[name][1:]
    prepare = [str(python), str(script), "prepare", str(model), *settings]
    if name == MONAI and manifest.is_file():
        prepare += ["--manifest", str(manifest)]
    done = subprocess.run(prepare, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["nothing was printed"])[-1]
        raise EvaluationError(f"{name}: its model could not be made: {last}; make the peers' environment again")
    return System(name, (str(python), str(script), "predict", str(model), "{inputs}", "{outputs}"))


def _folder_name(system: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in system)


def _median(case: str, system: str, runs: Sequence[CaseRun]) -> Compared:
    costs = [measured_cost(run) for run in runs]
    walls_s = [cost.wall_s for cost in costs]
    trees = [cost.tree for cost in costs if cost.tree is not None]
    return Compared(
        case,
        system,
        len(runs),
        statistics.median(walls_s),
        (min(walls_s), max(walls_s)),
        statistics.median(tree.cpu_s for tree in trees),
        statistics.median(tree.peak_mib for tree in trees),
        max(cost.other_cpus or 0.0 for cost in costs),
    )


def _with_ratio(value: float, ours: float, digits: int) -> str:
    text = number(value, digits)
    return text if value == ours else f"{text} ({value / ours:.1f}x)"
