"""What a working grid costs: nothing on its own spacing, more the coarser it is, most for what is thin."""

from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import write_labels
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from evaluation.command import UNUSABLE
from evaluation.studies.grid_limit import grid_limit, main

LABELS = Geometry((24, 40, 40), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)


@pytest.fixture
def labels() -> Volume:
    """A liver of 24x24 mm and an adrenal gland two voxels thin."""
    array = np.zeros(LABELS.shape_zyx, np.uint8)
    array[4:16, 8:32, 4:28] = 1
    array[4:16, 10:30, 33:35] = 7
    return Volume(array, LABELS)


def test_a_grid_of_the_labels_own_spacing_costs_nothing(labels: Volume) -> None:
    assert grid_limit(labels, (2.0, 1.0, 1.0)) == {"liver": 1.0, "right adrenal gland": 1.0}


def test_the_coarser_the_grid_the_less_is_left_and_least_of_what_is_thin(labels: Volume) -> None:
    fine, coarse = grid_limit(labels, (3.0, 1.6, 1.6)), grid_limit(labels, (6.0, 5.0, 5.0))
    for organ in fine:
        assert coarse[organ] < fine[organ] < 1
    assert coarse["right adrenal gland"] < coarse["liver"]


def test_the_command_prints_a_column_for_each_spacing(
    labels: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_labels(labels, tmp_path / "labels.nii.gz")
    assert main([str(tmp_path / "labels.nii.gz"), "--spacing", "2", "1", "1", "--spacing", "6", "5", "5"]) == 0
    out = capsys.readouterr().out
    assert "| 2 x 1 x 1 | 6 x 5 x 5 |" in out
    assert "| liver | 1.000 |" in out


def test_a_spacing_of_zero_is_refused(labels: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_labels(labels, tmp_path / "labels.nii.gz")
    assert main([str(tmp_path / "labels.nii.gz"), "--spacing", "0", "1", "1"]) == UNUSABLE
    assert "--spacing" in capsys.readouterr().err
