"""The cache of completed bodies: made once from the anatomy folder, read by every training run."""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile
from scipy import ndimage

from training.errors import TrainingError
from training.painting.anatomy import TissueMap
from training.painting.audit import Finding, audit, passes
from training.painting.audit_stamp import audit_stamp
from training.painting.completion import BODY_SPACING_ZYX, Body
from training.painting.great_vessels import VesselSite
from training.painting.label_maps import map_name
from training.painting.tissue import NO_HU, Tissue, has_plausible_hu, label_of_tissue
from training.painting.tissues_by_hu import ball
from training.painting.vessel_courses import CourseAtlas

_log = logging.getLogger(__name__)


class NoBodiesError(TrainingError, FileNotFoundError):
    """A folder without the bodies that are asked for."""


class DamagedBodyError(TrainingError):
    """A file that holds no whole body."""


HELD_OUT = (
    "word_0034", "word_0043", "word_0110", "word_0124", "amos_0540", "abdomenatlas_338", "zanatomy", "btcv_0010",
    "btcv_0030",
)  # fmt: skip
"""Eight patients that nothing is trained on: 0034 and 0043 may be one. Painted validation scans are made of them."""

SAME_PATIENT = (("word_0034", "word_0043"), ("word_0019", "word_0033"), ("word_0017", "word_0131"))
"""Two scans of one patient, surely or probably."""

_NO_ORGAN_MAPS = ("icrp110", "ts_example", "spl_atlas")
_FOLDERS = ("word", "btcv", ".", "meshes")
_FIRST = ("amos_0013", "amos_0540", "totalseg_s0327", "totalseg_s0328", "abdomenatlas_338")
"""The order in which maps have always been taken: forms of vessels are drawn by number. Others come after them."""

COURSES = "vessel_courses.npz"
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a cut-off or foreign ``.npz`` may raise."""

_DOUBT_MM = 8.0
_PERHAPS_ORGAN = (Tissue.MUSCLE, Tissue.SOFT, Tissue.VESSEL)


def organ_maps(data: Path) -> list[Path]:
    """Every organ map (``*.nii.gz``) below ``data``/anatomy, held-out ones included, in an order that stays.

    The templates are none, and SPL-atlas is what networks are measured on. Raises ``TrainingError`` for two maps of
    one name, as their bodies would be called alike, and for names like those of recombined bodies.
    """
    anatomy = data / "anatomy"
    found = [path for path in sorted(anatomy.rglob("*.nii.gz")) if not path.name.startswith((".", *_NO_ORGAN_MAPS))]
    by_name: dict[str, Path] = {}
    for path in found:
        other = by_name.setdefault(map_name(path), path)
        if other != path:
            raise TrainingError(f"{path} and {other} have one name, which their bodies would share; rename one")
        if set(path.name) & set("+~="):
            raise TrainingError(f"{path}: + and ~ and = are of recombined bodies' names; rename it")

    def place(path: Path) -> tuple[int, int, Path]:
        folder = path.parent.relative_to(anatomy).as_posix()
        name = map_name(path)
        return (
            _FOLDERS.index(folder) if folder in _FOLDERS else len(_FOLDERS),
            _FIRST.index(name) if name in _FIRST else len(_FIRST),
            path,
        )

    return sorted(found, key=place)


def is_held_out(name: str) -> bool:
    """Whether a body or map of this name belongs to a patient that nothing is trained on."""
    return name.startswith(HELD_OUT)


def audit_body(body: Body, atlas: CourseAtlas | None) -> list[Finding]:
    """What the audit finds in a body once its vessels are drawn."""
    whole = finished(body, atlas, 0)
    return audit(whole.tissues, whole.name, whole.known)


def read_atlas(folder: Path) -> CourseAtlas:
    """The courses of real vessels that ``body_building.build`` has left beside the bodies.

    Raises ``TrainingError`` without them.
    """
    if not (folder / COURSES).exists():
        raise TrainingError(
            f"no vessel courses in {folder}; run `python -m training synthesize DATA --to {folder}` first"
        )
    try:
        return CourseAtlas.read(folder / COURSES)
    except _UNREADABLE as error:
        raise TrainingError(
            f"{folder / COURSES} is damaged ({error}); make it again with `python -m training synthesize DATA --to "
            f"{folder}`"
        ) from error


def atlas_beside(folder: Path) -> CourseAtlas | None:
    """The same, or ``None`` where no vessels are to be drawn."""
    return read_atlas(folder) if (folder / COURSES).exists() else None


def load(folder: Path, held_out: bool = False, seed: int = 0) -> list[Body]:
    """The bodies for training, or the held-out ones, with their vessels drawn.

    Another ``seed`` draws other vessels, and each drawing is audited: where it fails, the one that passed when the body
    was built is taken (seed 0 takes it everywhere). A body is left out if that one fails too; it is audited anew where
    its file does not say what this very audit found. Held-out bodies are not left out: they are only scored where an
    expert drew. Raises ``NoBodiesError`` if no body is left.
    """
    paths = [path for path in body_paths(folder) if is_held_out(path.stem) is held_out]
    if not paths and held_out and body_paths(folder):
        raise NoBodiesError(
            f"no held-out bodies in {folder}; paint scans with --anatomy training, validate with run.validation_cases=0"
        )
    if not paths:
        raise NoBodiesError(f"no bodies in {folder}; run `python -m training synthesize DATA --to {folder}` first")
    atlas = atlas_beside(folder)
    if held_out:
        return [finished(read_body(path), atlas, seed) for path in paths]
    stored = {path: faults_of(path) for path in paths}
    tried = {path: _sound(path, stored[path], atlas, seed) for path in paths}
    left_out = [path.stem for path, body in tried.items() if body is None]
    anew = sum(faults is None for faults in stored.values())
    if anew:
        _log.info(
            "%s: %d of %d bodies audited anew: their files hold no audit by this release", folder, anew, len(paths)
        )
    if left_out:
        _log.info("%s: %d of %d bodies fail the audit: %s", folder, len(left_out), len(paths), ", ".join(left_out))
    if len(left_out) == len(paths):
        raise NoBodiesError(f"all bodies in {folder} fail the audit; `python -m training audit {folder}` says why")
    return [body for body in tried.values() if body is not None]


def _sound(path: Path, faults: list[str] | None, atlas: CourseAtlas | None, seed: int) -> Body | None:
    """The body drawn by ``seed``, or as it was built, whichever first passes; ``None`` if neither does."""
    if faults:
        return None
    body = read_body(path)
    if seed and _passes(drawn := finished(body, atlas, seed)):
        return drawn
    built = finished(body, atlas, 0)
    return built if faults is not None or _passes(built) else None


def _passes(body: Body) -> bool:
    return passes(body.tissues, body.name, body.known)


def body_paths(folder: Path) -> list[Path]:
    """The completed bodies in ``folder``, held-out ones included."""
    others = (".part.npz", COURSES)
    return [path for path in sorted(folder.glob("*.npz")) if not path.name.endswith(others)]


def faults_of(path: Path) -> list[str] | None:
    """What the audit found when the body was built; empty for one that passed.

    ``None`` if that is not known, or was another audit: other limits, other drawings, other courses beside the file.
    """
    with _arrays_of(path) as arrays:
        if "faults" not in arrays or "audited_by" not in arrays:
            return None
        if str(arrays["audited_by"]) != audit_stamp(path.parent / COURSES):
            return None
        return [str(fault) for fault in arrays["faults"]]


@contextmanager
def _arrays_of(path: Path) -> Iterator[NpzFile]:
    try:
        with np.load(path) as arrays:
            yield arrays
    except _UNREADABLE as error:
        raise DamagedBodyError(
            f"{path} holds no whole body ({type(error).__name__}: {error}); make it again with `python -m training "
            f"synthesize DATA --to {path.parent}`"
        ) from error


def save_body(body: Body, path: Path, faults: Sequence[str] = ()) -> None:
    """Write a body, its vessels drawn or not, with what today's audit by the courses beside ``path`` found."""
    part = path.with_suffix(".part.npz")
    arrays: dict[str, npt.NDArray[Any]] = {
        "tissues": body.tissues,
        "hu": body.hu,
        "origin_lps": np.array(body.origin_lps),
        "known": np.array(sorted(body.known)),
        "undrawn": np.array(sorted(body.undrawn), np.uint8),
        "drawing": np.array(body.drawing),
        "faults": np.array(faults, dtype=str),
        "audited_by": np.array(audit_stamp(path.parent / COURSES)),
    }
    if (site := body.vessels) is not None:
        arrays["aorta"], arrays["vena_cava"] = site.aorta, site.vena_cava
        arrays["frame"], arrays["ends"] = np.array([*site.origin_mm, site.height_mm]), np.array(site.ends_mm)
    np.savez_compressed(part, **arrays)  # type: ignore[arg-type]
    part.rename(path)


