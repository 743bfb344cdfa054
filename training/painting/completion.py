"""Complete an organ map to a whole body, once: warp templates that know every tissue on to its organs.

A thin-plate spline on organ landmarks (centroids and 3rd/97th percentiles along each axis) maps the target's space to
the template's. Organs of the template that the target does not cover become the nearest other tissue.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Geometry
from scipy import ndimage
from scipy.interpolate import RBFInterpolator

from training.errors import TrainingError
from training.painting.anatomy import Anatomy, TissueMap
from training.painting.diaphragm import draw_diaphragm
from training.painting.esophagus import draw_through
from training.painting.great_vessels import VesselSite, draw_great_vessels, site_of
from training.painting.liver_veins import draw_liver_veins
from training.painting.tissue import NO_HU, Tissue
from training.painting.vessel_courses import LEVELS, CourseAtlas, Frame, course_in, frame_of

BODY_SPACING_ZYX = (3.0, 2.0, 2.0)

REAL = "ts_example"
"""The one map that is completed with the HU of the very scan it was drawn on."""

# not the esophagus: how much of it is labelled depends on the field of view
_LANDMARK_ORGANS = (1, 2, 3, 4, 7, 8, 9, 11, 12, 13, 17)
_FILLABLE = tuple(range(1, 18))
_KIDNEY_MEDULLA = (int(Tissue.RIGHT_MEDULLA), int(Tissue.LEFT_MEDULLA))
_FRAME_TISSUES = (
    Tissue.SPONGIOSA, Tissue.CORTICAL_BONE, Tissue.CARTILAGE, Tissue.HEART, Tissue.LUNG,
)  # fmt: skip
"""Drawn by the authors of some maps beside the organs: there the template's are removed."""

_AORTA_LEVELS = np.linspace(-0.3, 0.9, 9)
_VESSEL_RIM_MM = 4.0
_FILLED_WITH_HU_MM = 6.0
_ABOVE_MM, _BELOW_MM = 130.0, 160.0
_FIELD_BELOW_MM = 12.0
"""That much of the map below a vessel says that it ends there, and was not cut: more than two thick slices."""

_BESIDE_OWNER = re.compile("[+~]")

_Value = TypeVar("_Value", np.uint8, np.int16)
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Body:
    """``tissues`` (z, y, x) at ``BODY_SPACING_ZYX``, canonical; ``hu`` where a real CT was warped along, else NO_HU.

    ``vessels`` says where aorta and vena cava are to be drawn (``with_vessels``); without it they are there already.
    ``origin_lps`` (mm) is the first voxel's place in the space of the map that the body was completed from. ``known``
    are the organs that somebody drew or that are drawn by rule; the others are the template's. ``drawing`` is the
    number of the drawing of its vessels that passes the audit. A recombined body is called RECEIVER+DONOR (a
    transplant) or BODY~TOWARDS (a morph), in a library KIND_SEED_NUMBER= before it.
    """

    name: str
    tissues: TissueMap
    hu: npt.NDArray[np.int16]
    vessels: VesselSite | None = None
    origin_lps: tuple[float, float, float] = (0.0, 0.0, 0.0)
    known: frozenset[int] = frozenset(range(1, 14))
    drawing: int = 0

    @property
    def owner(self) -> str:
        """The name of the body that the solid organs are of: its own, but of a recombined body the receiver's."""
        return _BESIDE_OWNER.split(self.name.rpartition("=")[2])[0]

    @property
    def is_real(self) -> bool:
        """Whether the HU are a real scan's throughout, organs included."""
        return self.name.startswith(REAL)

    def with_vessels(self, atlas: CourseAtlas, rng: np.random.Generator) -> Body:
        """The body with aorta, vena cava and crura drawn; another generator draws other ones."""
        if self.vessels is None:
            return self
        tissues = self.tissues.copy()
        draw_great_vessels(tissues, BODY_SPACING_ZYX, self.vessels, atlas, rng)
        if self.is_real:  # what the scan shows stays as it is; only beyond its ends the vessels go on
            tissues = np.where(self.hu == NO_HU, tissues, self.tissues)
        return replace(self._with_tissues(tissues), vessels=None)

    def with_diaphragm(self, rng: np.random.Generator) -> Body:
        """The body with muscle between its lungs and what lies below them."""
        tissues = self.tissues.copy()
        draw_diaphragm(tissues, BODY_SPACING_ZYX, rng)
        return self._with_tissues(tissues)

    def with_liver_veins(self, rng: np.random.Generator) -> Body:
        """The body with portal, splenic, mesenteric and hepatic veins."""
        tissues = self.tissues.copy()
        draw_liver_veins(tissues, BODY_SPACING_ZYX, rng)
        return self._with_tissues(tissues)

    def _with_tissues(self, tissues: TissueMap) -> Body:
        """The body of ``tissues``; where they are others than before, the real scan's HU are gone."""
        hu = np.where(tissues == self.tissues, self.hu, np.int16(NO_HU))
        return replace(self, tissues=tissues, hu=hu.astype(np.int16))


