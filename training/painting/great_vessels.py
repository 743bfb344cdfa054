"""Aorta and vena cava of a completed body, with the crura beside them, drawn along courses that real patients show.

A template's vessels arrive torn and thinned where the warp squeezes them, and end where its field of view ends. Drawn
are: an aorta from its bifurcation to the chest, as wide as in the maps that show one (14 to 32 mm); a vena cava from
its bifurcation to the right atrium, from a slit to 35 mm, which lies in the liver's groove and, where there is none,
in the liver; and what is beside them, which is no part of either label. Widths: Erbel & Eggebrecht, Heart 2006; Prince
et al., Radiology 1983.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.painting.anatomy import TissueMap
from training.painting.tissue import TISSUES, Tissue
from training.painting.vessel_courses import LEVELS, CourseAtlas, Floats, Frame
from training.painting.vessel_neighbours import Tube, draw_atrium, draw_crura, draw_iliacs, draw_renal_veins, inside

_Mask = npt.NDArray[np.bool_]
Triple = tuple[float, float, float]

_SOFT_SPACE = (
    Tissue.MUSCLE, Tissue.FAT, Tissue.LUNG, Tissue.HEART, Tissue.VESSEL, Tissue.SOFT, Tissue.CARTILAGE, Tissue.AIRWAY,
    Tissue.PORTAL_VEIN, Tissue.AORTA_BEYOND, Tissue.CAVA_BEYOND,
)  # fmt: skip
"""What a vessel takes the place of. Bone and organs stay, but for the liver where the vena cava runs through it, and
loops of bowel that no course can go round."""

_BOWEL = (Tissue.COLON, Tissue.COLON_CONTENT, Tissue.SMALL_BOWEL, Tissue.BOWEL_CONTENT)
_SEARCH_MM, _FURTHER_MM = 18.0, 34.0
"""How far a course is pushed aside; and where an organ still tears the vessel."""
_TORN = 0.5
"""Of a slice of the tube, what may not be drawn."""
_PRIOR_MM = 9.0
_STIFFNESS = 0.25
"""Cost of one step sideways (2 mm) from a slice to the next; a tube wholly inside an organ costs ``_BLOCKED``."""

_BLOCKED, _NEVER = 6.0, 1e6
_FORK_BELOW_MM, _FORK_SPREAD_MM, _FORK_RANGE_MM = 70.0, 21.0, (32.0, 121.0)
"""How far below the kidneys' middle aortas fork: mean, standard deviation and range of the 34 maps that show it."""
_CAVA_FORKS_BELOW_MM = (3.0, 25.0)
_ABOVE_LIVER_MM = 75.0
_WIDEST_CAVA_MM = 35.0
_KINKED = 0.15
"""How many aortas have a kink: a share chosen by eye, as is how far it bows."""


@dataclass(frozen=True)
class VesselSite:
    """What is needed to draw a body's vessels anew: its frame, on the body's grid, and the most likely courses.

    ``courses`` holds for each vessel (level, 2) mm y and x on the body's axes; ``origin_mm`` and ``height_mm`` say at
    which z the levels lie. ``ends_mm`` is the z at which the map shows that aorta and vena cava end below, NaN where it
    does not.
    """

    origin_mm: Floats
    height_mm: float
    aorta: Floats
    vena_cava: Floats
    ends_mm: tuple[float, float] = (np.nan, np.nan)


def site_of(
    frame: Frame, atlas: CourseAtlas, grid_origin_zyx: Floats, ends_mm: tuple[float, float] = (np.nan, np.nan)
) -> VesselSite:
    """Where the atlas expects both vessels, on a grid whose first voxel is at ``grid_origin_zyx`` mm.

    ``ends_mm``, on that grid, are the lower ends that the map shows.
    """
    origin = frame.origin_mm - grid_origin_zyx
    courses = [atlas.expected(frame, vessel) + origin[1:] for vessel in (Tissue.AORTA, Tissue.VENA_CAVA)]
    return VesselSite(origin, frame.height_mm, courses[0], courses[1], ends_mm)


