"""A grid in tiles: where they lie, how they are weighted where they overlap, and the scores put together."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from engine.geometry import Index
from engine.network import Network, Scores

# Of a tile's length. Gaussian weights of this width, as nnU-Net (Isensee et al. 2021) uses them, trust a tile's
# middle some 3,000 times more than its corner, where the network sees the least of the surroundings.
_GAUSSIAN_WIDTH = 1 / 8


def tile_starts(size: int, tile: int, overlap: float) -> tuple[int, ...]:
    """Where tiles of ``tile`` voxels start along an axis of ``size`` voxels.

    The fewest tiles whose neighbours share at least ``overlap`` of a tile (rounded down to whole voxels), spread
    evenly from edge to edge. A single tile starts at 0 and may reach beyond the axis.
    """
    if size <= tile:
        return (0,)
    stride = tile - int(overlap * tile)
    steps = -(-(size - tile) // stride)
    return tuple(round(step * (size - tile) / steps) for step in range(steps + 1))


def tile_weights(starts: tuple[int, ...], size: int, tile: int) -> npt.NDArray[np.float32]:
    """(tile, voxel of the tile) weights along one axis; at every voxel of the axis they sum to 1 over the tiles.

    As tiles stand in rows and columns, products of these weights sum to 1 as well: nothing has to be divided once
    the tiles are added up.
    """
    middle, width = (tile - 1) / 2, tile * _GAUSSIAN_WIDTH
    bell = np.exp(-0.5 * ((np.arange(tile) - middle) / width) ** 2)
    total = np.zeros(max(size, tile))
    for start in starts:
        total[start : start + tile] += bell
    return np.stack([bell / total[start : start + tile] for start in starts]).astype(np.float32)


def score_in_tiles(
    image: npt.NDArray[np.float32], network: Network, classes: int, tile_zyx: Index, overlap: float, outside: float
) -> Scores:
    """The network's scores (class, z, y, x) for an image (z, y, x) of any size, tile by tile.

    Where the image is smaller than a tile, the tile is filled up with ``outside`` on all sides of the image. Scores
    of overlapping tiles are averaged with ``tile_weights``.
    """
    padded, inside = _pad(image, tile_zyx, outside)
    axes = [tile_starts(size, tile, overlap) for size, tile in zip(padded.shape, tile_zyx, strict=True)]
    if all(len(starts) == 1 for starts in axes):
        return network(padded)[(slice(None), *inside)]
    weights = [
        tile_weights(starts, size, tile) for starts, size, tile in zip(axes, padded.shape, tile_zyx, strict=True)
    ]
    total = np.zeros((classes, *padded.shape), dtype=np.float32)
    for place, (z, y, x) in _places(axes):
        window = tuple(slice(start, start + tile) for start, tile in zip(place, tile_zyx, strict=True))
        scores = network(np.ascontiguousarray(padded[window]))
        weight = weights[0][z][:, None, None] * weights[1][y][:, None] * weights[2][x]
        # class by class: the weighted scores need no second array of all the classes
        for summed, score in zip(total, scores, strict=True):
            summed[window] += score * weight
    return total[(slice(None), *inside)]


def _places(axes: list[tuple[int, ...]]) -> Iterator[tuple[Index, Index]]:
    """The start of every tile in voxels, and its number along each axis."""
    for z, y, x in itertools.product(*(range(len(starts)) for starts in axes)):
        yield (axes[0][z], axes[1][y], axes[2][x]), (z, y, x)


def _pad(
    image: npt.NDArray[np.float32], tile_zyx: Index, outside: float
) -> tuple[npt.NDArray[np.float32], tuple[slice, slice, slice]]:
    """The image on at least a tile, and where it lies in it."""
    missing = [max(0, tile - size) for size, tile in zip(image.shape, tile_zyx, strict=True)]
    z, y, x = (slice(gap // 2, gap // 2 + size) for gap, size in zip(missing, image.shape, strict=True))
    if not any(missing):
        return np.ascontiguousarray(image), (z, y, x)
    padded = np.full([size + gap for size, gap in zip(image.shape, missing, strict=True)], outside, dtype=np.float32)
    padded[z, y, x] = image
    return padded, (z, y, x)