def _coordinates(geometry: Geometry, index: npt.NDArray[np.floating | np.integer]) -> npt.NDArray[np.float64]:
    """mm along the canonical axes (z, y, x) of fractional indices (n, 3)."""
    origin = np.asarray(geometry.origin_lps)[::-1]
    mm: npt.NDArray[np.float64] = index * np.asarray(geometry.spacing_zyx) + origin
    return mm


def _aorta_points(anatomy: Anatomy, frame: Frame | None, atlas: CourseAtlas | None) -> npt.NDArray[np.float64]:
    """(level, 3) mm of the aorta's middle, as the map shows it, else as ``atlas`` expects it; NaN where not known."""
    if frame is None:
        return np.full((len(_AORTA_LEVELS), 3), np.nan)
    z = frame.origin_mm[0] + _AORTA_LEVELS * frame.height_mm
    course = course_in(anatomy, Tissue.AORTA)
    if course is not None:
        middle = [np.interp(z, course.z_mm, course.middle_mm[:, n], left=np.nan, right=np.nan) for n in range(2)]
    elif atlas is not None:
        expected = atlas.expected(frame, Tissue.AORTA) + frame.origin_mm[1:]
        middle = [np.interp(_AORTA_LEVELS, LEVELS, expected[:, n]) for n in range(2)]
    else:
        middle = [np.full(len(z), np.nan)] * 2
    return np.stack([z, *middle], -1)


