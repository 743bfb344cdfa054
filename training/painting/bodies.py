"""The cache of completed bodies: made once from the anatomy folder, read by every training run."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from attention_dmfnet.geometry import Volume
from scipy import ndimage

from evaluation.organs import ORGANS
from training.errors import TrainingError
from training.painting.anatomy import Anatomy, TissueMap, read_icrp, read_organ_map, read_ts_example
from training.painting.audit import Finding, audit
from training.painting.completion import BODY_SPACING_ZYX, REAL, Body, complete
from training.painting.great_vessels import VesselSite
from training.painting.real_scans import one_phase_each, read_real_scan, real_scan_names
from training.painting.tissue import NO_HU, Tissue, has_plausible_hu, label_of_tissue
from training.painting.tissues_by_hu import ball
from training.painting.vessel_courses import CourseAtlas, make_atlas

log = logging.getLogger(__name__)

HELD_OUT = (
    "word_0034", "word_0043", "word_0110", "word_0124", "amos_0540", "abdomenatlas_338", "zanatomy", "btcv_0010",
    "btcv_0030",
)  # fmt: skip
"""Eight patients that nothing is trained on: 0034 and 0043 may be one. Painted validation scans are made of them."""

SAME_PATIENT = (("word_0034", "word_0043"), ("word_0019", "word_0033"), ("word_0017", "word_0131"))
"""Two scans of one patient, surely or probably."""

COURSES = "vessel_courses.npz"
_VARIANTS = 2
_MOST_DRAWINGS = 12
_DOUBT_MM = 8.0
_PERHAPS_ORGAN = (Tissue.MUSCLE, Tissue.SOFT, Tissue.VESSEL)
_DRAWN = (ORGANS[Tissue.AORTA - 1], ORGANS[Tissue.VENA_CAVA - 1])
_THIRTEEN = frozenset(range(1, 14)) - {int(Tissue.AORTA), int(Tissue.VENA_CAVA)}


@dataclass(frozen=True)
class _Job:
    """One body to complete: from an organ map (None: the TS-example scan itself), in which template bodies.

    ``scan`` is the real scan whose body and HU the first variant takes (None: the TS-example), labelled in ``labels``.
    """

    data: Path
    source: Path | None
    variant: int
    donor: Path | None
    folder: Path
    scan: str | None = None
    labels: Path | None = None


def organ_maps(data: Path) -> list[Path]:
    """Every organ map below ``data``/anatomy, held-out ones included."""
    anatomy = data / "anatomy"
    folders = [*sorted((anatomy / "word").glob("*.nii.gz")), *sorted((anatomy / "btcv").glob("*.nii.gz"))]
    names = ["amos_0013", "amos_0540", "totalseg_s0327", "totalseg_s0328", "abdomenatlas_338"]
    singles = [*(anatomy / f"{name}.nii.gz" for name in names), *sorted((anatomy / "meshes").glob("*.nii.gz"))]
    return [*folders, *(path for path in singles if path.exists())]


def is_held_out(name: str) -> bool:
    """Whether a body or map of this name belongs to a patient that nothing is trained on."""
    return name.startswith(HELD_OUT)


def build(data: Path, folder: Path, workers: int = 2, scan_labels: Path | None = None) -> list[Path]:
    """Complete every organ map below ``data``/anatomy twice, in two template bodies, and save them in ``folder``.

    The first is the body of a real scan, the second a reference phantom's. With ``scan_labels``, a folder of label maps
    of the scans in ``data``/ct, the first is another scan's for most maps; without it the TS-example serves them all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources = organ_maps(data)
    if not (folder / COURSES).exists():
        maps = [path for path in sources if not is_held_out(_name(path)) and not _name(path).startswith("word")]
        with ProcessPoolExecutor(workers) as pool:
            make_atlas(list(pool.map(read_organ_map, maps))).save(folder / COURSES)
    scans: list[str] = []
    if scan_labels is not None:
        names = one_phase_each(real_scan_names(data))
        scans = [name for name in names if _labels(scan_labels, name).exists()]
    jobs = [_Job(data, None, 0, None, folder)]
    for variant in range(_VARIANTS):
        for source in sources:
            # held-out bodies stay what they were: no validation scan is painted on a scan that may be labelled wrong
            scan = None if variant or is_held_out(_name(source)) else _choice([None, *scans], _name(source))
            jobs.append(_Job(data, source, variant, _donor(source, variant, sources), folder, scan, scan_labels))
    # maps that share a scan one after the other: it is read once
    jobs.sort(key=lambda job: job.scan or "")
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(_build_one, jobs, chunksize=2))


def _labels(folder: Path, scan: str) -> Path:
    return folder / f"{scan}.nii.gz"


def _choice(scans: Sequence[str | None], name: str) -> str | None:
    return scans[int(np.random.default_rng(list(name.encode())).integers(len(scans)))]


@functools.lru_cache(maxsize=2)
def _template(data: Path, scan: str | None, labels: Path | None) -> Anatomy:
    if scan is None or labels is None:
        return read_ts_example(data)
    return read_real_scan(data / "ct" / f"{scan}_0000.nii.gz", _labels(labels, scan))


