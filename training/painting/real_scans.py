"""Real scans without expert labels as template bodies: their HU become the background of painted scans.

The organs' names come from a label map that a released network made, so they are believed only where they are
plausible. Soft tissue near an organ, or what looks like a part of one, is ``Tissue.UNKNOWN``: it must not stay visible
as background beside an organ that is painted over it. The rest of the body is named by its HU.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Box, Geometry, Volume, canonicalise
from attention_dmfnet.steps.resample import resample_linear
from scipy import ndimage

from evaluation.accuracy.phases import patient_of
from evaluation.nearest import resample_nearest
from training.errors import TrainingError
from training.painting.anatomy import Anatomy, TissueMap
from training.painting.completion import BODY_SPACING_ZYX
from training.painting.label_maps import read_byte_map
from training.painting.tissue import Tissue, has_plausible_hu
from training.painting.tissues_by_hu import ball, tissues_by_hu

Mask = npt.NDArray[np.bool_]
Smooth = npt.NDArray[np.float32]

VALIDATION_ONLY = ("SPL-atlas", "PanCB-001")
"""Scans that networks are measured on: nothing is painted from them."""

COMPARED_BY_PHASE = ("HCC-011", "HCC-015")
"""Patients whose phases are labelled and compared without a reference (docs/protocol.md): no network sees them."""

_NOT_TEMPLATES = (*VALIDATION_ONLY, "TS-example", "TS-slab")
"""TS-example has a reader of its own; TS-slab is 40 mm high."""

_ENDING = "_0000.nii.gz"
_CLIP_HU = (-1024.0, 3000.0)
_OUTSIDE_HU = -1000
_MARGIN_MM = 6.0
_PART_OF_AN_ORGAN_MM = 25.0
_BLOB_MM = 10.0
_WALL_MM = 18.0
_BESIDE = 8
_HEART_MM = 12.0
_THICKER_THAN_RIBS_MM = 9.0
_BESIDE_GAS_MM = 6.0
_VERTEBRA_MM = 84.0
"""From a spinous process's tip to the front of its vertebra."""
_PSOAS_MM = 65.0
_LEAST_LUNG_ML = 60.0
_BLACKEST_LUNG_HU = -965.0
_PELVIS_MM = 40.0
"""This far below the kidneys and the liver the hip bones may begin."""

_LEAST_ML: dict[int, float] = {
    Tissue.LIVER: 400, Tissue.RIGHT_KIDNEY: 50, Tissue.LEFT_KIDNEY: 50, Tissue.SPLEEN: 40, Tissue.PANCREAS: 20,
    Tissue.AORTA: 10, Tissue.VENA_CAVA: 10, Tissue.RIGHT_ADRENAL: 1, Tissue.LEFT_ADRENAL: 1, Tissue.GALLBLADDER: 4,
    Tissue.ESOPHAGUS: 4, Tissue.STOMACH: 40, Tissue.DUODENUM: 15,
}  # fmt: skip
"""Smaller ones are taken for errors of the network, or for a tip at the scan's end."""

_ALWAYS_CUT = frozenset({int(Tissue.AORTA), int(Tissue.VENA_CAVA), int(Tissue.ESOPHAGUS)})
_MAY_HIDE_AN_ORGAN = (Tissue.MUSCLE, Tissue.SOFT, Tissue.VESSEL)


def real_scan_names(data: Path) -> list[str]:
    """Names of the scans in ``data``/ct that may be templates, sorted: phases of one patient follow one another."""
    names = sorted(path.name.removesuffix(_ENDING) for path in (data / "ct").glob(f"*{_ENDING}"))
    return [name for name in names if name not in _NOT_TEMPLATES and patient_of_scan(name) not in COMPARED_BY_PHASE]


def patient_of_scan(name: str) -> str:
    """Whose scan ``name`` is: of any phase, or after treatment. A name that says neither is a patient's only scan."""
    return patient_of(name) or name.removesuffix("-after")


def one_phase_each(names: Iterable[str]) -> list[str]:
    """Of each patient one scan: the portal phase where there is one, else the first by name."""
    chosen: dict[str, str] = {}
    for name in sorted(names):
        patient = patient_of_scan(name)
        if patient not in chosen or name.endswith("-portal"):
            chosen[patient] = name
    return sorted(chosen.values())


