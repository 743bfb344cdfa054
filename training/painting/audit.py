"""An audit of a body's labels against anatomy, without a network: range, volume, parts, sides, neighbours, widths.

Labels that a completion drew wrong teach a network the same fault, and painted validation shares it. So what is known
of any adult is asked of every body: where an organ begins and ends, how large it is, what it touches. Limits are wide,
as the sources show illness; what they were measured on is beside each table.

All functions take a tissue map (z, y, x) on canonical axes: z towards the head, y to the back, x to the patient's left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from attention_dmfnet.adult_volumes import ADULT_VOLUMES
from scipy import ndimage
from scipy.spatial import cKDTree

from evaluation.organs import ORGANS
from training.painting.anatomy import TissueMap, aortic_root
from training.painting.completion import BODY_SPACING_ZYX
from training.painting.tissue import Tissue, label_of_tissue

Triple = tuple[float, float, float]
Range = tuple[float, float]
"""Least and most, both allowed; infinite where one side is open."""
Points = npt.NDArray[np.float64]

_OPEN = math.inf


@dataclass(frozen=True)
class Finding:
    """One measurement outside of what is ``allowed``.

    A ``note`` is about an organ that the body does not teach, or a known patient's illness (``reason``). The rest fail.
    """

    organ: str
    what: str
    measured: float
    allowed: Range
    unit: str = "mm"
    severity: Literal["fail", "note"] = "fail"
    reason: str = ""

    def __str__(self) -> str:
        because = f" ({self.reason})" if self.reason else ""
        return f"{self.organ}: {self.what} {self.measured:.4g}{self.unit_text}, allowed {self.limits}{because}"

    @property
    def limits(self) -> str:
        """``allowed`` in words."""
        low, high = self.allowed
        if math.isinf(high):
            return f"at least {low:g}"
        return f"at most {high:g}" if math.isinf(low) else f"{low:g} to {high:g}"

    @property
    def unit_text(self) -> str:
        """The unit as it follows a number."""
        return f" {self.unit}" if self.unit else ""


@dataclass(frozen=True)
class Illness:
    """A measurement of one source patient that is outlying and real."""

    source: str
    organ: str
    what: str
    reason: str


KNOWN_ILLNESS: tuple[Illness, ...] = (
    Illness("btcv_0008", "right kidney", "volume", "shrunken kidneys of 10 mL, drawn by experts"),
    Illness("btcv_0008", "left kidney", "volume", "shrunken kidneys of 10 mL, drawn by experts"),
    Illness("btcv_0009", "spleen", "volume", "a spleen of 3.1 L, drawn by experts"),
    Illness("btcv_0009", "aorta", "bottom above the kidneys' lower poles", "the spleen pushes the left kidney down"),
    # no illness: one part of 1.1 mL and a speck; the scan is taught as it is, its HU are real
    Illness("ts_example", "left adrenal gland", "share of its largest part", "drawn in two parts by a model"),
    Illness("word_0037", "left adrenal gland", "volume", "adrenals of 12 and 18 mL, drawn by experts"),
)
"""Outliers that are true: their findings become notes."""


VOLUMES_ML: dict[Tissue, Range] = {
    Tissue(label): ADULT_VOLUMES[organ].possible_ml for label, organ in enumerate(ORGANS, start=1)
}
"""The engine's ranges, with their sources there; ``VESSEL_WIDTHS_MM`` has those of the tubes."""

VESSEL_WIDTHS_MM: dict[Tissue, Range] = {Tissue.AORTA: (7, 36), Tissue.VENA_CAVA: (2.3, 38)}
"""Diameter of a circle of a slice's area. The abdominal aorta is 17 to 27 mm wide, an aneurysm from 30 on (Erbel &
Eggebrecht, Heart 92, 2006). A filled vena cava is 13 to 36 mm across (Prince et al., Radiology 149, 1983), an empty one
a slit.
"""


CHEST_MM = 45.0
"""The abdomen's field: so far above the liver aorta and esophagus are labelled and judged."""

LARGEST_PART, LARGEST_PART_OF_A_VESSEL = 0.9, 0.98
"""Share of an organ's voxels in its largest part, voxels that touch by a corner being one part."""

"""The aortic root is a part of its own below the arch: so high above the liver's top, so far before the rest."""

_KIDNEYS = (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY)
_CAP_SLICES = 3

