import json
import math
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_dmfnet import load
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Box, Geometry, Index, Triple, Volume, canonicalise
from attention_dmfnet.marks import recording
from attention_dmfnet.model.loading import Networks, load_network
from attention_dmfnet.model.manifest import Manifest, load_manifest
from attention_dmfnet.model.network import RunError, Scores, Tile
from attention_dmfnet.model.runtimes import Runtime
from attention_dmfnet.segmenter import Cropped, Scored, Segmentation, locate, segment
from attention_dmfnet.steps.stage import StageModel
from attention_dmfnet.steps.tiles import tile_starts
from attention_dmfnet.steps.widen import MOST_ROUNDS

from evaluation.organs import ORGANS
from tests.engine.tiny import AIR_HU, FakeNetwork, block_phantom, organ_hu, write_models


def _segment(ct: Volume, models: Path) -> Segmentation:
    manifest = load_manifest(models)
    runtime = Runtime("openvino", "cpu", threads=1)
    coarse = StageModel(manifest.coarse, load_network(models, manifest.coarse, runtime))
    fine = StageModel(manifest.fine, load_network(models, manifest.fine, runtime))
    return segment(ct, coarse, fine, manifest)


def _codes(result: Segmentation) -> list[str]:
    return [note.code for note in result.notes]


def test_the_organs_of_a_phantom_come_back_voxel_for_voxel(models: Path) -> None:
    ct, truth = block_phantom()
    result = _segment(ct, models)
    np.testing.assert_array_equal(result.labels.array, truth.array)
    assert result.labels.geometry == ct.geometry
    assert result.labels.array.dtype == np.uint8
    assert "roi-at-edge" not in _codes(result)


def test_volumes_are_voxels_times_their_size(models: Path) -> None:
    ct, truth = block_phantom()
    volumes_ml = _segment(ct, models).volumes_ml
    for label, organ in enumerate(ORGANS, start=1):
        # voxels of 3 x 2 x 2 mm
        assert volumes_ml[organ] == pytest.approx(np.count_nonzero(truth.array == label) * 12 / 1000)


@pytest.mark.parametrize("tile", [(8, 16, 16), (4, 8, 8), (40, 40, 40)])
def test_the_tile_size_does_not_change_what_a_network_of_one_voxel_sees(tmp_path: Path, tile: Index) -> None:
    ct, truth = block_phantom()
    write_models(tmp_path, tiles_zyx=((16, 16, 16), tile))
    np.testing.assert_array_equal(_segment(ct, tmp_path).labels.array, truth.array)


@pytest.mark.parametrize("spacing", [(1.5, 1.0, 1.0), (4.0, 2.5, 2.5)])
def test_another_working_spacing_finds_every_organ_where_it_is(tmp_path: Path, spacing: Triple) -> None:
    # one large block instead of thirteen small ones: at its border the working grid averages it with air
    ct, _ = block_phantom((40, 48, 48))
    hu = np.full((40, 48, 48), AIR_HU, dtype=np.int16)
    inside = Box((10, 12, 14), (30, 36, 40))
    hu[inside.slices] = organ_hu(13)
    write_models(tmp_path, spacings_zyx=((6.0, 4.0, 4.0), spacing))
    labels = _segment(Volume(hu, ct.geometry), tmp_path).labels.array
    assert (labels[12:28, 15:33, 17:37] == 13).all()
    outside = np.ones_like(labels, dtype=np.bool_)
    outside[8:32, 9:39, 11:43] = False
    assert not labels[outside].any()


def test_an_empty_scan_is_searched_as_a_whole_and_stays_empty(models: Path) -> None:
    ct, _ = block_phantom()
    result = _segment(Volume(np.full_like(ct.array, -1000), ct.geometry), models)
    assert not result.labels.array.any()
    assert result.roi.extent_mm_zyx == ct.geometry.extent_mm_zyx
    assert "found no organs" in result.notes[0]
    assert set(result.volumes_ml.values()) == {0}


def test_organs_at_the_scans_edge_are_labelled_up_to_it_and_told(models: Path) -> None:
    ct, truth = block_phantom()
    box = Box((5, 0, 0), (20, 24, 28))
    result = _segment(ct.crop(box), models)
    np.testing.assert_array_equal(result.labels.array, truth.crop(box).array)
    assert result.notes[0] == "the organs reach the scan's inferior edge and may be cut off"
    assert result.notes[1] == "liver, right kidney, spleen and pancreas reach the scan's inferior edge: " + (
        "what was measured is a part"
    )
    assert _codes(result)[:2] == ["roi-at-edge", "organ-cut"]