def read_real_scan(ct_path: Path, labels_path: Path) -> Anatomy:
    """A template body at ``BODY_SPACING_ZYX`` from a scan (NAME_0000.nii.gz) and the organ labels 1-13 on its grid.

    ``known`` are the organs whose labels are large enough and have plausible HU, the largest piece of each; ``cut``
    those that the field of view truncates. Raises ``TrainingError`` for a validation scan, for labels of another grid
    and for a scan without a plausible liver.
    """
    name = ct_path.name.removesuffix(_ENDING)
    if name in VALIDATION_ONLY:
        raise TrainingError(f"{ct_path} is a validation scan; nothing may be painted from it, leave it out")
    ct, labels = canonicalise(read_volume(ct_path)), read_byte_map(labels_path)
    if not ct.geometry.matches(labels.geometry, tolerance_mm=1.0):
        raise TrainingError(f"{labels_path} does not lie on the grid of {ct_path}; label the scan again")
    grid = ct.geometry.with_spacing(BODY_SPACING_ZYX)
    grid = grid.crop(_body_box(ct, grid))
    hu = np.rint(resample_linear(ct, grid, _CLIP_HU).array).astype(np.int16)
    organs = np.asarray(resample_nearest(labels, grid).array).astype(np.uint8)
    tissues, known = _template(hu, organs)
    if int(Tissue.LIVER) not in known:
        raise TrainingError(f"{labels_path} has no plausible liver; the scan cannot serve as a template, leave it out")
    cut = _ALWAYS_CUT | _truncated(tissues)
    own_hu = np.where(tissues != Tissue.AIR, hu, np.int16(_OUTSIDE_HU))
    # a table may be a degree off: the template's grid is as good as straight
    straight = Geometry(grid.shape_zyx, grid.spacing_zyx, grid.origin_lps, CANONICAL_AXES_LPS)
    return Anatomy(name, Volume(tissues, straight), known, frozenset(cut & known), own_hu)


def _body_box(ct: Volume, grid: Geometry) -> Box:
    """The part of ``grid`` in which there is more than air, seen on every fourth voxel of ``ct``."""
    solid = ct.array[:, ::4, ::4] > -300
    start, stop = [0], [grid.shape_zyx[0]]
    for axis in (1, 2):
        # a sheet or a tube is less than one voxel in fifty
        rows = np.flatnonzero(solid.mean(tuple(other for other in range(3) if other != axis)) > 0.02)
        low, high = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, solid.shape[axis])
        scale = 4 * ct.geometry.spacing_zyx[axis] / grid.spacing_zyx[axis]
        start.append(max(int(low * scale) - _BESIDE, 0))
        stop.append(min(int(high * scale) + _BESIDE, grid.shape_zyx[axis]))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _template(hu: npt.NDArray[np.int16], organs: npt.NDArray[np.uint8]) -> tuple[TissueMap, frozenset[int]]:
    """The tissue map, and the organs that are believed."""
    tissues, smooth = tissues_by_hu(hu, BODY_SPACING_ZYX)
    named, doubtful = _believed(organs, hu)
    named[tissues == Tissue.AIR] = 0
    known = frozenset(int(value) for value in np.unique(named)) - {0}
    liver = np.argwhere(named == Tissue.LIVER)
    if len(liver) == 0:
        return tissues, known
    _name_lungs(tissues, smooth, float(liver[:, 0].mean()))
    _tell_gut_from_wall(tissues, named > 0)
    for organ, beyond in ((Tissue.AORTA, Tissue.AORTA_BEYOND), (Tissue.VENA_CAVA, Tissue.CAVA_BEYOND)):
        if organ in known:
            _continue_upwards(tissues, smooth, named == organ, beyond)
    tissues[_perhaps_organ(tissues, smooth, named, doubtful)] = Tissue.UNKNOWN
    tissues[named > 0] = named[named > 0]
    return tissues, known


