"""Organ maps and whole-body templates, read from the anatomy folder into tissue maps.

An organ map names organs only (WORD, AMOS); a template knows a tissue for every voxel of the body: the ICRP 110
reference phantoms, and the TS-example scan, whose structures are completed by the HU of the CT they were drawn on.
``training.painting.completion`` warps templates on to organ maps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import Volume, canonicalise
from scipy import ndimage

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


_WORD = {
    14: Tissue.COLON,
    15: Tissue.SMALL_BOWEL,
    16: Tissue.RECTUM,
    17: Tissue.BLADDER,
    18: Tissue.SPONGIOSA,
    19: Tissue.SPONGIOSA,
}

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

_TS_BY_WORDS: list[tuple[str, Tissue]] = [
    ("adrenal_gland_left", Tissue.LEFT_ADRENAL),
    ("adrenal_gland_right", Tissue.RIGHT_ADRENAL),
    ("aorta", Tissue.AORTA),
    ("autochthon", Tissue.MUSCLE),
    ("colon", Tissue.COLON),
    ("duodenum", Tissue.DUODENUM),
    ("femur", Tissue.SPONGIOSA),
    ("gallbladder", Tissue.GALLBLADDER),
    ("gluteus", Tissue.MUSCLE),
    ("heart", Tissue.HEART),
    ("hip", Tissue.SPONGIOSA),
    ("iliac", Tissue.VESSEL),
    ("iliopsoas", Tissue.MUSCLE),
    ("inferior_vena_cava", Tissue.VENA_CAVA),
    ("kidney_left", Tissue.LEFT_KIDNEY),
    ("kidney_right", Tissue.RIGHT_KIDNEY),
    ("liver", Tissue.LIVER),
    ("lung", Tissue.LUNG),
    ("pancreas", Tissue.PANCREAS),
    ("portal_vein", Tissue.VESSEL),
    ("rib", Tissue.CORTICAL_BONE),
    ("sacrum", Tissue.SPONGIOSA),
    ("small_bowel", Tissue.SMALL_BOWEL),
    ("spleen", Tissue.SPLEEN),
    ("stomach", Tissue.STOMACH),
    ("urinary_bladder", Tissue.BLADDER),
    ("vertebrae", Tissue.SPONGIOSA),
]


def read_organ_map(path: Path) -> Anatomy:
    """A WORD or AMOS map: organs, and air (0) for everything else."""
    volume = canonicalise(read_volume(path))
    labels = np.asarray(volume.array)
    table = np.arange(256, dtype=np.uint8)
    for source, tissue in _WORD.items():
        table[source] = tissue
    tissues = table[labels.astype(np.uint8)]
    present = {int(v) for v in np.unique(tissues)} - {0}
    return Anatomy(path.name.split(".")[0], Volume(tissues, volume.geometry), frozenset(present))


def _table(names: dict[str, str], words: list[tuple[str, Tissue]], other: Tissue) -> TissueMap:
    table = np.full(256, Tissue.AIR, np.uint8)
    for number, name in names.items():
        table[int(number)] = next((tissue for word, tissue in words if word in name), other)
    return table


def _names(path: Path) -> dict[str, str]:
    entries = json.loads(path.read_text())
    return {number: entry["name"] if isinstance(entry, dict) else entry for number, entry in entries.items()}


def read_icrp(folder: Path, which: str, arms: bool = False) -> Anatomy:
    """The ICRP 110 adult male (``am``) or female (``af``); its trunk vessels left of the spine become the aorta."""
    names = _names(folder / "icrp110.json")
    volume = canonicalise(read_volume(folder / f"icrp110_{which}.nii.gz"))
    ids = np.asarray(volume.array).astype(np.uint8)
    table = _table(names, _ICRP_BY_WORDS, Tissue.SOFT)
    if not arms:  # CT of the abdomen is taken with the arms up
        for number, name in names.items():
            if "arms" in name or any(word in name for word in ("Humeri", "Ulnae", "Wrists")):
                table[int(number)] = Tissue.AIR
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
        middle = tissues[z].shape[1] / 2
        spine = bone[abs(bone[:, 1] - np.median(bone[:, 1])) * spacing_zyx[2] < 30]
        front, centre = np.percentile(spine[:, 0], 10), np.median(spine[:, 1]) if len(spine) else middle
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
    volume = canonicalise(read_volume(shared / "anatomy" / "ts_example.nii.gz"))
    ct = canonicalise(read_volume(shared / "ct" / "TS-example_0000.nii.gz"))
    ids = np.asarray(volume.array).astype(np.uint8)
    hu = np.asarray(ct.array).astype(np.int16)
    named = _table(_names(shared / "anatomy" / "ts_example.json"), _TS_BY_WORDS, Tissue.SOFT)[ids]
    rest, smooth = tissues_by_hu(hu, volume.geometry.spacing_zyx)
    # inside named bones the cortex shows by its HU
    bone = named == Tissue.SPONGIOSA
    named[bone & (smooth > 330)] = Tissue.CORTICAL_BONE
    tissues = np.where(named > 0, named, rest).astype(np.uint8)
    known = frozenset(int(v) for v in np.unique(named)) - {0}
    cut = (Tissue.LIVER, Tissue.SPLEEN, Tissue.STOMACH, Tissue.LUNG, Tissue.HEART, Tissue.AORTA)
    inside = np.where(rest != Tissue.AIR, hu, -1000).astype(np.int16)
    return Anatomy("ts_example", Volume(tissues, volume.geometry), known, frozenset(map(int, cut)), inside)
