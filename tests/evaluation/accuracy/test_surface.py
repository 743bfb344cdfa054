import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.geometry import Triple
from surface_distance import lookup_tables

from evaluation.accuracy.surface import surface_dice
from tests.evaluation.accuracy.marching_cubes import CORNERS, possible_areas

VOXEL_AREA = 8 * math.sqrt(3) / 8
"""The surface of one voxel of 1 mm: eight triangles that cut its corners off, with sides of sqrt(1/2) mm."""

CUBE_AREA = VOXEL_AREA + 12 * math.sqrt(1 / 2) + 6
"""The surface of 2 x 2 x 2 voxels of 1 mm: eight corners, twelve edges cut at 45 degrees, six flat faces."""


def mask(*voxels: tuple[int, int, int], shape: tuple[int, int, int] = (12, 12, 12)) -> npt.NDArray[np.bool_]:
    array = np.zeros(shape, bool)
    for voxel in voxels:
        array[voxel] = True
    return array


def test_a_surface_agrees_with_itself() -> None:
    blob = mask((3, 3, 3), (3, 4, 3), (4, 4, 3))
    assert surface_dice(blob, blob, (1, 1, 1), 0.0) == 1


def test_two_empty_masks_agree_and_one_empty_mask_does_not() -> None:
    empty, voxel = mask(), mask((1, 1, 1))
    assert surface_dice(empty, empty, (1, 1, 1), 5) == 1
    assert surface_dice(voxel, empty, (1, 1, 1), 5) == 0
    assert surface_dice(empty, voxel, (1, 1, 1), 5) == 0


def test_a_far_voxel_too_many_counts_by_its_area() -> None:
    # one voxel of the reference and one of the prediction agree, out of three
    assert surface_dice(mask((1, 1, 1), (9, 9, 9)), mask((1, 1, 1)), (1, 1, 1), 2) == pytest.approx(2 / 3)


def test_a_far_cube_counts_with_its_corners_edges_and_faces() -> None:
    cube = mask(*itertools.product((8, 9), (8, 9), (8, 9)))
    expected = 2 * VOXEL_AREA / (2 * VOXEL_AREA + CUBE_AREA)
    # the library's areas have three decimals in their normals
    assert surface_dice(cube | mask((1, 1, 1)), mask((1, 1, 1)), (1, 1, 1), 2) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("tolerance_mm", "share"), [(2.9, 0), (3.0, 0.5), (5.9, 0.5), (6.0, 1)])
def test_distances_are_in_mm_and_the_tolerance_itself_counts(tolerance_mm: float, share: float) -> None:
    # two slices of 3 mm apart: the facing halves are one slice from each other, the others two
    assert surface_dice(mask((1, 5, 5)), mask((3, 5, 5)), (3, 1, 1), tolerance_mm) == pytest.approx(share)


def test_the_spacing_belongs_to_the_arrays_axes() -> None:
    assert surface_dice(mask((5, 5, 1)), mask((5, 5, 3)), (3, 1, 1), 1.0) == pytest.approx(0.5)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.5, 0.8)])
def test_every_surface_element_of_the_library_has_an_area_that_geometry_allows(spacing: Triple) -> None:
    areas = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    for code in range(1, 255):
        inside = {corner: bool(code & lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL[corner]) for corner in CORNERS}
        closest = min(possible_areas(inside, spacing), key=lambda area: abs(area - areas[code]))
        assert areas[code] == pytest.approx(closest, abs=2e-3), f"neighbourhood {code:08b}"


@pytest.mark.parametrize("seed", range(12))
def test_random_shapes_score_as_by_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spacing = (float(rng.uniform(1, 4)), float(rng.uniform(0.5, 2)), float(rng.uniform(0.5, 2)))
    tolerance_mm = float(rng.uniform(0.6, 3))
    first, second = (rng.random((6, 7, 8)) < share for share in rng.uniform(0.02, 0.6, 2))
    expected = brute_force(first, second, spacing, tolerance_mm)
    assert surface_dice(first, second, spacing, tolerance_mm) == pytest.approx(expected, abs=1e-9)


def brute_force(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], spacing: Triple, tolerance_mm: float
) -> float:
    """Each surface element against each of the other surface, one by one."""
    surfaces = [surface_elements(mask, spacing) for mask in (first, second)]
    near, total = 0.0, 0.0
    for own, other in (surfaces, surfaces[::-1]):
        for point, area in own:
            total += area
            if min(math.dist(point, there) for there, _ in other) <= tolerance_mm:
                near += area
    return near / total


def surface_elements(mask: npt.NDArray[np.bool_], spacing: Triple) -> list[tuple[Triple, float]]:
    """Position (mm) and area (mm^2) of the elements: one at each corner that voxels inside and outside share."""
    areas = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    padded = np.pad(mask, 1)
    elements = []
    for z, y, x in np.ndindex(*(size - 1 for size in padded.shape)):
        cell = padded[z : z + 2, y : y + 2, x : x + 2]
        if cell.any() and not cell.all():
            code = int((lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL * cell).sum())
            elements.append(((z * spacing[0], y * spacing[1], x * spacing[2]), float(areas[code])))
    return elements