HEIGHTS_MM: tuple[tuple[Tissue, Literal["top", "bottom"], str, Range], ...] = (
    (Tissue.AORTA, "top", "the liver's top", (30, _OPEN)),
    (Tissue.AORTA, "bottom", "the kidneys' lower poles", (-90, 30)),
    (Tissue.VENA_CAVA, "top", "the liver's top", (-6, 60)),
    (Tissue.VENA_CAVA, "bottom", "the kidneys' lower poles", (-110, 0)),
    (Tissue.ESOPHAGUS, "top", "the liver's top", (0, _OPEN)),
    (Tissue.ESOPHAGUS, "bottom", "the liver's top", (-85, 30)),
    (Tissue.STOMACH, "top", "the liver's top", (-80, 50)),
    (Tissue.SPLEEN, "top", "the liver's top", (-130, 40)),
    (Tissue.PANCREAS, "top", "the liver's top", (-180, -10)),
    (Tissue.PANCREAS, "bottom", "the kidneys' lower poles", (-60, 120)),
    (Tissue.DUODENUM, "top", "the liver's top", (-180, -20)),
    (Tissue.DUODENUM, "bottom", "the kidneys' lower poles", (-70, 90)),
    (Tissue.RIGHT_KIDNEY, "top", "the liver's top", (-180, -15)),
    (Tissue.RIGHT_KIDNEY, "top", "the liver's bottom", (0, 210)),
    (Tissue.LEFT_KIDNEY, "top", "the liver's top", (-200, -10)),
)
"""Where an organ ends. The vessels' limits are anatomy: the cava enters the right atrium just above the diaphragm, the
aorta runs through the field and forks at the fourth lumbar vertebra, on 38 expert maps 57 mm below to 48 mm above the
lower poles. The other limits are those of 71 expert maps and atlases, widened by 15 to 60 mm on either side.
"""

KIDNEYS_APART_MM: Range = (60, 260)
ADRENALS_APART_MM: Range = (20, 160)
CAVA_BESIDE_AORTA_MM: Range = (5, 90)
"""Distances along x between middles. On 8 expert cavae the least is 16 mm; adrenals are 40 to 95 mm apart."""

LEFT_OF_THE_MIDDLE_MM: dict[Tissue, Range] = {
    Tissue.LIVER: (-150, -10),
    Tissue.SPLEEN: (30, 180),
    Tissue.GALLBLADDER: (-170, 0),
    Tissue.STOMACH: (-30, 150),
    Tissue.PANCREAS: (-45, 80),
    Tissue.DUODENUM: (-85, 20),
    Tissue.AORTA: (-25, 50),
    Tissue.VENA_CAVA: (-65, 0),
    Tissue.RIGHT_ADRENAL: (-85, -5),
    Tissue.LEFT_ADRENAL: (5, 90),
}
"""x of the middle, from the midpoint between the kidneys: 71 expert maps and atlases, widened by about 30 to 50 mm."""

BEFORE_THE_KIDNEYS_MM: dict[Tissue, Range] = {
    Tissue.LIVER: (0, 140),
    Tissue.PANCREAS: (5, 130),
    Tissue.STOMACH: (5, 150),
    Tissue.GALLBLADDER: (5, 180),
    Tissue.VENA_CAVA: (0, 90),
}
"""How far an organ's middle lies in front of the kidneys': on the same maps 20 to 125 mm."""

NEIGHBOURS_MM: tuple[tuple[Tissue, Tissue, str, float], ...] = (
    (Tissue.DUODENUM, Tissue.PANCREAS, "head", 6),
    (Tissue.DUODENUM, Tissue.STOMACH, "", 12),
    (Tissue.ESOPHAGUS, Tissue.STOMACH, "", 12),
    (Tissue.GALLBLADDER, Tissue.LIVER, "", 5),
    (Tissue.RIGHT_ADRENAL, Tissue.RIGHT_KIDNEY, "upper third", 25),
    (Tissue.LEFT_ADRENAL, Tissue.LEFT_KIDNEY, "upper third", 25),
    (Tissue.RIGHT_KIDNEY, Tissue.LIVER, "", 30),
    (Tissue.LEFT_KIDNEY, Tissue.SPLEEN, "", 45),
    (Tissue.SPLEEN, Tissue.STOMACH, "", 45),
)
"""Furthest distance between the closest voxels' centres; touching ones are 2 or 3 mm apart. On 71 expert maps and
atlases: duodenum at most 3 mm from the pancreas's head and 7 from the stomach, esophagus 8 from the stomach,
gallbladder 2 from the liver, adrenals 13 from the kidney's upper third, right kidney 8 from the liver, spleen 19 from
the kidney.
"""

