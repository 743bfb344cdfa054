"""Paint synthetic CT from completed bodies: deform, give every tissue its HU, texture, lesions, blur and noise.

The labels come from the very lookup that the paint comes from, so they agree by construction. A sample of
64x96x128 voxels takes about 0.15 s on one core (measured in docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from training.anatomy import TissueMap
from training.bodies import REAL
from training.completion import BODY_SPACING_ZYX, Body
from training.tissue import PHASES, TISSUES, Tissue, label_of_tissue, paint_hu

Float3D = npt.NDArray[np.float32]
Index = tuple[int, int, int]
Triple = tuple[float, float, float]

PADDING_HU = -1024.0
"""What lies outside the scan; far below every window, as in the engine's tiles."""

_NODE_STEP = 8
_BANK = 128
_CONTENTS = (Tissue.STOMACH_CONTENT, Tissue.DUODENUM_CONTENT, Tissue.COLON_CONTENT, Tissue.BOWEL_CONTENT)


@dataclass(frozen=True)
class Canvas:
    """What a stage wants painted: the patch, its voxels, and how far it strays from the organs' centre (mm, z y x)."""

    shape_zyx: Index
    spacing_zyx: Triple
    jitter_mm_zyx: Triple
    cut_probability: float
    """How often the scan ends inside the patch at its upper or lower side."""


@dataclass(frozen=True)
class _Paint:
    """One scan's look, as arrays that compiled code can take."""

    hu: Float3D  # (TISSUES,)
    rough: Float3D  # (TISSUES,) amplitude of the fine texture, HU
    patchy: Float3D  # (TISSUES,) amplitude of the coarse texture, HU
    vessel_width: Float3D  # (TISSUES,) half width of the noise shells whose crossings are vessels
    gas_above: Float3D  # (TISSUES,) coarse noise above this is gas
    gas_level_y: Float3D  # (TISSUES,) source row above (anterior of) which contents are gas
    label: npt.NDArray[np.uint8]
    lesions: Float3D  # (n, 9) source z y x, radii z y x, HU, edge noise, kind


