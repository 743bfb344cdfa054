import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.cases import ScanFile
from attention_dmfnet.files.image_io import write_labels, write_volume
from attention_dmfnet.files.label_maps import fault_of_label_map
from attention_dmfnet.geometry import Geometry, Volume

from tests.engine.tiny import block_phantom

CT, LABELS = block_phantom()
GRID = LABELS.geometry


@pytest.fixture(params=[".nii.gz", ".mha", ".nrrd"])
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"scan{request.param}"
    write_volume(CT, path)
    return path


def _fault(path: Path, scan: Path) -> str:
    fault = fault_of_label_map(path, ScanFile(scan))
    assert fault is not None
    assert str(path) in fault
    return fault


def test_a_whole_label_map_on_the_scans_grid_has_no_fault(tmp_path: Path, scan: Path) -> None:
    write_labels(LABELS, tmp_path / "a.nii.gz")
    assert fault_of_label_map(tmp_path / "a.nii.gz", ScanFile(scan)) is None


def test_a_label_map_without_organs_or_of_another_type_is_whole_too(tmp_path: Path, scan: Path) -> None:
    write_volume(Volume(np.zeros(GRID.shape_zyx, np.float32), GRID), tmp_path / "a.nii.gz")
    assert fault_of_label_map(tmp_path / "a.nii.gz", ScanFile(scan)) is None


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_part_of_a_file_is_none(tmp_path: Path, scan: Path, share: float) -> None:
    path = tmp_path / "a.nii.gz"
    write_labels(LABELS, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    _fault(path, scan)


@pytest.mark.parametrize("what", ["text", "zeros", "folder", "link", "pipe", "another kind"])
def test_something_else_under_its_name_is_none(tmp_path: Path, scan: Path, what: str) -> None:
    path = tmp_path / "a.nii.gz"
    if what == "text":
        path.write_text("labels by hand" * 100)
    elif what == "zeros":
        path.write_bytes(bytes(4096))
    elif what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to("nowhere")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        write_labels(LABELS, tmp_path / "a.nrrd")
        (tmp_path / "a.nrrd").rename(path)
    _fault(path, scan)


@pytest.mark.parametrize(
    "grid",
    [
        replace(GRID, origin_lps=(-31.0, 17.5, 250.0)),
        replace(GRID, spacing_zyx=(3.1, 2.0, 2.0)),
        replace(GRID, axes_lps=(GRID.axes_lps[0], GRID.axes_lps[2], GRID.axes_lps[1])),
        replace(GRID, shape_zyx=(19, 24, 28)),
    ],
)
def test_another_grid_is_said(tmp_path: Path, scan: Path, grid: Geometry) -> None:
    write_labels(Volume(np.zeros(grid.shape_zyx, np.uint8), grid), tmp_path / "a.nii.gz")
    assert "another grid" in _fault(tmp_path / "a.nii.gz", scan)


@pytest.mark.parametrize("value", [-1, 256, 0.5, -1000])
def test_values_that_are_no_labels_are_said(tmp_path: Path, scan: Path, value: float) -> None:
    array = np.zeros(GRID.shape_zyx, np.float32)
    array[3, 4, 5] = value
    write_volume(Volume(array, GRID), tmp_path / "a.nii.gz")
    assert "no labels" in _fault(tmp_path / "a.nii.gz", scan)