ADRENAL_ABOVE_KIDNEY_MM: Range = (8, 95)
"""Middle above middle; on 38 expert maps 18 to 64 mm."""

AORTA_TO_BONE_MM: Range = (0, 30)
"""The aorta lies on the vertebrae; a warped spine is not where the patient's own was, and fat fills what is between."""

VESSEL_STEP_MM: Range = (0, 14)
"""In-plane step of a vessel's middle from one 3 mm slice to the next."""


@dataclass(frozen=True)
class Organ:
    """The voxels of one label, or of a part of it: ``mask`` (z, y, x) lies in the map from voxel ``start_zyx`` on."""

    mask: npt.NDArray[np.bool_]
    start_zyx: tuple[int, int, int]
    spacing_zyx: Triple

    @cached_property
    def points(self) -> Points:
        """(n, 3) mm of the voxels' centres along z, y, x, from the map's first voxel."""
        return np.asarray((np.argwhere(self.mask) + self.start_zyx) * np.asarray(self.spacing_zyx))

    @cached_property
    def middle(self) -> Points:
        """(3,) mm: the centroid."""
        return np.asarray(self.points.mean(0))

    @property
    def bottom(self) -> float:
        """mm: z of the lowest voxel's centre."""
        return self.start_zyx[0] * self.spacing_zyx[0]

    @property
    def top(self) -> float:
        """mm: z of the highest voxel's centre."""
        return self.bottom + (len(self.mask) - 1) * self.spacing_zyx[0]

    @property
    def volume_ml(self) -> float:
        """Volume in millilitres."""
        voxels = int(np.count_nonzero(self.mask))
        return voxels * math.prod(self.spacing_zyx) / 1000

    @cached_property
    def largest_part(self) -> float:
        """Share of the voxels in the largest part; voxels that touch by a corner are one part."""
        sizes = np.bincount(ndimage.label(self.mask, np.ones((3, 3, 3)))[0].ravel())[1:]
        return float(sizes.max() / sizes.sum())

    @cached_property
    def surface(self) -> Points:
        """(n, 3) mm of the voxels with a neighbour outside."""
        inner = ndimage.binary_erosion(np.pad(self.mask, 1))[1:-1, 1:-1, 1:-1]
        return np.asarray((np.argwhere(self.mask & ~inner) + self.start_zyx) * np.asarray(self.spacing_zyx))

    @cached_property
    def slices(self) -> Points:
        """(n, 4): z, y, x in mm of the middle and the area in mm^2, of each axial slice that holds a part of it."""
        z, y, x = (self.points[:, axis] for axis in range(3))
        row = np.rint(z / self.spacing_zyx[0]).astype(int) - self.start_zyx[0]
        count = np.bincount(row)
        filled = np.flatnonzero(count)
        middles = [np.bincount(row, weights)[filled] / count[filled] for weights in (z, y, x)]
        area = count[filled] * self.spacing_zyx[1] * self.spacing_zyx[2]
        return np.stack([*middles, area], -1)


@dataclass(frozen=True)
class Located:
    """The organs of a body. ``field`` is z in mm of the first and the last slice that its map covers.

    ``aorta_to_bone_mm`` is the median, over axial slices, of the gap between the aorta and the nearest bone.
    """

    organs: dict[Tissue, Organ]
    field: Range
    spacing_zyx: Triple
    aorta_to_bone_mm: float | None

    def these(self, *wanted: Tissue) -> tuple[Organ, ...] | None:
        """These organs, or ``None`` if one is absent."""
        found = tuple(self.organs[organ] for organ in wanted if organ in self.organs)
        return found if len(found) == len(wanted) else None