def _warp(
    target: Anatomy, template: Anatomy, atlas: CourseAtlas, grid_mm: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Template mm (n, 3) of the target's points ``grid_mm`` (n, 3)."""
    here, there = _aorta_points(target, frame_of(target), atlas), _aorta_points(template, frame_of(template), None)
    # the spine follows the aorta: what is drawn along the target's own course lies before the template's spine
    both = ~np.isnan(here + there).any(1)
    to, source = [here[both]], [there[both]]
    for organ in _LANDMARK_ORGANS:
        if organ not in target.known or organ not in template.known:
            continue
        theirs, ours = template.ends_mm(organ), target.ends_mm(organ)
        if theirs is None or ours is None:
            continue
        # of a truncated organ the upper end and the centre are not where they seem
        keep = [1] if organ in template.cut or organ in target.cut else list(range(7))
        to.append(ours[keep])
        source.append(theirs[keep])
    points, values = np.concatenate(to) / 100, np.concatenate(source) / 100
    spline = RBFInterpolator(points, values, kernel="thin_plate_spline", smoothing=0.05)
    # a spline runs wild beyond its landmarks: above and below them the template continues at its own scale
    z = grid_mm[:, 0]
    z_held = np.clip(z, points[:, 0].min() * 100 - 15, points[:, 0].max() * 100 + 15)
    held = grid_mm.copy()
    held[:, 0] = z_held
    mm = np.asarray(spline(held / 100) * 100)
    mm[:, 0] += z - z_held
    return mm.astype(np.float32)


def _sample_map(
    template: Anatomy, mm: npt.NDArray[np.float32], array: npt.NDArray[_Value], outside: int
) -> tuple[npt.NDArray[_Value], npt.NDArray[np.bool_]]:
    """Nearest values of ``array`` at template positions ``mm`` (3, z, y, x), and where those are inside it."""
    geometry = template.volume.geometry
    index = [
        np.rint((mm[axis] - geometry.origin_lps[2 - axis]) / geometry.spacing_zyx[axis]).astype(np.int32)
        for axis in range(3)
    ]
    inside = np.ones(mm.shape[1:], np.bool_)
    for axis in range(3):
        inside &= (index[axis] >= 0) & (index[axis] < array.shape[axis])
        np.clip(index[axis], 0, array.shape[axis] - 1, out=index[axis])
    values: npt.NDArray[_Value] = array[index[0], index[1], index[2]]
    values[~inside] = outside
    return values, inside


def _body_grid(target: Anatomy, width_mm: float = 460.0, depth_mm: float = 340.0) -> Geometry:
    """A canonical grid round the target's organs, with room for the body, the chest's base and the pelvis."""
    organs = np.isin(target.tissues, (1, 2, 3, 4, 9, 11, 13))
    where = np.argwhere(organs)
    low, high = _coordinates(target.volume.geometry, np.stack([where.min(0), where.max(0)]))
    middle = (low + high) / 2
    start = np.array([low[0] - _BELOW_MM, middle[1] - depth_mm / 2, middle[2] - width_mm / 2])
    size = np.array([high[0] + _ABOVE_MM - start[0], depth_mm, width_mm])
    z, y, x = (int(v) for v in np.ceil(size / BODY_SPACING_ZYX))
    return Geometry((z, y, x), BODY_SPACING_ZYX, (start[2], start[1], start[0]), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))


def _warped_grid(
    target: Anatomy, template: Anatomy, atlas: CourseAtlas, grid: Geometry, step: int = 6
) -> npt.NDArray[np.float32]:
    """Template mm (3, z, y, x) of every voxel of ``grid``; the spline is evaluated on every ``step``-th voxel."""
    coarse = [np.arange(0, size + step, step) for size in grid.shape_zyx]
    nodes = np.stack(np.meshgrid(*coarse, indexing="ij"), -1).reshape(-1, 3)
    mm = _warp(target, template, atlas, _coordinates(grid, nodes)).reshape(*(len(c) for c in coarse), 3)
    for axis, size in enumerate(grid.shape_zyx):
        mm = _stretched(mm, axis, size, step)
    return np.ascontiguousarray(np.moveaxis(mm, -1, 0))


def _stretched(nodes: npt.NDArray[np.float32], axis: int, size: int, step: int) -> npt.NDArray[np.float32]:
    """Linear interpolation along one axis, from every ``step``-th voxel to all ``size`` of them."""
    at = np.arange(size) / step
    low = np.minimum(at.astype(int), nodes.shape[axis] - 2)
    share = (at - low).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(nodes.ndim)])
    stretched: npt.NDArray[np.float32] = nodes.take(low, axis) * (1 - share) + nodes.take(low + 1, axis) * share
    return stretched


