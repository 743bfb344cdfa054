"""``python -m training prepare``: from folders of scans to a data set that training reads.

Everything is checked first, and every problem told at once; only then is anything cached. A case with a problem is left
out; a wrong line of ``patients.csv`` costs the case that it is about; a problem of all cases, such as a
``patients.csv`` that is no table, refuses everything. A case whose files and settings have not changed since the last
time is not prepared again.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import msgspec
from attention_dmfnet.cli.progress import Progress
from attention_dmfnet.cpus import available_cpus
from attention_dmfnet.files.cases import EXTENSIONS, case_name
from attention_dmfnet.json_text import JsonError, decode_json

from training.data.cache import write_text
from training.data.cache_cases import Job, cache_cases
from training.data.checks import check_cases
from training.data.dataset import (
    DATASET_NAME,
    CaseEntry,
    DatasetIndex,
    StageGrid,
)
from training.data.facts import CaseFacts
from training.data.fingerprint import FINGERPRINT_NAME, Fingerprint, as_table, take_fingerprint
from training.data.layouts import LABELS, RawCase, RawFolder, merge, read_layout
from training.data.problem import Problem
from training.data.pseudo_folder import labels_path, read_selected
from training.data.splits import SPLITS_NAME, make_splits, read_splits, write_splits
from training.errors import TrainingError
from training.recipe import ROI_MARGIN_MM, STAGES, Stage, load_recipe

DONE, REFUSED = 0, 1

LEFT_OUT_NAME = "left-out.txt"

_FACTS_NAME = "facts.json"

# All that are large. The coarse stage learns where organs are and where not: a case in which a large one was not
# drawn would teach it that an organ is none. Glands, gallbladder and esophagus hardly change the box.
_COARSE_NEEDS = frozenset(LABELS) - {7, 8, 9, 10}

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``prepare``."""
    parser.add_argument("raw", metavar="RAW", type=Path, nargs="+", help="folders in FLARE22's or nnU-Net's layout")
    parser.add_argument("--to", metavar="DATASET", type=Path, required=True, help="the folder of the data set")
    parser.add_argument("--recipe", default="flare22", help="whose grids and window the cases get; default: flare22")
    parser.add_argument("--stage", choices=STAGES, help="prepare for this stage only; default: for both")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes", help="change the recipe, as in fit"
    )
    parser.add_argument(
        "--pseudo", metavar="PSEUDO", type=Path, nargs="+", action="extend", default=[],
        help="add the pseudo labels selected in these folders; of a case in several, the first one's",
    )  # fmt: skip
    parser.add_argument("--splits", metavar="JSON", type=Path, help="hold out the same patients as this splits.json")
    parser.add_argument("--folds", type=int, default=5, help="folds for cross-validation; default: 5")
    parser.add_argument("--seed", type=int, default=0, help="of the splits; default: 0")
    parser.add_argument(
        "--leave-out", metavar="CASE", nargs="+", action="extend", default=[], help="ignore these cases"
    )
    parser.add_argument("--strict", action="store_true", help="prepare nothing at all if one case has a problem")
    parser.add_argument("--workers", type=int, default=None, help="processes; default: one a CPU")
    parser.add_argument("--check-only", action="store_true", help="check and show the fingerprint, but cache nothing")