def locate(tissues: TissueMap, spacing_zyx: Triple = BODY_SPACING_ZYX) -> Located:
    """Find the organs of a tissue map (z, y, x); inner tissues count to their organ.

    The chest is left out: aorta and esophagus are cut ``CHEST_MM`` above the liver, and the aortic root, which hangs
    down before the descending aorta, is not part of the organ. Raises ``ValueError`` for a map without any tissue.
    """
    filled = np.flatnonzero((tissues > 0).any((1, 2)))
    if len(filled) == 0:
        raise ValueError("the tissue map is empty; complete the body again")
    labels = label_of_tissue()[tissues]
    boxes = ndimage.find_objects(labels, max_label=len(ORGANS))
    liver = boxes[Tissue.LIVER - 1]
    liver_top = None if liver is None else liver[0].stop - 1
    organs = {}
    for label, box in enumerate(boxes, start=1):
        organ = None if box is None else _organ(labels, label, box, liver_top, spacing_zyx)
        if organ is not None:
            organs[Tissue(label)] = organ
    field = (float(filled[0] * spacing_zyx[0]), float(filled[-1] * spacing_zyx[0]))
    aorta = organs.get(Tissue.AORTA)
    return Located(organs, field, spacing_zyx, None if aorta is None else _gap_to_bone(tissues, aorta))


def _organ(
    labels: npt.NDArray[np.uint8], label: int, box: tuple[slice, ...], liver_top: int | None, spacing_zyx: Triple
) -> Organ | None:
    if label in (Tissue.AORTA, Tissue.ESOPHAGUS) and liver_top is not None:
        box = (slice(box[0].start, min(box[0].stop, chest_slice(liver_top, spacing_zyx))), box[1], box[2])
    mask = labels[box] == label
    if label == Tissue.AORTA and liver_top is not None:
        mask = mask & ~aortic_root(mask, liver_top - box[0].start, spacing_zyx)
    if not mask.any():
        return None
    tight = ndimage.find_objects(mask.astype(np.uint8))[0]
    z, y, x = (outer.start + inner.start for outer, inner in zip(box, tight, strict=True))
    return Organ(mask[tight], (z, y, x), spacing_zyx)


def chest_slice(liver_top: int, spacing_zyx: Triple) -> int:
    """The first slice that is no longer judged, ``CHEST_MM`` above the liver's last slice ``liver_top``."""
    return liver_top + 1 + round(CHEST_MM / spacing_zyx[0])


_BONE_REACH_MM = 60.0


def _gap_to_bone(tissues: TissueMap, aorta: Organ) -> float | None:
    reach = [round(_BONE_REACH_MM / mm) for mm in aorta.spacing_zyx[1:]]
    start = [max(0, at - r) for at, r in zip(aorta.start_zyx[1:], reach, strict=True)]
    stop = [at + size + r for at, size, r in zip(aorta.start_zyx[1:], aorta.mask.shape[1:], reach, strict=True)]
    bones = (Tissue.SPONGIOSA, Tissue.CORTICAL_BONE)
    if not np.isin(tissues[aorta.start_zyx[0] :], bones).any():
        return None
    gaps = []
    for n, mask in enumerate(aorta.mask):
        window = tissues[aorta.start_zyx[0] + n, start[0] : stop[0], start[1] : stop[1]]
        bone = np.argwhere(np.isin(window, bones))
        vessel = np.argwhere(mask) + np.subtract(aorta.start_zyx[1:], start)
        if len(vessel) == 0:
            continue
        if len(bone) == 0:
            gaps.append(_BONE_REACH_MM)
            continue
        in_plane = np.asarray(aorta.spacing_zyx[1:])
        gaps.append(float(cKDTree(bone * in_plane).query(vessel[::3] * in_plane)[0].min()))
    return float(np.median(gaps))


@dataclass(frozen=True)
class _Measurement:
    """What a check measured: about ``organs[0]``, against the others."""

    organs: tuple[Tissue, ...]
    what: str
    measured: float
    allowed: Range
    unit: str = "mm"


def audit(
    tissues: TissueMap,
    name: str = "",
    known: frozenset[int] | None = None,
    spacing_zyx: Triple = BODY_SPACING_ZYX,
    illnesses: tuple[Illness, ...] = KNOWN_ILLNESS,
) -> list[Finding]:
    """What of a body's tissue map (z, y, x) is not as it is in adults; an empty list for a body like any other.

    ``known`` are the labels (1-13) that the body teaches, all of them without it: what concerns another organ is a
    note. ``name`` is the body's, ``SOURCE`` or ``SOURCE_VARIANT``: findings that ``illnesses`` explain are notes, too.
    Raises ``ValueError`` for a map without any tissue.
    """
    body = locate(tissues, spacing_zyx)
    taught = frozenset(range(1, len(ORGANS) + 1)) if known is None else known
    findings = []
    for found in _measurements(body, taught):
        low, high = found.allowed
        if low <= found.measured <= high:
            continue
        organ = ORGANS[found.organs[0] - 1]
        finding = Finding(organ, found.what, found.measured, found.allowed, found.unit)
        untaught = [ORGANS[other - 1] for other in found.organs if other not in taught]
        illness = _illness(name, finding, illnesses)
        if illness is not None:
            finding = replace(finding, severity="note", reason=illness.reason)
        elif untaught:
            finding = replace(finding, severity="note", reason=f"the body does not teach the {untaught[0]}")
        findings.append(finding)
    return findings


