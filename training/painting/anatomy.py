"""Organ maps and whole-body templates, read from the anatomy folder into tissue maps.

An organ map names organs only (WORD, AMOS); a template knows a tissue for every voxel of the body: the ICRP 110
reference phantoms, and the TS-example scan, whose structures are completed by the HU of the CT they were drawn on.
``training.painting.completion`` warps templates on to organ maps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import Geometry, Volume, canonicalise
from scipy import ndimage

from training.errors import TrainingError
from training.painting.label_maps import map_name, read_byte_map, read_label_map
from training.painting.structure_names import names_beside, names_in, tissue_of_name
from training.painting.tissue import Tissue
from training.painting.tissues_by_hu import tissues_by_hu

TissueMap = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Anatomy:
    """``tissues`` (z, y, x) of :class:`training.painting.tissue.Tissue` on ``volume.geometry``'s canonical grid.

    ``known`` lists the organs and hollow organs that the source annotates; ``cut`` those that its field of view
    truncates, which must not serve as landmarks. ``hu`` is the CT under it, if there is one.
    """

    name: str
    volume: Volume
    known: frozenset[int]
    cut: frozenset[int] = frozenset()
    hu: npt.NDArray[np.int16] | None = None

    @property
    def tissues(self) -> TissueMap:
        return self.volume.array

    @functools.cached_property
    def _boxes(self) -> list[tuple[slice, slice, slice] | None]:
        boxes: list[tuple[slice, slice, slice] | None] = ndimage.find_objects(self.tissues)
        return boxes

    def where_mm(self, tissue: int) -> npt.NDArray[np.float64]:
        """(n, 3) mm along the canonical axes (z, y, x) of the tissue's voxels."""
        box = self._boxes[tissue - 1] if tissue <= len(self._boxes) else None
        if box is None:
            return np.zeros((0, 3))
        start = np.array([part.start for part in box])
        index = np.argwhere(self.tissues[box] == tissue) + start
        geometry = self.volume.geometry
        mm: npt.NDArray[np.float64] = index * np.array(geometry.spacing_zyx) + np.array(geometry.origin_lps)[::-1]
        return mm

    @functools.cached_property
    def _ends(self) -> dict[int, npt.NDArray[np.float64] | None]:
        return {}

    def ends_mm(self, tissue: int) -> npt.NDArray[np.float64] | None:
        """(7, 3) mm: the tissue's centroid and, axis by axis, the middle of its two ends; None under 20 voxels."""
        if tissue not in self._ends:
            where = self.where_mm(tissue)
            points = [where.mean(0)] if len(where) >= 20 else []
            for axis in range(3 if points else 0):
                low, high = np.percentile(where[:, axis], (3, 97))
                points += [where[where[:, axis] <= low].mean(0), where[where[:, axis] >= high].mean(0)]
            self._ends[tissue] = np.array(points) if points else None
        return self._ends[tissue]


_WORD = {
    14: Tissue.COLON,
    15: Tissue.SMALL_BOWEL,
    16: Tissue.RECTUM,
    17: Tissue.BLADDER,
    18: Tissue.SPONGIOSA,
    19: Tissue.SPONGIOSA,
}

_OTHERS = {
    14: Tissue.PORTAL_VEIN,
    15: Tissue.COLON,
    16: Tissue.SMALL_BOWEL,
    17: Tissue.BLADDER,
    18: Tissue.HEART,
    19: Tissue.LUNG,
    20: Tissue.LUNG,
    21: Tissue.CARTILAGE,
    **dict.fromkeys((22, 23, 24, 25), Tissue.MUSCLE),
    26: Tissue.SPONGIOSA,
    27: Tissue.CARTILAGE,
    28: Tissue.SOFT,
    # a cyst or tumour is whatever organ it is in: left open here, it is filled with the nearest organ
    29: Tissue.AIR,
    30: Tissue.AIR,
    **dict.fromkeys((31, 32), Tissue.AORTA_BEYOND),
    **dict.fromkeys((33, 34), Tissue.CAVA_BEYOND),
    **dict.fromkeys((35, 36, 37, 39), Tissue.SPONGIOSA),
    38: Tissue.CORTICAL_BONE,
    40: Tissue.CARTILAGE,
}
"""The numbers of all maps but WORD's."""

_FINE_ENOUGH_MM = 1.6
_ANNOTATED = {
    "word": frozenset(range(1, 18)) - {5, 6},
    "btcv": frozenset({1, 2, 3, 4, 5, 9, 11, 13}),
}
"""What a data set's authors drew in every case: what is missing there is absent, not unlabelled."""

