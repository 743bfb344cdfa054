"""A lengthened scan holds the old one where it was, and its end slices beyond."""

from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import read_volume, write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from evaluation.command import UNUSABLE
from evaluation.studies.long_scan import main


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    geometry = Geometry((3, 4, 5), (2.5, 1.0, 0.5), (7.0, 8.0, 9.0), CANONICAL_AXES_LPS)
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    write_volume(Volume(array, geometry), tmp_path / "short.nii.gz")
    return tmp_path / "short.nii.gz"


def test_the_old_slices_keep_their_place_and_the_end_slices_go_on(scan: Path, tmp_path: Path) -> None:
    assert main([str(scan), "--slices", "8", "--to", str(tmp_path / "long.nii.gz")]) == 0
    short, long = read_volume(scan), read_volume(tmp_path / "long.nii.gz")
    assert long.array.dtype == short.array.dtype
    np.testing.assert_array_equal(long.array[2:5], short.array)
    np.testing.assert_array_equal(long.array[:2], short.array[[0, 0]])
    np.testing.assert_array_equal(long.array[5:], short.array[[2, 2, 2]])
    assert long.geometry.spacing_zyx == pytest.approx(short.geometry.spacing_zyx)
    assert long.geometry.point_lps((2, 0, 0)) == pytest.approx(short.geometry.origin_lps)


def test_a_scan_is_not_cut(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(scan), "--slices", "2", "--to", str(tmp_path / "long.nii.gz")]) == UNUSABLE
    assert "3 slices already" in capsys.readouterr().err
    assert not (tmp_path / "long.nii.gz").exists()
