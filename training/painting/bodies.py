"""The cache of completed bodies: made once from the anatomy folder, read by every training run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.painting.anatomy import Anatomy, TissueMap, read_icrp, read_organ_map, read_ts_example
from training.painting.audit import Finding, audit
from training.painting.completion import BODY_SPACING_ZYX, REAL, Body, complete
from training.painting.great_vessels import VesselSite
from training.painting.tissue import Tissue
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
_THIRTEEN = frozenset(range(1, 14)) - {int(Tissue.AORTA), int(Tissue.VENA_CAVA)}


@dataclass(frozen=True)
class _Job:
    """One body to complete: from an organ map (None: the TS-example scan itself), in which template bodies."""

    data: Path
    source: Path | None
    variant: int
    donor: Path | None
    folder: Path


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


def build(data: Path, folder: Path, workers: int = 2) -> list[Path]:
    """Complete every organ map below ``data``/anatomy twice, in two template bodies, and save them in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = organ_maps(data)
    if not (folder / COURSES).exists():
        maps = [path for path in sources if not is_held_out(_name(path)) and not _name(path).startswith("word")]
        with ProcessPoolExecutor(workers) as pool:
            make_atlas(list(pool.map(read_organ_map, maps))).save(folder / COURSES)
    jobs = [
        _Job(data, source, variant, _donor(source, variant, sources), folder)
        for variant in range(_VARIANTS)
        for source in sources
    ]
    jobs.append(_Job(data, None, 0, None, folder))
    with ProcessPoolExecutor(workers) as pool:
        return [path for path in pool.map(_build_one, jobs) if path is not None]


def _name(path: Path) -> str:
    return path.name.split(".")[0]


def _donor(source: Path, variant: int, sources: Sequence[Path]) -> Path:
    """A WORD map, which has all the gut, of the same side of the split, to lend what ``source`` lacks."""
    side = is_held_out(_name(source))
    whole = [path for path in sources if _name(path).startswith("word") and is_held_out(_name(path)) is side]
    others = [path for path in whole if path != source]
    return others[(sum(map(ord, _name(source))) * 7 + 5 * variant) % len(others)]


def _build_one(job: _Job) -> Path | None:
    name = REAL if job.source is None else _name(job.source)
    path = job.folder / f"{name}_{job.variant}.npz"
    if path.exists():
        return path
    atlas = read_atlas(job.folder).without([name])
    abdomen = read_ts_example(job.data)
    target: Anatomy = abdomen if job.source is None else read_organ_map(job.source)
    seed = sum(map(ord, target.name)) + job.variant
    whole = read_icrp(job.data / "anatomy", ("am", "af")[seed % 2], arms=seed % 5 == 0)
    lacks = _THIRTEEN - target.known
    donor = read_organ_map(job.donor) if job.donor is not None and lacks else None
    body = complete(target, abdomen, whole, atlas, donor, prefer_abdomen=job.variant == 0)
    found = [finding for finding in audit_body(body, atlas) if finding.severity == "fail"]
    _save(body, path, [str(finding) for finding in found])
    log.info("completed %s%s", path.name, "" if not found else f", not painted from: {'; '.join(map(str, found))}")
    return path


def audit_body(body: Body, atlas: CourseAtlas | None) -> list[Finding]:
    """What the audit finds in a body once its vessels are drawn."""
    return audit(finished(body, atlas, 0).tissues, body.name, body.known)


def _save(body: Body, path: Path, faults: Sequence[str]) -> None:
    part = path.with_suffix(".part.npz")
    site = body.vessels
    assert site is not None
    np.savez_compressed(
        part, tissues=body.tissues, hu=body.hu, origin_lps=np.array(body.origin_lps), aorta=site.aorta,
        vena_cava=site.vena_cava, frame=np.array([*site.origin_mm, site.height_mm]), known=np.array(sorted(body.known)),
        faults=np.array(faults, dtype=str),
    )  # fmt: skip
    part.rename(path)


def read_atlas(folder: Path) -> CourseAtlas:
    """The courses of real vessels that ``build`` has left beside the bodies."""
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
    return [path for path in sorted(folder.glob("*_[0-9].npz")) if not path.name.endswith(".part.npz")]


def faults_of(path: Path) -> list[str]:
    """What the audit found when the body was built; empty for one that passed."""
    with np.load(path) as arrays:
        return [str(fault) for fault in arrays["faults"]] if "faults" in arrays else []


def read_body(path: Path) -> Body:
    """One body as ``build`` left it, without its vessels; or one that is whole."""
    with np.load(path) as arrays:
        if "frame" not in arrays:
            return Body(path.stem, arrays["tissues"], arrays["hu"])
        z, y, x, height = (float(v) for v in arrays["frame"])
        site = VesselSite(np.array([z, y, x]), height, arrays["aorta"], arrays["vena_cava"])
        origin = tuple(float(v) for v in arrays["origin_lps"])
        known = frozenset(int(label) for label in arrays["known"])
        return Body(path.stem, arrays["tissues"], arrays["hu"], site, (origin[0], origin[1], origin[2]), known)


def finished(body: Body, atlas: CourseAtlas | None, seed: int) -> Body:
    """The body with its vessels drawn and the chest's part of aorta and esophagus without a label."""
    rng = np.random.default_rng((seed, *body.name.encode()))
    drawn = body if atlas is None else body.with_vessels(atlas, rng)
    return replace(drawn, tissues=_without_chest_vessels(drawn.tissues), vessels=None)


_CHEST_MM = 45.0


def _without_chest_vessels(tissues: TissueMap) -> TissueMap:
    """Aorta and esophagus lose their label more than 45 mm above the liver: the organs searched for are the abdomen's.

    FLARE22 scores both only inside the reference's own range, and a region of interest that followed them to the neck
    would be twice as large.
    """
    top = int(np.flatnonzero((tissues == Tissue.LIVER).any((1, 2)))[-1] + _CHEST_MM / BODY_SPACING_ZYX[0])
    chest = tissues[top:]
    chest[chest == Tissue.AORTA] = Tissue.VESSEL
    chest[chest == Tissue.ESOPHAGUS] = Tissue.SOFT
    return tissues
