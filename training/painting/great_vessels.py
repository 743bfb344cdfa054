"""Aorta and vena cava of a completed body, with the crura beside them, drawn along courses that real patients show.

A template's vessels arrive torn and thinned where the warp squeezes them, and end where its field of view ends. Drawn
are: an aorta from its bifurcation to the chest, as wide as in the maps that show one (14 to 32 mm); a vena cava from
its bifurcation to the right atrium, from a slit to 35 mm, which lies in the liver's groove and, where there is none,
in the liver; iliac vessels, renal veins and an atrium at their ends, which are no part of either label; and the
diaphragm's crura, muscle on both sides of the aorta and before it. Widths: Erbel & Eggebrecht, Heart 2006; Prince et
al., Radiology 1983.
The thickness of the crura is a range chosen by eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.painting.anatomy import TissueMap
from training.painting.tissue import Tissue
from training.painting.vessel_courses import LEVELS, CourseAtlas, Floats, Frame

_Mask = npt.NDArray[np.bool_]
Triple = tuple[float, float, float]

_SOFT_SPACE = (
    Tissue.MUSCLE, Tissue.FAT, Tissue.LUNG, Tissue.HEART, Tissue.VESSEL, Tissue.SOFT, Tissue.CARTILAGE, Tissue.AIRWAY,
)  # fmt: skip
"""What a vessel takes the place of. Bone and organs stay, but for the liver where the vena cava runs through it, and
loops of bowel that no course can go round."""

_BOWEL = (Tissue.COLON, Tissue.COLON_CONTENT, Tissue.SMALL_BOWEL, Tissue.BOWEL_CONTENT)
_SEARCH_MM = 18.0
_PRIOR_MM = 9.0
_STIFFNESS = 0.25
"""Cost of one step sideways (2 mm) from a slice to the next; a tube wholly inside an organ costs ``_BLOCKED``."""

_BLOCKED = 6.0
_LOWEST, _ABOVE_LIVER_MM = -0.62, 75.0
_CRURA_FROM, _CRURA_TO = -0.05, 0.95
_ILIAC_MM = 70.0


@dataclass(frozen=True)
class VesselSite:
    """What is needed to draw a body's vessels anew: its frame, on the body's grid, and the most likely courses.

    ``courses`` holds for each vessel (level, 2) mm y and x on the body's axes; ``origin_mm`` and ``height_mm`` say at
    which z the levels lie.
    """

    origin_mm: Floats
    height_mm: float
    aorta: Floats
    vena_cava: Floats


@dataclass(frozen=True)
class _Tube:
    """Half axes (n, 2) in mm along y and x, slice by slice from ``first`` on, around ``middles`` (n, 2) in voxels."""

    first: int
    middles: Floats
    half_mm: Floats


def site_of(frame: Frame, atlas: CourseAtlas, grid_origin_zyx: Floats) -> VesselSite:
    """Where the atlas expects both vessels, on a grid whose first voxel is at ``grid_origin_zyx`` mm."""
    origin = frame.origin_mm - grid_origin_zyx
    courses = [atlas.expected(frame, vessel) + origin[1:] for vessel in (Tissue.AORTA, Tissue.VENA_CAVA)]
    return VesselSite(origin, frame.height_mm, courses[0], courses[1])


def draw_great_vessels(
    tissues: TissueMap, spacing_zyx: Triple, site: VesselSite, atlas: CourseAtlas, rng: np.random.Generator
) -> None:
    """Draw in place, in ``tissues`` (z, y, x, canonical axes), what of both vessels is not there yet.

    A vessel that the patient's own map shows keeps its shape; it is only continued to its natural ends.
    """
    spacing = np.asarray(spacing_zyx)
    liver = np.flatnonzero((tissues == Tissue.LIVER).any((1, 2)))
    if not len(liver):
        return
    top = int(liver[-1])
    aorta = _tube(tissues, Tissue.AORTA, site, atlas, spacing, top + int(_ABOVE_LIVER_MM / spacing[0]), rng)
    _draw(tissues, aorta, Tissue.AORTA, np.isin(tissues, (*_SOFT_SPACE, *_BOWEL)), spacing)
    atrium = top + round(float(rng.uniform(-4, 22)) / spacing[0])
    cava = _tube(tissues, Tissue.VENA_CAVA, site, atlas, spacing, atrium, rng)
    # the liver surrounds the upper cava in some patients; the map's author drew it whole in others
    upper = np.arange(len(tissues))[:, None, None] > liver[0] + 0.45 * (top - liver[0])
    room = np.isin(tissues, (*_SOFT_SPACE, *_BOWEL)) | ((tissues == Tissue.LIVER) & upper)
    _draw(tissues, cava, Tissue.VENA_CAVA, room, spacing)
    _draw_crura(tissues, aorta, site, spacing, rng)
    _draw_atrium(tissues, cava, spacing, rng)
    _draw_iliacs(tissues, aorta, spacing, rng)
    _draw_iliacs(tissues, cava, spacing, rng)
    _draw_renal_veins(tissues, cava, spacing, rng)


def _tube(
    tissues: TissueMap, vessel: Tissue, site: VesselSite, atlas: CourseAtlas, spacing: Floats, last: int,
    rng: np.random.Generator,
) -> _Tube:  # fmt: skip
    """The vessel as a tube from its bifurcation to slice ``last``, through the slices that the map shows already."""
    lowest = site.origin_mm[0] + (_LOWEST + rng.normal(0, 0.06)) * site.height_mm
    shown = np.flatnonzero((tissues == vessel).sum((1, 2)) >= 4)
    kidneys = np.flatnonzero(np.isin(tissues, (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY)).any((1, 2)))
    below_kidneys = kidneys[0] - rng.uniform(4, 30) / spacing[0] if len(kidneys) else np.inf
    first = max(int(min(lowest / spacing[0], below_kidneys)), 0)
    last = min(last, len(tissues) - 1)
    if len(shown):
        first, last = min(first, int(shown[0])), max(last, int(shown[-1]))
    slices = np.arange(first, last + 1)
    level = (slices * spacing[0] - site.origin_mm[0]) / site.height_mm
    expected = site.aorta if vessel == Tissue.AORTA else site.vena_cava
    forms = atlas.forms(vessel)
    form = forms[int(rng.integers(len(forms)))] * rng.uniform(0.2, 1.0)
    course = np.stack([np.interp(level, LEVELS, expected[:, n] + form[:, n]) for n in range(2)], -1) / spacing[1:]
    half = _half_axes(vessel, level, atlas, rng)
    if not len(shown):
        return _Tube(first, _pushed_aside(tissues, vessel, _Tube(first, course, half), spacing), half)
    own = np.array([np.argwhere(tissues[z] == vessel).mean(0) for z in shown])
    own_half = np.array([2 * (np.argwhere(tissues[z] == vessel) * spacing[1:]).std(0) for z in shown])
    steady = ndimage.gaussian_filter1d(own, 1.5, axis=0, mode="nearest")
    # beyond its ends the own course goes on as the expected one runs
    middles = (
        np.stack([np.interp(slices, shown, steady[:, n] - course[shown - first, n]) for n in range(2)], -1) + course
    )
    inside = (slices >= shown[0]) & (slices <= shown[-1])
    half = np.stack([np.interp(slices, shown, own_half[:, n]) for n in range(2)], -1).clip(2.0, 18.0)
    pushed = _pushed_aside(tissues, vessel, _Tube(first, middles, half), spacing)
    fade = np.exp(-np.maximum(shown[0] - slices, slices - shown[-1]).clip(0) * spacing[0] / 25.0)[:, None]
    return _Tube(first, np.where(inside[:, None], middles, fade * middles + (1 - fade) * pushed), half)


def _half_axes(vessel: Tissue, level: Floats, atlas: CourseAtlas, rng: np.random.Generator) -> Floats:
    """(n, 2) mm along y and x."""
    count = len(level)
    wave = ndimage.gaussian_filter1d(rng.standard_normal((count, 2)), 6.0, axis=0, mode="nearest")
    wave /= max(float(wave.std()), 1e-6)
    if vessel == Tissue.AORTA:
        real = atlas.half_mm[vessel]
        radius = float(np.nanmedian(real[int(rng.integers(len(real)))])) * rng.uniform(0.9, 1.12)
        taper = np.interp(level, (-0.6, 0.2, 1.2), (rng.uniform(0.72, 0.9), 0.95, rng.uniform(1.0, 1.15)))
        axes = radius * taper[:, None] * rng.uniform(0.94, 1.06, 2) * (1 + 0.03 * wave)
        return np.asarray(axes.clip(6.5, 17.0))
    across, deep = rng.uniform(7.5, 15.0), rng.uniform(0.35, 0.95)
    if rng.uniform() < 0.15:  # a slit, as in a patient who lost fluid
        deep = rng.uniform(0.2, 0.35)
    # narrow between liver and spine, wide where the renal and the hepatic veins enter
    width = np.interp(level, (-0.6, 0.0, 0.2, 0.5, 0.8, 1.05), (0.85, 0.95, 1.08, 1.0, 1.0, rng.uniform(1.0, 1.3)))
    depth = np.interp(level, (-0.6, 0.2, 0.6, 1.0), (deep, deep, min(deep * 1.25, 1.0), min(deep * 1.6, 1.1)))
    axes = across * width[:, None] * np.stack([depth * (1 + 0.18 * wave[:, 0]), 1 + 0.1 * wave[:, 1]], -1)
    return np.asarray(axes.clip((1.8, 5.0), (16.0, 18.0)))


def _pushed_aside(tissues: TissueMap, vessel: Tissue, tube: _Tube, spacing: Floats) -> Floats:
    """The middles of the cheapest course near the tube's: a dynamic programme over shifts in the axial plane.

    A shift costs its square over ``_PRIOR_MM``, a step between slices ``_STIFFNESS``, and what the tube would take the
    place of though it may not (organs, bone, the other vessel) its share of the tube.
    """
    weight = np.zeros(256, np.float32)
    weight[1:36] = 1.0
    weight[[int(t) for t in _SOFT_SPACE]] = 0.0
    weight[int(vessel)] = 0.0
    weight[0] = 1.0  # outside the body
    weight[int(Tissue.LUNG)] = 0.5
    weight[[int(t) for t in _BOWEL]] = 0.6
    if vessel == Tissue.VENA_CAVA:
        weight[int(Tissue.LIVER)] = 0.35
    reach = [int(_SEARCH_MM / mm) for mm in spacing[1:]]
    shifts = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1)
    prior = ((shifts * spacing[1:]) ** 2).sum(-1) / (2 * _PRIOR_MM**2)
    count = len(tube.middles)
    cost = np.empty((count, *prior.shape), np.float32)
    for n, (middle, half) in enumerate(zip(tube.middles, tube.half_mm, strict=True)):
        disc = _ellipse(half, spacing)
        sides = [size // 2 for size in disc.shape]
        rows, columns = (
            np.clip(np.arange(round(at) - r - side, round(at) + r + side + 1), 0, size - 1)
            for at, r, side, size in zip(middle, reach, sides, tissues.shape[1:], strict=True)
        )
        window = weight[tissues[tube.first + n][np.ix_(rows, columns)]]
        share = ndimage.correlate(window, disc.astype(np.float32) / disc.sum(), mode="nearest")
        inner = tuple(slice(side, size - side) for side, size in zip(sides, window.shape, strict=True))
        cost[n] = _BLOCKED * share[inner] + prior
    moves = _cheapest_path(cost)
    moved = tube.middles + ndimage.gaussian_filter1d(shifts[moves[:, 0], moves[:, 1]].astype(float), 2.0, axis=0)
    return np.asarray(moved)


def _cheapest_path(cost: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """(n, 2) indices of the path through ``cost`` (n, rows, columns), which moves at most one of each a slice."""
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    rows, columns = cost.shape[1:]
    best, came = cost[0], []
    for here in cost[1:]:
        padded = np.pad(best, 1, constant_values=np.inf)
        options = np.stack([
            padded[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns] + _STIFFNESS * (dy * dy + dx * dx)
            for dy, dx in steps
        ])  # fmt: skip
        came.append(options.argmin(0))
        best = options.min(0) + here
    at = np.unravel_index(int(best.argmin()), best.shape)
    path = [(int(at[0]), int(at[1]))]
    for choice in reversed(came):
        y, x = path[-1]
        dy, dx = steps[choice[y, x]]
        path.append((y + dy, x + dx))
    return np.array(path[::-1])


def _ellipse(half_mm: Floats, spacing: Floats) -> _Mask:
    sides = [int(np.ceil(half / mm)) for half, mm in zip(half_mm, spacing[1:], strict=True)]
    y, x = (np.arange(-side, side + 1) * mm for side, mm in zip(sides, spacing[1:], strict=True))
    disc: _Mask = (y[:, None] / half_mm[0]) ** 2 + (x[None, :] / half_mm[1]) ** 2 <= 1
    disc[sides[0], sides[1]] = True
    return disc


def _draw(tissues: TissueMap, tube: _Tube, tissue: Tissue, room: _Mask, spacing: Floats) -> None:
    """Fill the slices of the tube that do not show the vessel yet, wherever there is ``room``."""
    shown = (tissues == tissue).sum((1, 2)) >= 4
    for n, (middle, half) in enumerate(zip(tube.middles, tube.half_mm, strict=True)):
        z = tube.first + n
        if not shown[z]:
            tissues[z][_inside(tissues.shape, middle, half, spacing) & room[z]] = tissue


def _inside(shape: tuple[int, ...], middle: Floats, half: Floats, spacing: Floats) -> _Mask:
    y, x = (np.arange(size, dtype=np.float64) for size in shape[1:])
    down = ((y - middle[0]) * spacing[1] / half[0]) ** 2
    across = ((x - middle[1]) * spacing[2] / half[1]) ** 2
    # at least the voxel in the middle, however thin the vessel
    down[int(np.clip(round(middle[0]), 0, len(y) - 1))] = min(down.min(), 0.2)
    across[int(np.clip(round(middle[1]), 0, len(x) - 1))] = min(across.min(), 0.2)
    inside: _Mask = down[:, None] + across[None, :] <= 1
    return inside


def _draw_crura(tissues: TissueMap, aorta: _Tube, site: VesselSite, spacing: Floats, rng: np.random.Generator) -> None:
    """Bands of muscle on both sides of the aorta, the right one thicker and further to the front."""
    room = np.isin(tissues, (Tissue.FAT, Tissue.SOFT, Tissue.VESSEL))
    right_mm, left_mm = rng.uniform(4, 11), rng.uniform(2.5, 7)
    gap_mm, lowest = rng.uniform(0.5, 3.0), rng.uniform(-0.15, 0.1)
    y, x = (np.arange(size, dtype=np.float64) for size in tissues.shape[1:])
    for n, (middle, half) in enumerate(zip(aorta.middles, aorta.half_mm, strict=True)):
        z = aorta.first + n
        level = (z * spacing[0] - site.origin_mm[0]) / site.height_mm
        if not max(_CRURA_FROM, lowest) <= level <= _CRURA_TO:
            continue
        dy, dx = ((y - middle[0]) * spacing[1])[:, None], ((x - middle[1]) * spacing[2])[None, :]
        away = np.hypot(dy / half[0], dx / half[1])
        beyond_mm = (away - 1) * np.hypot(dy, dx) / np.maximum(away, 1e-6)
        grown = min(1.0, 0.35 + (level - lowest) / 0.5)
        # from behind the aorta's side to its front; above the coeliac artery both meet before it
        front = 0.2 + 1.3 * float(np.clip((level - 0.45) / 0.4, 0, 1))
        thick = np.where(dx < 0, right_mm, left_mm) * grown
        behind = dy <= half[0] * 1.3
        before = -dy <= half[0] * front
        band = (beyond_mm >= gap_mm) & (beyond_mm <= gap_mm + thick) & behind & before
        tissues[z][band & room[z]] = Tissue.MUSCLE


def _draw_atrium(tissues: TissueMap, cava: _Tube, spacing: Floats, rng: np.random.Generator) -> None:
    """The right atrium, into which the vena cava opens: heart, an ellipsoid above and before its end."""
    last = cava.first + len(cava.middles) - 1
    height = rng.uniform(22, 40)
    room = np.isin(tissues, (Tissue.FAT, Tissue.LUNG, Tissue.SOFT, Tissue.VESSEL, Tissue.MUSCLE, Tissue.AIRWAY))
    for z in range(last + 1, min(last + 1 + int(2 * height / spacing[0]), len(tissues))):
        share = (z - last) * spacing[0] / height - 1  # from -1 at the cava's end to 1
        wide = 24.0 * np.sqrt(max(1 - share * share, 0.0)) + 4.0 * (share < 0)
        middle = cava.middles[-1] - np.array([(1 + share) * 10.0, 0.0]) / spacing[1:]
        tissues[z][_inside(tissues.shape, middle, np.array([wide, wide * 0.85]), spacing) & room[z]] = Tissue.HEART


def _draw_iliacs(tissues: TissueMap, tube: _Tube, spacing: Floats, rng: np.random.Generator) -> None:
    """Below the bifurcation two vessels run apart; they are no part of the label."""
    room = np.isin(tissues, (Tissue.FAT, Tissue.SOFT, Tissue.MUSCLE))
    radius = float(tube.half_mm[0].mean()) * rng.uniform(0.5, 0.65)
    apart = rng.uniform(0.45, 0.75)
    start = tube.middles[0]
    for z in range(tube.first - 1, max(tube.first - int(_ILIAC_MM / spacing[0]), -1), -1):
        below = (tube.first - z) * spacing[0]
        for side in (-1, 1):
            middle = start + np.array([-0.25 * below, side * (radius * 0.8 + apart * below)]) / spacing[1:]
            half = np.array([radius, radius * 1.15])
            tissues[z][_inside(tissues.shape, middle, half, spacing) & room[z]] = Tissue.VESSEL


def _draw_renal_veins(tissues: TissueMap, cava: _Tube, spacing: Floats, rng: np.random.Generator) -> None:
    """From each kidney's inner side to the vena cava, the left one before the aorta."""
    room = np.isin(tissues, (Tissue.FAT, Tissue.SOFT))
    for kidney, inner in ((Tissue.RIGHT_KIDNEY, Tissue.RIGHT_MEDULLA), (Tissue.LEFT_KIDNEY, Tissue.LEFT_MEDULLA)):
        where = np.argwhere((tissues == kidney) | (tissues == inner))
        if not len(where):
            continue
        middle = where.mean(0)
        near = where[abs(where[:, 0] - middle[0]) * spacing[0] < 12]
        side = near[:, 2].max() if kidney == Tissue.RIGHT_KIDNEY else near[:, 2].min()
        end_z = int(np.clip(round(middle[0]) + int(rng.integers(0, 4)) - cava.first, 0, len(cava.middles) - 1))
        end = np.array([cava.first + end_z, *cava.middles[end_z]])
        start = np.array([middle[0], near[near[:, 2] == side][:, 1].mean(), side])
        through = (start + end) / 2
        if kidney == Tissue.LEFT_KIDNEY:
            through = _before_aorta(tissues, through, spacing)
        radius = rng.uniform(3.0, 5.5)
        for share in np.linspace(0, 1, 60):
            at = (1 - share) ** 2 * start + 2 * share * (1 - share) * through + share**2 * end
            z = round(float(at[0]))
            for slice_ in range(max(z - 1, 0), min(z + 2, len(tissues))):
                disc = _inside(tissues.shape, at[1:], np.array([radius, radius]), spacing)
                tissues[slice_][disc & room[slice_]] = Tissue.VESSEL


def _before_aorta(tissues: TissueMap, middle: Floats, spacing: Floats) -> Floats:
    """The point in front of the aorta in the slice of ``middle``; a curve through it passes there twice as far off."""
    z = int(np.clip(round(float(middle[0])), 0, len(tissues) - 1))
    aorta = np.argwhere(tissues[z] == Tissue.AORTA)
    if not len(aorta):
        return middle
    return np.array([middle[0], aorta[:, 0].min() - 14.0 / spacing[1], aorta[:, 1].mean()])
