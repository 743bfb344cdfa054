import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.geometry import Index
from engine.network import Scores, Tile
from engine.tiles import score_in_tiles, tile_starts, tile_weights

sizes = st.integers(1, 200)
tile_sides = st.integers(2, 64)
overlaps = st.floats(0, 0.9)


class TwiceAndItself:
    """A fake network that looks at one voxel at a time: class 0 is the voxel, class 1 twice the voxel.

    Like a real one it returns the same memory at every call.
    """

    def __init__(self) -> None:
        self.tiles: list[Index] = []
        self._scores: Scores | None = None

    def __call__(self, tile: Tile) -> Scores:
        assert tile.flags.c_contiguous
        assert tile.dtype == np.float32
        self.tiles.append(tile.shape)
        if self._scores is None:
            self._scores = np.empty((2, *tile.shape), dtype=np.float32)
        self._scores[0], self._scores[1] = tile, 2 * tile
        return self._scores


def test_an_axis_that_fits_takes_one_tile() -> None:
    assert tile_starts(64, 64, 0.25) == (0,)
    assert tile_starts(10, 64, 0.25) == (0,)


def test_one_voxel_too_many_takes_two_tiles_at_the_two_ends() -> None:
    assert tile_starts(65, 64, 0.25) == (0, 1)


def test_tiles_are_no_more_than_needed_and_spread_evenly() -> None:
    # neighbours may start 48 voxels apart: 64 + 48 = 112 is the most that two tiles cover
    assert tile_starts(112, 64, 0.25) == (0, 48)
    assert tile_starts(113, 64, 0.25) == (0, 24, 49)


@given(sizes, tile_sides, overlaps)
def test_tiles_cover_the_axis_from_edge_to_edge(size: int, tile: int, overlap: float) -> None:
    starts = tile_starts(size, tile, overlap)
    covered = set(itertools.chain.from_iterable(range(start, start + tile) for start in starts))
    assert covered >= set(range(size))
    assert min(starts) == 0
    assert max(starts) + tile == max(size, tile)


@given(sizes, tile_sides, overlaps)
def test_neighbours_share_at_least_the_overlap(size: int, tile: int, overlap: float) -> None:
    starts = tile_starts(size, tile, overlap)
    for first, second in itertools.pairwise(starts):
        assert first + tile - second >= int(overlap * tile)


@given(sizes, tile_sides, overlaps)
def test_one_tile_fewer_would_not_do(size: int, tile: int, overlap: float) -> None:
    count = len(tile_starts(size, tile, overlap))
    most_with_one_fewer = tile + (count - 2) * (tile - int(overlap * tile))
    assert count == 1 or most_with_one_fewer < size


@given(sizes, tile_sides, overlaps)
def test_weights_sum_to_one_at_every_voxel(size: int, tile: int, overlap: float) -> None:
    starts = tile_starts(size, tile, overlap)
    total = np.zeros(max(size, tile))
    weights = tile_weights(starts, size, tile)
    assert (weights > 0).all()
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_where_two_tiles_overlap_the_one_whose_middle_is_nearer_counts_more() -> None:
    first, second = tile_weights((0, 6), 14, 8)
    assert first[6] > second[0]
    assert first[7] < second[1]
    np.testing.assert_allclose(first[:6], 1)


@given(st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.integers(2, 9)] * 3), st.sampled_from([0.0, 0.25, 0.5]))
def test_a_network_of_one_voxel_scores_an_image_of_any_size_as_if_untiled(
    shape: Index, tile: Index, overlap: float
) -> None:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    network = TwiceAndItself()
    scores = score_in_tiles(image, network, 2, tile, overlap, outside=-9)
    np.testing.assert_allclose(scores, [image, 2 * image], atol=1e-5)
    assert set(network.tiles) == {tile}


def test_a_small_image_is_filled_up_with_air_on_all_sides() -> None:
    seen = []

    def look(tile: Tile) -> Scores:
        seen.append(tile.copy())
        return np.zeros((2, *tile.shape), dtype=np.float32)

    score_in_tiles(np.full((2, 4, 1), 7, dtype=np.float32), look, 2, (4, 4, 4), 0.25, outside=-3)
    assert (seen[0][1:3, :, 1] == 7).all()
    assert (seen[0] == 7).sum() == 8
    assert (seen[0] == -3).sum() == 64 - 8


def test_the_image_itself_is_left_as_it_was() -> None:
    image = np.ones((9, 4, 4), dtype=np.float32)
    score_in_tiles(image, TwiceAndItself(), 2, (4, 4, 4), 0.5, outside=0)
    assert (image == 1).all()


@pytest.mark.parametrize(("shape", "tiles"), [((4, 4, 4), 1), ((5, 4, 4), 2), ((5, 5, 5), 8), ((10, 4, 4), 3)])
def test_the_network_runs_once_per_tile(shape: Index, tiles: int) -> None:
    network = TwiceAndItself()
    score_in_tiles(np.zeros(shape, dtype=np.float32), network, 2, (4, 4, 4), 0.25, outside=0)
    assert len(network.tiles) == tiles