_ICRP_BY_WORDS: list[tuple[str, Tissue]] = [
    # first match wins, so the particular stands before the general
    ("Adrenal, left", Tissue.LEFT_ADRENAL),
    ("Adrenal, right", Tissue.RIGHT_ADRENAL),
    ("Gall bladder", Tissue.GALLBLADDER),
    ("Stomach", Tissue.STOMACH),
    ("Small intestine", Tissue.SMALL_BOWEL),
    ("colon", Tissue.COLON),
    ("Rectum", Tissue.RECTUM),
    ("Heart", Tissue.HEART),
    ("Kidney, left, medulla", Tissue.LEFT_MEDULLA),
    ("Kidney, left", Tissue.LEFT_KIDNEY),
    ("Kidney, right, medulla", Tissue.RIGHT_MEDULLA),
    ("Kidney, right", Tissue.RIGHT_KIDNEY),
    ("Liver", Tissue.LIVER),
    ("Lung", Tissue.LUNG),
    ("Muscle", Tissue.MUSCLE),
    ("Oesophagus", Tissue.ESOPHAGUS),
    ("Pancreas", Tissue.PANCREAS),
    ("Residual tissue", Tissue.FAT),
    ("Breast", Tissue.FAT),
    ("Skin", Tissue.SKIN),
    ("Spleen", Tissue.SPLEEN),
    ("Urinary bladder", Tissue.BLADDER),
    ("Blood vessels", Tissue.VESSEL),
    ("cortical", Tissue.CORTICAL_BONE),
    ("spongiosa", Tissue.SPONGIOSA),
    ("medullary", Tissue.SPONGIOSA),
    ("Cartilage", Tissue.CARTILAGE),
    ("Spinal cord", Tissue.CARTILAGE),
    ("Air inside body", Tissue.AIRWAY),
    ("Trachea", Tissue.AIRWAY),
    ("Bronchi", Tissue.AIRWAY),
]


def read_organ_map(path: Path) -> Anatomy:
    """A map of organs, and of some a few more structures, with air (0) for everything else.

    A JSON file of names beside it says what its numbers are (:mod:`training.painting.structure_names`), and what it
    does not name is left open. Otherwise the first part of the map's name says whose numbers it has: WORD's, or those
    that all other maps share. Raises ``TrainingError`` for others, for a map without any organ, and as
    ``read_label_map`` does.
    """
    volume = _thinned(read_label_map(path))
    name = map_name(path)
    family = name.split("_")[0]
    named = names_beside(path)
    known = {number: Tissue(number) for number in range(1, 14)} | (_WORD if family == "word" else _OTHERS)
    if named is not None:
        known = {number: tissue_of_name(words) for number, words in named.items()}
    tissues = np.zeros(volume.array.shape, np.uint8)
    for number in np.unique(volume.array).tolist():
        if number == 0 or (named is not None and number not in named):
            continue
        if number not in known:
            raise TrainingError(
                f"{path} holds the number {number:g}, and nothing says what that is; "
                f"name all its numbers in {path.parent / name}.json"
            )
        tissues[volume.array == number] = known[number]
    if not np.isin(tissues, range(1, 14)).any():
        raise TrainingError(f"{path} shows none of the thirteen organs; name its numbers in {path.parent / name}.json")
    liver = np.flatnonzero((tissues == Tissue.LIVER).any((1, 2)))
    if len(liver):
        tissues[aortic_root(tissues == Tissue.AORTA, int(liver[-1]), volume.geometry.spacing_zyx)] = Tissue.HEART
    present = {int(v) for v in np.unique(tissues)} - {0}
    if family == "btcv":
        present -= {int(Tissue.HEART)}  # no more of it than the root
    return Anatomy(name, Volume(tissues, volume.geometry), _ANNOTATED.get(family, frozenset()) | present)


_ROOT_FROM_MM, _ROOT_IN_FRONT_MM, _PART_MM2 = -30.0, 30.0, 30.0


def aortic_root(
    aorta: npt.NDArray[np.bool_], liver_top: int, spacing_zyx: tuple[float, float, float]
) -> npt.NDArray[np.bool_]:
    """The part of ``aorta`` (z, y, x) that lies in the heart: near the liver's last slice ``liver_top`` or above it,
    well before the hindmost part.

    Expert maps call the aortic root aorta; in 12 of 30 BTCV maps it hangs down beside the liver's dome.
    """
    root = np.zeros_like(aorta)
    area = spacing_zyx[1] * spacing_zyx[2]
    for z in range(max(0, int(liver_top + _ROOT_FROM_MM / spacing_zyx[0])), len(aorta)):
        parts, count = ndimage.label(aorta[z])
        if count < 2:
            continue
        large = [part for part in range(1, count + 1) if np.count_nonzero(parts == part) * area >= _PART_MM2]
        if large:
            rows = {part: ndimage.center_of_mass(parts == part)[0] * spacing_zyx[1] for part in range(1, count + 1)}
            hindmost = max(rows[part] for part in large)
            root[z] = np.isin(parts, [part for part, row in rows.items() if hindmost - row > _ROOT_IN_FRONT_MM])
    return root


