"""Ellipsoids painted into chosen tissues: cysts, tumours, stones, plaque, thrombus, the renal pelvis, metal."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from training.painting.body_sites import BodySites
from training.painting.completion import BODY_SPACING_ZYX
from training.painting.look import OWN_TEXTURE_SPOT, PLAIN_SPOT, SPECKLED_SPOT, Look, Spots
from training.painting.pathology import Findings, Pathology, Tumour
from training.painting.tissue import Tissue

_SOLID_ORGANS = frozenset(int(organ) for organ in (1, 2, 3, 4, 13))

_BACKGROUND = (
    Tissue.COLON, Tissue.SMALL_BOWEL, Tissue.FAT, Tissue.VESSEL, Tissue.SOFT, Tissue.COLON_CONTENT,
    Tissue.BOWEL_CONTENT, Tissue.PORTAL_VEIN,
)  # fmt: skip
_HOLD_METAL = (Tissue.SPONGIOSA, Tissue.CORTICAL_BONE, Tissue.MUSCLE, *_BACKGROUND)
TUMOUR_MM = (10.0, 150.0)
"""Diameters of tumours along each of their axes, before the patient is deformed."""

_ARTERIES = (Tissue.AORTA, Tissue.AORTA_BEYOND)
_SOLID = (
    # organ, most lesions, the tissues that show them
    (Tissue.LIVER, 4, (Tissue.LIVER, Tissue.HEPATIC_VEIN, Tissue.PORTAL_BRANCH)),
    (Tissue.RIGHT_KIDNEY, 2, (Tissue.RIGHT_KIDNEY, Tissue.RIGHT_MEDULLA)),
    (Tissue.LEFT_KIDNEY, 2, (Tissue.LEFT_KIDNEY, Tissue.LEFT_MEDULLA)),
    (Tissue.SPLEEN, 1, (Tissue.SPLEEN,)),
    (Tissue.PANCREAS, 1, (Tissue.PANCREAS,)),
)


def draw_spots(
    look: Look, sites: BodySites, findings: Findings, often: Pathology, metal: bool, rng: np.random.Generator
) -> Spots:
    """All spots of one scan, later ones over earlier ones."""
    drawn = _Drawn(sites, rng)
    for organ, most, into in _SOLID:
        if rng.uniform() < often.lesions * (0.5 if organ == Tissue.PANCREAS else 1):
            for _ in range(int(rng.integers(1, most + 1))):
                hu = rng.uniform(-5, 25) if rng.uniform() < 0.5 else look.hu[organ] + rng.uniform(-60, 50)
                drawn.add(organ, rng.uniform(3, 18), hu, into, edge=rng.uniform(0, 0.3), texture=OWN_TEXTURE_SPOT)
    for tumour in findings.tumours:
        _add_tumour(drawn, tumour, look, rng)
    if rng.uniform() < often.liver_like_mass:
        _add_liver_like_mass(drawn, float(look.hu[Tissue.LIVER]), rng)
    if rng.uniform() < often.fluid_by_stomach:  # a pocket of ascites that may pass for the stomach
        hu = look.hu[Tissue.STOMACH_CONTENT] + rng.normal(0, 4) if rng.uniform() < 0.5 else rng.uniform(0, 25)
        drawn.add(Tissue.STOMACH, rng.uniform(12, 45), float(np.clip(hu, -10, 45)), _BACKGROUND, edge=0.2)
    if rng.uniform() < often.mass:
        spot = sites.centre + rng.normal(0, 1, 3) * np.array([90, 40, 70]) / BODY_SPACING_ZYX
        radius, hu, edge = rng.uniform(20, 80), rng.uniform(0, 60), rng.uniform(0, 0.4)
        if hu < 35 and _near_gallbladder(spot, sites):
            hu += 35  # a smooth bag of fluid there is a gallbladder
        drawn.add_at(spot, radius, hu, _BACKGROUND, edge=edge)
    if rng.uniform() < often.gallstones:
        hu = rng.uniform(60, 500)
        for _ in range(int(rng.integers(1, 5))):
            drawn.add(Tissue.GALLBLADDER, rng.uniform(2, 8), hu, (Tissue.GALLBLADDER,))
    if findings.aneurysm is not None:  # a crescent of thrombus: a ball about a point beside the lumen's middle
        beside = findings.aneurysm + rng.normal(0, 3, 3)
        drawn.add_at(beside, rng.uniform(8, 14), rng.uniform(25, 55), _ARTERIES, edge=0.1)
    if rng.uniform() < often.plaque and Tissue.AORTA in sites.places:
        arteries = np.concatenate([sites.places[tissue] for tissue in _ARTERIES if tissue in sites.places])
        for _ in range(int(rng.integers(2, 15))):
            spot = _at_the_wall(arteries, rng)
            drawn.add_at(spot, rng.uniform(1.5, 4), rng.uniform(150, 1000), _ARTERIES, edge=0.3)
    if rng.uniform() < often.renal_pelvis:
        _add_pelves(drawn, rng)
    if metal:
        holders = (Tissue.SPONGIOSA, Tissue.CORTICAL_BONE, Tissue.FAT, Tissue.SOFT)
        held = [tissue for tissue in holders if tissue in sites.places] or [Tissue.FAT]
        for _ in range(int(rng.integers(1, 5))):
            tissue = held[int(rng.integers(len(held)))]
            drawn.add(tissue, rng.uniform(2, 9), rng.uniform(2000, 3000), _HOLD_METAL)
    return drawn.spots()


def _add_tumour(drawn: _Drawn, tumour: Tumour, look: Look, rng: np.random.Generator) -> None:
    """Darker or brighter than its organ, or fluid; large ones with a necrotic middle; lipiodol in specks."""
    own, kind = float(look.hu[tumour.into[0]]), rng.uniform()
    if kind < 0.55:
        hu = max(own - rng.uniform(20, 70), 5)
    else:
        hu = own + rng.uniform(20, 80) if kind < 0.85 else rng.uniform(-5, 30)
    half_axes_mm = np.clip(drawn.half_axes_mm(tumour.radius_mm), TUMOUR_MM[0] / 2, TUMOUR_MM[1] / 2)
    drawn.add_ellipsoid(tumour.centre, half_axes_mm, hu, tumour.into, edge=rng.uniform(0, 0.3))
    if tumour.radius_mm > 12 and rng.uniform() < 0.5:
        share, off = rng.uniform(0.3, 0.7), rng.uniform(-0.2, 0.2, 3) * tumour.radius_mm / BODY_SPACING_ZYX
        drawn.add_at(tumour.centre + off, share * tumour.radius_mm, rng.uniform(0, 30), tumour.into, edge=0.4)
    if tumour.lipiodol:
        brightness = rng.uniform(300, 1500)
        filled = rng.uniform(0.5, 1) * half_axes_mm
        drawn.add_ellipsoid(tumour.centre, filled, brightness, tumour.into, 0.3, SPECKLED_SPOT)


def _add_liver_like_mass(drawn: _Drawn, liver_hu: float, rng: np.random.Generator) -> None:
    """In the pelvis or beside the gut, as bright as the liver, and clear of it."""
    sites, radius, hu = drawn.sites, rng.uniform(15, 60), liver_hu + rng.normal(0, 8)
    gut = [tissue for tissue in (Tissue.COLON, Tissue.SMALL_BOWEL, Tissue.STOMACH) if tissue in sites.places]
    liver = sites.places.get(int(Tissue.LIVER))
    lowest = min(box[0][0] for tissue, box in sites.box.items() if tissue in _SOLID_ORGANS)
    for _ in range(6):
        if rng.uniform() < 0.5 or not gut:
            away = np.array([-rng.uniform(0, 100), rng.normal(0, 30), rng.normal(0, 50)]) / BODY_SPACING_ZYX
            spot = np.array([lowest, *sites.centre[1:]]) + away
        else:
            places = sites.places[gut[int(rng.integers(len(gut)))]]
            spot = places[int(rng.integers(len(places)))]
        # its axes are up to 40 % longer than its radius
        if liver is None or np.linalg.norm((liver - spot) * BODY_SPACING_ZYX, axis=1).min() > 1.4 * radius + 15:
            drawn.add_at(spot, radius, hu, _BACKGROUND, edge=rng.uniform(0, 0.3))
            return
        radius *= 0.8


def _near_gallbladder(spot: npt.NDArray[np.float64], sites: BodySites) -> bool:
    places = sites.places.get(int(Tissue.GALLBLADDER))
    if places is None:
        return False
    return bool(np.linalg.norm((spot - places.mean(0)) * BODY_SPACING_ZYX) < 80)


def _at_the_wall(places: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """One of the places that lie farthest from the middle of a vessel's slice."""
    level = places[int(rng.integers(len(places))), 0]
    same = places[places[:, 0] == level]
    away = np.hypot(*(same - same.mean(0)).T[1:])
    outer = same[away >= np.median(away)]
    return np.asarray(outer[int(rng.integers(len(outer)))])