def draw_great_vessels(
    tissues: TissueMap, spacing_zyx: Triple, site: VesselSite, atlas: CourseAtlas, rng: np.random.Generator
) -> None:
    """Draw in place, in ``tissues`` (z, y, x, canonical axes), what of both vessels is not there yet.

    A vessel that the patient's own map shows keeps its shape; it is only continued to its natural ends. Where the map
    goes on below a vessel's end, that is its fork.
    """
    spacing = np.asarray(spacing_zyx)
    liver = np.flatnonzero((tissues == Tissue.LIVER).any((1, 2)))
    if not len(liver):
        return
    top = int(liver[-1])
    forks = _forks_mm(tissues, site, spacing_zyx[0], rng)
    above = top + int(_ABOVE_LIVER_MM / spacing[0])
    aorta = _tube(tissues, Tissue.AORTA, site, atlas, spacing, forks[Tissue.AORTA], above, rng)
    _draw(tissues, aorta, Tissue.AORTA, np.isin(tissues, (*_SOFT_SPACE, *_BOWEL)), spacing)
    atrium = top + round(float(rng.uniform(-4, 22)) / spacing[0])
    cava = _tube(tissues, Tissue.VENA_CAVA, site, atlas, spacing, forks[Tissue.VENA_CAVA], atrium, rng)
    # the liver surrounds the upper cava in some patients; the map's author drew it whole in others
    upper = np.arange(len(tissues))[:, None, None] > liver[0] + 0.45 * (top - liver[0])
    room = np.isin(tissues, (*_SOFT_SPACE, *_BOWEL)) | ((tissues == Tissue.LIVER) & upper)
    _draw(tissues, cava, Tissue.VENA_CAVA, room, spacing)
    draw_crura(tissues, aorta, float(site.origin_mm[0]), site.height_mm, spacing, rng)
    draw_atrium(tissues, cava, spacing, rng)
    draw_iliacs(tissues, aorta, Tissue.AORTA_BEYOND, spacing, rng)
    draw_iliacs(tissues, cava, Tissue.CAVA_BEYOND, spacing, rng)
    draw_renal_veins(tissues, cava, spacing, rng)


def _tube(
    tissues: TissueMap, vessel: Tissue, site: VesselSite, atlas: CourseAtlas, spacing: Floats, fork_mm: float,
    last: int, rng: np.random.Generator,
) -> Tube:  # fmt: skip
    """The vessel as a tube from ``fork_mm`` to slice ``last``, through the slices that the map shows already."""
    shown = np.flatnonzero((tissues == vessel).sum((1, 2)) >= 4)
    first = max(round(fork_mm / spacing[0]), 0)
    last = min(last, len(tissues) - 1)
    if len(shown):
        first, last = min(first, int(shown[0])), max(last, int(shown[-1]))
    slices = np.arange(first, last + 1)
    level = (slices * spacing[0] - site.origin_mm[0]) / site.height_mm
    expected = site.aorta if vessel == Tissue.AORTA else site.vena_cava
    forms = atlas.forms(vessel)
    form = forms[int(rng.integers(len(forms)))] * rng.uniform(0.2, 1.0)
    course = np.stack([np.interp(level, LEVELS, expected[:, n] + form[:, n]) for n in range(2)], -1) / spacing[1:]
    of_kink = rng.spawn(1)[0]
    if vessel == Tissue.AORTA and of_kink.uniform() < _KINKED:
        course += _kink_mm(level, site.height_mm, of_kink) / spacing[1:]
    half = _half_axes(vessel, level, atlas, rng)
    if not len(shown):
        return Tube(first, _pushed_aside(tissues, vessel, Tube(first, course, half), spacing), half)
    own = np.array([np.argwhere(tissues[z] == vessel).mean(0) for z in shown])
    own_half = np.array([2 * (np.argwhere(tissues[z] == vessel) * spacing[1:]).std(0) for z in shown])
    steady = ndimage.gaussian_filter1d(own, 1.5, axis=0, mode="nearest")
    # beyond its ends the own course goes on as the expected one runs
    middles = (
        np.stack([np.interp(slices, shown, steady[:, n] - course[shown - first, n]) for n in range(2)], -1) + course
    )
    inside = (slices >= shown[0]) & (slices <= shown[-1])
    half = np.stack([np.interp(slices, shown, own_half[:, n]) for n in range(2)], -1).clip(2.0, 18.0)
    pushed = _pushed_aside(tissues, vessel, Tube(first, middles, half), spacing)
    fade = np.exp(-np.maximum(shown[0] - slices, slices - shown[-1]).clip(0) * spacing[0] / 25.0)[:, None]
    return Tube(first, np.where(inside[:, None], middles, fade * middles + (1 - fade) * pushed), half)


