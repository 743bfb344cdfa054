"""The ROI's coverage: whole where the coarse stage sees everything, less where organs lie outside its box."""

from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import write_labels, write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from evaluation.__main__ import main
from evaluation.accuracy.roi_coverage import RoiCoverage, coverage_table, measure_folder
from evaluation.command import FAILED
from evaluation.errors import EvaluationError
from evaluation.organs import ORGANS
from tests.engine.tiny import AIR_HU, block_phantom, organ_hu, write_models


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path / "models")


def write_case(folder: Path, ct: Volume, labels: Volume, name: str = "A") -> None:
    for part in ("images", "labels"):
        (folder / part).mkdir(exist_ok=True)
    write_volume(ct, folder / "images" / f"{name}_0000.nii.gz")
    write_labels(labels, folder / "labels" / f"{name}.nii.gz")


def two_livers(far_is_labelled_only: bool) -> tuple[Volume, Volume]:
    """A block of liver, and another one far above it that the CT may not show."""
    geometry = Geometry((60, 40, 40), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    labels = np.zeros(geometry.shape_zyx, np.uint8)
    labels[4:14, 8:28, 8:28] = 1
    seen = labels > 0
    labels[50:55, 8:28, 8:28] = 1
    if not far_is_labelled_only:
        seen = labels > 0
    ct = np.where(seen, organ_hu(13), AIR_HU).astype(np.int16)
    return Volume(ct, geometry), Volume(labels, geometry)


def test_what_the_coarse_stage_sees_is_held(tmp_path: Path, models: Path) -> None:
    write_case(tmp_path, *block_phantom())
    (found,) = measure_folder(tmp_path / "images", tmp_path / "labels", models)
    assert found.case == "A"
    assert set(found.held) == set(ORGANS)
    assert min(found.held.values()) > 0.99
    assert 0.2 < found.volume_ratio <= 1


def test_an_organ_outside_the_roi_is_counted_by_its_voxels(tmp_path: Path, models: Path) -> None:
    write_case(tmp_path, *two_livers(far_is_labelled_only=True))
    (found,) = measure_folder(tmp_path / "images", tmp_path / "labels", models)
    # a block of ten slices is held, one of five is not
    assert found.held == {"liver": pytest.approx(10 / 15)}
    assert found.volume_ratio < 0.6


def test_a_scan_without_a_label_map_is_left_out_and_none_at_all_is_an_error(tmp_path: Path, models: Path) -> None:
    write_case(tmp_path, *block_phantom())
    write_case(tmp_path, *block_phantom(), name="B")
    (tmp_path / "labels" / "B.nii.gz").unlink()
    assert [found.case for found in measure_folder(tmp_path / "images", tmp_path / "labels", models)] == ["A"]
    (tmp_path / "labels" / "A.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"no scan in .* has a label map of its name"):
        measure_folder(tmp_path / "images", tmp_path / "labels", models)


def test_labels_on_another_grid_or_without_organs_are_refused_by_name(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct, labels = block_phantom()
    arguments = ["roi", str(tmp_path / "images"), str(tmp_path / "labels"), "--models", str(models)]
    write_case(tmp_path, ct, Volume(labels.array * np.uint8(0), labels.geometry))
    assert main(arguments) == FAILED
    assert "A: the label map shows no organ" in capsys.readouterr().err
    write_case(tmp_path, ct, two_livers(far_is_labelled_only=True)[1])
    assert main(arguments) == FAILED
    assert "A: the label map of (60, 40, 40) voxels is not on the scan's grid" in capsys.readouterr().err


def test_the_table_names_the_organ_that_loses_most() -> None:
    table = coverage_table(
        [
            RoiCoverage("A", {"liver": 1.0, "aorta": 0.5}, 1.234, {"liver": 1.0, "aorta": 0.75}),
            RoiCoverage("B", {"liver": 1.0}, 0.9),
        ]
    )
    assert "| A | 50.00% | aorta | 1.23 | 75.00% | aorta |" in table
    assert "| B | 100.00% | all alike | 0.90 |  |  |" in table


def test_what_the_fine_stage_widens_the_roi_by_is_told_beside_the_coarse_stages_own(tmp_path: Path) -> None:
    geometry = Geometry((60, 40, 40), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    labels = np.zeros(geometry.shape_zyx, np.uint8)
    labels[5:20, 8:28, 8:28] = 13
    labels[20:30, 8:28, 8:28] = 1
    ct = np.select([labels == 13, labels == 1], [organ_hu(13), organ_hu(1)], AIR_HU).astype(np.int16)
    write_case(tmp_path, Volume(ct, geometry), Volume(labels, geometry))
    # the coarse network takes the liver for air, and the fine one does not
    blind = write_models(tmp_path / "models", coarse_sees_hu=organ_hu(5), margin_mm=(6.0, 6.0, 6.0))
    (found,) = measure_folder(tmp_path / "images", tmp_path / "labels", blind)
    assert found.held == {"liver": pytest.approx(0.2), "left kidney": 1.0}
    assert found.searched == {"liver": 1.0, "left kidney": 1.0}
    (of_a_margin,) = measure_folder(tmp_path / "images", tmp_path / "labels", blind, (6.0, 6.0, 6.0))
    assert of_a_margin.held == found.held
    assert of_a_margin.searched is None


def test_the_command_prints_the_table(tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_case(tmp_path, *block_phantom())
    assert main(["roi", str(tmp_path / "images"), str(tmp_path / "labels"), "--models", str(models)]) == 0
    assert "| A | 100.00% |" in capsys.readouterr().out


def test_models_that_are_not_there_are_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_case(tmp_path, *block_phantom())
    where = str(tmp_path / "nowhere")
    assert main(["roi", str(tmp_path / "images"), str(tmp_path / "labels"), "--models", where]) == FAILED
    assert capsys.readouterr().err.startswith(f"evaluation: no manifest at {where}")
