"""The area of a surface through eight voxels, worked out without any table: independent of the library under test."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Corner = tuple[int, int, int]
Edge = tuple[Corner, Corner]

CORNERS: list[Corner] = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
EDGES: list[Edge] = [
    (p, q) for p, q in itertools.combinations(CORNERS, 2) if sum(abs(a - b) for a, b in zip(p, q, strict=True)) == 1
]


def possible_areas(inside: dict[Corner, bool], spacing: tuple[float, float, float]) -> set[float]:
    """Every area that a surface may have that separates the inside corners of a cell from the outside ones.

    The surface's rim runs over the cell's faces between the middles of the edges that it cuts. Such a rim is not
    always flat, so that the area depends on how it is cut into triangles: all ways are tried.
    """
    areas: set[float] = set()
    for joined in (False, True):
        by_rim = [
            {round(sum(_triangle(corners, spacing) for corners in way), 6) for way in _triangulations(rim)}
            for rim in _rims(inside, joined)
        ]
        areas |= {sum(choice) for choice in itertools.product(*by_rim)}
    return areas


def _rims(inside: dict[Corner, bool], joined: bool) -> list[list[Edge]]:
    neighbours: dict[Edge, list[Edge]] = {}
    for a, b in _rim_segments(inside, joined):
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    rims, seen = [], set[Edge]()
    for start in neighbours:
        if start in seen:
            continue
        rim = [start]
        while True:
            onward = [edge for edge in neighbours[rim[-1]] if edge not in rim]
            if not onward:
                break
            rim.append(onward[0])
        seen.update(rim)
        rims.append(rim)
    return rims


def _rim_segments(inside: dict[Corner, bool], joined: bool) -> Iterator[tuple[Edge, Edge]]:
    for axis, side in itertools.product(range(3), (0, 1)):
        face = [corner for corner in CORNERS if corner[axis] == side]
        cut = [edge for edge in EDGES if edge[0] in face and edge[1] in face and inside[edge[0]] != inside[edge[1]]]
        if len(cut) == 2:
            yield cut[0], cut[1]
        elif len(cut) == 4:
            # two inside corners face each other across the diagonal: either is cut off, or they are joined
            for corner in face:
                if inside[corner] != joined:
                    a, b = (edge for edge in cut if corner in edge)
                    yield a, b


def _triangulations(rim: list[Edge]) -> Iterator[list[tuple[Edge, Edge, Edge]]]:
    def between(first: int, last: int) -> Iterator[list[tuple[Edge, Edge, Edge]]]:
        if last - first < 2:
            yield []
            return
        for middle in range(first + 1, last):
            for left in between(first, middle):
                for right in between(middle, last):
                    yield [*left, *right, (rim[first], rim[middle], rim[last])]

    yield from between(0, len(rim) - 1)


def _triangle(corners: tuple[Edge, Edge, Edge], spacing: tuple[float, float, float]) -> float:
    a, b, c = (_middle(edge, spacing) for edge in corners)
    return float(np.linalg.norm(np.cross(b - a, c - a)) / 2)


def _middle(edge: Edge, spacing: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    middle: npt.NDArray[np.float64] = (np.array(edge[0]) + np.array(edge[1])) / 2 * np.array(spacing)
    return middle
