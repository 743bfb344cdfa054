"""What is cached is what the engine will show the networks."""

import hashlib

import numpy as np
import pytest
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Axes, Box, Volume, canonicalise
from attention_dmfnet.model.manifest import NetworkInput, NetworkOutput, Stage, Variant
from attention_dmfnet.model.network import Scores, Tile
from attention_dmfnet.steps.roi import box_with_margin, working_grid
from attention_dmfnet.steps.stage import StageModel

from tests.engine.tiny import FakeNetwork
from tests.training.small_patients import BODY_HU, all_values, make_patient, organ_hu
from training.data.dataset import StageGrid
from training.data.stage_arrays import arrays_for
from training.recipe import ROI_MARGIN_MM
from training.recipe import Stage as StageName

GRIDS = {
    "coarse": StageGrid((11.0, 9.0, 9.0), (16, 16, 32), (-200.0, 300.0), (30.0, 20.0, 20.0)),
    "fine": StageGrid((5.0, 4.0, 4.0), (16, 16, 16), (-200.0, 300.0), (30.0, 20.0, 20.0)),
}
FLIPPED = ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (-1.0, 0.0, 0.0))


def no_network(tile: Tile) -> Scores:
    raise AssertionError("only the view is looked at")


def engine_stage(grid: StageGrid) -> StageModel:
    variant = Variant("none.onnx", hashlib.sha256(b"").hexdigest(), "float32", None)
    stage = Stage(
        (variant,),
        NetworkInput("image", "float32", "NCDHW"),
        NetworkOutput("scores", 14),
        grid.spacing_zyx,
        grid.tile_zyx,
        0.25,
        grid.window_hu,
        mean_hu=0.0,
        std_hu=1.0,
    )
    return StageModel(stage, FakeNetwork(no_network))


def organs_box(labels: Volume) -> Box:
    where = np.argwhere(labels.array)
    (z, y, x), (last_z, last_y, last_x) = where.min(0).tolist(), where.max(0).tolist()
    return Box((z, y, x), (last_z + 1, last_y + 1, last_x + 1))


@pytest.mark.parametrize("stage", ["coarse", "fine"])
def test_training_sees_what_the_engine_shows_the_network(stage: StageName) -> None:
    ct, labels = (canonicalise(volume) for volume in make_patient(3, axes_lps=FLIPPED))
    grid = GRIDS[stage]
    image, _ = arrays_for(stage, ct, labels, grid, search_everywhere=False)
    if stage == "coarse":
        geometry = ct.geometry.with_spacing(grid.spacing_zyx)
    else:
        box = box_with_margin(organs_box(labels), labels.geometry, ct.geometry, grid.roi_margin_mm)
        geometry = working_grid(box, ct.geometry, grid.spacing_zyx, grid.tile_zyx)
    view = engine_stage(grid).view(ct, geometry)
    assert image.geometry == view.geometry
    # whole HU are stored
    np.testing.assert_allclose(image.array, view.array, rtol=0, atol=0.5)


@pytest.mark.parametrize("axes", [CANONICAL_AXES_LPS, FLIPPED])
def test_fine_labels_lie_on_their_organs(axes: Axes) -> None:
    ct, labels = (canonicalise(volume) for volume in make_patient(1, axes_lps=axes, noise_hu=0.0))
    wide = StageGrid((5.0, 4.0, 4.0), (16, 16, 16), (-200.0, 500.0), (30.0, 20.0, 20.0))
    image, small = arrays_for("fine", ct, labels, wide, search_everywhere=False)
    assert all_values(small.array) == set(range(1, 14))
    for label in range(1, 14):
        # at least half of every voxel is the organ, the rest fat; labels that are a voxel off hold 10 % of fat alone
        hu = image.array[small.array == label]
        assert np.mean(hu >= (organ_hu(label) + BODY_HU) / 2 - 1) > 0.97
        volume_ml = np.count_nonzero(small.array == label) * small.geometry.voxel_volume_mm3
        true_ml = np.count_nonzero(labels.array == label) * labels.geometry.voxel_volume_mm3
        assert volume_ml == pytest.approx(true_ml, rel=0.35)


def test_coarse_labels_are_where_any_organ_is() -> None:
    ct, labels = make_patient(2)
    _, small = arrays_for("coarse", ct, labels, GRIDS["coarse"], search_everywhere=False)
    assert all_values(small.array) == {1}
    assert small.geometry.extent_mm_zyx == pytest.approx(ct.geometry.extent_mm_zyx, abs=9.0)
    organs_mm3 = np.count_nonzero(labels.array) * labels.geometry.voxel_volume_mm3
    assert np.count_nonzero(small.array) * small.geometry.voxel_volume_mm3 == pytest.approx(organs_mm3, rel=0.1)


def test_a_fine_case_holds_the_organs_and_the_margin_around_them() -> None:
    ct, labels = make_patient(1)
    image, _ = arrays_for("fine", ct, labels, GRIDS["fine"], search_everywhere=False)
    # a voxel beyond either side of the organs' box and margin, at most, and never less than a voxel short of it
    organs_mm = [part * mm for part, mm in zip(organs_box(labels).shape_zyx, labels.geometry.spacing_zyx, strict=True)]
    for axis, margin in enumerate(ROI_MARGIN_MM):
        wanted = min(organs_mm[axis] + 2 * margin, ct.geometry.extent_mm_zyx[axis])
        assert abs(image.geometry.extent_mm_zyx[axis] - wanted) <= 2 * 6.0


def test_a_case_whose_organs_are_not_all_drawn_keeps_the_whole_scan() -> None:
    ct, labels = make_patient(1)
    only_liver = Volume((labels.array == 1).astype(np.uint8), labels.geometry)
    image, _ = arrays_for("fine", ct, only_liver, GRIDS["fine"], search_everywhere=True)
    assert image.geometry.extent_mm_zyx == pytest.approx(ct.geometry.extent_mm_zyx, abs=5.0)
    cropped, _ = arrays_for("fine", ct, only_liver, GRIDS["fine"], search_everywhere=False)
    assert cropped.array.size < image.array.size / 2