def complete(
    target: Anatomy,
    abdomen: Anatomy,
    whole: Anatomy,
    atlas: CourseAtlas,
    donor: Anatomy | None = None,
    prefer_abdomen: bool = True,
) -> Body:
    """The target's organs in a complete body, which still waits for its great vessels (``Body.with_vessels``).

    ``whole`` is a template from head to foot, ``abdomen`` one with the HU of a real scan. With ``prefer_abdomen`` the
    body inside the field of view of ``abdomen`` is that one's. ``donor`` lends the organs that the target's author did
    not draw, warped along the organs that both have; without one they are the template's. Raises ``TrainingError``
    for a target without liver or kidneys: nothing says where its vessels run.
    """
    frame = frame_of(target)
    if frame is None:
        raise TrainingError(f"{target.name} lacks its liver or a kidney, and they say where vessels run; leave it out")
    grid = _body_grid(target)
    own, own_inside = _sample_map(target, _grid_mm(grid), target.tissues, 0)
    own_rows = np.asarray(own_inside.any((1, 2)))[:, None, None]
    tissues, _ = _sample_map(whole, _warped_grid(target, whole, atlas, grid), whole.tissues, Tissue.AIR)
    hu = np.full(tissues.shape, NO_HU, np.int16)
    if prefer_abdomen:
        _lay_abdomen(tissues, hu, target, abdomen, atlas, grid)
    if donor is not None:
        _lend(own, target, donor, atlas, grid)
    if target.name != abdomen.name:
        _drop_great_vessels(tissues, hu, grid)
    # of what the target shows itself nothing of the template's may stay beside it
    annotated = target.known | (frozenset() if donor is None else donor.known)
    replaced = (set(_FILLABLE) & annotated) | (annotated & {int(t) for t in _FRAME_TISSUES}) | set(_KIDNEY_MEDULLA)
    leftover = (np.isin(tissues, sorted(replaced)) & own_rows) | (tissues == Tissue.UNKNOWN)
    _fill(tissues, hu, leftover, own > 0, grid)
    before = tissues.copy()
    tissues[own > 0] = own[own > 0]
    if target.name != abdomen.name:  # a scan's own HU must show what is drawn
        draw_through(tissues, grid.spacing_zyx)
    # the target's bowel must not look like the template's gallbladder
    hu[(tissues != before) & ((own > 0) | (tissues == Tissue.ESOPHAGUS))] = NO_HU
    _grow_body(tissues, grid.spacing_zyx)
    origin = np.array(grid.origin_lps)[::-1]
    layers = inner_layers(tissues, grid.spacing_zyx)
    absent = {organ for organ in target.known if not (own == organ).any()}
    known = (annotated - absent | {int(Tissue.AORTA), int(Tissue.VENA_CAVA)}) & frozenset(range(1, 14))
    ends = (_end_mm(own == Tissue.AORTA, own_rows, grid), _end_mm(own == Tissue.VENA_CAVA, own_rows, grid))
    return Body(target.name, layers, hu, site_of(frame, atlas, origin, ends), grid.origin_lps, known)


def _end_mm(vessel: Mask, field: Mask, grid: Geometry) -> float:
    """The z, from the grid's first slice, of the lower end of ``vessel``; NaN unless its ``field`` goes on below."""
    shown, seen = np.flatnonzero(vessel.any((1, 2))), np.flatnonzero(field.ravel())
    dz = grid.spacing_zyx[0]
    if not len(shown) or (shown[0] - seen[0]) * dz < _FIELD_BELOW_MM:
        return float("nan")
    return float(shown[0] * dz)


def _lay_abdomen(
    tissues: TissueMap, hu: npt.NDArray[np.int16], target: Anatomy, abdomen: Anatomy, atlas: CourseAtlas,
    grid: Geometry,
) -> None:  # fmt: skip
    """In place: the body and the HU of ``abdomen`` in the slices that its field of view fills."""
    mm = _warped_grid(target, abdomen, atlas, grid)
    near, inside = _sample_map(abdomen, mm, abdomen.tissues, Tissue.AIR)
    rows = inside.mean((1, 2)) > 0.5  # whole slices: a seam across the body is worse than one between slices
    inside &= rows[:, None, None]
    tissues[rows] = np.where(inside[rows], near[rows], np.uint8(Tissue.AIR))
    if abdomen.hu is not None:
        warped, _ = _sample_map(abdomen, mm, abdomen.hu, NO_HU)
        hu[:] = np.where(inside & (tissues > 0), warped, np.int16(NO_HU))


def _lend(own: TissueMap, target: Anatomy, donor: Anatomy, atlas: CourseAtlas, grid: Geometry) -> None:
    """In place: the donor's organs that the target's author did not draw, where the target has nothing."""
    lent = sorted((donor.known & set(_FILLABLE)) - target.known - {int(Tissue.AORTA), int(Tissue.VENA_CAVA)})
    if not lent:
        return
    warped, _ = _sample_map(donor, _warped_grid(target, donor, atlas, grid), donor.tissues, Tissue.AIR)
    free = np.isin(warped, lent) & (own == 0)
    own[free] = warped[free]


