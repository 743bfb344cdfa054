"""Every problem of a data set at once, by file, before any work is done with it."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.header_checks import LEAST_EXTENT_MM_ZYX, SPACING_MM
from attention_dmfnet.files.image_io import ImageError, read_volume
from attention_dmfnet.files.value_checks import not_hu
from attention_dmfnet.geometry import GeometryError, Volume, canonicalise
from attention_dmfnet.notes import Note
from attention_dmfnet.steps.quality import out_of_order

from evaluation.organs import ORGANS
from training.data.facts import (
    CaseFacts,
    ImageFacts,
    LabelFacts,
    OrganFacts,
    hash_geometry,
    measure_image,
    measure_labels,
    renumber,
)
from training.data.layouts import RawCase
from training.data.problem import Problem

_LEAVE_OUT = "or leave the case out with --leave-out {name}"

# headers are rounded to 32-bit numbers; what an organ's border could notice is more
_SAME_PLACE_MM = 0.1
_REMEDIES = {
    "values-scaled": "convert it from DICOM again without normalising",
    "values-eight-bit": "convert it from DICOM again without windowing",
    "values-no-hu": "apply the rescale intercept (most often -1024)",
    "values-no-body": "see what the file shows",
}
"""What to do about each of the engine's notes on values."""

_SOLID_HU = (-50.0, 500.0)
_SOLID = frozenset({1, 2, 3, 4, 5, 6, 13})
"""Liver, kidneys, spleen, pancreas and the great vessels: nowhere in the world do they hold gas or bone."""

# far beyond any patient that was published; what is larger has another organ's number or a wrong spacing
_LARGEST_ML = (9000, 6000, 7000, 1000, 2000, 1500, 250, 250, 2000, 800, 8000, 1500, 6000)
_SAME_BODY_DIFFERENCE = 2.0
"""Mean difference of two thumbs, of 255, below which they show one body.

A real scan differs by 1.1 from itself on a grid with other slices, and by 16 and more from other patients' scans.
"""


@dataclass(frozen=True)
class Checked:
    """What was measured of the cases without problems, by name, and all that is wrong."""

    facts: dict[str, CaseFacts]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def check_cases(
    cases: Sequence[RawCase],
    workers: int = 1,
    known: Mapping[str, CaseFacts] | None = None,
    tell: Callable[[RawCase, CaseFacts | None], None] = lambda case, facts: None,
) -> Checked:
    """Read every case and compare them with each other.

    ``known`` are facts of an earlier run, of files that have not changed since; those are not read again. ``tell``
    hears of each case when it is measured, with None for its facts if it cannot be used.
    """
    known = known or {}
    facts = {case.name: known[case.name] for case in cases if case.name in known}
    unknown = [case for case in cases if case.name not in known]
    problems: list[Problem] = []
    for case, measured in zip(unknown, _in_processes(unknown, workers), strict=True):
        if isinstance(measured, CaseFacts):
            facts[case.name] = measured
        else:
            problems += measured
        tell(case, facts.get(case.name))
    notes: list[str] = []
    for case in cases:
        if case.name in facts:
            of_image = [*_judge_image(case, facts[case.name].image)]
            # what is no HU in the image cannot be held against the labels
            problems += [*of_image, *_judge_labels(case, facts[case.name].labels, not of_image)]
            notes += _notes(case, facts[case.name])
    usable = [case for case in cases if case.name in facts]
    problems += _same_twice(usable, facts)
    return Checked(facts, tuple(problems), tuple(notes))


def measure(case: RawCase) -> CaseFacts | list[Problem]:
    """Read a case's files and measure them, or say why that is impossible."""
    remedy = f"replace the file {_LEAVE_OUT.format(name=case.name)}"
    notes: list[Note] = []
    try:
        scan = read_volume(case.image, notes)
    except (ImageError, GeometryError) as error:
        return [Problem(case.image, _clause(error, case.image), remedy)]
    canonical = canonicalise(scan)
    geometry = hash_geometry(scan.geometry)
    empty_voxels = sum(int(note.split()[0]) for note in notes if note.code == "empty-voxels")
    image = measure_image(canonical, empty_voxels)
    if case.labels is None:
        return CaseFacts(image, None, geometry, tuple(_of_header(case.image, notes)))
    label_notes: list[Note] = []
    try:
        labels = read_volume(case.labels, label_notes)
    except (ImageError, GeometryError) as error:
        return [Problem(case.labels, _clause(error, case.labels), remedy)]
    said = (*_of_header(case.image, notes), *_of_header(case.labels, label_notes))
    problems = [*_different_grids(case, scan, labels, [*notes, *label_notes]), *_unusable_values(case, labels)]
    if problems:
        return problems
    organs = renumber(labels.array, case.label_of_value, case.annotated)
    return CaseFacts(image, measure_labels(canonicalise(Volume(organs, scan.geometry)), canonical), geometry, said)


