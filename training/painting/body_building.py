"""Organ maps become the cache of completed bodies: each in the first template body in which the audit passes it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from attention_dmfnet.geometry import Volume

from evaluation.organs import ORGANS
from training.errors import TrainingError
from training.painting.anatomy import Anatomy, read_icrp, read_organ_map, read_ts_example
from training.painting.audit import Finding
from training.painting.bodies import (
    DamagedBodyError,
    audit_body,
    faults_of,
    finished,
    is_held_out,
    organ_maps,
    read_atlas,
    read_body,
    save_body,
)
from training.painting.body_sources import (
    check_templates,
    donors_of,
    first_donor,
    labelled_scans,
    labels_of_scan,
)
from training.painting.completion import REAL, Body, complete
from training.painting.course_file import BAD_MAP, prepare_courses
from training.painting.label_maps import map_name
from training.painting.real_scans import read_real_scan
from training.painting.tissue import UNKNOWN_LABEL, Tissue, label_of_tissue
from training.painting.vessel_courses import CourseAtlas

log = logging.getLogger(__name__)

_VARIANTS = 2
_MOST_DRAWINGS = 12
_MOST_TEMPLATES = 6
_SEXES = ("am", "af")
_DRAWN = frozenset({int(Tissue.AORTA), int(Tissue.VENA_CAVA)})
_INDISPENSABLE = _DRAWN | {int(Tissue.LIVER), int(Tissue.RIGHT_KIDNEY), int(Tissue.LEFT_KIDNEY)}
"""The vessels are drawn by rule; where they run is told by the others."""

Tried = tuple[Body, list[Finding]]
"""A body, and what the audit does not pass in it."""


@dataclass(frozen=True)
class _Template:
    """The bodies that a map is completed in: a reference phantom from head to foot, and a scan within its field.

    ``scan`` None: TS-example.
    """

    sex: str
    arms: bool
    scan: str | None


@dataclass(frozen=True)
class _Job:
    """One body to complete: from an organ map (None: the TS-example scan itself), in the first template that suits.

    The first of ``donors`` that can be read lends what the map lacks. ``scans`` are those whose body and HU the first
    variant may take, labelled in ``labels``.
    """

    data: Path
    source: Path | None
    variant: int
    donors: tuple[Path, ...]
    folder: Path
    scans: tuple[str | None, ...] = (None,)
    labels: Path | None = None

    @property
    def name(self) -> str:
        """The map's."""
        return REAL if self.source is None else map_name(self.source)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}_{self.variant}.npz"

    def templates(self) -> list[_Template]:
        """What to try in turn. A held-out body stays what it was."""
        seed = sum(map(ord, self.name)) + self.variant
        sexes = [_SEXES[(seed + n) % 2] for n in range(2)]
        if self.variant:
            every = [_Template(sex, seed % 5 == 0, None) for sex in sexes]
        else:
            every = [_Template(sexes[0], seed % 5 == 0, scan) for scan in self.scans]
        return every[: 1 if is_held_out(self.name) else _MOST_TEMPLATES]


@dataclass(frozen=True)
class Built:
    """The bodies that are there, and a sentence about each map or scan that none could be made of."""

    paths: list[Path]
    problems: list[str]


class _BadScanError(TrainingError):
    """A scan or its labels that no body can be completed in."""


