"""How a painted scan was made: table, arms, metal, dose, slice thickness, round field of view."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.painting.body_sites import BodySites
from training.painting.kernel import NOISE_SIDE, add_noise, blur
from training.painting.look import Float3D, Look

PADDING_HU = -1024.0
"""What lies outside the scan; far below every window, as in the engine's tiles."""

_METAL_HU = 1600.0
"""No bone is painted as bright."""

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ScanSetup:
    """The probability of each in a sample."""

    table: float = 0.60
    arms: float = 0.12
    metal: float = 0.06
    thick_slices: float = 0.15
    low_dose: float = 0.12
    round_field: float = 0.12


USUAL_SETUP = ScanSetup()
PLAIN_SETUP = ScanSetup(*(0.0 for _ in fields(ScanSetup)))


def furnish(look: Look, sites: BodySites, setup: ScanSetup, rng: np.random.Generator) -> Look:
    """``look`` with a table under the body and arms beside it."""
    low, high = sites.body_box
    if rng.uniform() < setup.table:
        row = high[1] + rng.uniform(0, 5)
        curve = rng.uniform(0, 0.0035)
        half, thick = rng.uniform(90, 115), rng.uniform(6, 20)
        table = np.array([row, (low[2] + high[2]) / 2 + rng.normal(0, 5), curve, half, thick])
        look = look._replace(beside=look.beside._replace(table=table))
    if rng.uniform() < setup.arms:
        sides = rng.permutation(2)[: int(rng.integers(1, 3))]
        arms = []
        for side in sides:
            radius = rng.uniform(16, 26)  # voxels of 2 mm
            x = low[2] - 0.5 * radius if side == 0 else high[2] + 0.5 * radius
            y = low[1] + rng.uniform(0.4, 0.8) * (high[1] - low[1])
            tilt = rng.uniform(-0.15, 0.15, 2)
            middle = sites.centre[0]
            arms.append([y - tilt[0] * middle, x - tilt[1] * middle, radius, *tilt, rng.uniform(0.2, 0.35)])
        look = look._replace(beside=look.beside._replace(arms=np.array(arms, np.float64)))
    return look


def expose(
    image: Float3D, labels: Labels, spacing_zyx: tuple[float, float, float], banks: Float3D, setup: ScanSetup,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """In place: partial volume, streaks of metal, slice thickness, noise, the round field of view.

    ``banks`` are noise volumes (4, side, side, side): fine to coarse, then one of streaks along x.
    """
    in_plane = rng.uniform(0.08, 0.26)
    blur(image, rng.uniform(0.04, 0.24) if rng.uniform() < 0.75 else rng.uniform(0.24, 0.33), in_plane)
    _streak(image, rng)
    if rng.uniform() < setup.thick_slices:
        _thicken(image, int(rng.integers(2, 4)), int(rng.integers(3)))
    sigma = np.full(len(image), np.exp(rng.uniform(np.log(2.0), np.log(22.0))), np.float32)
    if rng.uniform() < setup.low_dose:
        sigma[:] = rng.uniform(18, 40)
        middle, width = rng.uniform(0, len(image)), rng.uniform(8, 25)
        # shoulders and hips absorb most along x
        streaks = rng.uniform(6, 25) * np.exp(-(((np.arange(len(image)) - middle) / width) ** 2))
        add_noise(image, banks[3], rng.integers(0, NOISE_SIDE, 3), streaks.astype(np.float32))
    add_noise(image, banks[0 if rng.uniform() < 0.7 else 1], rng.integers(0, NOISE_SIDE, 3), sigma)
    if rng.uniform() < setup.round_field:
        _round(image, labels, spacing_zyx, rng)


def cut_ends(image: Float3D, labels: Labels, rng: np.random.Generator) -> None:
    """In place: the scan ends inside the patch, above or below or both; now and then little of it is left."""
    depth = len(image)
    most = depth // 2 if rng.uniform() < 0.8 else int(0.85 * depth)
    sides = rng.permutation(2)[: 1 + (rng.uniform() < 0.3)] if most <= depth // 2 else rng.permutation(2)[:1]
    for side in sides:
        end = int(rng.integers(1, max(2, most)))
        part = slice(0, end) if side == 0 else slice(depth - end, depth)
        image[part], labels[part] = PADDING_HU, 0


def _streak(image: Float3D, rng: np.random.Generator) -> None:
    """Bright and dark rays about the metal of each slice that has some."""
    for z in np.flatnonzero((image > _METAL_HU).any((1, 2))):
        where = np.argwhere(image[z] > _METAL_HU)
        y, x = where.mean(0)
        rows, columns = np.mgrid[: image.shape[1], : image.shape[2]]
        away = np.hypot(rows - y, columns - x)
        rays = ndimage.gaussian_filter1d(rng.standard_normal(180), 1.2, mode="wrap")
        angle = np.arctan2(rows - y, columns - x)
        ray = rays[((angle / np.pi + 1) * 90).astype(int) % 180]
        strength = rng.uniform(60, 250) * min(1.0, len(where) / 12)
        image[z] += (strength * ray * 12 / (away + 8)).astype(np.float32)


def _thicken(image: Float3D, factor: int, first: int) -> None:
    """Average every ``factor`` slices and interpolate between the averages, as a resampled thick-slice scan."""
    groups = np.arange(first % factor, len(image) - factor + 1, factor)
    if len(groups) < 2:
        return
    inside = np.asarray((image > PADDING_HU + 1).any((1, 2)))
    thick = np.stack([image[start : start + factor].mean(0) for start in groups])
    at = np.clip((np.arange(len(image)) - groups[0] - (factor - 1) / 2) / factor, 0, len(groups) - 1)
    below = np.minimum(at.astype(int), len(groups) - 2)
    share = (at - below).astype(np.float32)
    for z in range(len(image)):
        # beyond the body there is nothing to average with
        if inside[z] and inside[max(z - factor, 0) : z + factor + 1].all():
            image[z] = (1 - share[z]) * thick[below[z]] + share[z] * thick[below[z] + 1]


def _round(image: Float3D, labels: Labels, spacing_zyx: tuple[float, float, float], rng: np.random.Generator) -> None:
    sides_mm = np.array(image.shape[1:]) * spacing_zyx[1:]
    centre = sides_mm / 2 + rng.uniform(-25, 25, 2)
    radius = rng.uniform(0.42, 0.58) * float(sides_mm.max())
    rows, columns = (np.arange(n) * mm for n, mm in zip(image.shape[1:], spacing_zyx[1:], strict=True))
    outside = np.hypot(rows[:, None] - centre[0], columns[None, :] - centre[1]) > radius
    image[:, outside], labels[:, outside] = PADDING_HU, 0
