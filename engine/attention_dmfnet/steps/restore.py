"""From class scores on the working grid to labels on the scan's grid, exact to the interpolation.

The label of a voxel is the argmax of the trilinearly interpolated scores. Interpolation is a convex combination: where
the surrounding score vectors have the same argmax, so has everything between them, and nothing needs to be
interpolated. Per slice of the scan the scores are interpolated along z (on the coarse rows and columns, which is
cheap); then only those voxels whose four in-plane neighbours disagree are interpolated at all. No array of all
classes at the scan's resolution ever exists.
"""

from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from attention_dmfnet.cpus import available_cpus
from attention_dmfnet.geometry import Geometry, GeometryError
from attention_dmfnet.model.network import Scores
from attention_dmfnet.threads import run_aside

# of more, each would wait for the interpreter's lock
_MOST_THREADS: Final = 4

Labels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.intp]


def restore_labels(scores: Scores, grid: Geometry, target: Geometry, threads: int | None = None) -> Labels:
    """Labels (z, y, x) on ``target`` from ``scores`` (class, z, y, x) on ``grid``, which has the same axes.

    Slices are shared out among ``threads``, by default as many as there are CPUs, up to four.

    Beyond the outermost score vectors the edge goes on. Of equal scores the lower class wins. Raises
    ``GeometryError`` if the axes differ or the scores do not lie on ``grid``.
    """
    if scores.shape[1:] != grid.shape_zyx:
        raise GeometryError(f"scores of {scores.shape[1:]} voxels do not lie on a grid of {grid.shape_zyx}")
    z, y, x = (_neighbours(grid, target, axis) for axis in range(3))
    labels = np.empty(target.shape_zyx, dtype=np.uint8)

    def label(slices: Indices) -> None:
        planes = _Planes(scores)
        for index in slices:
            plane = planes.between(int(z.below[index]), int(z.above[index]), float(z.share[index]))
            _label_slice(plane, y, x, out=labels[index])

    # in runs: neighbouring slices lie between the same two planes
    first, *others = np.array_split(np.arange(len(labels)), threads or min(available_cpus(), _MOST_THREADS))
    asides = [run_aside("restore", label, slices) for slices in others]
    try:
        label(first)
        while asides:
            # in no variable: an error's traceback holds this frame, and with the future it would keep the scores
            asides.pop().result()
    finally:
        # who failed leaves nobody behind that goes on computing beside the next case
        wait(asides)
        asides.clear()
    return labels


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Along one axis: every target voxel lies ``share`` of the way from score ``below`` to score ``above``."""

    below: Indices
    above: Indices
    share: npt.NDArray[np.float32]


def _neighbours(grid: Geometry, target: Geometry, axis: int) -> _Neighbours:
    if not np.allclose(grid.axes_lps, target.axes_lps, rtol=0, atol=1e-4):
        raise GeometryError(f"cannot restore from axes {grid.axes_lps} to axes {target.axes_lps}; they must agree")
    first = grid.index_zyx(target.origin_lps)[axis]
    step = target.spacing_zyx[axis] / grid.spacing_zyx[axis]
    last = grid.shape_zyx[axis] - 1
    position = np.clip(first + step * np.arange(target.shape_zyx[axis]), 0, last)
    below = np.minimum(position.astype(np.intp), max(last - 1, 0))
    return _Neighbours(below, np.minimum(below + 1, last), (position - below).astype(np.float32))


class _Planes:
    """Planes of scores with the classes last, so that one voxel's scores lie together in memory.

    The two planes in use are kept: neighbouring slices of a scan lie between the same two.
    """

    def __init__(self, scores: Scores) -> None:
        self._scores = scores
        self._kept: dict[int, npt.NDArray[np.float32]] = {}

    def between(self, below: int, above: int, share: float) -> npt.NDArray[np.float32]:
        """(y, x, class) scores ``share`` of the way from plane ``below`` to plane ``above``."""
        self._kept = {z: self._kept[z] if z in self._kept else self._plane(z) for z in (below, above)}
        low, high = self._kept[below], self._kept[above]
        return low + np.float32(share) * (high - low)

    def _plane(self, z: int) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(np.moveaxis(self._scores[:, z], 0, -1))


def _label_slice(plane: npt.NDArray[np.float32], y: _Neighbours, x: _Neighbours, out: Labels) -> None:
    """Label one slice from its ``plane`` (y, x, class) of scores."""
    coarse = plane.argmax(axis=-1).astype(np.uint8)
    below, right = _next(coarse, 0), _next(coarse, 1)
    agreed = (coarse == below) & (coarse == right) & (coarse == _next(below, 1))
    # `take` and flat indices: indexing with arrays takes twice the time
    np.take(_rows(coarse, y), x.below, axis=1, out=out, mode="clip")
    mixed = np.flatnonzero(np.take(_rows(~agreed, y), x.below, axis=1))
    if len(mixed) == 0:
        return
    rows, columns = np.divmod(mixed, out.shape[1])
    flat = plane.reshape(-1, plane.shape[-1])
    width = plane.shape[1]
    top, bottom = (y.below * width)[rows], (y.above * width)[rows]
    left, right_of = x.below[columns], x.above[columns]
    share_x, share_y = x.share[columns, None], y.share[rows, None]
    upper = _mix(flat.take(top + left, axis=0), flat.take(top + right_of, axis=0), share_x)
    lower = _mix(flat.take(bottom + left, axis=0), flat.take(bottom + right_of, axis=0), share_x)
    out[rows, columns] = _mix(upper, lower, share_y).argmax(axis=1)


def _rows(values: npt.NDArray[Any], y: _Neighbours) -> npt.NDArray[Any]:
    return values.take(y.below, axis=0)


def _next(labels: Labels, axis: int) -> Labels:
    """Every label's neighbour in the direction of ``axis``; at the edge, the label itself."""
    moved = np.moveaxis(labels, axis, 0)
    return np.moveaxis(np.concatenate([moved[1:], moved[-1:]]), 0, axis)


def _mix(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], share: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The point ``share`` of the way from ``first`` to ``second``; overwrites ``second``."""
    second -= first
    second *= share
    second += first
    return second