def build(data: Path, folder: Path, workers: int = 2, scan_labels: Path | None = None) -> Built:
    """Complete every organ map below ``data``/anatomy twice, in two template bodies, and save them in ``folder``.

    The first is the body of a real scan, the second a reference phantom's. With ``scan_labels``, a folder of label maps
    of the scans in ``data``/ct, the first is another scan's for most maps; without it the TS-example serves them all.
    A body that the audit does not pass is completed in other templates. What is there already is kept if it passes. A
    map that cannot be read or completed costs no other one. Raises ``TrainingError`` for ``data`` without templates,
    without maps or without two aortas, and for ``scan_labels`` that fit no scan.
    """
    check_templates(data)
    sources = organ_maps(data)
    if not sources:
        raise TrainingError(f"{data / 'anatomy'} holds no organ map (*.nii.gz) beside the templates; add some")
    scans: list[str] = [] if scan_labels is None else labelled_scans(data, scan_labels)
    folder.mkdir(parents=True, exist_ok=True)
    prepare_courses(sources, folder, workers)
    jobs = [_Job(data, None, 0, (), folder)]
    for variant in range(_VARIANTS):
        for source in sources:
            # held-out bodies: no validation scan is painted on a scan that may be labelled wrong
            of_ts = variant or is_held_out(map_name(source))
            turn = (None,) if of_ts else _in_turn([None, *scans], map_name(source))
            jobs.append(_Job(data, source, variant, donors_of(source, variant, sources), folder, turn, scan_labels))
    stale = sum(job.path.exists() and _is_stale(job.path) for job in jobs)
    if stale:
        log.info(
            "%s: %d bodies hold no audit by this release; they are audited anew, and completed if they fail",
            folder,
            stale,
        )
    # maps that share a scan one after the other: it is read once
    jobs.sort(key=lambda job: job.scans[0] or "")
    with ProcessPoolExecutor(workers) as pool:
        outcomes = list(pool.map(_try_one, jobs, chunksize=2))
    problems = dict.fromkeys(problem for _, problems in outcomes for problem in problems)
    return Built([path for path, _ in outcomes if path is not None], list(problems))


def _is_stale(path: Path) -> bool:
    try:
        return faults_of(path) is None
    except DamagedBodyError:
        return True


def _in_turn(scans: Sequence[str | None], name: str) -> tuple[str | None, ...]:
    """All of them, from the one on that a map of this ``name`` is given."""
    first = int(np.random.default_rng(list(name.encode())).integers(len(scans)))
    return (*scans[first:], *scans[:first])


@functools.lru_cache(maxsize=2)
def _abdomen(data: Path, scan: str | None, labels: Path | None) -> Anatomy:
    if scan is None or labels is None:
        return read_ts_example(data)
    return read_real_scan(data / "ct" / f"{scan}_0000.nii.gz", labels_of_scan(labels, scan))


def _scan_of(job: _Job, template: _Template) -> Anatomy:
    """Raises ``_BadScanError``."""
    try:
        return _abdomen(job.data, template.scan, job.labels)
    except BAD_MAP as error:
        raise _BadScanError(str(error)) from error


def _try_one(job: _Job) -> tuple[Path | None, list[str]]:
    """The body's path, if one could be made, and what is wrong with the map or with scans that were tried."""
    problems: list[str] = []
    try:
        return _build_one(job, problems), problems
    except BAD_MAP as error:
        told = str(error)
        where = "" if job.source is None or str(job.source) in told else f"{job.source}: "
        return None, [*problems, f"{where}{told}"]


def _build_one(job: _Job, problems: list[str] | None = None) -> Path:
    """Appends to ``problems`` what is wrong with scans that another one had to stand in for."""
    path = job.path
    courses = read_atlas(job.folder)
    if path.exists():
        try:
            if _still_passes(job, courses):
                return path
        except DamagedBodyError as error:
            log.warning("%s; it is completed anew", error)
    body, found = least_faulty(_tries(job, courses, [] if problems is None else problems))
    if not is_held_out(job.name):
        body, found = without_failed_organs(body, found, courses)
    save_body(body, path, [str(finding) for finding in found])
    log.info("completed %s%s", path.name, "" if not found else f", not painted from: {'; '.join(map(str, found))}")
    return path


def _tries(job: _Job, courses: CourseAtlas, problems: list[str]) -> Iterator[Tried]:
    made = False
    for template in job.templates():
        try:
            tried = _completed(job, template, courses)
        except _BadScanError as error:
            problems.append(str(error))
            continue
        made = True
        yield tried
    if not made:
        raise TrainingError(f"{job.name}: none of the scans that it was to be completed in can be used")


def _still_passes(job: _Job, courses: CourseAtlas) -> bool:
    """Whether the body that is there can stay: audited as today, by its file or anew. A held-out body always stays."""
    if faults_of(job.path) is not None:
        return True
    body = read_body(job.path)
    if is_held_out(job.name):
        found = _faults(body, courses)
    else:
        if set(np.unique(label_of_tissue()[body.tissues])) - {0, UNKNOWN_LABEL} - body.known:
            return False  # completed when the template's organs were still taught
        body, found = with_sound_vessels(body, courses)
        if found:
            return False
    save_body(body, job.path, [str(finding) for finding in found])
    return True