def _believed(organs: npt.NDArray[np.uint8], hu: npt.NDArray[np.int16]) -> tuple[TissueMap, Mask]:
    """Each organ's largest piece, if it is large and bright enough to be one; and where something else is labelled."""
    named = np.zeros(organs.shape, np.uint8)
    voxel_ml = float(np.prod(BODY_SPACING_ZYX)) / 1000
    boxes = ndimage.find_objects(organs, 13)
    for organ, box in enumerate(boxes, start=1):
        if box is None:
            continue
        parts, _ = ndimage.label(organs[box] == organ, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        piece = parts == sizes.argmax()
        if piece.sum() * voxel_ml >= _LEAST_ML[organ] and has_plausible_hu(organ, float(np.median(hu[box][piece]))):
            named[box][piece] = organ
    return named, (organs > 0) & (named == 0)


def _name_lungs(tissues: TissueMap, smooth: Smooth, liver_z: float) -> None:
    """In place: large pockets of air above the liver's middle that are not as black as gas are ``LUNG``."""
    parts, count = ndimage.label(tissues == Tissue.AIRWAY)
    voxel_ml = float(np.prod(BODY_SPACING_ZYX)) / 1000
    sizes = np.bincount(parts.ravel(), minlength=count + 1) * voxel_ml
    for part in np.flatnonzero(sizes > _LEAST_LUNG_ML):
        if part == 0:
            continue
        where = parts == part
        if np.argwhere(where)[:, 0].mean() > liver_z and np.median(smooth[where]) > _BLACKEST_LUNG_HU:
            tissues[where & (smooth > _BLACKEST_LUNG_HU - 15)] = Tissue.LUNG


def _tell_gut_from_wall(tissues: TissueMap, organs: Mask) -> None:
    """In place: what is soft or bright inside the trunk's wall and before the spine is no muscle and no bone.

    Bowel, pancreas and vessels are ``SOFT``, what contrast medium makes bright ``VESSEL``.
    """
    _, mm_y, mm_x = BODY_SPACING_ZYX
    solid = np.isin(tissues, (Tissue.MUSCLE, Tissue.SPONGIOSA, Tissue.CORTICAL_BONE, Tissue.LUNG)) | organs
    spine_y, spine_x = _spine(tissues)
    rows, columns = np.arange(tissues.shape[1])[:, None], np.arange(tissues.shape[2])[None, :]
    gas = tissues == Tissue.AIRWAY
    beside_gas = _within(gas, _BESIDE_GAS_MM)
    chest_wall = (tissues == Tissue.LUNG).mean((1, 2)) > 0.02
    lung_or_organ = (tissues == Tissue.LUNG) | organs
    between_lungs, deep = np.zeros(tissues.shape, np.bool_), np.zeros(tissues.shape, np.bool_)
    filled = np.flatnonzero(organs.any((1, 2)))
    hips = filled[0] - _PELVIS_MM / BODY_SPACING_ZYX[0]
    for z, slice_ in enumerate(tissues):
        if z > filled[-1] and not chest_wall[z]:
            break  # neck and shoulders
        # inside the fat under the skin; its gaps are narrower than the closing
        trunk = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(solid[z], 8), iterations=6))[8:-8, 8:-8]
        inside = ndimage.distance_transform_edt(np.pad(trunk, 1), (mm_y, mm_x))[1:-1, 1:-1] > _WALL_MM
        before = (rows < spine_y[z]) | (abs(columns - spine_x[z]) * mm_x > _PSOAS_MM)
        gut = inside & before
        deep[z] = gut & chest_wall[z]
        if chest_wall[z]:  # ribs and shoulders lie deep as well, but beside the lungs
            gut &= np.maximum.accumulate(lung_or_organ[z], 1)
            gut &= np.maximum.accumulate(lung_or_organ[z][:, ::-1], 1)[:, ::-1]
            between_lungs[z] = gut
        slice_[(slice_ == Tissue.MUSCLE) & (gut | (trunk & before & beside_gas[z]))] = Tissue.SOFT
        if z > hips:
            slice_[np.isin(slice_, (Tissue.SPONGIOSA, Tissue.CORTICAL_BONE)) & gut] = Tissue.VESSEL
    blood = between_lungs & np.isin(tissues, (Tissue.SOFT, Tissue.VESSEL)) & ~organs
    tissues[blood & _blobs(blood, _HEART_MM)] = Tissue.HEART
    bright = deep & np.isin(tissues, (Tissue.SPONGIOSA, Tissue.CORTICAL_BONE)) & ~organs
    tissues[bright & _blobs(bright, _THICKER_THAN_RIBS_MM)] = Tissue.HEART


def _within(mask: Mask, reach_mm: float) -> Mask:
    """The voxels that lie within ``reach_mm`` of the mask."""
    near = np.zeros(mask.shape, np.bool_)
    found = ndimage.find_objects(mask.astype(np.uint8))
    if found:
        margin = [int(np.ceil(reach_mm / mm)) for mm in BODY_SPACING_ZYX]
        box = tuple(slice(max(part.start - by, 0), part.stop + by) for part, by in zip(found[0], margin, strict=True))
        near[box] = ndimage.distance_transform_edt(~mask[box], BODY_SPACING_ZYX) <= reach_mm
    return near


def _blobs(mask: Mask, radius_mm: float) -> Mask:
    """About the parts of the mask in which a ball of ``radius_mm`` has room."""
    core = np.zeros(mask.shape, np.bool_)
    found = ndimage.find_objects(mask.astype(np.uint8))
    if found:
        core[found[0]] = ndimage.distance_transform_edt(mask[found[0]], BODY_SPACING_ZYX) > radius_mm
    return _within(core, radius_mm)


