import msgspec
import numpy as np
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Box, Geometry, Volume
from attention_dmfnet.model.network import Scores, Tile
from attention_dmfnet.steps.stage import Plan, StageModel

from tests.engine.tiny import WINDOW_HU, FakeNetwork, stage

ECHO = FakeNetwork(lambda tile: tile[None])


def test_a_scan_reaches_the_network_clipped_and_normalised_with_air_around_it() -> None:
    seen: list[Tile] = []

    def look(tile: Tile) -> Scores:
        seen.append(tile.copy())
        return np.zeros((14, *tile.shape), dtype=np.float32)

    model = StageModel(stage(tile_zyx=(4, 4, 4)), FakeNetwork(look))
    grid = Geometry((2, 2, 2), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    plan = Plan(grid, (4, 4, 4))
    scores = model.score(model.view(Volume(np.full((2, 2, 2), 30_000, np.int16), grid), grid), plan)
    assert scores.shape == (14, 2, 2, 2)
    # a mean of 0 HU and a standard deviation of 100 HU
    low, high = (hu / 100 for hu in WINDOW_HU)
    expected = np.full((4, 4, 4), low, dtype=np.float32)
    expected[1:3, 1:3, 1:3] = high
    np.testing.assert_array_equal(seen, [expected])


def test_a_view_lies_on_the_grid_that_was_asked_for() -> None:
    model = StageModel(stage(), ECHO)
    scan = Geometry((4, 6, 8), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    grid = scan.with_spacing((4.0, 4.0, 4.0))
    view = model.view(Volume(np.full(scan.shape_zyx, 50, np.int16), scan), grid)
    assert view.geometry == grid
    assert view.array.dtype == np.float32
    np.testing.assert_allclose(view.array, 0.5)


def test_the_grid_of_a_fitted_stage_is_its_tile_with_the_surroundings_that_the_scan_has() -> None:
    fitted = StageModel(msgspec.structs.replace(stage(tile_zyx=(8, 16, 16)), tile_multiple=8), ECHO)
    scan = Geometry((40, 60, 80), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    # 9 x 20 x 50 voxels of 3 x 2 x 2 mm
    plan = fitted.plan(scan, Box((5, 5, 10), (14, 25, 60)))
    assert plan.tile_zyx == plan.grid.shape_zyx == (16, 24, 56)
    # the whole scan, in two tiles along z
    assert fitted.plan(scan) == Plan(scan.with_spacing((3.0, 2.0, 2.0)), (40, 64, 80))


def test_strided_scores_belong_to_the_middle_of_their_voxels() -> None:
    whole = stage()
    strided = StageModel(msgspec.structs.replace(whole, output=msgspec.structs.replace(whole.output, stride=2)), ECHO)
    grid = Geometry((4, 6, 7), (3.0, 2.0, 2.0), (10.0, 20.0, 30.0), CANONICAL_AXES_LPS)
    scores = strided.score_grid(grid)
    assert scores.shape_zyx == (2, 3, 4)
    assert scores.spacing_zyx == (6.0, 4.0, 4.0)
    # half a voxel along x, y and z
    assert scores.origin_lps == (11.0, 21.0, 31.5)
    assert StageModel(whole, ECHO).score_grid(grid) == grid
