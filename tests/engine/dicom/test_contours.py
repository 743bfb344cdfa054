import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.dicom.contours import Ring, outlines

Mask = npt.NDArray[np.bool_]


def _mask(*rows: str) -> Mask:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def _inside(ring: Ring, shape: tuple[int, ...]) -> Mask:
    """Which pixel centres are inside, by the number of sides to the right of each (even-odd)."""
    row, column = np.indices(shape)
    inside = np.zeros(shape, bool)
    for (r0, c0), (r1, c1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if r0 != r1:
            # a hair off the centres' own lines, on which cuts of holes run
            between = (r0 > row + 1e-6) != (r1 > row + 1e-6)
            inside ^= between & (column + 1e-6 < c0 + (row + 1e-6 - r0) * (c1 - c0) / (r1 - r0))
    return inside


def _filled(rings: list[Ring], shape: tuple[int, ...]) -> Mask:
    inside = [_inside(ring, shape) for ring in rings]
    assert max(np.sum(inside, axis=0).max(), 0) <= 1, "two polygons overlap"
    filled: Mask = np.any(inside, axis=0) if inside else np.zeros(shape, bool)
    return filled


def _area(ring: Ring) -> float:
    after = np.roll(ring, -1, axis=0)
    return abs(float(np.sum(ring[:, 0] * after[:, 1] - after[:, 0] * ring[:, 1]))) / 2


def test_nothing_has_no_outline() -> None:
    assert outlines(np.zeros((3, 4), bool)) == []


def test_one_pixel_is_a_diamond_around_its_centre() -> None:
    (ring,) = outlines(_mask("....", "..#.", "...."))
    assert sorted(map(tuple, ring.tolist())) == [(0.5, 2.0), (1.0, 1.5), (1.0, 2.5), (1.5, 2.0)]


def test_a_picture_that_is_full_to_its_edges_is_closed_around_its_outermost_pixels() -> None:
    (ring,) = outlines(np.ones((3, 4), bool))
    assert len(ring) == 8  # straight sides, corners cut
    assert _area(ring) == 3 * 4 - 4 / 8


def test_a_hole_is_joined_to_the_outline_and_stays_open() -> None:
    mask = _mask("#####", "##..#", "#####")
    rings = outlines(mask)
    assert len(rings) == 1
    np.testing.assert_array_equal(_filled(rings, mask.shape), mask)


def test_holes_beside_each_other_and_an_island_in_one_of_them() -> None:
    mask = _mask(
        "##########",
        "#.##.....#",
        "#####.#.##",
        "##.##...##",
        "##########",
        "...#......",
    )
    rings = outlines(mask)
    np.testing.assert_array_equal(_filled(rings, mask.shape), mask)
    assert len(rings) == 2


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_what_is_inside_the_outlines_is_the_mask(share: float) -> None:
    random = np.random.default_rng(int(100 * share))
    for _ in range(25):
        mask = random.random(random.integers(1, 16, 2)) < share
        np.testing.assert_array_equal(_filled(outlines(mask), mask.shape), mask)
