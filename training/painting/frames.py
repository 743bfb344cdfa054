"""A body's own frame: landmarks that any two bodies share, and the smooth map from one body's frame to another's.

Where a scan ends decides how much of the aorta and the spine a map shows, so their ends are no landmarks: their middles
at the heights of the kidneys and the liver are. The front and the sides of what fills the belly stand for its wall.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from scipy.interpolate import RBFInterpolator

from training.painting.anatomy import TissueMap
from training.painting.completion import BODY_SPACING_ZYX
from training.painting.tissue import TISSUES, Tissue

Float64 = npt.NDArray[np.float64]
Landmarks = Mapping[str, Float64]
"""By name: (3,) mm along z, y, x from the body's first voxel."""

_Value = TypeVar("_Value", np.uint8, np.int16)

NODE_STEP = 6
"""Voxels between two nodes that a map between frames is evaluated at."""

_KIDNEYS = (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY)
_SHAPED = (Tissue.LIVER, Tissue.SPLEEN, *_KIDNEYS)
_BONE = (Tissue.SPONGIOSA, Tissue.CORTICAL_BONE)
_BELLY = (
    Tissue.LIVER, Tissue.SPLEEN, Tissue.PANCREAS, Tissue.GALLBLADDER, Tissue.STOMACH, Tissue.DUODENUM, Tissue.COLON,
    Tissue.SMALL_BOWEL, Tissue.STOMACH_CONTENT, Tissue.DUODENUM_CONTENT, Tissue.COLON_CONTENT, Tissue.BOWEL_CONTENT,
)  # fmt: skip
_FEWEST_VOXELS = 20
_FEWEST_LANDMARKS = 12
_BESIDE_SPINE_MM = 30.0
_SPINE_DEPTH_MM = 75.0
_SLAB_MM = 12.0
_BEYOND_MM = 15.0
_SMOOTHING = 1.0
"""Of the spline over decimetres. At 0.05, which is completion's, it folds for 14 of 19 pairs of real bodies; now 0."""


@dataclass(frozen=True)
class _Members:
    """Voxel indices (n, 3) of tissues, from one pass over the body."""

    tissues: TissueMap

    def of(self, members: Iterable[int], between: slice = slice(None)) -> Float64:
        table = np.zeros(TISSUES, np.bool_)
        table[list(members)] = True
        where = np.argwhere(table[self.tissues[between]]).astype(np.float64)
        where[:, 0] += between.start or 0
        return where


def landmarks_of(tissues: TissueMap) -> dict[str, Float64]:
    """What can be found of: liver, spleen and kidneys (centroid, six ends), spine, aorta, belly's wall, pelvic organs.

    Names are the same for every body, so that two bodies' landmarks pair up by name.
    """
    body = _Members(tissues)
    voxels: dict[str, Float64] = {}
    heights: dict[str, float] = {}
    for organ in _SHAPED:
        inner = {Tissue.RIGHT_KIDNEY: Tissue.RIGHT_MEDULLA, Tissue.LEFT_KIDNEY: Tissue.LEFT_MEDULLA}.get(organ, organ)
        where = body.of((organ, inner))
        if len(where) < _FEWEST_VOXELS:
            continue
        voxels[f"{organ.name} centre"] = where.mean(0)
        for axis, name in enumerate("zyx"):
            low, high = np.percentile(where[:, axis], (3, 97))
            voxels[f"{organ.name} low {name}"] = where[where[:, axis] <= low].mean(0)
            voxels[f"{organ.name} high {name}"] = where[where[:, axis] >= high].mean(0)
    kidneys = [organ.name for organ in _KIDNEYS if f"{organ.name} centre" in voxels]
    for level in ("low z", "centre", "high z"):
        if kidneys:
            heights[f"kidneys {level}"] = float(np.mean([voxels[f"{organ} {level}"][0] for organ in kidneys]))
    if "LIVER high z" in voxels:
        heights["liver high z"] = float(voxels["LIVER high z"][0])
    for height, z in heights.items():
        voxels |= {f"{name} at {height}": place for name, place in _at_height(body, z).items()}
    for organ in (Tissue.BLADDER, Tissue.RECTUM):
        where = body.of((organ,))
        if len(where) >= _FEWEST_VOXELS:
            voxels[f"{organ.name} centre"] = where.mean(0)
    esophagus = body.of((Tissue.ESOPHAGUS,))
    if len(esophagus) >= _FEWEST_VOXELS:  # the stomach begins where it ends
        voxels["ESOPHAGUS low z"] = esophagus[esophagus[:, 0] <= np.percentile(esophagus[:, 0], 3)].mean(0)
    return {name: place * BODY_SPACING_ZYX for name, place in voxels.items()}