def _name(path: Path) -> str:
    return path.name.split(".")[0]


def _donor(source: Path, variant: int, sources: Sequence[Path]) -> Path | None:
    """A WORD map, which has all the gut, of the same side of the split, to lend what ``source`` lacks."""
    side = is_held_out(_name(source))
    whole = [path for path in sources if _name(path).startswith("word") and is_held_out(_name(path)) is side]
    others = [path for path in whole if path != source]
    if not others:
        return None
    return others[(sum(map(ord, _name(source))) * 7 + 5 * variant) % len(others)]


def _build_one(job: _Job) -> Path:
    name = REAL if job.source is None else _name(job.source)
    path = job.folder / f"{name}_{job.variant}.npz"
    if path.exists():
        return path
    courses = read_atlas(job.folder)
    atlas = courses.without([name])
    abdomen = _template(job.data, job.scan, job.labels)
    target: Anatomy = abdomen if job.source is None else read_organ_map(job.source)
    seed = sum(map(ord, target.name)) + job.variant
    whole = read_icrp(job.data / "anatomy", ("am", "af")[seed % 2], arms=seed % 5 == 0)
    lacks = _THIRTEEN - target.known
    donor = read_organ_map(job.donor) if job.donor is not None and lacks else None
    body = complete(target, abdomen, whole, atlas, donor, prefer_abdomen=job.variant == 0)
    body = _without_failed_loans(body, target.known, atlas)
    # by all courses, as it is painted; a held-out body stays what it was
    body, found = (body, _faults(body, courses)) if is_held_out(name) else with_sound_vessels(body, courses)
    _save(body, path, [str(finding) for finding in found])
    log.info("completed %s%s", path.name, "" if not found else f", not painted from: {'; '.join(map(str, found))}")
    return path


def _without_failed_loans(body: Body, drawn_by_author: frozenset[int], atlas: CourseAtlas) -> Body:
    """What a donor lent and the audit does not pass is unknown tissue: it teaches nothing, and the rest of the body
    can be taught.
    """
    names = {ORGANS[organ - 1]: organ for organ in body.known - drawn_by_author}
    wrong = [names[f.organ] for f in _faults(body, atlas) if f.organ in names]
    wrong = [organ for organ in wrong if organ not in (Tissue.AORTA, Tissue.VENA_CAVA)]
    if not wrong:
        return body
    tissues = np.where(np.isin(label_of_tissue()[body.tissues], wrong), np.uint8(Tissue.UNKNOWN), body.tissues)
    return replace(body, tissues=tissues, known=body.known - set(wrong))


def complete_hidden(path: Path, atlas: CourseAtlas) -> Body:
    """The body of an organ map below DATA/anatomy whose own aorta and vena cava are hidden and drawn by the others'.

    To see how far drawn vessels are from real ones. Raises ``TrainingError`` for a map elsewhere.
    """
    data = next((parent.parent for parent in path.resolve().parents if parent.name == "anatomy"), None)
    if data is None:
        raise TrainingError(f"{path} does not lie below a folder anatomy/; name a map of the data folder")
    shown = read_organ_map(path)
    vessels = {int(Tissue.AORTA), int(Tissue.VENA_CAVA)}
    hidden = np.where(np.isin(shown.tissues, sorted(vessels)), np.uint8(0), shown.tissues)
    target = Anatomy(shown.name, Volume(hidden, shown.volume.geometry), shown.known - vessels)
    others = atlas.without([shown.name])
    whole = read_icrp(data / "anatomy", "am")
    return finished(complete(target, read_ts_example(data), whole, others, prefer_abdomen=False), others, 0)


def audit_body(body: Body, atlas: CourseAtlas | None) -> list[Finding]:
    """What the audit finds in a body once its vessels are drawn."""
    whole = finished(body, atlas, 0)
    return audit(whole.tissues, whole.name, whole.known)


def with_sound_vessels(body: Body, atlas: CourseAtlas) -> tuple[Body, list[Finding]]:
    """The body with the first drawing of its vessels that the audit passes, and what it does not pass otherwise.

    Of drawings that all fail the one with the fewest faults.
    """
    best: tuple[Body, list[Finding]] | None = None
    for drawing in range(_MOST_DRAWINGS if body.vessels is not None else 1):
        drawn = replace(body, drawing=drawing)
        found = _faults(drawn, atlas)
        if best is None or len(found) < len(best[1]):
            best = drawn, found
        if not any(finding.organ in _DRAWN for finding in found):
            break
    assert best is not None
    return best


def _faults(body: Body, atlas: CourseAtlas) -> list[Finding]:
    return [finding for finding in audit_body(body, atlas) if finding.severity == "fail"]


