"""Illness and surgery in painted CT: how often, and what they change in a scan's look and shape."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from training.painting.body_sites import BodySites
from training.painting.completion import BODY_SPACING_ZYX
from training.painting.deformation import move, swell
from training.painting.gut_contents import Drink, Stomach
from training.painting.look import Ascites, Float3D, Look, WetLungs
from training.painting.tissue import Tissue


@dataclass(frozen=True)
class Pathology:
    """The probability of each finding in a sample; ``lesions`` for each of the solid organs."""

    no_gallbladder: float = 0.08
    full_gallbladder: float = 0.5
    no_spleen: float = 0.04
    no_kidney: float = 0.04
    ascites: float = 0.08
    dilated_stomach: float = 0.10
    empty_stomach: float = 0.10
    alike_gut: float = 0.35
    effusion: float = 0.08
    airless_lung_base: float = 0.12
    gallstones: float = 0.08
    bile_like_duodenum: float = 0.15
    mixing: float = 0.35
    plaque: float = 0.20
    aneurysm: float = 0.05
    renal_pelvis: float = 0.12
    swelling: float = 0.60
    lesions: float = 0.30
    mass: float = 0.15
    oral_contrast: float = 0.20
    moved_kidney: float = 0.10
    tumour: float = 0.18
    lipiodol: float = 0.04
    liver_like_mass: float = 0.08
    fluid_by_stomach: float = 0.06


_SWELL = (
    Tissue.LIVER, Tissue.SPLEEN, Tissue.GALLBLADDER, Tissue.LEFT_KIDNEY, Tissue.RIGHT_KIDNEY, Tissue.PANCREAS,
    Tissue.LEFT_ADRENAL, Tissue.RIGHT_ADRENAL, Tissue.STOMACH, Tissue.DUODENUM, Tissue.COLON,
)  # fmt: skip

_TUMOURS: dict[Tissue, tuple[float, tuple[Tissue, ...]]] = {
    # organ: how often, the tissues that show them
    Tissue.LIVER: (0.45, (Tissue.LIVER, Tissue.HEPATIC_VEIN, Tissue.PORTAL_BRANCH)),
    Tissue.SPLEEN: (0.10, (Tissue.SPLEEN,)),
    Tissue.PANCREAS: (0.20, (Tissue.PANCREAS,)),
    Tissue.RIGHT_KIDNEY: (0.125, (Tissue.RIGHT_KIDNEY, Tissue.RIGHT_MEDULLA)),
    Tissue.LEFT_KIDNEY: (0.125, (Tissue.LEFT_KIDNEY, Tissue.LEFT_MEDULLA)),
}
_TUMOUR_RADIUS_MM = (5.0, 75.0)
_BULGES_MM = 12.0

USUAL = Pathology()
HEALTHY = Pathology(*(0.0 for _ in fields(Pathology)))
"""Nothing of it: what is painted is what the body map says."""


@dataclass(frozen=True)
class Tumour:
    """One mass in an organ, whose label it keeps."""

    into: tuple[Tissue, ...]
    """The organ's tissues, its outer one first."""
    centre: npt.NDArray[np.float64]
    radius_mm: float
    lipiodol: bool


@dataclass(frozen=True)
class Findings:
    """What was drawn for one sample."""

    absent: tuple[int, ...]
    stomach: Stomach
    alike_gut: bool
    aneurysm: npt.NDArray[np.float64] | None
    """Its centre (z, y, x), or None."""
    drink: Drink
    tumours: tuple[Tumour, ...]