def _thinned(volume: Volume) -> Volume:
    """Every second or third voxel in plane where they lie closer than a body's need to: a ninth of the work."""
    geometry = volume.geometry
    steps = [1, *(max(1, int(_FINE_ENOUGH_MM / mm)) for mm in geometry.spacing_zyx[1:])]
    z, y, x = (-(-size // step) for size, step in zip(geometry.shape_zyx, steps, strict=True))
    dz, dy, dx = (mm * step for mm, step in zip(geometry.spacing_zyx, steps, strict=True))
    thin = Geometry((z, y, x), (dz, dy, dx), geometry.origin_lps, geometry.axes_lps)
    return Volume(volume.array[:: steps[0], :: steps[1], :: steps[2]], thin)


def _table(names: dict[int, str], tissue_of: Callable[[str], Tissue]) -> TissueMap:
    """(256,) the tissue of each number; of a structure that no word tells soft tissue."""
    table = np.full(256, Tissue.AIR, np.uint8)
    for number, name in names.items():
        table[number] = tissue_of(name) or Tissue.SOFT
    return table


def _icrp_tissue(name: str) -> Tissue:
    return next((tissue for word, tissue in _ICRP_BY_WORDS if word in name), Tissue.AIR)


def read_icrp(folder: Path, which: str, arms: bool = False) -> Anatomy:
    """The ICRP 110 adult male (``am``) or female (``af``); its trunk vessels left of the spine become the aorta."""
    path = folder / f"icrp110_{which}.nii.gz"
    names = names_in(folder / "icrp110.json", path)
    volume = read_byte_map(path)
    ids: TissueMap = volume.array
    table = _table(names, _icrp_tissue)
    if not arms:  # CT of the abdomen is taken with the arms up
        for number, name in names.items():
            if "arms" in name or any(word in name for word in ("Humeri", "Ulnae", "Wrists")):
                table[number] = Tissue.AIR
    table[141 if 141 in np.unique(ids) else 0] = Tissue.AIR
    table[0] = Tissue.AIR
    tissues = table[ids]
    tissues = _thoracic_aorta(tissues, volume.geometry.spacing_zyx)
    if not arms:
        body, _ = ndimage.label(tissues > 0)
        sizes = np.bincount(body.ravel())
        sizes[0] = 0
        tissues[body != sizes.argmax()] = Tissue.AIR  # what is left of the arms' skin
    known = frozenset(int(v) for v in np.unique(tissues)) - {0, int(Tissue.VENA_CAVA)}
    return Anatomy(f"icrp_{which}", Volume(tissues, volume.geometry), known)


def _thoracic_aorta(tissues: TissueMap, spacing_zyx: tuple[float, float, float]) -> TissueMap:
    """Name the aorta among the phantom's vessels: the largest one within 45 mm of the spine in each axial slice."""
    liver = np.flatnonzero((tissues == Tissue.LIVER).any((1, 2)))
    lungs = np.flatnonzero((tissues == Tissue.LUNG).any((1, 2)))
    tissues = tissues.copy()
    for z in range(int(liver[0]), int(lungs[-1] - (lungs[-1] - lungs[0]) // 3)):
        bone = np.argwhere(tissues[z] == Tissue.SPONGIOSA)
        if len(bone) == 0:
            continue
        # above the xiphoid the sternum is near the midline too, but far in front of the hindmost bone
        midline = bone[abs(bone[:, 1] - np.median(bone[:, 1])) * spacing_zyx[2] < 30]
        if len(midline) == 0:  # ribs alone
            continue
        spine = midline[(midline[:, 0].max() - midline[:, 0]) * spacing_zyx[1] < 90]
        front, centre = np.percentile(spine[:, 0], 10), np.median(spine[:, 1])
        parts, count = ndimage.label(tissues[z] == Tissue.VESSEL)
        best, best_area = 0, 0.0
        for part in range(1, count + 1):
            where = np.argwhere(parts == part)
            y, x = where.mean(0)
            near = np.hypot((y - front) * spacing_zyx[1], (x - centre) * spacing_zyx[2]) < 45
            left = (x - centre) * spacing_zyx[2] > -4
            area = len(where) * spacing_zyx[1] * spacing_zyx[2]
            if near and left and area > best_area:
                best, best_area = part, area
        if best_area > 80:
            tissues[z][parts == best] = Tissue.AORTA
    return tissues


def read_ts_example(shared: Path) -> Anatomy:
    """The TS-example scan: named structures, and for the rest of the body the tissue that its HU suggests."""
    path = shared / "anatomy" / "ts_example.nii.gz"
    volume = read_byte_map(path)
    ct = canonicalise(read_volume(shared / "ct" / "TS-example_0000.nii.gz"))
    ids: TissueMap = volume.array
    hu = np.asarray(ct.array).astype(np.int16)
    named = _table(names_in(shared / "anatomy" / "ts_example.json", path), tissue_of_name)[ids]
    rest, smooth = tissues_by_hu(hu, volume.geometry.spacing_zyx)
    # inside named bones the cortex shows by its HU
    bone = named == Tissue.SPONGIOSA
    named[bone & (smooth > 330)] = Tissue.CORTICAL_BONE
    tissues = np.where(named > 0, named, rest).astype(np.uint8)
    known = frozenset(int(v) for v in np.unique(named)) - {0}
    cut = (Tissue.LIVER, Tissue.SPLEEN, Tissue.STOMACH, Tissue.LUNG, Tissue.HEART, Tissue.AORTA)
    inside = np.where(rest != Tissue.AIR, hu, -1000).astype(np.int16)
    return Anatomy("ts_example", Volume(tissues, volume.geometry), known, frozenset(map(int, cut)), inside)