def prepare(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status: 1 if the data, cases among them or entries of tables were refused.

    Pseudo-labelled cases that are refused are counted, but are no failure: a teacher's mistakes are expected.

    Raises ``TrainingError`` for what is wrong with the arguments, a recipe or a file of splits.
    """
    stages: tuple[Stage, ...] = STAGES if options.stage is None else (options.stage,)
    grids = {stage: grid_of(options.recipe, stage, options.changes) for stage in stages}
    workers = available_cpus() if options.workers is None else options.workers
    raw = _read_raw(options.raw, options.pseudo, options.leave_out)
    try:
        return _check_and_write(options, raw, grids, workers)
    except BrokenProcessPool as error:
        raise TrainingError(
            "a process was killed, most likely for want of memory; try again with --workers 1"
        ) from error


def _check_and_write(
    options: argparse.Namespace, raw: RawFolder, grids: Mapping[Stage, StageGrid], workers: int
) -> int:
    facts, problems, notes = _check(raw, options.to, workers)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in sorted(problems):
        print(problem, file=sys.stderr)
    few = [problem for problem in problems if problem.case is not None or _is_scan(problem.file)]
    refused = _named_in(few)
    kept = tuple(case for case in raw.cases if case.name not in refused)
    if len(few) < len(problems) or (problems and (options.strict or not any(case.labels for case in kept))):
        print(f"{_count(problems)}; nothing was prepared", file=sys.stderr)
        return REFUSED
    # a teacher's organs say nothing about how large organs are
    pseudo = {case.name for case in raw.cases if case.is_pseudo}
    known = (
        msgspec.structs.replace(facts[case.name], labels=None) if case.is_pseudo else facts[case.name] for case in kept
    )
    fingerprint = take_fingerprint(known, ROI_MARGIN_MM)
    print(as_table(fingerprint))
    if not options.check_only:
        _write(options, kept, facts, fingerprint, grids, workers)
        _write_left_out(problems, options.to / LEFT_OUT_NAME)
    if problems:
        of_pseudo = len(refused & pseudo)
        files = f"left out {len(refused)} cases, {of_pseudo} of them with pseudo labels"
        print(f"{_count(problems)}; {files}; {len(kept)} cases are left", file=sys.stderr)
    return REFUSED if refused - pseudo or any(problem.case == "" for problem in problems) else DONE


def grid_of(recipe_name: str, stage: Stage, changes: Sequence[str]) -> StageGrid:
    """The grid on which a recipe wants its cases. Raises ``RecipeError``."""
    recipe = load_recipe(recipe_name, stage, changes)
    return StageGrid(recipe.grid.spacing_zyx, recipe.grid.tile_zyx, recipe.intensity.window_hu, ROI_MARGIN_MM)


def _read_raw(folders: Sequence[Path], pseudo: Sequence[Path], leave_out: Sequence[str]) -> RawFolder:
    raw = merge(read_layout(folder) for folder in folders)
    unknown = sorted(set(leave_out) - {case.name for case in raw.cases} - _named_in(raw.problems))
    if unknown:
        raise TrainingError(f"--leave-out names {unknown[0]}, but there is no such case in {folders[0]}")
    for folder in pseudo:
        raw = _with_pseudo(raw, folder)
    cases = tuple(case for case in raw.cases if case.name not in leave_out)
    problems = tuple(problem for problem in raw.problems if not _named_in([problem]) & set(leave_out))
    return replace(raw, cases=cases, problems=problems)


def _named_in(problems: Iterable[Problem]) -> set[str]:
    """The names of the cases with problems: they can be left out as well."""
    named = (case_name(problem.file) if problem.case is None else problem.case for problem in problems)
    return {name for name in named if name}


def _with_pseudo(raw: RawFolder, pseudo: Path) -> RawFolder:
    """``raw`` with the selected pseudo labels on its unlabelled cases; selected ones without a scan are problems.

    Cases that an earlier folder gave pseudo labels keep them.
    """
    selected = read_selected(pseudo)
    cases = []
    for case in raw.cases:
        decision = selected.pop(case.name, None) if case.labels is None or case.is_pseudo else None
        if decision is not None and not case.is_pseudo:
            case = replace(
                case,
                labels=labels_path(pseudo, case.name),
                annotated=frozenset(decision.annotated),
                is_pseudo=True,
                weight=decision.weight,
            )
        cases.append(case)
    problems = [
        Problem(
            labels_path(pseudo, name), "belongs to none of the unlabelled scans", "add the folder of its scan to RAW"
        )
        for name in selected
    ]
    return replace(raw, cases=tuple(cases), problems=(*raw.problems, *problems))


class _Known(msgspec.Struct, frozen=True):
    """What an earlier run measured of a case whose files had this stamp."""

    stamp: str
    facts: CaseFacts


def _check(raw: RawFolder, folder: Path, workers: int) -> tuple[dict[str, CaseFacts], list[Problem], list[str]]:
    stamps = {case.name: _stamp(case) for case in raw.cases}
    known = {
        name: earlier.facts
        for name, earlier in _read_known(folder / _FACTS_NAME).items()
        if earlier.stamp == stamps.get(name)
    }
    # of cases that share a name only the first is looked at: the others are problems already
    cases = list({case.name: case for case in reversed(raw.cases)}.values())[::-1]
    progress = Progress(len(cases) - len(known), sys.stderr)
    progress.show("checking")

    def tell(case: RawCase, facts: CaseFacts | None) -> None:
        progress.case_done()
        progress.show(f"checked {case.name}")

    checked = check_cases(cases, workers, known, tell)
    progress.clear()
    remembered = {name: _Known(stamps[name], facts) for name, facts in sorted(checked.facts.items())}
    write_text(msgspec.json.encode(remembered).decode(), folder / _FACTS_NAME)
    return checked.facts, [*raw.problems, *checked.problems], [*raw.notes, *checked.notes]


def _read_known(path: Path) -> Mapping[str, _Known]:
    try:
        return decode_json(path.read_bytes(), dict[str, _Known])
    except (OSError, JsonError):
        # nothing is lost but time
        return {}


def _stamp(case: RawCase) -> str:
    """A hash that changes with either file and with how its labels are read."""
    files = [path for path in (case.image, case.labels) if path is not None]
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists()]
    meaning = (sorted(case.label_of_value.items()), sorted(case.annotated))
    return hashlib.sha256(repr((stats, meaning)).encode()).hexdigest()


def _is_scan(file: Path) -> bool:
    """Whether a problem's file belongs to a case, which can be left out, and not to the whole folder."""
    return file.name.lower().endswith(EXTENSIONS)


def _count(problems: Sequence[Problem]) -> str:
    return f"{len(problems)} problems in {len({problem.file for problem in problems})} files"


def _write_left_out(problems: Sequence[Problem], path: Path) -> None:
    """What was left out and why, one problem a line; no file where nothing was."""
    path.unlink(missing_ok=True)
    if problems:
        write_text("".join(f"{problem}\n" for problem in sorted(problems)), path)


def _write(
    options: argparse.Namespace,
    cases: Sequence[RawCase],
    facts: Mapping[str, CaseFacts],
    fingerprint: Fingerprint,
    grids: Mapping[Stage, StageGrid],
    workers: int,
) -> None:
    folder: Path = options.to
    entries = tuple(_entry(case, facts[case.name], grids) for case in cases)
    kept_splits = options.splits or (folder / SPLITS_NAME if (folder / SPLITS_NAME).exists() else None)
    counts: dict[str, int] = {}
    for entry in entries:
        if entry.labels is not None and not entry.is_pseudo:
            counts[entry.patient] = counts.get(entry.patient, 0) + 1
    splits = make_splits(counts, options.folds, options.seed, None if kept_splits is None else read_splits(kept_splits))
    jobs = [
        Job(folder / stage / case.name, stage, grids[stage], case, entry)
        for case, entry in zip(cases, entries, strict=True)
        for stage in entry.stages
    ]
    made = cache_cases(jobs, workers)
    for stage in grids:
        _remove_others(folder / stage, {entry.name for entry in entries if stage in entry.stages})
    write_splits(splits, folder / SPLITS_NAME)
    write_text(_pretty(msgspec.json.encode(fingerprint)), folder / FINGERPRINT_NAME)
    # last, and in one step: a data set with an index is whole
    index = DatasetIndex(1, dict(grids), entries)
    write_text(_pretty(msgspec.json.encode(index)), folder / DATASET_NAME)
    _log.info("%s: %s", folder, _summary(index, made, splits.folds))


def _entry(case: RawCase, facts: CaseFacts, grids: Mapping[Stage, StageGrid]) -> CaseEntry:
    labels = "" if facts.labels is None else facts.labels.content
    content = hashlib.sha256(f"{facts.image.content}{facts.geometry}{labels}".encode()).hexdigest()
    stages: list[Stage] = []
    if case.labels is not None:
        stages = [stage for stage in grids if stage == "fine" or case.annotated >= _COARSE_NEEDS]
    return CaseEntry(
        case.name,
        case.patient,
        str(case.image.resolve()),
        None if case.labels is None else str(case.labels.resolve()),
        () if case.labels is None else tuple(sorted(case.annotated)),
        case.is_pseudo,
        case.weight,
        tuple(stages),
        content,
    )


def _remove_others(folder: Path, names: set[str]) -> None:
    """Cases of an earlier state of the data, and what an interrupted run left, would never be read again."""
    for child in folder.iterdir() if folder.is_dir() else ():
        if child.name not in names:
            shutil.rmtree(child)


def _summary(index: DatasetIndex, made: int, folds: int) -> str:
    true = sum(entry.labels is not None and not entry.is_pseudo for entry in index.cases)
    pseudo = sum(entry.is_pseudo for entry in index.cases)
    unlabelled = sum(entry.labels is None for entry in index.cases)
    per_stage = ", ".join(f"{len(index.cases_of(stage))} for the {stage} stage" for stage in index.grids)
    return (
        f"{true} labelled cases, {pseudo} with pseudo labels, {unlabelled} unlabelled; {per_stage}; "
        f"{made} prepared now; {folds} fold{'s' * (folds > 1)}"
    )


def _pretty(json: bytes) -> str:
    return msgspec.json.format(json, indent=1).decode() + "\n"