def _spine(tissues: TissueMap) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """For each slice the row of the vertebrae's front and the column of their middle, smoothed along the body."""
    _, mm_y, mm_x = BODY_SPACING_ZYX
    bone = np.isin(tissues, (Tissue.SPONGIOSA, Tissue.CORTICAL_BONE))
    tips, middles, slices = [], [], []
    for z, slice_ in enumerate(tissues):
        columns = np.flatnonzero((slice_ != Tissue.AIR).any(0))
        if len(columns) == 0:
            continue
        middle = (columns[0] + columns[-1]) / 2
        where = np.argwhere(bone[z])
        where = where[abs(where[:, 1] - middle) * mm_x < 40]
        if len(where) > 20:
            tip = np.percentile(where[:, 0], 99)
            near = where[(tip - where[:, 0]) * mm_y < _VERTEBRA_MM]
            slices.append(z)
            tips.append(tip)
            middles.append(near[:, 1].mean())
    if not slices:
        return np.full(len(tissues), float(tissues.shape[1])), np.full(len(tissues), tissues.shape[2] / 2)
    # the tips of the spinous processes come and go from slice to slice: the hindmost nearby counts
    hindmost = ndimage.maximum_filter1d(np.interp(np.arange(len(tissues)), slices, tips), 15, mode="nearest")
    front = ndimage.gaussian_filter1d(hindmost, 4.0, mode="nearest") - _VERTEBRA_MM / mm_y
    along = np.interp(np.arange(len(tissues)), slices, middles)
    return front, ndimage.gaussian_filter1d(along, 4.0, mode="nearest")


def _continue_upwards(tissues: TissueMap, smooth: Smooth, vessel: Mask, beyond: Tissue) -> None:
    """In place: above the label's end the vessel goes on as ``beyond`` while a disc of its HU is found there."""
    _, mm_y, mm_x = BODY_SPACING_ZYX
    filled = np.flatnonzero(vessel.any((1, 2)))
    last = filled[-6:-1] if len(filled) > 6 else filled
    hu = float(np.median(smooth[last][vessel[last]]))
    radius_mm = float(np.sqrt(vessel[last].sum((1, 2)).mean() * mm_y * mm_x / np.pi))
    middle = np.argwhere(vessel[last[-1]]).mean(0)
    rows, columns = (np.arange(size)[:, None] for size in tissues.shape[1:])
    for z in range(int(last[-1]) + 1, len(tissues)):
        away = np.hypot((rows - middle[0]) * mm_y, (columns - middle[1]).T * mm_x)
        alike = (abs(smooth[z] - hu) < max(25.0, 0.25 * abs(hu))) & (away < radius_mm + 3)
        if alike.sum() * mm_y * mm_x < 0.6 * np.pi * radius_mm**2:
            return
        middle = np.argwhere(alike).mean(0)
        tissues[z][alike & (tissues[z] != Tissue.AIR)] = beyond


def _perhaps_organ(tissues: TissueMap, smooth: Smooth, named: TissueMap, doubtful: Mask) -> Mask:
    """Soft tissue within a margin of what is labelled, and blobs near the liver that are as bright as it."""
    soft = np.isin(tissues, _MAY_HIDE_AN_ORGAN)
    labelled = (named > 0) | doubtful
    margin = ball(_MARGIN_MM, BODY_SPACING_ZYX)
    perhaps: Mask = soft & ndimage.binary_dilation(labelled, margin)
    # gas that the stomach's label spared
    gut = np.isin(named, (Tissue.STOMACH, Tissue.DUODENUM, Tissue.ESOPHAGUS))
    perhaps |= (tissues == Tissue.AIRWAY) & _within(gut, _MARGIN_MM)
    liver = named == Tissue.LIVER
    median = float(np.median(smooth[liver]))
    alike = np.isin(tissues, (Tissue.SOFT, Tissue.VESSEL)) & (abs(smooth - median) < 25)
    alike &= _within(liver, _PART_OF_AN_ORGAN_MM)
    perhaps |= alike & _blobs(alike, _BLOB_MM)
    perhaps |= doubtful & (tissues != Tissue.AIR)
    return perhaps


def _truncated(tissues: TissueMap) -> frozenset[int]:
    """Organs that touch the first or the last slice, a side of the image, or air without a skin between."""
    edge = ndimage.binary_dilation(tissues == Tissue.AIR, iterations=2)
    edge[:1] = edge[-1:] = True
    edge[:, :2] = edge[:, -2:] = True
    edge[:, :, :2] = edge[:, :, -2:] = True
    return frozenset(int(value) for value in np.unique(tissues[edge]) if 1 <= value <= 13)
