"""A series of The Cancer Imaging Archive, from DICOM to SEG and RTSTRUCT with the networks of the release."""

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from attention_dmfnet.cli.main import main
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.organs import ORGANS

from tests.engine.dicom.test_rtstruct import _centroid_of_contours, _contours
from tests.engine.dicom.test_seg import _centroid_lps, _centroid_of_segment
from tests.engine.dicom.verifier import errors_of

SERIES = Path(__file__).resolve().parents[4] / "shared" / "data" / "dicom" / "C3N-00249"


@pytest.mark.skipif(not SERIES.exists(), reason="the real series is not in ../shared/data")
def test_each_organ_is_where_the_label_map_has_it(tmp_path: Path) -> None:
    assert main(["predict", str(SERIES), str(tmp_path), "--dicom-seg", "--rtstruct"]) == 0
    (label_map,) = tmp_path.glob("*.nii.gz")
    labels = read_volume(label_map)
    seg_path, structures_path = (tmp_path / label_map.name.replace(".nii.gz", f".{k}.dcm") for k in ("seg", "rtstruct"))
    seg, structures = pydicom.dcmread(seg_path), pydicom.dcmread(structures_path)
    found = [organ for organ in ORGANS if (labels.array == organ.number).any()]
    assert len(found) >= 12
    for organ in found:
        place = _centroid_lps(labels, organ.number)
        assert np.abs(_centroid_of_segment(seg, organ.number) - place).max() < 1e-3, organ.name
        # outlines cut a little off every corner of a pixel
        assert np.abs(_centroid_of_contours(_contours(structures, organ.number)) - place).max() < 0.5, organ.name
    by_place = sorted(
        (pydicom.dcmread(path, stop_before_pixels=True) for path in SERIES.iterdir()),
        key=lambda image: float(image.ImagePositionPatient[2]),
    )
    masks = highdicom.seg.Segmentation.from_dataset(seg).get_pixels_by_source_instance(
        [image.SOPInstanceUID for image in by_place], combine_segments=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(masks, labels.array)
    assert errors_of(seg_path) + errors_of(structures_path) == []
