"""Where the voxels of a painted patch lie in the body: turned, scaled, sheared, bent, and one organ swollen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from training.painting.completion import BODY_SPACING_ZYX
from training.painting.kernel import NODE_STEP
from training.painting.look import Float3D

Float64 = npt.NDArray[np.float64]
Triple = tuple[float, float, float]

_SHIFT_REACH_MM = np.array([110.0, 60.0, 60.0])
_TURN_REACH_MM = 70.0


def deformed_nodes(
    shape_zyx: tuple[int, int, int], spacing_zyx: Triple, centre: Float64, jitter_mm_zyx: Triple,
    rng: np.random.Generator,
) -> Float3D:  # fmt: skip
    """(nz, ny, nx, 3) indices in the body of every eighth voxel of the patch, and one beyond."""
    counts = [size // NODE_STEP + 2 for size in shape_zyx]
    axes = [
        (np.arange(n) * NODE_STEP - (size - 1) / 2) * mm
        for n, size, mm in zip(counts, shape_zyx, spacing_zyx, strict=True)
    ]
    mm = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    turn = Rotation.from_euler("zyx", [rng.uniform(-12, 12), rng.uniform(-5, 5), rng.uniform(-5, 5)], degrees=True)
    scale = np.exp(np.clip(rng.normal(0, 0.1), -0.2, 0.2)) * (1 + rng.uniform(-0.08, 0.08, 3))
    shear = np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3)) * (1 - np.eye(3))
    # rotations are in (x, y, z); the arrays are (z, y, x)
    matrix = turn.as_matrix()[::-1, ::-1] @ shear @ np.diag(scale)
    mm = mm @ matrix.T
    for sigma_mm, amplitude_mm in ((45.0, rng.uniform(0, 19)), (18.0, rng.uniform(0, 6))):
        sigma = [sigma_mm / (NODE_STEP * step) for step in spacing_zyx]
        for axis in range(3):
            field = ndimage.gaussian_filter(rng.standard_normal(counts), sigma, mode="reflect")
            mm[..., axis] += amplitude_mm * field / max(float(field.std()), 1e-6) * 0.6
    jitter = rng.uniform(-1, 1, 3) * jitter_mm_zyx
    index: Float3D = ((mm + jitter) / BODY_SPACING_ZYX + centre).astype(np.float32)
    return index


def move(nodes: Float3D, centre: Float64, shift_mm: Float64, turn: Rotation) -> None:
    """Move ``nodes`` so that what lies at ``centre`` is painted ``shift_mm`` (z, y, x) away and turned there.

    The shift fades to none 110 mm above and below and 60 mm to the sides, the turn (its vector in z, y, x) 70 mm away.
    Nothing is folded over by shifts up to 60 mm along z and 25 mm across, and by any turn: a ball's shells turn as they
    are.
    """
    mm = np.asarray(BODY_SPACING_ZYX)
    there = (nodes - centre) * mm - shift_mm
    faded = np.clip(1 - ((there / _TURN_REACH_MM) ** 2).sum(-1), 0, None) ** 2
    vectors = -turn.as_rotvec() * faded.reshape(-1, 1)
    turned = Rotation.from_rotvec(vectors).apply(there.reshape(-1, 3)).reshape(there.shape)
    # between where it lay and where it is painted, so that both are well inside
    between = (turned + shift_mm / 2) / _SHIFT_REACH_MM
    share = np.clip(1 - (between**2).sum(-1), 0, None) ** 2
    nodes[...] = (turned + shift_mm - share[..., None] * shift_mm) / mm + centre


def swell(nodes: Float3D, centre: Float64, reach_mm: float, strength: float) -> None:
    """Move ``nodes`` so that what lies round ``centre`` is painted 1 / (1 - ``strength``) times as large.

    The change fades to none ``reach_mm`` away, so that the neighbours give way. Below 0 it shrinks; from -0.6 to 0.6
    nothing is folded over.
    """
    away = nodes - centre.astype(np.float32)
    near = np.clip(1 - ((away * np.asarray(BODY_SPACING_ZYX, np.float32) / reach_mm) ** 2).sum(-1), 0, None) ** 2
    nodes -= strength * near[..., None] * away