def _at_height(body: _Members, z: float) -> dict[str, Float64]:
    """Spine, aorta, and the belly's front and sides in a slab round slice ``z``, as indices at that height."""
    reach = _SLAB_MM / BODY_SPACING_ZYX[0]
    slab = slice(max(round(z - reach), 0), round(z + reach) + 1)
    found: dict[str, Float64] = {}
    aorta = body.of((Tissue.AORTA,), slab)
    if len(aorta) >= _FEWEST_VOXELS:
        found["AORTA"] = np.array([z, *aorta[:, 1:].mean(0)])
    spine = _spine(body, slab)
    if spine is not None:
        found["SPINE"] = np.array([z, *spine])
    belly = body.of(_BELLY, slab)
    if spine is not None and len(belly) >= 10 * _FEWEST_VOXELS:
        front = np.percentile(belly[:, 1], 2)
        right, left = np.percentile(belly[:, 2], (2, 98))
        middle = float(np.median(belly[:, 1]))
        found["FRONT"] = np.array([z, front, spine[1]])
        found["RIGHT SIDE"], found["LEFT SIDE"] = np.array([z, middle, right]), np.array([z, middle, left])
    return found


def _spine(body: _Members, slab: slice) -> Float64 | None:
    """y and x of the bone near the midline and near the hindmost of it, which the sternum is not."""
    bone = body.of(_BONE, slab)
    if len(bone) < _FEWEST_VOXELS:
        return None
    middle = float(np.mean(np.flatnonzero((body.tissues[slab] != Tissue.AIR).any((0, 1)))[[0, -1]]))
    bone = bone[abs(bone[:, 2] - middle) * BODY_SPACING_ZYX[2] < _BESIDE_SPINE_MM]
    if len(bone) < _FEWEST_VOXELS:
        return None
    hindmost = np.percentile(bone[:, 1], 98)
    bone = bone[(hindmost - bone[:, 1]) * BODY_SPACING_ZYX[1] < _SPINE_DEPTH_MM]
    place: Float64 = bone[:, 1:].mean(0)
    return place


def map_nodes(shape_zyx: tuple[int, ...], here: Landmarks, there: Landmarks) -> Float64 | None:
    """(nz, ny, nx, 3) indices in the other body of every ``NODE_STEP``-th voxel of a body of ``shape_zyx``.

    A thin-plate spline takes the landmarks ``here`` to those of the same name ``there``; ``None`` if fewer than twelve
    are shared.
    """
    names = sorted(here.keys() & there.keys())
    if len(names) < _FEWEST_LANDMARKS:
        return None
    points = np.array([here[name] for name in names]) / 100
    values = np.array([there[name] for name in names]) / 100
    spline = RBFInterpolator(points, values, kernel="thin_plate_spline", smoothing=_SMOOTHING)
    mm = node_places(shape_zyx) * BODY_SPACING_ZYX
    # a spline runs wild beyond its landmarks: above and below them the other body continues at its own scale
    z = mm[..., 0]
    z_held = np.clip(z, points[:, 0].min() * 100 - _BEYOND_MM, points[:, 0].max() * 100 + _BEYOND_MM)
    held = mm.copy()
    held[..., 0] = z_held
    mapped = spline(held.reshape(-1, 3) / 100).reshape(mm.shape) * 100
    mapped[..., 0] += z - z_held
    return np.asarray(mapped / BODY_SPACING_ZYX)