def _drop_great_vessels(tissues: TissueMap, hu: npt.NDArray[np.int16], grid: Geometry) -> None:
    """In place: fat where the template's aorta, vena cava and iliac vessels were, and no real HU there and around."""
    vessels = np.isin(tissues, (Tissue.AORTA, Tissue.VENA_CAVA, Tissue.AORTA_BEYOND, Tissue.CAVA_BEYOND))
    tissues[vessels] = Tissue.FAT
    if vessels.any():
        reach = ndimage.distance_transform_edt(~vessels, grid.spacing_zyx)
        hu[reach <= _VESSEL_RIM_MM] = NO_HU


def _grid_mm(grid: Geometry) -> npt.NDArray[np.float32]:
    """(3, z, y, x) mm of every voxel of a canonical grid."""
    axes = zip(grid.shape_zyx, grid.spacing_zyx, grid.origin_lps[::-1], strict=True)
    along = [np.arange(size, dtype=np.float32) * mm + origin for size, mm, origin in axes]
    return np.stack(np.meshgrid(*along, indexing="ij"))


def _fill(tissues: TissueMap, hu: npt.NDArray[np.int16], leftover: Mask, own: Mask, grid: Geometry) -> None:
    """What the template's organs leave where the target has none becomes the nearest tissue that is neither's organ."""
    nearest = ndimage.distance_transform_edt(
        leftover | own, grid.spacing_zyx, return_distances=False, return_indices=True
    )
    fill = leftover & ~own
    source = tuple(axis[fill] for axis in nearest)
    away_mm = np.linalg.norm((np.argwhere(fill) - np.stack(source, -1)) * grid.spacing_zyx, axis=1)
    tissues[fill] = tissues[source]
    # one border voxel repeated over centimetres looks like nothing in a scan: painted instead
    hu[fill] = np.where(away_mm <= _FILLED_WITH_HU_MM, hu[source], np.int16(NO_HU))


def _grow_body(tissues: TissueMap, spacing_zyx: tuple[float, float, float]) -> None:
    """Wrap 8 mm of muscle, fat and skin round organs that the warped body left in the open."""
    organs = (tissues >= 1) & (tissues <= 17)
    reach = ndimage.distance_transform_edt(~organs, spacing_zyx)
    for tissue, upto_mm in ((Tissue.MUSCLE, 5.0), (Tissue.FAT, 13.0), (Tissue.SKIN, 16.0)):
        tissues[(tissues == Tissue.AIR) & (reach <= upto_mm)] = tissue


def inner_layers(tissues: TissueMap, spacing_zyx: tuple[float, float, float]) -> TissueMap:
    """Split walls from contents and cortex from medulla by depth below the organ's surface."""
    for organ, inner, wall_mm in (
        (Tissue.RIGHT_KIDNEY, Tissue.RIGHT_MEDULLA, 7.0),
        (Tissue.LEFT_KIDNEY, Tissue.LEFT_MEDULLA, 7.0),
        (Tissue.STOMACH, Tissue.STOMACH_CONTENT, 4.2),
        (Tissue.DUODENUM, Tissue.DUODENUM_CONTENT, 4.2),
        (Tissue.COLON, Tissue.COLON_CONTENT, 3.2),
        (Tissue.SMALL_BOWEL, Tissue.BOWEL_CONTENT, 3.2),
    ):
        mask = np.isin(tissues, (organ, inner))
        if mask.any():
            box = ndimage.find_objects(mask.astype(np.uint8))[0]
            # a rim around the box: where the organ ends at the box's side, its surface is there too
            depth = ndimage.distance_transform_edt(np.pad(mask[box], 1), spacing_zyx)[1:-1, 1:-1, 1:-1]
            part = tissues[box]
            part[mask[box]] = organ
            part[depth > wall_mm] = inner
    return tissues