def draw_findings(sites: BodySites, often: Pathology, rng: np.random.Generator) -> Findings:
    """What is removed, and what changes the shape or the fill of organs."""
    absent: list[int] = []
    if rng.uniform() < often.no_gallbladder:
        absent.append(Tissue.GALLBLADDER)
    if rng.uniform() < often.no_spleen:
        absent.append(Tissue.SPLEEN)
    if rng.uniform() < often.no_kidney:  # never both
        right = rng.uniform() < 0.5
        absent += [Tissue.RIGHT_KIDNEY, Tissue.RIGHT_MEDULLA] if right else [Tissue.LEFT_KIDNEY, Tissue.LEFT_MEDULLA]
    chance = rng.uniform()
    stomach: Stomach = "usual"
    if chance < often.dilated_stomach:
        stomach = "dilated"
    elif chance > 1 - often.empty_stomach:
        stomach = "empty"
    alike = bool(rng.uniform() < often.alike_gut)
    aneurysm = None
    if rng.uniform() < often.aneurysm and Tissue.AORTA in sites.places and Tissue.LIVER in sites.box:
        aorta = sites.places[Tissue.AORTA]
        below = aorta[aorta[:, 0] < sites.centre[0]]
        if len(below):
            aneurysm = below[int(rng.integers(len(below)))]
    gone = tuple(int(tissue) for tissue in absent)
    drink: Drink = "none"
    if rng.uniform() < often.oral_contrast:
        chance = rng.uniform()
        drink = "both" if chance < 0.45 else "bowel" if chance < 0.8 else "stomach"
    return Findings(gone, stomach, alike, aneurysm, drink, _draw_tumours(sites, gone, often, rng))


def _draw_tumours(
    sites: BodySites, absent: tuple[int, ...], often: Pathology, rng: np.random.Generator
) -> tuple[Tumour, ...]:
    """At most one tumour, and at most one that was embolised with lipiodol, in the liver."""
    there = [organ for organ in _TUMOURS if organ in sites.places and organ not in absent]
    drawn = []
    any_tumour, embolised = rng.uniform() < often.tumour, rng.uniform() < often.lipiodol
    if any_tumour and there:
        shares = np.array([_TUMOURS[organ][0] for organ in there])
        drawn.append(_tumour_of(there[int(rng.choice(len(there), p=shares / shares.sum()))], sites, False, rng))
    if embolised and Tissue.LIVER in there:
        drawn.append(_tumour_of(Tissue.LIVER, sites, True, rng))
    return tuple(drawn)


def _tumour_of(organ: Tissue, sites: BodySites, lipiodol: bool, rng: np.random.Generator) -> Tumour:
    places = sites.places[organ]
    radius = float(np.exp(rng.uniform(*np.log(_TUMOUR_RADIUS_MM))))
    if organ != Tissue.LIVER:
        radius = min(radius, 45.0)
    return Tumour(_TUMOURS[organ][1], places[int(rng.integers(len(places)))], radius, lipiodol)


def bend(nodes: Float3D, sites: BodySites, findings: Findings, often: Pathology, rng: np.random.Generator) -> None:
    """Swell or shrink organs by moving ``nodes``."""
    if findings.stomach != "usual" and Tissue.STOMACH in sites.places:
        strength = rng.uniform(0.2, 0.5) if findings.stomach == "dilated" else rng.uniform(-0.4, -0.1)
        _swell_organ(nodes, sites, Tissue.STOMACH, strength)
    if findings.aneurysm is not None:
        swell(nodes, findings.aneurysm, rng.uniform(35, 60), rng.uniform(0.25, 0.55))
    for tumour in findings.tumours:
        if tumour.radius_mm > _BULGES_MM:
            swell(nodes, tumour.centre, 1.8 * tumour.radius_mm, rng.uniform(0.05, 0.4))
    if rng.uniform() < often.moved_kidney:
        _move_kidney(nodes, sites, findings, rng)
    if rng.uniform() < often.swelling:
        for number in rng.choice(len(_SWELL), int(rng.integers(1, 4)), replace=False):
            organ = _SWELL[number]
            if organ in sites.places and organ not in findings.absent:
                _swell_organ(nodes, sites, organ, rng.uniform(-0.35, 0.45))


