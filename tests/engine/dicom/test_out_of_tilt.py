"""From a tilted gantry and back: labels on a grid at right angles, laid on the tilted slices that were scanned."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from attention_dmfnet.dicom.listing import only_case
from attention_dmfnet.dicom.rtstruct import write_rtstruct
from attention_dmfnet.dicom.seg import write_seg
from attention_dmfnet.geometry import Volume
from pydicom.uid import generate_uid

from tests.engine.dicom.made import write_tilted
from tests.engine.dicom.test_rtstruct import _centroid_of_contours, _contours
from tests.engine.dicom.test_seg import ALGORITHM, _centroid_of_segment
from tests.engine.dicom.verifier import errors_of

MIDDLE_LPS = (3.0, -6.0, 132.0)
RADIUS_MM = 15.0


def _ball(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(np.linalg.norm(points - np.array(MIDDLE_LPS), axis=-1) < RADIUS_MM, 200.0, -100.0)


@pytest.mark.parametrize("degrees", [-20.0, 1.0, 25.0])
def test_a_ball_is_where_it_was_scanned(degrees: float, tmp_path: Path) -> None:
    write_tilted(_ball, tmp_path / "in", degrees)
    frame_of_reference = generate_uid()
    for path in (tmp_path / "in").iterdir():
        image = pydicom.dcmread(path)
        image.FrameOfReferenceUID = frame_of_reference
        image.save_as(path)
    case = only_case(tmp_path / "in")
    ct = case.read([])
    labels = Volume((ct.array > 50).astype(np.uint8), ct.geometry)
    sources = list(case.datasets())
    write_seg(sources, labels, {"liver": 1}, ALGORITHM, tmp_path / "seg.dcm")
    write_rtstruct(sources, labels, {"liver": 1}, ALGORITHM, tmp_path / "rtstruct.dcm")
    seg, structures = pydicom.dcmread(tmp_path / "seg.dcm"), pydicom.dcmread(tmp_path / "rtstruct.dcm")
    # far less than a voxel of 2 x 2 x 3 mm
    assert _centroid_of_segment(seg, 1) == pytest.approx(MIDDLE_LPS, abs=0.6)
    assert _centroid_of_contours(_contours(structures, 1)) == pytest.approx(MIDDLE_LPS, abs=0.6)
    # on the slices that were stored: each frame is one of theirs
    placed = {tuple(map(float, source.ImagePositionPatient)) for source in sources}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        assert tuple(map(float, frame.PlanePositionSequence[0].ImagePositionPatient)) in placed
    pixel_ml = 2.0 * 2.0 * 3.0 * np.cos(np.radians(degrees)) / 1000
    assert np.count_nonzero(seg.pixel_array) * pixel_ml == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.05)
    assert errors_of(tmp_path / "seg.dcm") + errors_of(tmp_path / "rtstruct.dcm") == []