def least_faulty(tries: Iterable[Tried], organs: frozenset[int] = frozenset(range(1, 14))) -> Tried:
    """The first of the tries with the fewest faults; none is made after one in which ``organs`` have no fault."""
    best: Tried | None = None
    for tried in tries:
        if best is None or len(tried[1]) < len(best[1]):
            best = tried
        if not _organs_of(tried[1]) & organs:
            break
    assert best is not None
    return best


def _completed(job: _Job, template: _Template, courses: CourseAtlas) -> Tried:
    atlas = courses.without([job.name])
    abdomen = _scan_of(job, template)
    target: Anatomy = abdomen if job.source is None else read_organ_map(job.source)
    whole = read_icrp(job.data / "anatomy", template.sex, arms=template.arms)
    lacks = frozenset(range(1, 14)) - _DRAWN - target.known
    donor = first_donor(job.donors) if lacks else None
    body = complete(target, abdomen, whole, atlas, donor, prefer_abdomen=job.variant == 0)
    # vessels are drawn by the name that a body is read under
    body = replace(body, name=job.path.stem)
    # what a donor lent and the audit does not pass is left out of it
    lent = body.known - target.known - _DRAWN
    body = _unknown(body, lent & _organs_of(_faults(body, atlas)))
    # by all courses, as it is painted
    return (body, _faults(body, courses)) if is_held_out(job.name) else with_sound_vessels(body, courses)


def without_failed_organs(body: Body, found: Sequence[Finding], courses: CourseAtlas) -> tuple[Body, list[Finding]]:
    """The body without the organs that its author drew in a way that the audit does not pass in any template.

    They teach nothing, and the rest of the body can be taught. Also what is still found.
    """
    wrong = _organs_of(found)
    if not wrong or wrong & _INDISPENSABLE:
        return body, list(found)
    return with_sound_vessels(_unknown(body, wrong), courses)


def _unknown(body: Body, organs: frozenset[int]) -> Body:
    """The body with ``organs`` made a tissue of which nothing is taught."""
    if not organs:
        return body
    tissues = np.where(np.isin(label_of_tissue()[body.tissues], sorted(organs)), np.uint8(Tissue.UNKNOWN), body.tissues)
    return replace(body, tissues=tissues, known=body.known - organs)


def complete_hidden(path: Path, atlas: CourseAtlas) -> Body:
    """The body of an organ map below DATA/anatomy whose own aorta and vena cava are hidden and drawn by the others'.

    To see how far drawn vessels are from real ones. Raises ``TrainingError`` for a map elsewhere.
    """
    data = next((parent.parent for parent in path.resolve().parents if parent.name == "anatomy"), None)
    if data is None:
        raise TrainingError(f"{path} does not lie below a folder anatomy/; name a map of the data folder")
    shown = read_organ_map(path)
    hidden = np.where(np.isin(shown.tissues, sorted(_DRAWN)), np.uint8(0), shown.tissues)
    target = Anatomy(shown.name, Volume(hidden, shown.volume.geometry), shown.known - _DRAWN)
    others = atlas.without([shown.name])
    whole = read_icrp(data / "anatomy", _SEXES[0])
    return finished(complete(target, read_ts_example(data), whole, others, prefer_abdomen=False), others, 0)


def with_sound_vessels(body: Body, atlas: CourseAtlas) -> Tried:
    """The body with the first drawing of its vessels that the audit passes, and what it does not pass otherwise.

    Of drawings that all fail the one with the fewest faults.
    """
    most = _MOST_DRAWINGS if body.vessels is not None else 1
    drawings = (replace(body, drawing=drawing) for drawing in range(most))
    return least_faulty(((drawn, _faults(drawn, atlas)) for drawn in drawings), _DRAWN)


def _organs_of(found: Iterable[Finding]) -> frozenset[int]:
    return frozenset(ORGANS.index(finding.organ) + 1 for finding in found)


def _faults(body: Body, atlas: CourseAtlas) -> list[Finding]:
    return [finding for finding in audit_body(body, atlas) if finding.severity == "fail"]