def test_the_roi_holds_every_organ_and_its_size_is_in_mm(models: Path) -> None:
    ct, truth = block_phantom()
    manifest = load_manifest(models)
    coarse = StageModel(manifest.coarse, load_network(models, manifest.coarse, Runtime("openvino", "cpu", 1)))
    roi = locate(canonicalise(ct), coarse, manifest.roi_margin_mm)
    inside = truth.array[roi.box.slices]
    assert np.count_nonzero(inside) == np.count_nonzero(truth.array)
    assert roi.box.shape_zyx != truth.array.shape
    assert _segment(ct, models).roi.extent_mm_zyx == ct.geometry.crop(roi.box).extent_mm_zyx


def test_a_scan_in_tiny_pieces_of_one_voxel_is_still_a_scan(models: Path) -> None:
    ct, _ = block_phantom()
    voxel = ct.crop(Box((0, 0, 0), (1, 1, 1)))
    assert _segment(voxel, models).labels.array.shape == (1, 1, 1)


def test_the_scan_is_left_as_it_was_and_never_becomes_floats(models: Path) -> None:
    ct, _ = block_phantom()
    before = ct.array.copy()
    ct.array.flags.writeable = False
    _segment(ct, models)
    np.testing.assert_array_equal(ct.array, before)
    assert ct.array.dtype == np.int16


def test_the_components_rule_of_each_organ_is_applied(tmp_path: Path) -> None:
    ct, truth = block_phantom()
    speck = (14, 10, 20)  # within the ROI, away from every organ
    ct.array[speck] = organ_hu(1)
    models = write_models(tmp_path)
    np.testing.assert_array_equal(_segment(ct, models).labels.array, truth.array)
    manifest = json.loads((models / "manifest.json").read_text())
    manifest["components"]["liver"] = {"keep": "all"}
    (models / "manifest.json").write_text(json.dumps(manifest))
    assert _segment(ct, models).labels.array[speck] == 1


def test_the_steps_are_marked_in_the_order_of_the_method(models: Path) -> None:
    ct, _ = block_phantom()
    with recording() as steps:
        _segment(ct, models)
    loading = ["import", "read", "compile"] * 2
    assert [step.name for step in steps] == [*loading, "coarse", "crop", "fine", "restore", "components"]


def test_an_oblique_scan_is_labelled_on_its_own_oblique_grid(models: Path) -> None:
    ct, truth = block_phantom()
    tilted = Geometry(
        ct.geometry.shape_zyx,
        ct.geometry.spacing_zyx,
        ct.geometry.origin_lps,
        ((0.0, 0.28, 0.96), (0.0, 0.96, -0.28), (1.0, 0.0, 0.0)),
    )
    result = _segment(Volume(ct.array, tilted), models)
    np.testing.assert_array_equal(result.labels.array, truth.array)
    assert result.labels.geometry == tilted


def test_fine_scores_at_the_scans_resolution_never_exist(models: Path) -> None:
    """A fake network records how many voxels it was ever asked for: those of the working grid's tiles."""
    ct, _ = block_phantom((40, 96, 112), (1.5, 0.5, 0.5))
    manifest = load_manifest(models)
    asked: list[int] = []

    def fine(tile: Tile) -> Scores:
        asked.append(tile.size)
        return np.zeros((14, *tile.shape), dtype=np.float32)

    def coarse(tile: Tile) -> Scores:
        return np.stack([tile, -tile])

    segment(
        ct,
        StageModel(manifest.coarse, FakeNetwork(coarse)),
        StageModel(manifest.fine, FakeNetwork(fine)),
        manifest,
    )
    assert sum(asked) < ct.array.size / 4


