"""Accuracy and cost of several releases of this project, each run by its own code, in turns on one machine.

Accuracy: the mean DSC over the organs that a reference shows. Cost: medians of cold starts. Each release is taken from
the history of the clone and run by this environment's packages:

    python -m evaluation.studies.releases v0.6.0 v0.7.0 --scans SCANS --references LABELS --merge duodenum=stomach
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.cases import case_name, list_cases
from attention_dmfnet.files.image_io import read_volume

from evaluation.accuracy.annotated import parse_merges
from evaluation.accuracy.dice import dice
from evaluation.accuracy.same_grid import require_same_grid
from evaluation.accuracy.score import merged
from evaluation.command import DONE, run_command, tell
from evaluation.cost.bench import Compared, compare, medians, predictions_of
from evaluation.cost.machine import describe_machine
from evaluation.cost.system import System
from evaluation.errors import ArgumentsError, EvaluationError
from evaluation.markdown import table

ROOT = Path(__file__).resolve().parents[2]


def unpack(revision: str, folder: Path, root: Path | None = None) -> System:
    """The files of ``revision`` in ``folder``, as a system that is run by its own ``predict.sh`` on the CPU.

    Its name is the version with the revision. Networks that a release keeps in OpenVINO's format are made, as its
    installation does: the history does not hold them. Raises ``ArgumentsError`` for what the clone's history does not
    have, ``EvaluationError`` if the networks cannot be made.
    """
    root = ROOT if root is None else root
    command = ["git", "-C", str(root), "archive", revision]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().splitlines()
        raise ArgumentsError(f"{revision} cannot be taken from {root}: {why[-1] if why else 'git gives no reason'}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    # where every release's predict.sh looks for its Python
    (folder / ".venv").symlink_to(sys.prefix)
    _make_graphs(revision, folder)
    version = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
    words = ("sh", str(folder / "predict.sh"), "{inputs}", "{outputs}", "--device", "cpu")
    return System(f"{version} ({revision})", words)


def _make_graphs(revision: str, folder: Path) -> None:
    """What releases from 0.8.0 on do once, when they are installed."""
    if not (folder / "engine" / "attention_dmfnet" / "model" / "openvino_graphs.py").is_file():
        return
    done = subprocess.run(
        [sys.executable, "-m", "attention_dmfnet.model.openvino_graphs", str(folder / "models")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "engine")},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().splitlines()
        raise EvaluationError(
            f"{revision} cannot make its OpenVINO networks: {why[-1] if why else 'it gives no reason'}"
        )


def mean_dsc(labels: npt.NDArray[np.uint8], reference: npt.NDArray[np.uint8], merges: Mapping[int, int]) -> float:
    """Over the organs that ``reference`` shows: label maps (z, y, x) on one grid.

    ``merges`` are labels to be counted as another one where the reference shows the other one alone.
    """
    shown = [int(label) for label in np.unique(reference) if label]
    if not shown:
        raise EvaluationError("a reference shows no organ")
    as_drawn = {label: other for label, other in merges.items() if label not in shown and other in shown}
    counted = merged(labels, as_drawn)
    return statistics.mean(dice(counted == label, reference == label) for label in shown)


def releases_table(
    releases: Sequence[str], accuracy: Mapping[tuple[str, str], float], costs: Sequence[Compared]
) -> str:
    """Markdown: a row for each release; ``accuracy`` by release and case."""
    cases = list(dict.fromkeys(case for _, case in accuracy))
    by_place = {(cost.system, cost.case): cost for cost in costs}
    timed = list(dict.fromkeys(cost.case for cost in costs))
    header = ["release", *(f"{case}: DSC" for case in cases), *(f"{case}: CPU-seconds / peak MiB" for case in timed)]
    rows = []
    for release in releases:
        found = [by_place[release, case] for case in timed]
        rows.append(
            [
                release,
                *(f"{accuracy[release, case]:.3f}" for case in cases),
                *(f"{cost.cpu_s:.2f} / {cost.peak_mib:,.0f}" for cost in found),
            ]
        )
    return table(header, rows)


def study(
    revisions: Sequence[str], scans: Sequence[Path], references: Path, merges: Mapping[int, int], runs: int, to: Path
) -> str:
    """Run every release on every scan ``runs`` times and score the labels of those that have a reference.

    Raises ``ArgumentsError`` if none has one.
    """
    if not any((references / f"{case_name(scan)}.nii.gz").is_file() for scan in scans):
        raise ArgumentsError(f"{references} has no label map CASE.nii.gz for any of the scans; name the right folder")
    with tempfile.TemporaryDirectory() as temporary:
        systems = [unpack(revision, Path(temporary) / f"release-{number}") for number, revision in enumerate(revisions)]
        done = compare(systems, scans, runs, to, tell)
    accuracy = {}
    for system in systems:
        for scan in scans:
            case = case_name(scan)
            if not (references / f"{case}.nii.gz").is_file():
                continue
            reference = read_volume(references / f"{case}.nii.gz")
            labels = read_volume(predictions_of(system, to) / f"{case}.nii.gz")
            require_same_grid(labels, f"{system.name}: {case}", reference, case)
            accuracy[system.name, case] = mean_dsc(labels.array, reference.array, merges)
    page = releases_table([system.name for system in systems], accuracy, medians(done))
    return f"{page}\n\nMachine: {describe_machine()}. Medians of {runs} cold starts in turns.\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.studies.releases", description="Accuracy and cost of several releases, in turns."
    )
    parser.add_argument("revisions", nargs="+", metavar="REVISION", help="tags or commits of this clone's history")
    parser.add_argument("--scans", type=Path, nargs="+", required=True, metavar="CT", help="files or folders")
    parser.add_argument("--references", type=Path, required=True, metavar="DIR", help="label maps, CASE.nii.gz")
    parser.add_argument("--merge", action="append", default=[], metavar="A=B", help="count A as B where B is both")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="cold starts of each on each (default: 3)")
    parser.add_argument("--to", type=Path, default=Path("bench_output/releases"), metavar="DIR")
    options = parser.parse_args(arguments)

    def ask() -> int:
        if options.runs < 1:
            raise ArgumentsError(f"--runs {options.runs} measures nothing; give 1 or more")
        scans = [scan for path in options.scans for scan in list_cases(path)]
        merges = parse_merges(options.merge)
        print(study(options.revisions, scans, options.references, merges, options.runs, options.to))
        return DONE

    return run_command("releases", ask)


if __name__ == "__main__":
    sys.exit(main())
