"""A grid in tiles: where they lie, how they are weighted where they overlap, and the scores put together."""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from attention_dmfnet.geometry import Index
from attention_dmfnet.model.network import MOST_TILE_VOXELS, Scores, Tile

# Of a tile's length. Gaussian weights of this width, as nnU-Net (Isensee et al. 2021) uses them, trust a tile's
# middle some 3,000 times more than its corner, where the network sees the least of the surroundings.
_GAUSSIAN_WIDTH = 1 / 8


def fitted_tile(shape_zyx: Index, tile_zyx: Index, multiple: int, overlap: float) -> Index:
    """The tile that covers ``shape_zyx`` with the fewest voxels computed in all, of up to ``MOST_TILE_VOXELS`` each.

    Its sides are multiples of ``multiple``, as ``tile_zyx``'s are, and at least ``tile_zyx``: a network must not see
    less of the surroundings than it was trained with. Of equal covers that of the fewest tiles is taken.
    """
    counts = [
        {side: len(tile_starts(size, side, overlap)) for side in range(tile, max(tile, size) + multiple, multiple)}
        for size, tile in zip(shape_zyx, tile_zyx, strict=True)
    ]
    best, least = tile_zyx, (math.inf, 0)
    for z, y, x in itertools.product(*counts):
        count = counts[0][z] * counts[1][y] * counts[2][x]
        cost = (count * z * y * x, count)
        if cost < least and ((z, y, x) == tile_zyx or z * y * x <= MOST_TILE_VOXELS):
            best, least = (z, y, x), cost
    return best


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
    image: npt.NDArray[np.float32],
    network: Callable[[Tile], Scores],
    classes: int,
    tile_zyx: Index,
    overlap: float,
    outside: float,
    stride: int = 1,
) -> Scores:
    """The network's scores (class, z, y, x) for an image (z, y, x) of any size, tile by tile.

    Where the image is smaller than a tile, the tile is filled up with ``outside`` on all sides of the image. Scores
    of overlapping tiles are averaged with ``tile_weights``. With a ``stride`` there is one score for so many voxels
    along each axis, the last of them perhaps beyond the image.
    """
    padded, inside = _pad(image, tile_zyx, outside, stride)
    sizes, tile = [size // stride for size in padded.shape], [side // stride for side in tile_zyx]
    axes = [tile_starts(size, side, overlap) for size, side in zip(sizes, tile, strict=True)]
    if all(len(starts) == 1 for starts in axes):
        return network(padded)[(slice(None), *inside)]
    weights = [tile_weights(starts, size, side) for starts, size, side in zip(axes, sizes, tile, strict=True)]
    total = np.zeros((classes, *sizes), dtype=np.float32)
    for place, (z, y, x) in _places(axes):
        seen = tuple(slice(start * stride, start * stride + side) for start, side in zip(place, tile_zyx, strict=True))
        scores = network(np.ascontiguousarray(padded[seen]))
        window = tuple(slice(start, start + side) for start, side in zip(place, tile, strict=True))
        weight = weights[0][z][:, None, None] * weights[1][y][:, None] * weights[2][x]
        # class by class: the weighted scores need no second array of all the classes
        for summed, score in zip(total, scores, strict=True):
            summed[window] += score * weight
    return total[(slice(None), *inside)]


def _places(axes: list[tuple[int, ...]]) -> Iterator[tuple[Index, Index]]:
    """The start of every tile, and its number along each axis."""
    for z, y, x in itertools.product(*(range(len(starts)) for starts in axes)):
        yield (axes[0][z], axes[1][y], axes[2][x]), (z, y, x)


def _pad(
    image: npt.NDArray[np.float32], tile_zyx: Index, outside: float, stride: int
) -> tuple[npt.NDArray[np.float32], tuple[slice, slice, slice]]:
    """The image on at least a tile and a multiple of ``stride``, and where its scores lie."""
    missing = [max(tile - size, -size % stride) for size, tile in zip(image.shape, tile_zyx, strict=True)]
    # the scores' lattice has to begin where the image does
    before = [gap // 2 // stride * stride for gap in missing]
    z, y, x = (slice(gap // stride, -(-(gap + size) // stride)) for gap, size in zip(before, image.shape, strict=True))
    if not any(missing):
        return np.ascontiguousarray(image), (z, y, x)
    padded = np.full([size + gap for size, gap in zip(image.shape, missing, strict=True)], outside, dtype=np.float32)
    padded[tuple(slice(gap, gap + size) for gap, size in zip(before, image.shape, strict=True))] = image
    return padded, (z, y, x)