def _save(body: Body, path: Path, faults: Sequence[str]) -> None:
    part = path.with_suffix(".part.npz")
    site = body.vessels
    assert site is not None
    np.savez_compressed(
        part, tissues=body.tissues, hu=body.hu, origin_lps=np.array(body.origin_lps), aorta=site.aorta,
        vena_cava=site.vena_cava, frame=np.array([*site.origin_mm, site.height_mm]), known=np.array(sorted(body.known)),
        faults=np.array(faults, dtype=str), drawing=body.drawing,
    )  # fmt: skip
    part.rename(path)


def read_atlas(folder: Path) -> CourseAtlas:
    """The courses of real vessels that ``build`` has left beside the bodies. Raises ``TrainingError`` without them."""
    if not (folder / COURSES).exists():
        raise TrainingError(
            f"no vessel courses in {folder}; run `python -m training synthesize DATA --to {folder}` first"
        )
    return CourseAtlas.read(folder / COURSES)


def load(folder: Path, held_out: bool = False, seed: int = 0) -> list[Body]:
    """The bodies for training, or the held-out ones, with their vessels drawn anew for each ``seed``.

    Bodies that failed the audit when they were built are left out, but for held-out ones: those are only scored where
    an expert drew. Raises ``FileNotFoundError`` if the cache is empty.
    """
    paths = [path for path in body_paths(folder) if is_held_out(path.stem) is held_out]
    paths = [path for path in paths if held_out or not faults_of(path)]
    if not paths:
        raise FileNotFoundError(f"no bodies in {folder}; run `python -m training synthesize --to {folder}` first")
    atlas = read_atlas(folder) if (folder / COURSES).exists() else None
    return [finished(read_body(path), atlas, seed) for path in paths]


def body_paths(folder: Path) -> list[Path]:
    """The completed bodies in ``folder``, held-out ones included."""
    others = (".part.npz", COURSES)
    return [path for path in sorted(folder.glob("*.npz")) if not path.name.endswith(others)]


def faults_of(path: Path) -> list[str]:
    """What the audit found when the body was built; empty for one that passed."""
    with np.load(path) as arrays:
        return [str(fault) for fault in arrays["faults"]] if "faults" in arrays else []


def read_body(path: Path) -> Body:
    """One body as ``build`` left it, without its vessels; or one that is whole."""
    with np.load(path) as arrays:
        known = frozenset(int(label) for label in arrays["known"]) if "known" in arrays else frozenset(range(1, 14))
        body = Body(path.stem, arrays["tissues"], arrays["hu"], known=known)
        if "frame" not in arrays:
            return body
        z, y, x, height = (float(v) for v in arrays["frame"])
        site = VesselSite(np.array([z, y, x]), height, arrays["aorta"], arrays["vena_cava"])
        left, back, up = (float(mm) for mm in arrays["origin_lps"])
        drawing = int(arrays["drawing"]) if "drawing" in arrays else 0
        return replace(body, vessels=site, origin_lps=(left, back, up), drawing=drawing)


def without_doubtful(body: Body) -> Body:
    """A real scan's body; organs that cannot be what they are called, and what is soft round them, are unknown."""
    labels, real = label_of_tissue()[body.tissues], body.hu != NO_HU
    doubtful = [
        organ
        for organ in range(1, 14)
        if (seen := body.hu[(labels == organ) & real]).size and not has_plausible_hu(organ, float(np.median(seen)))
    ]
    if not doubtful:
        return body
    tissues, of_doubt = body.tissues.copy(), np.isin(labels, doubtful)
    near = ndimage.binary_dilation(of_doubt, ball(_DOUBT_MM, BODY_SPACING_ZYX))
    tissues[of_doubt | (near & np.isin(tissues, _PERHAPS_ORGAN))] = Tissue.UNKNOWN
    return replace(body, tissues=tissues, known=body.known - set(doubtful))


def finished(body: Body, atlas: CourseAtlas | None, seed: int) -> Body:
    """The body with its vessels and diaphragm drawn and the chest's part of aorta and esophagus without a label."""
    which = (body.drawing,) if body.drawing else ()
    rng = np.random.default_rng((seed, *which, *body.name.encode()))
    drawn = body if atlas is None else body.with_vessels(atlas, rng)
    if not drawn.is_real:
        drawn = drawn.with_diaphragm(rng)
    whole = replace(drawn, tissues=_without_chest_vessels(drawn.tissues), vessels=None)
    return without_doubtful(whole) if whole.is_real else whole


_CHEST_MM = 45.0


def _without_chest_vessels(tissues: TissueMap) -> TissueMap:
    """Aorta and esophagus lose their label more than 45 mm above the liver: the organs searched for are the abdomen's.

    FLARE22 scores both only inside the reference's own range, and a region of interest that followed them to the neck
    would be twice as large.
    """
    liver = np.flatnonzero((tissues == Tissue.LIVER).any((1, 2)))
    if not len(liver):
        return tissues
    chest = tissues[int(liver[-1] + _CHEST_MM / BODY_SPACING_ZYX[0]) :]
    chest[chest == Tissue.AORTA] = Tissue.VESSEL
    chest[chest == Tissue.ESOPHAGUS] = Tissue.SOFT
    return tissues