def size_ratio(here: Landmarks, there: Landmarks) -> float:
    """How many times the volume a body has ``here`` that it has ``there``: 2 if it is here twice as large.

    The determinant of the linear map that takes the shared landmarks from there to here best (least squares).
    """
    names = sorted(here.keys() & there.keys())
    to, source = (np.array([landmarks[name] for name in names]) for landmarks in (here, there))
    linear = np.linalg.lstsq(source - source.mean(0), to - to.mean(0), rcond=None)[0]
    return float(np.linalg.det(linear))


def node_places(shape_zyx: tuple[int, ...]) -> Float64:
    """(nz, ny, nx, 3) indices of the nodes themselves, of every ``NODE_STEP``-th voxel and one beyond."""
    axes = [np.arange(0, size + NODE_STEP, NODE_STEP, dtype=np.float64) for size in shape_zyx]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def jacobian_determinants(nodes: Float64) -> Float64:
    """(nz - 1, ny - 1, nx - 1): in each cell between nodes, how many voxels of the other body one voxel stands for.

    Negative or zero where the map folds. A cell's smallest over its eight corners.
    """
    steps = [np.diff(nodes, axis=axis) / NODE_STEP for axis in range(3)]
    smallest = np.full([size - 1 for size in nodes.shape[:3]], np.inf)
    low, high = slice(None, -1), slice(1, None)
    for corner in np.ndindex(2, 2, 2):
        sides = [high if side else low for side in corner]
        columns = []
        for axis in range(3):
            at = list(sides)
            at[axis] = slice(None)
            columns.append(steps[axis][tuple(at)])
        smallest = np.minimum(smallest, np.linalg.det(np.stack(columns, -1)))
    return smallest


def sample_nearest(
    array: npt.NDArray[_Value], nodes: Float64, shape_zyx: tuple[int, ...], outside: int
) -> npt.NDArray[_Value]:
    """The nearest value of ``array`` for every voxel of ``shape_zyx``, mapped by ``nodes``; beyond it ``outside``."""
    values = np.empty(shape_zyx, array.dtype)
    _fill_nearest(array, nodes, outside, values)
    return values


@numba.njit(cache=True, nogil=True)
def _fill_nearest(array: npt.NDArray[Any], nodes: Float64, outside: int, values: npt.NDArray[Any]) -> None:
    shape_zyx = values.shape
    row = np.empty((nodes.shape[2], 3))
    for z in range(shape_zyx[0]):
        nz, fz = z // NODE_STEP, (z % NODE_STEP) / NODE_STEP
        for y in range(shape_zyx[1]):
            ny, fy = y // NODE_STEP, (y % NODE_STEP) / NODE_STEP
            for n in range(nodes.shape[2]):
                for axis in range(3):
                    low = (1 - fy) * nodes[nz, ny, n, axis] + fy * nodes[nz, ny + 1, n, axis]
                    high = (1 - fy) * nodes[nz + 1, ny, n, axis] + fy * nodes[nz + 1, ny + 1, n, axis]
                    row[n, axis] = (1 - fz) * low + fz * high
            for x in range(shape_zyx[2]):
                nx, fx = x // NODE_STEP, (x % NODE_STEP) / NODE_STEP
                i = int(np.floor((1 - fx) * row[nx, 0] + fx * row[nx + 1, 0] + 0.5))
                j = int(np.floor((1 - fx) * row[nx, 1] + fx * row[nx + 1, 1] + 0.5))
                k = int(np.floor((1 - fx) * row[nx, 2] + fx * row[nx + 1, 2] + 0.5))
                if 0 <= i < array.shape[0] and 0 <= j < array.shape[1] and 0 <= k < array.shape[2]:
                    values[z, y, x] = array[i, j, k]
                else:
                    values[z, y, x] = outside
