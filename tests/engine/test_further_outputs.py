"""--seg-nrrd, --dicom-seg and --rtstruct, from the command line to files that others read."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.outputs import NEEDED
from attention_dmfnet.cli.predict_options import add_output_options
from attention_dmfnet.cli.status import DONE, SOME_FAILED, UNUSABLE
from attention_dmfnet.files.image_io import read_volume, write_volume
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.engine.dicom.made import write_enhanced, write_series
from tests.engine.dicom.verifier import errors_of
from tests.engine.tiny import block_phantom

sitk: Any = SimpleITK
ROOT = Path(__file__).parents[2]


def _predict(inputs: Path, outputs: Path, models: Path, *options: str) -> int:
    return main(["predict", str(inputs), str(outputs), "--models", str(models), *options])


def _write_dicom(folder: Path) -> None:
    frame_of_reference = generate_uid()

    def same_frame(image: Dataset, _: int) -> None:
        image.FrameOfReferenceUID = frame_of_reference

    write_series(block_phantom()[0], folder, same_frame)


def _only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def test_slicers_segmentation_is_beside_the_label_map(tmp_path: Path, models: Path) -> None:
    write_volume(block_phantom()[0], tmp_path / "a_0000.nii.gz")
    assert _predict(tmp_path / "a_0000.nii.gz", tmp_path / "out", models, "--seg-nrrd") == DONE
    assert {"a.nii.gz", "a.seg.nrrd"} <= {path.name for path in (tmp_path / "out").iterdir()}
    image = sitk.ReadImage(str(tmp_path / "out" / "a.seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), block_phantom()[1].array)
    assert image.GetMetaData("Segment12_Name") == "left kidney"


def test_a_dicom_series_gets_objects_that_hold_what_the_label_map_holds(tmp_path: Path, models: Path) -> None:
    _write_dicom(tmp_path / "in")
    assert _predict(tmp_path / "in", tmp_path / "out", models, "--dicom-seg", "--rtstruct") == DONE
    labels = read_volume(_only(tmp_path / "out", "*.nii.gz"))
    path = _only(tmp_path / "out", "*.seg.dcm")
    seg = highdicom.seg.segread(path)
    uids = [pydicom.dcmread(file).SOPInstanceUID for file in sorted((tmp_path / "in").iterdir())]
    masks = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal((masks * np.arange(1, 14)).sum(axis=-1), labels.array)
    said = seg.get_segment_description(1).algorithm_identification
    # of the models that were used
    assert said is not None
    assert said.parameters is not None
    assert (said.version, len(said.parameters["model_sha256"])) == ("0.0.0", 64)
    structures = _only(tmp_path / "out", "*.rtstruct.dcm")
    assert pydicom.dcmread(structures).StudyInstanceUID == seg.StudyInstanceUID
    assert errors_of(path) + errors_of(structures) == []


def test_a_multi_frame_series_is_referred_to_frame_by_frame(tmp_path: Path, models: Path) -> None:
    order = list(np.random.default_rng(0).permutation(20))
    write_enhanced(block_phantom()[0], tmp_path / "in.dcm", order)
    assert _predict(tmp_path / "in.dcm", tmp_path / "out", models, "--dicom-seg", "--rtstruct") == DONE
    labels = read_volume(_only(tmp_path / "out", "*.nii.gz"))
    source = pydicom.dcmread(tmp_path / "in.dcm")
    seg = highdicom.seg.segread(_only(tmp_path / "out", "*.seg.dcm"))
    masks = seg.get_pixels_by_source_frame(
        source.SOPInstanceUID, list(range(1, 21)), assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal((masks * np.arange(1, 14)).sum(axis=-1), labels.array[order])
    structures = pydicom.dcmread(_only(tmp_path / "out", "*.rtstruct.dcm"))
    for contour in structures.ROIContourSequence[0].ContourSequence:
        frame = contour.ContourImageSequence[0].ReferencedFrameNumber
        place = source.PerFrameFunctionalGroupsSequence[frame - 1].PlanePositionSequence[0].ImagePositionPatient
        # axial: all its points are as high as that frame
        assert {float(z) for z in contour.ContourData[2::3]} == {float(place[2])}


def test_files_that_are_no_dicom_are_refused_before_any_work(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_volume(block_phantom()[0], tmp_path / "a.nii.gz")
    assert _predict(tmp_path / "a.nii.gz", tmp_path / "out", models, "--dicom-seg") == UNUSABLE
    assert f"--dicom-seg and --rtstruct refer to the DICOM that a scan came from; {tmp_path}/a.nii.gz holds none" in (
        capsys.readouterr().err
    )
    assert not list((tmp_path / "out").glob("*.nii.gz"))


@pytest.mark.parametrize(
    ("option", "package"),
    [(option, packages[-1]) for option, (packages, _) in NEEDED.items()],
)
def test_an_output_whose_package_is_missing_is_refused_before_any_case(
    option: str, package: str, tmp_path: Path, models: Path
) -> None:
    _write_dicom(tmp_path / "in")
    arguments = ["predict", str(tmp_path / "in"), str(tmp_path / "out"), "--models", str(models), option]
    program = (
        "import importlib.util, sys\nfrom attention_dmfnet.cli.main import main\n"
        f"class Missing:\n  @staticmethod\n  def find_spec(name, path=None, target=None):\n"
        f"    if name.partition('.')[0] == {package!r}:\n      raise ModuleNotFoundError(name=name)\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name: None if name == {package!r} else find(name)\n"
        f"sys.meta_path.insert(0, Missing)\nsys.exit(main({arguments}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == UNUSABLE
    assert f"{option} needs the Python package {package}, which is not installed: pip install " in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--dicom-seg", "--rtstruct", "--seg-nrrd", "--report"])
def test_models_that_are_not_there_are_one_sentence_whatever_is_written(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_dicom(tmp_path / "in")
    (tmp_path / "none").mkdir()
    arguments = ["predict", str(tmp_path / "in"), str(tmp_path / "out"), "--models", str(tmp_path / "none"), option]
    assert main(arguments) == UNUSABLE
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "manifest.json" in line] == said[-1:]


def test_every_option_for_a_further_output_is_known_to_the_list_of_packages() -> None:
    """A new one cannot be forgotten: what needs nothing says so here."""
    parser = argparse.ArgumentParser()
    add_output_options(parser.add_argument_group("further outputs"))
    options = {name for name in parser._option_string_actions if name.startswith("--")}
    assert options - set(NEEDED) == {"--statistics", "--no-statistics", "--help"}


def test_among_dicom_a_file_that_is_none_fails_by_name_with_its_label_map_there(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_dicom(tmp_path / "in" / "series")
    write_volume(block_phantom()[0], tmp_path / "in" / "a.nii.gz")
    assert _predict(tmp_path / "in", tmp_path / "out", models, "--dicom-seg") == SOME_FAILED
    out = capsys.readouterr().out
    assert f"{tmp_path}/in/a.nii.gz: its label map is written, but --dicom-seg and --rtstruct need the DICOM" in out
    assert (tmp_path / "out" / "a.nii.gz").exists()
    assert len(list((tmp_path / "out").glob("*.seg.dcm"))) == 1


def test_a_label_map_that_is_there_is_kept_and_what_is_missing_beside_it_is_said(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_volume(block_phantom()[0], tmp_path / "a.nii.gz")
    assert _predict(tmp_path / "a.nii.gz", tmp_path / "out", models) == DONE
    before = (tmp_path / "out" / "a.nii.gz").stat().st_mtime_ns
    capsys.readouterr()
    assert _predict(tmp_path / "a.nii.gz", tmp_path / "out", models, "--seg-nrrd") == DONE
    assert "--overwrite makes it again, and a.seg.nrrd, which is not there" in capsys.readouterr().out
    assert (tmp_path / "out" / "a.nii.gz").stat().st_mtime_ns == before


def test_only_the_organs_that_were_asked_for_are_segments(tmp_path: Path, models: Path) -> None:
    write_volume(block_phantom()[0], tmp_path / "a.nii.gz")
    options = ("--seg-nrrd", "--organs", "spleen", "liver")
    assert _predict(tmp_path / "a.nii.gz", tmp_path / "out", models, *options) == DONE
    image = sitk.ReadImage(str(tmp_path / "out" / "a.seg.nrrd"))
    names = [image.GetMetaData(key) for key in sorted(image.GetMetaDataKeys()) if key.endswith("_Name")]
    assert names == ["liver", "spleen"]


def test_a_plain_run_imports_nothing_for_them(tmp_path: Path, models: Path) -> None:
    write_volume(block_phantom()[0], tmp_path / "a.nii.gz")
    arguments = ["predict", str(tmp_path / "a.nii.gz"), str(tmp_path / "out"), "--models", str(models)]
    program = (
        f"import sys\nfrom attention_dmfnet.cli.main import main\nassert main({arguments}) == 0\n"
        "ours = [m for m in sys.modules if m.startswith(('attention_dmfnet.further', 'attention_dmfnet.dicom'))]\n"
        "print(ours + [m for m in ('highdicom', 'pydicom', 'contourpy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
