"""Paint synthetic CT from completed bodies: deform, give every tissue its HU, texture, illness, blur and noise.

The labels come from the very lookup that the paint comes from, so they agree by construction.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.painting.body_sites import BodySites, SitesOfBodies
from training.painting.completion import BODY_SPACING_ZYX, REAL, Body
from training.painting.continued import carry_on
from training.painting.deformation import deformed_nodes
from training.painting.gallbladder import fill_gallbladder
from training.painting.gut_contents import fill_gut
from training.painting.kernel import NOISE_SIDE, paint
from training.painting.levels import level_out
from training.painting.look import Float3D, Look
from training.painting.pathology import HEALTHY, USUAL, Pathology, afflict, bend, draw_findings
from training.painting.scan_setup import PADDING_HU as PADDING_HU
from training.painting.scan_setup import USUAL_SETUP, ScanSetup, cut_ends, expose, furnish
from training.painting.spots import draw_spots
from training.painting.tissue import (
    PHASES,
    TISSUES,
    UNKNOWN_LABEL,
    Tissue,
    label_of_tissue,
    paint_hu,
)

Index = tuple[int, int, int]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Canvas:
    """What a stage wants painted: the patch, its voxels, and how far it strays from the organs' centre (mm, z y x)."""

    shape_zyx: Index
    spacing_zyx: Triple
    jitter_mm_zyx: Triple
    cut_probability: float
    """How often the scan ends inside the patch at its upper or lower side."""
    offset_mm_zyx: Triple = (0.0, 0.0, 0.0)
    """From the organs' centre to where the patches lie about."""
    far_probability: float = 0.0
    """How often the patch is jittered about a place above or below what the jitter itself reaches."""
    far_mm: float = 0.0
    """At most so far along z from the organs' centre is that place."""

    def offset_mm(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """(z, y, x) from the organs' centre to that of one patch, before it is jittered."""
        offset = np.array(self.offset_mm_zyx)
        # a recipe without such patches draws nothing more
        if self.far_probability and rng.uniform() < self.far_probability:
            offset[0] += rng.choice((-1.0, 1.0)) * rng.uniform(self.jitter_mm_zyx[0], self.far_mm)
        return offset


class Painter:
    """Paints samples of ``canvas`` from ``bodies``; the same generator state gives the same sample.

    ``phases`` says how often each contrast phase is painted, ``pathology`` and ``setup`` how often each finding and
    each way of scanning. Samples that keep all of a real scan's HU keep its anatomy as well; what of its labels cannot
    be believed is 255 (unknown) there. Of the bodies that a real scan was warped to, ``hybrid_probability`` says how
    often the background keeps its HU.
    """

    def __init__(
        self,
        bodies: Sequence[Body],
        canvas: Canvas,
        real_probability: float = 0.12,
        phases: Mapping[str, float] = PHASES,
        pathology: Pathology = USUAL,
        setup: ScanSetup = USUAL_SETUP,
        hybrid_probability: float = 0.5,
    ) -> None:
        # a library's bodies stay on disk: no list of them
        self.bodies, self.canvas, self.phases = bodies, canvas, phases
        self.pathology, self.setup = pathology, setup
        self.real = [i for i, body in enumerate(bodies) if body.name.startswith(REAL)]
        self.hybrid_probability = hybrid_probability
        self.real_probability = real_probability if self.real else 0.0
        self.sites = SitesOfBodies(bodies)
        self.banks = _noise_banks()

    def sample(self, rng: np.random.Generator) -> tuple[Float3D, npt.NDArray[np.uint8]]:
        """(z, y, x) HU and labels 0-13; of a real scan also 255, which teaches nothing."""
        if rng.uniform() < self.real_probability:
            which = int(rng.choice(self.real))
        else:
            which = int(rng.integers(len(self.bodies)))
        body, canvas, sites = self.bodies[which], self.canvas, self.sites[which]
        centre = sites.centre + canvas.offset_mm(rng) / BODY_SPACING_ZYX
        nodes = deformed_nodes(canvas.shape_zyx, canvas.spacing_zyx, centre, canvas.jitter_mm_zyx, rng)
        # streams of their own: one more finding leaves the rest of the scan as it was
        ill, healthy, made = (np.random.default_rng(seed) for seed in rng.integers(2**63, size=3))
        real = 2 if which in self.real else int(sites.has_hu and rng.uniform() < self.hybrid_probability)
        look = self._draw_look(nodes, sites, real, healthy, ill)
        look = furnish(look, sites, self.setup, made)
        shift = rng.integers(0, NOISE_SIDE, (4, 3)).astype(np.int64)
        image = np.empty(canvas.shape_zyx, np.float32)
        labels = np.empty(canvas.shape_zyx, np.uint8)
        paint(body.tissues, body.hu, nodes, self.banks, shift, look, image, labels)
        expose(image, labels, canvas.spacing_zyx, self.banks, self.setup, made)
        if rng.uniform() < canvas.cut_probability:
            cut_ends(image, labels, rng)
        return image, labels

    def _draw_look(
        self, nodes: Float3D, sites: BodySites, real: int, healthy: np.random.Generator, ill: np.random.Generator
    ) -> Look:
        """One scan's look; ``nodes`` are moved where organs swell."""
        pathology = HEALTHY if real == 2 else self.pathology
        findings = draw_findings(sites, pathology, ill)
        bend(nodes, sites, findings, pathology, ill)
        phase = str(healthy.choice(list(self.phases), p=list(self.phases.values())))
        look = _healthy_look(phase, real, healthy)
        if real == 2:  # what is painted beyond the real scan's ends continues it
            for tissue, hu in sites.real_hu.items():
                look.hu[tissue] = hu
        fill_gut(look, sites, findings.stomach, findings.alike_gut, healthy, findings.drink)
        look = afflict(look, sites, findings, phase, pathology, ill)
        # a stream of its own, too
        look = carry_on(look, sites, phase if real != 2 else "plain", healthy.spawn(1)[0])
        metal = real != 2 and ill.uniform() < self.setup.metal
        look = look._replace(spots=draw_spots(look, sites, findings, pathology, metal, ill))
        look = level_out(look, sites, nodes)
        # drawn last: whatever else is found stays where it was
        if Tissue.GALLBLADDER not in findings.absent and ill.uniform() < pathology.full_gallbladder:
            look = fill_gallbladder(look, sites, ill)
        return look


def _healthy_look(phase: str, real: int, rng: np.random.Generator) -> Look:
    rough, patchy = np.full(TISSUES, 4.0, np.float32), np.full(TISSUES, 5.0, np.float32)
    for tissue, fine, coarse in (
        (Tissue.AIR, 4, 2), (Tissue.LUNG, 25, 30), (Tissue.SPONGIOSA, 60, 30), (Tissue.CORTICAL_BONE, 90, 30),
        (Tissue.FAT, 8, 8), (Tissue.PANCREAS, 14, 6), (Tissue.MUSCLE, 9, 7), (Tissue.HEART, 8, 25),
        (Tissue.VENA_CAVA, 5, rng.uniform(0, 30)), (Tissue.SPLEEN, 4, rng.uniform(2, 22 if phase == "arterial" else 6)),
    ):  # fmt: skip
        rough[tissue], patchy[tissue] = fine, coarse
    vessel = np.zeros(TISSUES, np.float32)
    vessel[Tissue.LIVER] = rng.uniform(0.10, 0.22)
    vessel[Tissue.LUNG] = rng.uniform(0.10, 0.25)
    vessel[Tissue.FAT] = rng.uniform(0.08, 0.22)
    return Look(
        hu=paint_hu(phase, rng), rough=rough, patchy=patchy, vessel=vessel,
        fold=np.zeros(TISSUES, np.float32), gas=np.full(TISSUES, 99.0, np.float32),
        level=np.full(TISSUES, -1e9, np.float32),
        label=label_of_tissue(), absent=np.zeros(TISSUES, np.uint8), loops=99.0, real=real,
        mixing=np.array([0.0, 0.0, 1.0]),
    )  # fmt: skip


@functools.cache
def _noise_banks() -> Float3D:
    """(4, side, side, side): isotropic from fine to coarse, then streaks along x."""
    rng = np.random.default_rng(20220)
    return np.stack([_periodic_noise(rng, sigma) for sigma in (0.7, 1.6, 4.0, (0.7, 0.9, 10.0))])


def _periodic_noise(rng: np.random.Generator, sigma: float | Triple) -> Float3D:
    noise = ndimage.gaussian_filter(rng.standard_normal((NOISE_SIDE,) * 3), sigma, mode="wrap")
    periodic: Float3D = ((noise - noise.mean()) / noise.std()).astype(np.float32)
    return periodic


def coarsen(
    image: Float3D, labels: npt.NDArray[np.uint8], factor: Literal[2] = 2
) -> tuple[Float3D, npt.NDArray[np.uint8]]:
    """Average HU over 2x2x2 voxels, as a scan sampled on a coarse grid shows them; foreground where most is organ.

    Unknown is where the unknown voxels decide.
    """
    z, y, x = (size // factor for size in image.shape)
    blocks = (z, factor, y, factor, x, factor)
    small = image.reshape(blocks).mean((1, 3, 5), dtype=np.float32)
    most = (labels > 0).reshape(blocks).mean((1, 3, 5), dtype=np.float32) >= 0.5
    known = (labels > 0) & (labels != UNKNOWN_LABEL)
    surely = known.reshape(blocks).mean((1, 3, 5), dtype=np.float32) >= 0.5
    return small, np.where(surely, 1, np.where(most, UNKNOWN_LABEL, 0)).astype(np.uint8)


FINE_CANVAS = Canvas((64, 96, 128), (3.0, 2.5, 2.5), (75.0, 30.0, 40.0), 0.3)