def failed(findings: list[Finding]) -> bool:
    """Whether one of them is more than a note."""
    return any(finding.severity == "fail" for finding in findings)


def passes(tissues: TissueMap, name: str = "", known: frozenset[int] | None = None) -> bool:
    """The gate: whether this body may be painted from. Arguments are those of ``audit``."""
    return not failed(audit(tissues, name, known))


def _illness(name: str, finding: Finding, illnesses: tuple[Illness, ...]) -> Illness | None:
    for illness in illnesses:
        same = illness.organ == finding.organ and illness.what == finding.what
        if same and (name == illness.source or name.startswith(f"{illness.source}_")):
            return illness
    return None


def _measurements(body: Located, taught: frozenset[int]) -> Iterator[_Measurement]:
    yield from _presence(body, taught)
    yield from _volumes(body)
    yield from _parts(body)
    yield from _heights(body)
    yield from _sides(body)
    yield from _neighbours(body)
    yield from _vessels(body)


def _presence(body: Located, taught: frozenset[int]) -> Iterator[_Measurement]:
    for label in sorted(taught):
        if Tissue(label) not in body.organs:
            yield _Measurement((Tissue(label),), "volume", 0.0, VOLUMES_ML[Tissue(label)], "mL")


def _volumes(body: Located) -> Iterator[_Measurement]:
    for tissue, organ in body.organs.items():
        yield _Measurement((tissue,), "volume", organ.volume_ml, VOLUMES_ML[tissue], "mL")


_TUBES = (Tissue.AORTA, Tissue.VENA_CAVA)


def _parts(body: Located) -> Iterator[_Measurement]:
    for tissue, organ in body.organs.items():
        least = LARGEST_PART_OF_A_VESSEL if tissue in _TUBES else LARGEST_PART
        yield _Measurement((tissue,), "share of its largest part", organ.largest_part, (least, 1), "")


def _heights(body: Located) -> Iterator[_Measurement]:
    """Both ends of the organs against the liver and the kidneys; an end at the end of the field may be cut."""
    kidneys = [body.organs[kidney] for kidney in _KIDNEYS if kidney in body.organs]
    levels: dict[str, tuple[float, tuple[Tissue, ...]]] = {}
    if (liver := body.organs.get(Tissue.LIVER)) is not None:
        levels["the liver's top"] = liver.top, (Tissue.LIVER,)
        levels["the liver's bottom"] = liver.bottom, (Tissue.LIVER,)
    if kidneys:
        present = tuple(kidney for kidney in _KIDNEYS if kidney in body.organs)
        levels["the kidneys' lower poles"] = min(kidney.bottom for kidney in kidneys), present
    near_end = 2 * body.spacing_zyx[0]
    for tissue, end, level, (low, high) in HEIGHTS_MM:
        if tissue not in body.organs or level not in levels:
            continue
        organ, (at, beside) = body.organs[tissue], levels[level]
        if end == "top" and organ.top >= body.field[1] - near_end:
            low = -_OPEN
        if end == "bottom" and organ.bottom <= body.field[0] + near_end:
            high = _OPEN
        measured = (organ.top if end == "top" else organ.bottom) - at
        yield _Measurement((tissue, *beside), f"{end} above {level}", measured, (low, high))


