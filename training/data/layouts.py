"""Folders of scans as FLARE22 and nnU-Net lay them out, turned into cases: which image goes with which labels.

Nothing is opened here but ``dataset.json``, ``patients.csv`` and sidecars; what is inside the images is the matter of
``training.data.checks``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from attention_dmfnet.files.cases import EXTENSIONS, case_name, printable
from attention_dmfnet.json_text import JsonError, decode_json, one_line

from evaluation.accuracy.annotated import annotated_labels
from evaluation.errors import EvaluationError
from evaluation.organs import ORGANS
from evaluation.text_file import decode_text
from training.arrays import UNKNOWN
from training.data.problem import Problem
from training.data.release import find_release
from training.errors import TrainingError
from training.organ_names import label_of_name

LABELS = tuple(range(1, len(ORGANS) + 1))
PATIENTS_NAME = "patients.csv"
SAME_NUMBERS: Mapping[int, int] = {label: label for label in LABELS}

_DEPTH = 2

_IGNORE = "ignore"
"""nnU-Net's name for the label of voxels that nobody has judged."""


class LayoutError(TrainingError):
    """A folder that is laid out in no known way."""


@dataclass(frozen=True)
class RawCase:
    """A scan and, unless it is an unlabelled one, its labels.

    ``label_of_value`` maps every value that the label map may hold (but 0) to FLARE22's label, to 0 for a structure
    that is none of the thirteen organs, or to ``UNKNOWN`` where nobody has judged. ``annotated`` are the labels that
    were drawn at all; they are none where that could not be found out, which is a problem already.
    """

    name: str
    image: Path
    labels: Path | None = None
    label_of_value: Mapping[int, int] = field(default_factory=lambda: SAME_NUMBERS)
    annotated: frozenset[int] = frozenset(LABELS)
    patient: str = ""
    is_pseudo: bool = False
    weight: float = 1.0