def _liver_above_a_kidney() -> tuple[Volume, Volume]:
    """A left kidney, and on it a liver that goes up for 90 mm."""
    geometry = Geometry((60, 40, 40), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    labels = np.zeros(geometry.shape_zyx, np.uint8)
    labels[5:20, 8:28, 8:28] = 13
    labels[20:50, 8:28, 8:28] = 1
    ct = np.select([labels == 13, labels == 1], [organ_hu(13), organ_hu(1)], AIR_HU).astype(np.int16)
    return Volume(ct, geometry), Volume(labels, geometry)


def test_organs_that_go_on_beyond_what_the_coarse_stage_found_are_labelled_to_their_end(tmp_path: Path) -> None:
    ct, truth = _liver_above_a_kidney()
    blind = write_models(tmp_path, coarse_sees_hu=organ_hu(5))
    result = _segment(ct, blind)
    np.testing.assert_array_equal(result.labels.array, truth.array)
    # 60 mm at once: the liver has 84 mm above the first ROI
    widened = [note for note in result.notes if note.code == "roi-widened"]
    assert widened == ["beyond the region that the coarse stage found (superior) lies more of liver; it was widened"]
    assert "organ-beyond-roi" not in _codes(result)
    with_one = load(models=blind, device="cpu", backend="openvino")
    np.testing.assert_array_equal(with_one(ct).labels.array, truth.array)
    with_one.close()


def test_what_goes_on_for_ever_is_followed_three_times_and_told_to_be_a_part(tmp_path: Path) -> None:
    ct, _ = _liver_above_a_kidney()
    endless = np.repeat(ct.array[49:50], 150, axis=0)
    long = Volume(np.concatenate([ct.array[:50], endless]), ct.geometry.with_grid((200, 40, 40), (3.0, 2.0, 2.0)))
    blind = write_models(tmp_path, coarse_sees_hu=organ_hu(5))
    with recording() as steps:
        result = _segment(long, blind)
    assert [step.name for step in steps].count("widen") == MOST_ROUNDS
    assert [code for code in _codes(result) if "roi" in code] == ["roi-widened", "organ-beyond-roi"]
    # the kidney's 15 slices on a grid of 6 mm, 6 mm around it, and 60 mm three times, of slices of 3 mm
    assert result.roi.shape_zyx[0] == 16 + 4 + 3 * 20


def test_a_network_that_fails_on_the_wider_roi_leaves_what_was_found_before(tmp_path: Path) -> None:
    ct, truth = _liver_above_a_kidney()
    # one tile for the first ROI: its scores are the network's own memory
    models = write_models(tmp_path, coarse_sees_hu=organ_hu(5), tiles_zyx=((16, 16, 16), (24, 32, 32)))
    manifest = load_manifest(models)
    runtime = Runtime("openvino", "cpu", threads=1)
    fine = load_network(tmp_path, manifest.fine, runtime)
    tiles: list[int] = []
    memory: list[Scores] = []

    def fails_later(tile: Tile) -> Scores:
        tiles.append(tile.size)
        if len(tiles) > first_look:
            memory[-1][:] = np.nan
            raise RunError("the GPU has no memory for it")
        memory.append(fine(tile).copy())
        return memory[-1]

    coarse = StageModel(manifest.coarse, load_network(tmp_path, manifest.coarse, runtime))
    plan = StageModel(manifest.fine, fine).plan(
        canonicalise(ct).geometry, locate(canonicalise(ct), coarse, manifest.roi_margin_mm).box
    )
    first_look = math.prod(
        len(tile_starts(size, tile, manifest.fine.overlap))
        for size, tile in zip(plan.grid.shape_zyx, plan.tile_zyx, strict=True)
    )
    result = segment(ct, coarse, StageModel(manifest.fine, FakeNetwork(fails_later)), manifest)
    inside = result.labels.array == truth.array
    assert first_look == 1
    assert inside[:22].all()
    assert not result.labels.array[30:].any()
    assert [note for note in result.notes if "roi" in note.code] == [
        "the region that was searched cuts liver (superior): what was measured is a part (the GPU has no memory for it)"
    ]


def test_of_the_first_look_no_view_is_kept_while_the_widened_one_is_computed(tmp_path: Path) -> None:
    ct, _ = _liver_above_a_kidney()
    views: list[weakref.ref[Any]] = []
    alive: list[int] = []
    one = load(models=write_models(tmp_path, coarse_sees_hu=organ_hu(5)), device="cpu", backend="openvino")
    plain = one._score

    def watched(networks: Networks, cropped: Cropped) -> Scored:
        views.append(weakref.ref(cropped.view.array))
        alive.append(sum(view() is not None for view in views))
        return plain(networks, cropped)

    one._score = watched  # type: ignore[method-assign]
    one(ct)
    one.close()
    assert alive == [1, 1, 1]


def test_the_manifest_alone_decides_the_labels(models: Path) -> None:
    manifest: Manifest = load_manifest(models)
    assert tuple(manifest.labels) == ORGANS