def _sides(body: Located) -> Iterator[_Measurement]:
    kidneys = body.these(*_KIDNEYS)
    if kidneys is not None:
        between = float(kidneys[1].middle[2] - kidneys[0].middle[2])
        yield _Measurement(_KIDNEYS, "distance to the right of the left kidney", between, KIDNEYS_APART_MM)
        middle = (kidneys[0].middle + kidneys[1].middle) / 2
        for tissue, allowed in LEFT_OF_THE_MIDDLE_MM.items():
            if tissue in body.organs:
                x = float(body.organs[tissue].middle[2] - middle[2])
                yield _Measurement((tissue, *_KIDNEYS), "distance to the left of the kidneys' middle", x, allowed)
        for tissue, allowed in BEFORE_THE_KIDNEYS_MM.items():
            if tissue in body.organs:
                y = float(middle[1] - body.organs[tissue].middle[1])
                yield _Measurement((tissue, *_KIDNEYS), "distance in front of the kidneys", y, allowed)
    adrenals = body.these(Tissue.RIGHT_ADRENAL, Tissue.LEFT_ADRENAL)
    if adrenals is not None:
        between = float(adrenals[1].middle[2] - adrenals[0].middle[2])
        organs = (Tissue.RIGHT_ADRENAL, Tissue.LEFT_ADRENAL)
        yield _Measurement(organs, "distance to the right of the left adrenal gland", between, ADRENALS_APART_MM)
    vessels = body.these(Tissue.VENA_CAVA, Tissue.AORTA)
    if vessels is not None and kidneys is not None:
        cava, aorta = vessels
        apart = _cava_beside_aorta(cava, aorta, min(k.bottom for k in kidneys), max(k.top for k in kidneys))
        if apart is not None:
            what = "least distance to the right of the aorta beside the kidneys"
            yield _Measurement((Tissue.VENA_CAVA, Tissue.AORTA), what, apart, CAVA_BESIDE_AORTA_MM)


def _cava_beside_aorta(cava: Organ, aorta: Organ, low: float, high: float) -> float | None:
    """The least distance between the middles in one slice from ``low`` to ``high``; ``None`` without such a slice."""
    both, here, there = np.intersect1d(np.rint(cava.slices[:, 0]), np.rint(aorta.slices[:, 0]), return_indices=True)
    beside = (both >= low) & (both <= high)
    if not beside.any():
        return None
    return float((aorta.slices[there, 2] - cava.slices[here, 2])[beside].min())


def _neighbours(body: Located) -> Iterator[_Measurement]:
    for tissue, other, part, furthest in NEIGHBOURS_MM:
        pair = body.these(tissue, other)
        if pair is None:
            continue
        points = pair[1].surface
        if part == "head":  # the pancreas's right third
            points = points[points[:, 2] <= np.quantile(points[:, 2], 1 / 3)]
        elif part == "upper third":
            points = points[points[:, 0] >= np.quantile(points[:, 0], 2 / 3)]
        gap = float(cKDTree(points).query(pair[0].surface)[0].min())
        whole = f"the {ORGANS[other - 1]}"
        what = f"distance from {whole}" if not part else f"distance from {whole}'s {part}"
        yield _Measurement((tissue, other), what, gap, (0, furthest))
    for tissue, kidney in zip((Tissue.RIGHT_ADRENAL, Tissue.LEFT_ADRENAL), _KIDNEYS, strict=True):
        pair = body.these(tissue, kidney)
        if pair is not None:
            above = float(pair[0].middle[0] - pair[1].middle[0])
            yield _Measurement((tissue, kidney), "distance above its kidney's middle", above, ADRENAL_ABOVE_KIDNEY_MM)
    if body.aorta_to_bone_mm is not None:
        yield _Measurement((Tissue.AORTA,), "median distance from bone", body.aorta_to_bone_mm, AORTA_TO_BONE_MM)


def _vessels(body: Located) -> Iterator[_Measurement]:
    for tissue in _TUBES:
        organ = body.organs.get(tissue)
        # the first and last slices are caps of the tube, or the forks
        if organ is None or len(organ.slices) <= 2 * _CAP_SLICES:
            continue
        inner = organ.slices[_CAP_SLICES:-_CAP_SLICES]
        width = 2 * np.sqrt(inner[:, 3] / np.pi)
        low, high = VESSEL_WIDTHS_MM[tissue]
        yield _Measurement((tissue,), "narrowest slice's width", float(width.min()), (low, _OPEN))
        yield _Measurement((tissue,), "widest slice's width", float(width.max()), (0, high))
        steps = np.hypot(*np.diff(organ.slices[:, 1:3], axis=0).T)
        yield _Measurement((tissue,), "largest step of the middle between slices", float(steps.max()), VESSEL_STEP_MM)
        empty = organ.mask.shape[0] - len(organ.slices)
        yield _Measurement((tissue,), "gap in its course", empty * body.spacing_zyx[0], (0, 0))