def _add_pelves(drawn: _Drawn, rng: np.random.Generator) -> None:
    """Urine, or contrast excreted into it, in the middle of one kidney or of both."""
    hu = rng.uniform(0, 15) if rng.uniform() < 0.5 else rng.uniform(200, 600)
    size = rng.uniform(6, 22) if hu < 100 else rng.uniform(4, 12)
    kept = rng.permutation(2)[: int(rng.integers(1, 3))]
    for side in kept:
        medulla = (Tissue.RIGHT_MEDULLA, Tissue.LEFT_MEDULLA)[int(side)]
        if medulla in drawn.sites.places:
            middle = drawn.sites.places[medulla].mean(0)
            drawn.add_at(middle, size, hu, (medulla,), edge=0.5)
            if hu < 100 and size > 16:  # the cortex thins
                cortex = (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY)[int(side)]
                drawn.add_at(middle, 0.9 * size, hu, (medulla, cortex), edge=0.3)


class _Drawn:
    """Collects spots; a place is drawn from the body's own."""

    def __init__(self, sites: BodySites, rng: np.random.Generator) -> None:
        self.sites, self._rng = sites, rng
        self._rows: list[list[float]] = []
        self._bits: list[int] = []

    def add(
        self, tissue: Tissue, radius_mm: float, hu: float, into: Iterable[Tissue], edge: float = 0.0,
        texture: int = PLAIN_SPOT,
    ) -> None:  # fmt: skip
        """One somewhere in ``tissue``; none if the body has none of it."""
        places = self.sites.places.get(int(tissue))
        if places is not None:
            self.add_at(places[int(self._rng.integers(len(places)))], radius_mm, hu, into, edge, texture)

    def add_at(
        self, centre: npt.NDArray[np.float64], radius_mm: float, hu: float, into: Iterable[Tissue], edge: float = 0.0,
        texture: int = PLAIN_SPOT,
    ) -> None:  # fmt: skip
        """One at ``centre``, its half axes 65 to 140 % of ``radius_mm``."""
        self.add_ellipsoid(centre, self.half_axes_mm(radius_mm), hu, into, edge, texture)

    def half_axes_mm(self, radius_mm: float) -> npt.NDArray[np.float64]:
        """(3,) mm along z, y, x."""
        return radius_mm * self._rng.uniform(0.65, 1.4, 3)

    def add_ellipsoid(
        self, centre: npt.NDArray[np.float64], half_axes_mm: npt.NDArray[np.float64], hu: float,
        into: Iterable[Tissue], edge: float = 0.0, texture: int = PLAIN_SPOT,
    ) -> None:  # fmt: skip
        """One at ``centre``."""
        radii = half_axes_mm / BODY_SPACING_ZYX
        self._rows.append([*centre, *np.maximum(radii, 0.6), hu, edge, float(texture)])
        self._bits.append(sum(1 << int(tissue) for tissue in into))

    def spots(self) -> Spots:
        return Spots(np.array(self._rows, np.float64).reshape(-1, 9), np.array(self._bits, np.int64))