def _move_kidney(nodes: Float3D, sites: BodySites, findings: Findings, rng: np.random.Generator) -> None:
    """One kidney lies low, is turned, or both; what is round it gives way."""
    kidney = Tissue.RIGHT_KIDNEY if rng.uniform() < 0.5 else Tissue.LEFT_KIDNEY
    shift = np.array([-rng.uniform(15, 60), rng.uniform(-12, 12), rng.uniform(-8, 8)])
    axis = rng.normal(0, 1, 3)
    turn = Rotation.from_rotvec(np.deg2rad(rng.uniform(15, 70)) * axis / np.linalg.norm(axis))
    kind = rng.uniform()
    if kidney in sites.places and kidney not in findings.absent:
        lies_low, turned = kind < 0.75, kind > 0.45
        move(nodes, sites.places[kidney].mean(0), shift * lies_low, turn if turned else Rotation.identity())


def _swell_organ(nodes: Float3D, sites: BodySites, organ: Tissue, strength: float) -> None:
    low, high = sites.box[organ]
    half_mm = (high - low) / 2 * np.asarray(BODY_SPACING_ZYX)
    swell(nodes, sites.places[organ].mean(0), float(max(25.0, 1.3 * half_mm.max())), strength)


def afflict(
    look: Look, sites: BodySites, findings: Findings, phase: str, often: Pathology, rng: np.random.Generator
) -> Look:
    """``look`` with everything that is painted rather than bent; its tables are changed in place."""
    for tissue in findings.absent:
        look.label[tissue], look.absent[tissue] = 0, 1
    look = look._replace(loops=rng.uniform(0.3, 1.5))
    if rng.uniform() < often.bile_like_duodenum:
        look.hu[Tissue.GALLBLADDER] = look.hu[Tissue.DUODENUM_CONTENT] + rng.normal(0, 4)
    mixing = min(1.0, often.mixing * (2 if phase == "arterial" else 1))
    if rng.uniform() < mixing and phase != "plain" and Tissue.RIGHT_KIDNEY in sites.places:
        if phase == "arterial":  # the kidneys' blood comes first
            look.hu[Tissue.VENA_CAVA] += rng.uniform(0, 80)
        renal = float(sites.places[Tissue.RIGHT_KIDNEY][:, 0].mean()) + rng.uniform(-8, 8)
        below = rng.uniform(35, 70) - float(look.hu[Tissue.VENA_CAVA])
        look = look._replace(mixing=np.array([renal, min(below, 0.0), rng.uniform(4, 20)]))
    look = _wet_belly(look, sites, often, rng)
    return _wet_lungs(look, sites, often, rng)


def _wet_belly(look: Look, sites: BodySites, often: Pathology, rng: np.random.Generator) -> Look:
    if rng.uniform() >= often.ascites:
        return look
    upto = float(np.exp(rng.uniform(np.log(6), np.log(40)))) if rng.uniform() < 0.7 else rng.uniform(60, 200)
    floats = int(upto > 25 and rng.uniform() < 0.6)
    return look._replace(ascites=Ascites(upto, rng.uniform(0, 25), floats, sites.belly_mm))


def _wet_lungs(look: Look, sites: BodySites, often: Pathology, rng: np.random.Generator) -> Look:
    """Pleural effusion and airless lung, each on one side or on both."""
    lung = sites.places.get(int(Tissue.LUNG))
    if lung is None:
        return look
    lungs, middle = look.chest.sides.copy(), float(sites.centre[2])
    effusion, airless = rng.uniform() < often.effusion, rng.uniform() < often.airless_lung_base
    both = rng.uniform() < 0.5
    one = int(rng.integers(2))
    for side in range(2):
        own = lung[(lung[:, 2] < middle) if side == 0 else (lung[:, 2] >= middle)]
        if len(own) < 10 or not (both or side == one):
            continue
        base, back = np.percentile(own[:, 0], 2), np.percentile(own[:, 1], 98)
        if effusion:
            lungs[side, 0] = back - rng.uniform(5, 45)
        if airless:
            lungs[side, 2] = base + rng.uniform(4, 22)
    return look._replace(chest=WetLungs(lungs, np.array([rng.uniform(0, 20), rng.uniform(20, 60)]), middle))
