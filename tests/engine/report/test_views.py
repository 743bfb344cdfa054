import base64
import gzip

import nibabel
import numpy as np
import pytest
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Box, Geometry, Volume
from attention_dmfnet.report import views
from attention_dmfnet.report.views import packed_views

from tests.engine.tiny import block_phantom


def _read(packed: str) -> nibabel.Nifti1Image:
    image: nibabel.Nifti1Image = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(packed)))
    return image


def test_another_reader_finds_the_scan_and_its_labels_at_their_place_in_the_patient() -> None:
    ct, labels = block_phantom(spacing_zyx=(3.0, 2.0, 2.0))
    found = packed_views(ct, labels)
    image, organs = _read(found.ct), _read(found.labels)
    # nothing is finer than 2 mm here: the grid is the scan's own, up to 10 mm behind the last organ
    behind = Box((0, 0, 0), (20, 19, 28))
    ct, labels = ct.crop(behind), labels.crop(behind)
    assert found.grid.matches(ct.geometry)
    np.testing.assert_array_equal(np.asarray(organs.dataobj), labels.array.transpose(2, 1, 0))
    # 7 bits of 508 HU: half a step is 2 HU
    np.testing.assert_allclose(image.get_fdata(), np.clip(ct.array, -200, 308).transpose(2, 1, 0), atol=2.01)
    x, y, z = ct.geometry.point_lps((7.0, 5.0, 3.0))
    for written in (image, organs):
        np.testing.assert_allclose(written.affine @ np.array([3, 5, 7, 1]), np.array([-x, -y, z, 1]), atol=1e-3)


def test_a_finer_scan_is_made_coarser_and_keeps_its_extent() -> None:
    grid = Geometry((30, 80, 80), (1.0, 0.5, 0.5), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[:, :40] = 5
    found = packed_views(Volume(np.zeros(grid.shape_zyx, np.int16), grid), Volume(labels, grid))
    assert found.grid.spacing_zyx == (2.0, 2.0, 2.0)
    assert found.grid.extent_mm_zyx == grid.extent_mm_zyx
    organs = np.asarray(_read(found.labels).dataobj)
    assert (organs[:, :10] == 5).all()
    assert (organs[:, 10:] == 0).all()


def test_noise_that_does_not_pack_makes_the_grid_coarser_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "_MOST_BYTES", 20_000)
    grid = Geometry((40, 60, 60), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    noise = np.random.default_rng(0).integers(-200, 300, grid.shape_zyx, dtype=np.int16)
    found = packed_views(Volume(noise, grid), Volume(np.zeros(grid.shape_zyx, np.uint8), grid))
    assert len(base64.b64decode(found.ct)) <= 20_000
    assert min(found.grid.spacing_zyx) > 2


def test_the_view_covers_the_body_and_every_label_and_neither_air_nor_the_edges_of_a_table() -> None:
    grid = Geometry((20, 120, 120), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    ct = np.full(grid.shape_zyx, -1000, np.int16)
    ct[:, 40:80, 30:90] = 50
    # a table, as wide as the scan and two voxels thick
    ct[:, 95:97] = 300
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[5, 60, 100] = 3
    found = packed_views(Volume(ct, grid), Volume(labels, grid))
    (left, top), (right, bottom) = (
        (found.grid.origin_lps[axis] for axis in (0, 1)),
        (found.grid.origin_lps[axis] + 2.0 * (found.grid.shape_zyx[2 - axis] - 1) for axis in (0, 1)),
    )
    # 10 mm around the body on the right, around the label on the left, and the scan's whole height
    assert (left, right) == (2.0 * 30 - 10, 2.0 * 100 + 10)
    assert top == 2.0 * 40 - 10
    assert bottom >= 2.0 * 79
    assert found.grid.shape_zyx[0] == 20
    assert (np.asarray(_read(found.labels).dataobj) == 3).any()
