import numpy as np
import pytest
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from training.data.resample_labels import share_out


def row(labels: list[int], spacing_mm: float = 1.0) -> Volume:
    """A row of voxels along x."""
    geometry = Geometry((1, 1, len(labels)), (1.0, 1.0, spacing_mm), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    return Volume(np.array(labels, np.uint8).reshape(1, 1, -1), geometry)


def test_labels_on_their_own_grid_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 14, (5, 6, 7)).astype(np.uint8)
    volume = Volume(labels, Geometry((5, 6, 7), (3.0, 2.0, 1.0), (1.0, 2.0, 3.0), CANONICAL_AXES_LPS))
    np.testing.assert_array_equal(share_out(volume, volume.geometry).labels(), labels)


def test_a_coarse_voxel_belongs_to_what_fills_most_of_it() -> None:
    fine = row([3, 3, 3, 3, 3, 3, 8, 8, 8, 8, 8, 8])
    shares = share_out(fine, fine.geometry.with_spacing((1.0, 1.0, 6.0)))
    assert shares.labels().tolist() == [[[3, 8]]]


def test_three_organs_may_fill_a_voxel_of_which_none_fills_half() -> None:
    # the middle voxel reaches over two fine ones to either side with weights 1 2 3 2 1 (of 9)
    fine = row([0, 0, 5, 5, 4, 6, 6, 0, 0])
    grid = Geometry((1, 1, 1), (1.0, 1.0, 3.0), (4.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    shares = share_out(fine, grid)
    # 4: 3/9, 5: 1/9 + 2/9, 6: 2/9 + 1/9; none is background
    assert shares.all_organs.item() == pytest.approx(1.0)
    assert shares.largest.item() == pytest.approx(3 / 9)
    assert shares.labels().item() in (4, 5, 6)
    assert shares.foreground().item() == 1


def test_foreground_is_where_organs_together_fill_half() -> None:
    fine = row([0, 0, 0, 5, 4, 6, 0, 0, 0])
    grid = Geometry((1, 1, 1), (1.0, 1.0, 3.0), (4.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    shares = share_out(fine, grid)
    # 2/9 + 3/9 + 2/9 are organs, each of them less than half, and more than the background's 2/9
    assert shares.all_organs.item() == pytest.approx(7 / 9)
    assert shares.foreground().item() == 1
    assert shares.labels().item() == 4


def test_a_thin_organ_gives_way_to_the_background_around_it() -> None:
    fine = row([0, 0, 0, 0, 7, 0, 0, 0, 0])
    grid = Geometry((1, 1, 1), (1.0, 1.0, 3.0), (4.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    assert share_out(fine, grid).labels().item() == 0


def test_an_organ_at_the_edge_goes_on_beyond_it_as_the_engine_has_it() -> None:
    fine = row([0, 0, 0, 3])
    grid = Geometry((1, 1, 1), (1.0, 1.0, 1.0), (20.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    assert share_out(fine, grid).labels().item() == 3