@dataclass(frozen=True)
class RawFolder:
    """The cases of a folder, what is wrong with how they are laid out, and what is worth knowing."""

    layout: str
    cases: tuple[RawCase, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


def read_layout(raw: Path) -> RawFolder:
    """The cases of a folder in FLARE22's or nnU-Net's layout.

    FLARE22: folders ``images`` and ``labels`` beside each other, in ``raw`` or up to two folders below it. nnU-Net:
    ``imagesTr``, ``labelsTr`` and ``dataset.json``. In both, scans in a folder whose name contains "unlabel" have no
    labels. ``patients.csv`` (``case,patient``) says which cases are of one patient; otherwise every case is of its
    own. The release of FLARE's later tasks is known by its folder names (``training.data.release``).

    Raises ``LayoutError`` if ``raw`` is neither.
    """
    if not raw.is_dir():
        raise LayoutError(f"there is no folder {raw}; name the folder that holds the scans")
    if printable(str(raw)) != str(raw):
        raise LayoutError(
            f"the name of {printable(str(raw))} is not UTF-8 or has control characters; rename the folder"
        )
    if (released := _published_release(raw)) is not None:
        return released
    nnunet = (raw / "imagesTr").is_dir()
    folders = [raw] if nnunet else [folder for folder in _below(raw, _DEPTH) if (folder / "images").is_dir()]
    unlabelled = [folder for folder in _below(raw, _DEPTH) if folder != raw and "unlabel" in folder.name.lower()]
    labelled = [folder for folder in folders if folder not in unlabelled]
    if not unlabelled and labelled in ([], [raw]) and "unlabel" in raw.name.lower():
        labelled, unlabelled = [], [raw]
    if not labelled and not unlabelled:
        raise LayoutError(
            f"{raw} is neither in FLARE22's layout (folders images and labels) nor in nnU-Net's (imagesTr, labelsTr, "
            "dataset.json); lay the scans out in one of these ways"
        )
    for folder in (*labelled, *unlabelled):
        if (shown := printable(str(folder))) != str(folder):
            raise LayoutError(f"the name of {shown} is not UTF-8 or has control characters; rename the folder")
    parts = [_read_nnunet(folder) if nnunet else _read_flare22(folder) for folder in labelled]
    parts += [_read_unlabelled(folder) for folder in unlabelled]
    cases = [case for part in parts for case in part.cases]
    problems = [problem for part in parts for problem in part.problems]
    problems += _refuse_shared_names(cases)
    cases, more = _with_patients(cases, raw / PATIENTS_NAME, {case_name(problem.file) for problem in problems})
    layout = "nnU-Net" if nnunet else "FLARE22"
    notes = tuple(note for part in parts for note in part.notes)
    return RawFolder(layout, tuple(cases), (*problems, *more), notes)


def _published_release(raw: Path) -> RawFolder | None:
    """The cases of a release of FLARE's later tasks, or None if ``raw`` is none."""
    release = find_release(raw)
    if release is None:
        return None
    cases, problems = _pair(release.images, release.labels)
    if release.pseudo_images is not None:
        scans, more = _scans(release.pseudo_images)
        drawn = {case.name for case in cases}
        cases += [RawCase(name, path) for name, path in scans.items() if name not in drawn]
        problems += more
    cases, more = _with_patients(cases, raw / PATIENTS_NAME, {case_name(problem.file) for problem in problems})
    notes = []
    if release.validation is not None:
        notes.append(f"{release.validation[0].parent} is left alone: it is for measuring")
    return RawFolder("FLARE's release", tuple(cases), (*problems, *more), tuple(notes))


def merge(folders: Iterable[RawFolder]) -> RawFolder:
    """Several folders as one; a case name that occurs in two of them is a problem."""
    parts = list(folders)
    cases = tuple(case for part in parts for case in part.cases)
    problems = [problem for part in parts for problem in part.problems]
    problems += [problem for problem in _refuse_shared_names(cases) if problem not in problems]
    layout = " and ".join(dict.fromkeys(part.layout for part in parts))
    return RawFolder(layout, cases, tuple(problems), tuple(note for part in parts for note in part.notes))


def _read_flare22(folder: Path) -> RawFolder:
    images, labels = folder / "images", folder / "labels"
    if not labels.is_dir():
        problem = Problem(folder, "has images but no labels beside them", _NO_LABELS_FOLDER)
        return RawFolder("FLARE22", (), (problem,))
    cases, problems = _pair(images, labels)
    return RawFolder("FLARE22", tuple(cases), tuple(problems))


def _read_nnunet(folder: Path) -> RawFolder:
    images, labels, about = folder / "imagesTr", folder / "labelsTr", folder / "dataset.json"
    if not labels.is_dir():
        return RawFolder("nnU-Net", (), (Problem(folder, "has imagesTr but no labelsTr", _NO_LABELS_FOLDER),))
    cases, problems = _pair(images, labels)
    named = {case_name(path) for path in (*(problem.file for problem in problems), *(case.image for case in cases))}
    numbering, more, notes = _read_dataset_json(about, len(cases), len(named))
    drawn = frozenset(label for label in numbering.values() if label in LABELS)
    cases = [replace(case, label_of_value=numbering, annotated=case.annotated & drawn) for case in cases]
    return RawFolder("nnU-Net", tuple(cases), (*problems, *more), notes)


def _read_unlabelled(folder: Path) -> RawFolder:
    within = folder / "images" if (folder / "images").is_dir() else folder
    scans, problems = _scans(within)
    return RawFolder("FLARE22", tuple(RawCase(name, path) for name, path in scans.items()), tuple(problems))


_NO_LABELS_FOLDER = 'put the label maps there, or put "unlabeled" into the folder\'s name'


def _pair(images: Path, labels: Path) -> tuple[list[RawCase], list[Problem]]:
    image_of, problems = _scans(images)
    labels_of, more = _scans(labels)
    problems += more
    cases = []
    for name, image in image_of.items():
        if _is_further_channel(name, image_of):
            what = "is a second channel of a scan; a CT has one"
            problems.append(Problem(image, what, "keep the channel _0000 that holds the HU and remove the others"))
        elif name not in labels_of:
            what = f"has no label map {name}.nii.gz in {labels}"
            problems.append(Problem(image, what, 'add it, or move the scan to a folder with "unlabeled" in its name'))
        else:
            try:
                annotated = annotated_labels(labels_of[name])
            except EvaluationError as error:
                what = f"its sidecar cannot be used ({error})"
                problems.append(Problem(labels_of[name], what, "correct the sidecar"))
                annotated = frozenset()
            else:
                if not annotated:
                    what = "its sidecar says that no organ is annotated"
                    problems.append(Problem(labels_of[name], what, "name the organs, or remove sidecar and labels"))
            cases.append(RawCase(name, image, labels_of[name], annotated=annotated))
    for name, path in labels_of.items():
        if name not in image_of:
            what = f"has no scan {name}_0000.nii.gz in {images}"
            problems.append(Problem(path, what, "add the scan, rename one of the two, or remove the label map"))
    return cases, problems


def _scans(folder: Path) -> tuple[dict[str, Path], list[Problem]]:
    """The scans in a folder by case name, and which of them share one."""
    found: dict[str, Path] = {}
    problems = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(EXTENSIONS):
            continue
        if printable(path.name) != path.name:
            # data sets, splits and reports name their cases in UTF-8, one a line
            problems.append(Problem(path, "has a name that is not UTF-8 or has control characters", "rename it"))
            continue
        first = found.setdefault(case_name(path), path)
        if first != path:
            what = f"has the same case name as {first.name}"
            problems.append(Problem(path, what, "rename or remove one of the two"))
    if not found and not problems:
        problems.append(Problem(folder, "holds no scan", f"put files named *{EXTENSIONS[0]} there", case=""))
    return found, problems


def _is_further_channel(name: str, others: Mapping[str, Path]) -> bool:
    """Whether ``name`` ends as nnU-Net's second and later channels do, and the first one is there."""
    return name[-5:] in ("_0001", "_0002", "_0003") and name[:-5] in others


# for checking all else about the label maps, so that every problem can be told at once
_NO_NUMBERING: Mapping[int, int] = dict.fromkeys(range(1, 256), 0)


class _About(msgspec.Struct, frozen=True):
    """What matters in nnU-Net's ``dataset.json``, first or second version."""

    labels: dict[str, Any]
    channel_names: dict[str, str] = {}
    modality: dict[str, str] = {}
    numTraining: int | None = None  # noqa: N815  # nnU-Net's name


def _read_dataset_json(path: Path, cases: int, named: int) -> tuple[Mapping[int, int], list[Problem], tuple[str, ...]]:
    """FLARE22's label for every value, what is wrong, and notes; nothing means an organ if the file cannot be used.

    ``cases`` are whole, ``named`` are these and those of which only the scan or the label map is there.
    """
    try:
        about = decode_json(decode_text(path.read_bytes()).encode(), _About)
    except OSError as error:
        remedy = 'write one with "channel_names", "labels" and "numTraining", as nnU-Net documents it'
        return _NO_NUMBERING, [Problem(path, f"cannot be read: {error.strerror}", remedy)], ()
    except JsonError as error:
        return _NO_NUMBERING, [Problem(path, f"is not nnU-Net's dataset.json: {error}", "correct the file")], ()
    problems = []
    channels = {**about.modality, **about.channel_names}
    if len(channels) != 1 or "CT" not in next(iter(channels.values())).upper():
        what = f"names the channels {list(channels.values())}, not one CT"
        problems.append(Problem(path, what, "keep one channel, in HU, and call it CT"))
    # cases that are not whole are told by their names, and account for what is missing
    if about.numTraining is not None and not cases <= about.numTraining <= named:
        what = f"says numTraining {about.numTraining}, but {cases} scans have labels"
        problems.append(Problem(path, what, "complete the data set or correct the number", case=""))
    numbering: dict[int, int] = {}
    notes = []
    for name, value in _named_values(about.labels):
        if value is None:
            problems.append(Problem(path, f"label {name!r} is not one whole number", "give each label one number"))
        elif value > 0:
            if name.strip().lower() == _IGNORE:
                numbering[value] = UNKNOWN
                continue
            label = label_of_name(name)
            if label in numbering.values():
                problems.append(Problem(path, f"names {ORGANS[(label or 1) - 1]} twice", "merge the two labels"))
            numbering[value] = label or 0
            if label is None:
                notes.append(f"{path}: {name!r} (label {value}) is none of the thirteen organs and becomes background")
    if not any(label in LABELS for label in numbering.values()):
        problems.append(Problem(path, "names none of the thirteen organs", f"name them as in: {', '.join(ORGANS)}"))
        return _NO_NUMBERING, problems, tuple(notes)
    return numbering, problems, tuple(notes)


def _named_values(labels: Mapping[str, Any]) -> Iterator[tuple[str, int | None]]:
    """Names and their values: the second version maps names to numbers, the first one numbers to names."""
    for key, value in labels.items():
        if key.isdecimal() and isinstance(value, str):
            yield value, int(key)
        else:
            yield key, value if isinstance(value, int) else None


def _refuse_shared_names(cases: Iterable[RawCase]) -> list[Problem]:
    first: dict[str, Path] = {}
    problems = []
    for case in cases:
        other = first.setdefault(case.name, case.image)
        if other != case.image:
            what = f"has the same case name as {other}"
            problems.append(Problem(case.image, what, "rename or remove one of the two"))
    return problems


def _with_patients(cases: list[RawCase], path: Path, refused: set[str]) -> tuple[list[RawCase], list[Problem]]:
    """The cases with their patients. Cases that were refused already may be named in the file too.

    A case whose patient is in doubt is refused: held out under another name, the patient would be trained on.
    """
    if not path.is_file():
        return [replace(case, patient=case.name) for case in cases], []
    patient_of: dict[str, str] = {}
    problems = []
    names = {case.name for case in cases} | refused
    try:
        rows = _patient_rows(path)
    except _TableError as error:
        problems.append(Problem(path, str(error), "make its first line case,patient and write one line a case"))
        return [replace(case, patient=case.name) for case in cases], problems
    for number, written, patient in rows:
        # people write the file's name as often as the case's
        name = case_name(Path(written))
        known = name if name in names else ""
        if not patient:
            what = f"line {number} names no patient"
            problems.append(Problem(path, what, "write case,patient there, or remove it", case=known))
        elif not known:
            what = f"line {number} names a case {one_line(repr(written))} that is not there"
            problems.append(Problem(path, what, "correct the line", case=""))
        elif patient_of.setdefault(name, patient) != patient:
            problems.append(Problem(path, f"gives {name} two patients", "keep one of the lines", case=name))
    return [replace(case, patient=patient_of.get(case.name) or case.name) for case in cases], problems


class _TableError(Exception):
    """A table without the columns that are wanted, or none at all."""


def _patient_rows(path: Path) -> list[tuple[int, str, str]]:
    """Line number, case and patient of each row of ``patients.csv`` that is not empty, as any spreadsheet saves it."""
    try:
        text = decode_text(path.read_bytes())
    except OSError as error:
        raise _TableError(f"cannot be read: {error.strerror}") from error
    # in half of Europe a spreadsheet's comma is a semicolon
    first = text.split("\n", 1)[0]
    separator = next((each for each in ",;\t" if each in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        columns = [column.strip().lower() for column in next(reader, [])]
        if not {"case", "patient"} <= set(columns):
            raise _TableError(f"has the columns {one_line(', '.join(columns)) or 'none'}")
        found = []
        for row in reader:
            case, patient = (row[at].strip() if at < len(row) else "" for at in map(columns.index, ("case", "patient")))
            if any(cell.strip() for cell in row):
                found.append((reader.line_num, case, patient))
    except csv.Error as error:
        raise _TableError(f"is no table: line {reader.line_num}, {error}") from error
    return found


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """``folder`` and the folders up to ``depth`` below it, in order; images and labels themselves are not entered."""
    yield folder
    if depth == 0:
        return
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith(".") and child.name not in ("images", "labels"):
            yield from _below(child, depth - 1)