def _of_header(path: Path, notes: Sequence[Note]) -> Iterator[str]:
    """What the engine notes of a header that contradicts itself."""
    return (f"{path}: {note}" for note in notes if note.code.startswith("header-"))


def _in_processes(cases: Sequence[RawCase], workers: int) -> Iterator[CaseFacts | list[Problem]]:
    if workers <= 1 or len(cases) <= 1:
        yield from map(measure, cases)
        return
    # spawned: ITK's threads do not survive a fork
    with ProcessPoolExecutor(min(workers, len(cases)), multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(measure, cases)


def _clause(error: Exception, path: Path) -> str:
    """The engine's sentence about a file, without the file's name, which is said already."""
    text = str(error)
    for beginning in (f"cannot read {path}: ", f"{path}: "):
        text = text.removeprefix(beginning)
    return text


def _different_grids(case: RawCase, scan: Volume, labels: Volume, notes: Sequence[Note]) -> Iterator[Problem]:
    """Whether the label map lies voxel on voxel on the scan, and if not, what differs.

    Where qform and sform of a header differ, programs differ in which one they read: what one has drawn lies elsewhere
    in another. The sform counts, for scan and labels alike.
    """
    here, there = scan.geometry, labels.geometry
    if here.matches(there, _SAME_PLACE_MM):
        return
    remedy = f"save the labels on the grid of {case.image.name} {_LEAVE_OUT.format(name=case.name)}"
    assert case.labels is not None
    if here.shape_zyx != there.shape_zyx:
        what = f"has {_by(there.shape_zyx)} voxels, its scan {_by(here.shape_zyx)}"
    elif not np.allclose(here.spacing_zyx, there.spacing_zyx, rtol=1e-3):
        what = f"has voxels of {_by(there.spacing_zyx)} mm, its scan of {_by(here.spacing_zyx)} mm"
    elif not np.allclose(here.axes_lps, there.axes_lps, atol=1e-3):
        what = "is turned or mirrored against its scan: the directions in the headers differ"
    else:
        shift = ", ".join(f"{b - a:+.4g}" for a, b in zip(here.origin_lps, there.origin_lps, strict=True))
        what = f"is shifted by ({shift}) mm against its scan"
    if any(note.code in ("header-forms-differ", "header-forms-mirrored") for note in notes):
        what += "; the qform and sform of one of them differ, and the sform was read"
        remedy = f"make the two forms agree in both headers, or {remedy}"
    yield Problem(case.labels, what, remedy)


def _unusable_values(case: RawCase, labels: Volume) -> Iterator[Problem]:
    assert case.labels is not None
    out = _LEAVE_OUT.format(name=case.name)
    if labels.array.dtype != np.int16:
        what = f"holds fractions or numbers beyond 16 bits ({labels.array.min():g} to {labels.array.max():g})"
        yield Problem(case.labels, what, f"save whole label numbers, resampled by the nearest voxel, {out}")
        return
    values = np.unique(labels.array)
    unknown = [int(value) for value in values if value != 0 and int(value) not in case.label_of_value]
    if unknown:
        allowed = f"0 and {min(case.label_of_value)} to {max(case.label_of_value)}"
        what = f"holds the label{'s' * (len(unknown) > 1)} {', '.join(map(str, unknown[:5]))}, allowed are {allowed}"
        yield Problem(case.labels, what, f"correct the labels {out}")
    elif not values.any():
        yield Problem(case.labels, "is empty: every voxel is 0", f'move the scan to an "unlabeled" folder {out}')


def _judge_image(case: RawCase, image: ImageFacts) -> Iterator[Problem]:
    out = _LEAVE_OUT.format(name=case.name)
    if image.min_hu == image.max_hu:
        yield Problem(case.image, f"is empty: every voxel is {image.min_hu:g}", f"replace the file {out}")
    elif (note := not_hu(image.min_hu, image.max_hu)) is not None:
        yield Problem(case.image, f"is not in HU: {note}", f"{_REMEDIES[note.code]} {out}")
    low, high = SPACING_MM
    if not all(low <= mm <= high for mm in image.spacing_zyx):
        what = f"has voxels of {_by(image.spacing_zyx)} mm, which no CT of a patient has"
        yield Problem(case.image, what, f"correct the spacing in the header (in mm) {out}")
    else:
        extent = [size * mm for size, mm in zip(image.shape_zyx, image.spacing_zyx, strict=True)]
        if any(mm < least for mm, least in zip(extent, LEAST_EXTENT_MM_ZYX, strict=True)):
            what = f"covers only {_by(tuple(round(mm) for mm in extent))} mm, which is no abdomen"
            yield Problem(case.image, what, f"give the whole scan, correct the spacing in its header, {out}")


def _judge_labels(case: RawCase, labels: LabelFacts | None, in_hu: bool) -> Iterator[Problem]:
    if labels is None or case.labels is None or not case.annotated:
        return
    out = _LEAVE_OUT.format(name=case.name)
    if not labels.organs:
        what = "holds none of the organs that are annotated"
        yield Problem(case.labels, what, f"correct the labels or the sidecar {out}")
    for label, organ in labels.organs.items():
        name = ORGANS[label - 1]
        if organ.volume_ml > _LARGEST_ML[label - 1]:
            what = f"shows a {name} of {organ.volume_ml:.0f} mL"
            yield Problem(case.labels, what, f"correct the label numbers or the spacing in the header {out}")
    wrong = {label: organ.hu[1] for label, organ in labels.organs.items() if label in _SOLID and not _is_solid(organ)}
    if in_hu and wrong:
        medians = ", ".join(f"{ORGANS[label - 1]} {hu:.0f}" for label, hu in wrong.items())
        what = f"the voxels of solid organs have medians of {medians} HU in {case.image.name}"
        yield Problem(case.labels, what, f"see whether the labels belong to another scan or are mirrored, {out}")
    yield from _wrong_sides(case, case.labels, labels)


def _is_solid(organ: OrganFacts) -> bool:
    return _SOLID_HU[0] <= organ.hu[1] <= _SOLID_HU[1]


def _wrong_sides(case: RawCase, path: Path, labels: LabelFacts) -> Iterator[Problem]:
    """Organs on the wrong side of each other, as a header with a flipped axis puts them; one problem per axis."""
    centres = {ORGANS[label - 1]: organ.centre_lps for label, organ in labels.organs.items()}
    remedy = "correct the direction in the headers of scan and labels, or the label numbers,"
    for _, what in out_of_order(centres):
        yield Problem(path, what, f"{remedy} {_LEAVE_OUT.format(name=case.name)}")


def _same_twice(cases: Sequence[RawCase], facts: Mapping[str, CaseFacts]) -> Iterator[Problem]:
    """Scans that are there twice, under whatever name or header, and label maps of two scans that are one."""
    identical: set[tuple[str, str]] = set()
    for first, second in _equal_pairs(cases, lambda case: facts[case.name].image.content):
        identical.add((first.name, second.name))
        what = f"holds the very voxels of {first.image}: the same patient twice"
        yield Problem(second.image, what, f"remove one of the two, {_LEAVE_OUT.format(name=second.name)}")
    for first, second in _alike(cases, facts):
        if (first.name, second.name) not in identical and first.patient != second.patient:
            what = f"shows the same body as {first.image}, in other voxels"
            remedy = f"give both one patient in patients.csv, {_LEAVE_OUT.format(name=second.name)}"
            yield Problem(second.image, what, remedy)
    labelled = [case for case in cases if _content_of_labels(facts[case.name])]
    for first, second in _equal_pairs(labelled, lambda case: _content_of_labels(facts[case.name])):
        same = (first.name, second.name) in identical or first.patient == second.patient
        if not same and second.labels is not None:
            what = f"is the very label map of {first.labels}, but their scans differ"
            remedy = f"put the right label map there, {_LEAVE_OUT.format(name=second.name)}"
            yield Problem(second.labels, what, remedy)


def _content_of_labels(facts: CaseFacts) -> str:
    """A hash of the label map; nothing where it holds no organ, as all that hold none are alike."""
    return facts.labels.content if facts.labels is not None and facts.labels.organs else ""


def _equal_pairs(cases: Iterable[RawCase], content: Callable[[RawCase], str]) -> Iterator[tuple[RawCase, RawCase]]:
    first: dict[str, RawCase] = {}
    for case in cases:
        other = first.setdefault(content(case), case)
        if other is not case:
            yield other, case


def _alike(cases: Sequence[RawCase], facts: Mapping[str, CaseFacts]) -> Iterator[tuple[RawCase, RawCase]]:
    if len(cases) < 2:
        return
    thumbs = np.stack([np.frombuffer(facts[case.name].image.thumb, np.uint8) for case in cases]).astype(np.int16)
    for number, case in enumerate(cases[:-1]):
        difference: npt.NDArray[np.float64] = np.abs(thumbs[number + 1 :] - thumbs[number]).mean(axis=1)
        for later in np.flatnonzero(difference < _SAME_BODY_DIFFERENCE):
            yield case, cases[number + 1 + int(later)]


def _notes(case: RawCase, facts: CaseFacts) -> Iterator[str]:
    """What is worth knowing but no reason to refuse a case."""
    yield from facts.header_notes
    if facts.image.empty_voxels:
        yield f"{case.image}: {facts.image.empty_voxels} voxels have no value and count as air"
    if facts.labels is not None:
        absent = [ORGANS[label - 1] for label in sorted(case.annotated - facts.labels.organs.keys())]
        if absent and not case.is_pseudo:
            yield f"{case.labels}: without {', '.join(absent)}; if that was there but not drawn, say so in a sidecar"


def _by(numbers: Iterable[float]) -> str:
    """Numbers in z, y, x order as people read them: x, y, z."""
    return " x ".join(f"{number:.4g}" for number in itertools.chain(reversed(tuple(numbers))))
