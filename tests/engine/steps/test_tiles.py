import itertools

import numpy as np
import pytest
from attention_dmfnet.geometry import Index
from attention_dmfnet.model.network import MOST_TILE_VOXELS, Scores, Tile
from attention_dmfnet.steps.tiles import fitted_tile, score_in_tiles, tile_starts, tile_weights
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_tile_grows_where_one_is_less_work_than_two() -> None:
    # two tiles of 128 for 138 voxels would compute 256
    assert fitted_tile((58, 93, 138), (64, 96, 128), 16, 0.25) == (64, 96, 144)


def test_a_tile_never_shrinks_below_what_the_network_was_trained_on() -> None:
    assert fitted_tile((20, 30, 40), (64, 96, 128), 16, 0.25) == (64, 96, 128)


def test_what_is_too_large_for_one_tile_takes_the_least_work_that_fits() -> None:
    shape = (1000, 100, 120)
    tile = fitted_tile(shape, (64, 96, 128), 16, 0.25)
    assert tile[1:] == (112, 128)
    assert np.prod(tile) <= MOST_TILE_VOXELS

    def work(side: int) -> int:
        return len(tile_starts(1000, side, 0.25)) * side

    assert work(tile[0]) == min(work(side) for side in range(64, MOST_TILE_VOXELS // (112 * 128) + 1, 16))


def test_a_tile_of_the_manifest_beyond_the_bound_is_taken_as_it_is() -> None:
    assert fitted_tile((10, 10, 10), (128, 160, 160), 16, 0.25) == (128, 160, 160)


shapes = st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))


@given(shapes)
def test_fitting_never_computes_more_than_the_manifests_tile(shape: Index) -> None:
    tile_zyx = (32, 48, 48)
    tile = fitted_tile(shape, tile_zyx, 16, 0.25)

    def work(sides: Index) -> int:
        counts = [len(tile_starts(size, side, 0.25)) for size, side in zip(shape, sides, strict=True)]
        return int(np.prod(counts) * np.prod(sides))

    assert work(tile) <= work(tile_zyx)
    assert all(side % 16 == 0 for side in tile)
    # what was fitted to a tile stays fitted to it
    grown: Index = tuple(max(size, side) if side >= size else size for size, side in zip(shape, tile, strict=True))  # type: ignore[assignment]
    assert fitted_tile(grown, tile_zyx, 16, 0.25) == tile


class MeanOfBlocks:
    """A fake network with a stride of 2: class 0 is the mean of a block of 2 x 2 x 2 voxels, class 1 its negative."""

    def __call__(self, tile: Tile) -> Scores:
        z, y, x = (side // 2 for side in tile.shape)
        means = tile.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5))
        return np.stack([means, -means])


@pytest.mark.parametrize("tile", [(4, 4, 4), (8, 12, 16), (20, 20, 20)])
def test_strided_scores_lie_on_one_lattice_whatever_the_tiles(tile: Index) -> None:
    image = np.random.default_rng(3).normal(size=(8, 13, 16)).astype(np.float32)
    scores = score_in_tiles(image, MeanOfBlocks(), 2, tile, 0.25, outside=-5.0, stride=2)
    filled = np.pad(image, ((0, 0), (0, 1), (0, 0)), constant_values=-5.0)
    expected = MeanOfBlocks()(filled)
    assert scores.shape == (2, 4, 7, 8)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