def _forks_mm(tissues: TissueMap, site: VesselSite, dz: float, rng: np.random.Generator) -> dict[Tissue, float]:
    """The z at which each vessel begins: where the map shows it, else drawn.

    A vena cava forks below the aorta, and it has taken up both renal veins before.
    """
    drawn = float(np.clip(rng.normal(_FORK_BELOW_MM, _FORK_SPREAD_MM), *_FORK_RANGE_MM))
    aorta, cava = site.ends_mm
    if np.isnan(aorta):
        aorta = float(site.origin_mm[0]) - drawn
    if np.isnan(cava):
        cava = aorta - float(rng.uniform(*_CAVA_FORKS_BELOW_MM))
        kidneys = np.flatnonzero(np.isin(tissues, (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY)).any((1, 2)))
        if len(kidneys):
            cava = min(cava, float(kidneys[0]) * dz - float(rng.uniform(*_CAVA_FORKS_BELOW_MM)))
    return {Tissue.AORTA: aorta, Tissue.VENA_CAVA: cava}


def _kink_mm(level: Floats, height_mm: float, rng: np.random.Generator) -> Floats:
    """(n, 2) mm y and x: an aorta that grew too long bends to the front and to a side, below the diaphragm."""
    middle, reach_mm = rng.uniform(-0.4, 0.7), rng.uniform(14, 30)
    bow = np.exp(-0.5 * ((level - middle) * height_mm / reach_mm) ** 2)
    return np.asarray(bow[:, None] * np.array([-rng.uniform(0, 10), rng.choice((-1, 1)) * rng.uniform(6, 18)]))


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
    return np.asarray(axes.clip((1.8, 5.0), (16.0, _WIDEST_CAVA_MM / 2)))


def _pushed_aside(
    tissues: TissueMap, vessel: Tissue, tube: Tube, spacing: Floats, search_mm: float = _SEARCH_MM
) -> Floats:
    """The middles of the cheapest course near the tube's: a dynamic programme over shifts in the axial plane.

    A shift costs its square over ``_PRIOR_MM``, a step between slices ``_STIFFNESS``, and what the tube would take the
    place of though it may not (organs, bone, the other vessel) its share of the tube.
    """
    weight = np.zeros(256, np.float32)
    weight[1:TISSUES] = 1.0
    weight[[int(t) for t in _SOFT_SPACE]] = 0.0
    weight[int(vessel)] = 0.0
    weight[0] = 1.0  # outside the body
    weight[int(Tissue.LUNG)] = 0.5
    weight[[int(t) for t in _BOWEL]] = 0.6
    if vessel == Tissue.VENA_CAVA:
        weight[int(Tissue.LIVER)] = 0.35
    reach = [int(search_mm / mm) for mm in spacing[1:]]
    shifts = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1)
    prior = ((shifts * spacing[1:]) ** 2).sum(-1) / (2 * (_PRIOR_MM * search_mm / _SEARCH_MM) ** 2)
    if vessel == Tissue.VENA_CAVA:  # however far it is pushed, it does not pass to the left of the aorta
        prior[shifts[..., 1] * spacing[2] > _SEARCH_MM] = _NEVER
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
    blocked = (cost - prior)[np.arange(count), moves[:, 0], moves[:, 1]] / _BLOCKED
    if blocked.max() > _TORN and search_mm < _FURTHER_MM:
        return _pushed_aside(tissues, vessel, tube, spacing, _FURTHER_MM)
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


def _draw(tissues: TissueMap, tube: Tube, tissue: Tissue, room: _Mask, spacing: Floats) -> None:
    """Fill the slices of the tube that do not show the vessel yet, wherever there is ``room``."""
    shown = (tissues == tissue).sum((1, 2)) >= 4
    for n, (middle, half) in enumerate(zip(tube.middles, tube.half_mm, strict=True)):
        z = tube.first + n
        if not shown[z]:
            tissues[z][inside(tissues.shape, middle, half, spacing) & room[z]] = tissue