def read_body(path: Path) -> Body:
    """One body as ``save_body`` left it: without its vessels, or whole. Raises ``DamagedBodyError``."""
    with _arrays_of(path) as arrays:
        known = frozenset(int(label) for label in arrays["known"]) if "known" in arrays else frozenset(range(1, 14))
        undrawn = frozenset(arrays["undrawn"].tolist()) if "undrawn" in arrays else frozenset()
        body = Body(path.stem, arrays["tissues"], arrays["hu"], known=known, undrawn=undrawn)
        if body.tissues.ndim != 3 or body.tissues.dtype != np.uint8 or body.hu.shape != body.tissues.shape:
            raise ValueError(f"tissues {body.tissues.shape}, HU {body.hu.shape}")
        if "frame" not in arrays:
            return body
        z, y, x, height = (float(v) for v in arrays["frame"])
        aorta_end, cava_end = (float(v) for v in arrays["ends"]) if "ends" in arrays else (np.nan, np.nan)
        courses = arrays["aorta"], arrays["vena_cava"]
        site = VesselSite(np.array([z, y, x]), height, *courses, (aorta_end, cava_end))
        left, back, up = (float(mm) for mm in arrays["origin_lps"])
        drawing = int(arrays["drawing"]) if "drawing" in arrays else 0
        return replace(body, vessels=site, origin_lps=(left, back, up), drawing=drawing)


def read_tissues(path: Path) -> TissueMap:
    """The tissues of ``read_body`` alone."""
    with _arrays_of(path) as arrays:
        tissues: TissueMap = arrays["tissues"]
        return tissues


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
        drawn = drawn.with_diaphragm(rng).with_liver_veins(rng)
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
    chest[chest == Tissue.AORTA] = Tissue.AORTA_BEYOND
    chest[chest == Tissue.ESOPHAGUS] = Tissue.ESOPHAGUS_BEYOND
    return tissues