class Painter:
    """Paints samples of ``canvas`` from ``bodies``; the same generator state gives the same sample.

    ``phases`` says how often each contrast phase is painted.
    """

    def __init__(
        self,
        bodies: Sequence[Body],
        canvas: Canvas,
        real_probability: float = 0.12,
        phases: Mapping[str, float] = PHASES,
    ) -> None:
        self.bodies, self.canvas, self.phases = list(bodies), canvas, phases
        self.real = [i for i, body in enumerate(bodies) if body.name.startswith(REAL)]
        self.real_probability = real_probability if self.real else 0.0
        self.centres = [_organ_centre(body) for body in bodies]
        self.levels = [_content_rows(body) for body in bodies]
        bank = np.random.default_rng(20220)
        self.banks = np.stack([_periodic_noise(bank, sigma) for sigma in (0.7, 1.6, 4.0)])

    def sample(self, rng: np.random.Generator) -> tuple[Float3D, npt.NDArray[np.uint8]]:
        """(z, y, x) HU and labels 0-13."""
        if rng.uniform() < self.real_probability:
            which = int(rng.choice(self.real))
        else:
            which = int(rng.integers(len(self.bodies)))
        body, canvas = self.bodies[which], self.canvas
        nodes = _deformed_nodes(canvas, self.centres[which], rng)
        paint = _draw_paint(body, self.levels[which], self.phases, rng)
        real = 2 if which in self.real else int(body.hu.any() and rng.uniform() < 0.3)
        shift = rng.integers(0, _BANK, (4, 3)).astype(np.int64)
        image = np.empty(canvas.shape_zyx, np.float32)
        labels = np.empty(canvas.shape_zyx, np.uint8)
        _paint(
            body.tissues, body.hu, real, nodes, self.banks, shift, paint.hu, paint.rough, paint.patchy,
            paint.vessel_width, paint.gas_above, paint.gas_level_y, paint.label, paint.lesions, image, labels,
        )  # fmt: skip
        self._finish(image, labels, rng)
        return image, labels

    def _finish(self, image: Float3D, labels: npt.NDArray[np.uint8], rng: np.random.Generator) -> None:
        """Partial volume, slice thickness, noise, field of view and the ends of the scan."""
        in_plane = rng.uniform(0.08, 0.26)
        _blur(image, rng.uniform(0.04, 0.24) if rng.uniform() < 0.75 else rng.uniform(0.24, 0.33), in_plane)
        sigma = float(np.exp(rng.uniform(np.log(2.0), np.log(22.0))))
        shift = rng.integers(0, _BANK, 3)
        _add_noise(image, self.banks[0 if rng.uniform() < 0.7 else 1], shift, sigma)
        depth = image.shape[0]
        if rng.uniform() < self.canvas.cut_probability:
            for side in rng.permutation(2)[: 1 + (rng.uniform() < 0.3)]:
                end = int(rng.integers(1, max(2, depth // 2)))
                part = slice(0, end) if side == 0 else slice(depth - end, depth)
                image[part], labels[part] = PADDING_HU, 0


def _periodic_noise(rng: np.random.Generator, sigma: float) -> Float3D:
    noise = ndimage.gaussian_filter(rng.standard_normal((_BANK, _BANK, _BANK)), sigma, mode="wrap")
    periodic: Float3D = ((noise - noise.mean()) / noise.std()).astype(np.float32)
    return periodic


def _organ_centre(body: Body) -> npt.NDArray[np.float64]:
    where = np.argwhere(np.isin(body.tissues, (1, 2, 3, 4, 9, 13)))
    return np.asarray((where.min(0) + where.max(0)) / 2)


def _content_rows(body: Body) -> dict[int, tuple[float, float]]:
    """First and last row (y) of each hollow organ's contents: where a gas-fluid level can stand."""
    rows = {}
    for tissue in _CONTENTS:
        where = np.flatnonzero((body.tissues == tissue).any((0, 2)))
        if len(where):
            rows[int(tissue)] = (float(where[0]), float(where[-1]))
    return rows


def _deformed_nodes(canvas: Canvas, centre: npt.NDArray[np.float64], rng: np.random.Generator) -> Float3D:
    """(nz, ny, nx, 3) source indices of every eighth voxel of the patch, and one beyond."""
    counts = [size // _NODE_STEP + 2 for size in canvas.shape_zyx]
    axes = [
        (np.arange(n) * _NODE_STEP - (size - 1) / 2) * mm
        for n, size, mm in zip(counts, canvas.shape_zyx, canvas.spacing_zyx, strict=True)
    ]
    mm = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    turn = Rotation.from_euler("zyx", [rng.uniform(-12, 12), rng.uniform(-5, 5), rng.uniform(-5, 5)], degrees=True)
    scale = np.exp(np.clip(rng.normal(0, 0.1), -0.2, 0.2)) * (1 + rng.uniform(-0.08, 0.08, 3))
    shear = np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3)) * (1 - np.eye(3))
    # rotations are in (x, y, z); the arrays are (z, y, x)
    matrix = turn.as_matrix()[::-1, ::-1] @ shear @ np.diag(scale)
    mm = mm @ matrix.T
    for sigma_mm, amplitude_mm in ((45.0, rng.uniform(0, 14)), (18.0, rng.uniform(0, 4))):
        sigma = [sigma_mm / (_NODE_STEP * step) for step in canvas.spacing_zyx]
        for axis in range(3):
            field = ndimage.gaussian_filter(rng.standard_normal(counts), sigma, mode="reflect")
            mm[..., axis] += amplitude_mm * field / max(float(field.std()), 1e-6) * 0.6
    jitter = rng.uniform(-1, 1, 3) * canvas.jitter_mm_zyx
    index: Float3D = ((mm + jitter) / BODY_SPACING_ZYX + centre).astype(np.float32)
    return index


def _draw_paint(
    body: Body, rows: dict[int, tuple[float, float]], phases: Mapping[str, float], rng: np.random.Generator
) -> _Paint:
    phase = str(rng.choice(list(phases), p=list(phases.values())))
    hu = paint_hu(phase, rng)
    rough, patchy = np.full(TISSUES, 4.0, np.float32), np.full(TISSUES, 5.0, np.float32)
    vessel, gas = np.zeros(TISSUES, np.float32), np.full(TISSUES, 99.0, np.float32)
    level = np.full(TISSUES, -1e9, np.float32)
    for tissue, fine, coarse in (
        (Tissue.AIR, 4, 2), (Tissue.LUNG, 25, 30), (Tissue.SPONGIOSA, 60, 30), (Tissue.CORTICAL_BONE, 90, 30),
        (Tissue.FAT, 8, 8), (Tissue.PANCREAS, 14, 6), (Tissue.MUSCLE, 9, 7), (Tissue.HEART, 8, 25),
        (Tissue.VENA_CAVA, 5, rng.uniform(0, 30)), (Tissue.SPLEEN, 4, rng.uniform(2, 22 if phase == "arterial" else 6)),
    ):  # fmt: skip
        rough[tissue], patchy[tissue] = fine, coarse
    vessel[Tissue.LIVER] = rng.uniform(0.10, 0.22)
    vessel[Tissue.LUNG] = rng.uniform(0.10, 0.25)
    vessel[Tissue.FAT] = rng.uniform(0.08, 0.22)
    for tissue in _CONTENTS:
        _draw_content(int(tissue), rows.get(int(tissue)), hu, rough, patchy, gas, level, rng)
    label = label_of_tissue()
    if rng.uniform() < 0.08:  # cholecystectomy: no gallbladder, and no label either
        hu[Tissue.GALLBLADDER], label[Tissue.GALLBLADDER] = hu[Tissue.FAT], 0
    return _Paint(hu, rough, patchy, vessel, gas, level, label, _draw_lesions(body, hu, rng))


def _draw_content(
    tissue: int, rows: tuple[float, float] | None, hu: Float3D, rough: Float3D, patchy: Float3D, gas: Float3D,
    level: Float3D, rng: np.random.Generator,
) -> None:  # fmt: skip
    kind = rng.choice(["fluid", "food", "contrast", "wall"], p=[0.45, 0.3, 0.1, 0.15])
    if tissue == Tissue.COLON_CONTENT and kind in ("fluid", "wall"):
        kind = "stool"
    if kind == "fluid":
        hu[tissue], rough[tissue] = rng.uniform(-5, 40), 5
    elif kind == "wall":  # collapsed
        hu[tissue], rough[tissue] = hu[Tissue.STOMACH], 6
    elif kind == "contrast":
        hu[tissue], rough[tissue] = rng.uniform(120, 500), 20
    else:
        hu[tissue], rough[tissue], patchy[tissue] = rng.uniform(-60, 60), rng.uniform(10, 60), rng.uniform(10, 60)
    often = 0.75 if tissue == Tissue.COLON_CONTENT else 0.45
    if rng.uniform() < often:
        gas[tissue] = rng.uniform(0.2, 1.6)
    if rows is not None and rng.uniform() < 0.6:
        level[tissue] = rows[0] + rng.uniform(0, 0.7) * (rows[1] - rows[0])


def _draw_lesions(body: Body, hu: Float3D, rng: np.random.Generator) -> Float3D:
    """Cysts and tumours in solid organs (kind 0), and now and then a large mass that pushes into fat and bowel (1)."""
    lesions = []
    for organ, most in ((Tissue.LIVER, 4), (Tissue.RIGHT_KIDNEY, 2), (Tissue.LEFT_KIDNEY, 2), (Tissue.SPLEEN, 1)):
        if rng.uniform() > 0.3:
            continue
        flat = np.flatnonzero(body.tissues[::4].ravel() == organ)
        if len(flat) == 0:
            continue
        for _ in range(int(rng.integers(1, most + 1))):
            z, y, x = np.unravel_index(int(rng.choice(flat)), body.tissues[::4].shape)
            radius = rng.uniform(3, 18) * rng.uniform(0.7, 1.3, 3) / BODY_SPACING_ZYX
            density = rng.uniform(-5, 25) if rng.uniform() < 0.5 else hu[organ] + rng.uniform(-60, 50)
            lesions.append([z * 4, y, x, *radius, density, rng.uniform(0, 0.3), 0])
    if rng.uniform() < 0.15:
        spot = _organ_centre(body) + rng.normal(0, 1, 3) * np.array([90, 40, 70]) / BODY_SPACING_ZYX
        radius = rng.uniform(20, 80) * rng.uniform(0.6, 1.4, 3) / BODY_SPACING_ZYX
        lesions.append([*spot, *radius, rng.uniform(0, 60), rng.uniform(0, 0.4), 1])
    return np.array(lesions, np.float32).reshape(-1, 9)


@numba.njit(cache=True, fastmath=True, nogil=True)
def _paint(
    tissues: TissueMap,
    real_hu: npt.NDArray[np.int16],
    real: int,
    nodes: Float3D,
    banks: Float3D,
    shift: npt.NDArray[np.int64],
    hu: Float3D,
    rough: Float3D,
    patchy: Float3D,
    vessel: Float3D,
    gas: Float3D,
    level: Float3D,
    label: npt.NDArray[np.uint8],
    lesions: Float3D,
    image: Float3D,
    labels: npt.NDArray[np.uint8],
) -> None:
    """Fill ``image`` (HU) and ``labels``; ``real`` is 1 to keep the real HU of the background, 2 of everything."""
    step = 8
    depth, height, width = image.shape
    sz, sy, sx = tissues.shape
    mask = 127
    for z in range(depth):
        nz, fz = z // step, (z % step) / step
        for y in range(height):
            ny, fy = y // step, (y % step) / step
            # the nodes of this row, already interpolated in z and y
            for x in range(width):
                nx, fx = x // step, (x % step) / step
                p0 = p1 = p2 = 0.0
                for a in range(2):
                    wa = fz if a else 1 - fz
                    for b in range(2):
                        wb = wa * (fy if b else 1 - fy)
                        for c in range(2):
                            w = wb * (fx if c else 1 - fx)
                            p0 += w * nodes[nz + a, ny + b, nx + c, 0]
                            p1 += w * nodes[nz + a, ny + b, nx + c, 1]
                            p2 += w * nodes[nz + a, ny + b, nx + c, 2]
                i, j, k = round(p0), round(p1), round(p2)
                if j < 0 or j >= sy or k < 0 or k >= sx or i < 0 or i >= sz:
                    # beyond the body map: air beside it, the end of the scan above and below
                    labels[z, y, x] = 0
                    image[z, y, x] = -1000.0 if 0 <= i < sz else -1024.0
                    continue
                t = tissues[i, j, k]
                n1 = banks[1, (z + shift[0, 0]) & mask, (y + shift[0, 1]) & mask, (x + shift[0, 2]) & mask]
                n2 = banks[2, (z + shift[1, 0]) & mask, (y + shift[1, 1]) & mask, (x + shift[1, 2]) & mask]
                n3 = banks[2, (z + shift[2, 0]) & mask, (y + shift[2, 1]) & mask, (x + shift[2, 2]) & mask]
                organ = label[t]
                value = hu[t] + rough[t] * n1 + patchy[t] * n2
                if vessel[t] > 0 and abs(n2) < vessel[t] and abs(n3) < vessel[t]:
                    value = hu[25]
                if t == 4 and n1 > 1.1:
                    value -= 70  # fat between the pancreas's lobules
                if t >= 32 and (n3 > gas[t] or j < level[t]):
                    value = -950 + 10 * n1
                # 0 is where the real scan does not reach: beside the body and beyond its field of view
                background = organ == 0 and (t < 14 or t >= 16)
                if real_hu[i, j, k] != 0 and (real == 2 or (real == 1 and background)):
                    value = real_hu[i, j, k]
                if real != 2:
                    for n in range(lesions.shape[0]):
                        dz = (p0 - lesions[n, 0]) / lesions[n, 3]
                        dy = (p1 - lesions[n, 1]) / lesions[n, 4]
                        dx = (p2 - lesions[n, 2]) / lesions[n, 5]
                        if dz * dz + dy * dy + dx * dx < 1 + lesions[n, 7] * n2:
                            if lesions[n, 8] == 0:
                                if t == 1 or t == 2 or t == 3 or t == 13 or t == 30 or t == 31:
                                    value = lesions[n, 6] + rough[t] * n1
                            elif organ == 0 and (t == 14 or t == 15 or t == 21 or t == 25 or t == 26 or t >= 34):
                                value = lesions[n, 6] + 6 * n1 + 8 * n2
                image[z, y, x] = value
                labels[z, y, x] = organ


@numba.njit(cache=True, fastmath=True, nogil=True)
def _blur(image: Float3D, across: float, in_plane: float) -> None:
    """In place, three taps (w, 1 - 2w, w) along each axis."""
    depth, height, width = image.shape
    for z in range(depth):
        for y in range(height):
            before = image[z, y, 0]
            for x in range(1, width - 1):
                here = image[z, y, x]
                image[z, y, x] = here + in_plane * (before - 2 * here + image[z, y, x + 1])
                before = here
    before_row = np.empty(width, image.dtype)
    for z in range(depth):
        before_row[:] = image[z, 0]
        for y in range(1, height - 1):
            for x in range(width):
                here = image[z, y, x]
                image[z, y, x] = here + in_plane * (before_row[x] - 2 * here + image[z, y + 1, x])
                before_row[x] = here
    before_slice = image[0].copy()
    for z in range(1, depth - 1):
        for y in range(height):
            for x in range(width):
                here = image[z, y, x]
                image[z, y, x] = here + across * (before_slice[y, x] - 2 * here + image[z + 1, y, x])
                before_slice[y, x] = here


@numba.njit(cache=True, fastmath=True, nogil=True)
def _add_noise(image: Float3D, bank: Float3D, shift: npt.NDArray[np.int64], sigma: float) -> None:
    depth, height, width = image.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                image[z, y, x] += sigma * bank[(z + shift[0]) & 127, (y + shift[1]) & 127, (x + shift[2]) & 127]


def coarsen(
    image: Float3D, labels: npt.NDArray[np.uint8], factor: Literal[2] = 2
) -> tuple[Float3D, npt.NDArray[np.uint8]]:
    """Average HU over 2x2x2 voxels, as a scan sampled on a coarse grid shows them; foreground where most is organ."""
    z, y, x = (size // factor for size in image.shape)
    blocks = (z, factor, y, factor, x, factor)
    small = image.reshape(blocks).mean((1, 3, 5), dtype=np.float32)
    share = (labels > 0).reshape(blocks).mean((1, 3, 5), dtype=np.float32)
    return small, (share >= 0.5).astype(np.uint8)


COARSE_CANVAS = Canvas((128, 128, 192), (3.0, 3.0, 3.0), (170.0, 40.0, 40.0), 0.6)
FINE_CANVAS = Canvas((64, 96, 128), (3.0, 2.5, 2.5), (75.0, 30.0, 40.0), 0.3)
