"""A series that holds several scans: phases, time points, reconstructions. Each is a volume of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from attention_dmfnet.cli.main import main
from attention_dmfnet.dicom.listing import list_dicom
from attention_dmfnet.files.cases import InputError
from attention_dmfnet.files.image_io import ImageError, read_volume
from attention_dmfnet.geometry import Box, Volume, canonicalise
from attention_dmfnet.notes import Note
from pydicom.dataset import Dataset

from tests.engine.dicom.made import write_enhanced, write_series
from tests.engine.tiny import block_phantom

CT, TRUTH = block_phantom()
SLICES = CT.geometry.shape_zyx[0]


def _later(hu: int = 50) -> Volume:
    """The same body at a later phase: brighter."""
    return Volume((CT.array + hu).astype(np.int16), CT.geometry)


def _write(folder: Path, *volumes: Volume, said: list[dict[str, Any]], by_slice: bool = False) -> None:
    """One series of ``volumes``, each image with what its volume says; a value that is a function is told the slice."""
    for number, (volume, values) in enumerate(zip(volumes, said, strict=True)):

        def change(image: Dataset, k: int, number: int = number, values: dict[str, Any] = values) -> None:
            slices = volumes[number].geometry.shape_zyx[0]
            image.InstanceNumber = 1 + (k * len(volumes) + number if by_slice else number * slices + k)
            for name, value in values.items():
                setattr(image, name, value(k) if callable(value) else value)

        write_series(volume, folder / str(number), change, series_uid="1.2.3", study_uid="1.1")


def _time(first_s: float, step_s: float = 0.0) -> Any:
    return lambda k: f"1015{first_s + k * step_s:05.2f}"


WAYS: dict[str, list[dict[str, Any]]] = {
    "acquisition number": [{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}],
    "temporal position": [{"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}],
    "percentage of the cardiac cycle": [
        {"NominalPercentageOfCardiacPhase": 40},
        {"NominalPercentageOfCardiacPhase": 75},
    ],
    "trigger time in ms": [{"TriggerTime": 300}, {"TriggerTime": 700}],
    "tube voltage in kV": [{"KVP": 80}, {"KVP": 140}],
    "kernel": [{"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B31f"}],
    "acquisition time": [{"AcquisitionTime": "101500"}, {"AcquisitionTime": "101540"}],
    # every slice at a time of its own
    "acquisition time, the 1st at each place": [{"AcquisitionTime": _time(0, 1)}, {"AcquisitionTime": _time(20, 1)}],
    "content time, the 1st at each place": [{"ContentTime": _time(0, 0.1)}, {"ContentTime": _time(20, 0.1)}],
    # anonymised: nothing but the order is left
    "instance number, the 1st at each place": [{}, {}],
}


@pytest.mark.parametrize("by_slice", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_the_first_phase_is_labelled_and_the_other_is_listed(way: str, by_slice: bool, tmp_path: Path) -> None:
    _write(tmp_path, CT, _later(), said=WAYS[way], by_slice=by_slice)
    listing = list_dicom(tmp_path)
    (case,) = listing.cases
    notes: list[Note] = []
    np.testing.assert_array_equal(case.read(notes).array, CT.array)
    assert (case.name, case.series.key) == ("ct-c47f5b18b8a4-1", "1.2.3:1")
    assert [note.code for note in notes] == ["dicom-series", "dicom-volumes"]
    assert f"volume 1 of 2 ({way}" in notes[0]
    (other,) = listing.series
    assert "volume 2 of 2" in other.kind
    assert other.kind.endswith(": series 1.2.3:1 covers as much")


def test_all_of_them_or_one_can_be_asked_for(tmp_path: Path) -> None:
    _write(tmp_path, CT, _later(), _later(90), said=[{"AcquisitionNumber": n} for n in (9, 10, 11)])
    assert [case.series.key for case in list_dicom(tmp_path, series_uids=["1.2.3"]).cases] == [
        "1.2.3:1",
        "1.2.3:2",
        "1.2.3:3",
    ]
    (second,) = list_dicom(tmp_path, series_uids=["1.2.3:2"]).cases
    # by number, in which 10 comes behind 9
    np.testing.assert_array_equal(second.read([]).array, _later().array)
    with pytest.raises(InputError, match=r"no series 1\.2\.3:4 in .*; there are: 1\.2\.3:1, 1\.2\.3:2, 1"):
        list_dicom(tmp_path, series_uids=["1.2.3:4"])


def test_the_volume_of_most_coverage_is_chosen(tmp_path: Path) -> None:
    part = CT.crop(Box((0, 0, 0), (12, *CT.geometry.shape_zyx[1:])))
    _write(tmp_path, part, _later(), said=WAYS["acquisition number"])
    listing = list_dicom(tmp_path)
    assert [case.series.key for case in listing.cases] == ["1.2.3:2"]
    assert listing.series[0].kind.endswith("it covers 33 mm, series 1.2.3:2 57 mm")


def test_a_few_planes_taken_again_are_no_volume(tmp_path: Path) -> None:
    again = _later().crop(Box((4, 0, 0), (7, *CT.geometry.shape_zyx[1:])))
    _write(tmp_path, CT, again, said=WAYS["acquisition number"])
    listing = list_dicom(tmp_path)
    assert [case.series.key for case in listing.cases] == ["1.2.3:1"]
    assert listing.series[0].kind.endswith("too few slices (3)")
    assert [case.series.key for case in list_dicom(tmp_path, series_uids=["1.2.3"]).cases] == ["1.2.3:1"]


def test_acquisitions_that_overlap_between_each_others_planes_are_two(tmp_path: Path) -> None:
    moved = CT.geometry.crop(Box((0, 0, 0), CT.geometry.shape_zyx))
    moved = type(moved)(moved.shape_zyx, moved.spacing_zyx, (-31.0, 17.0, 251.1), moved.axes_lps)
    _write(tmp_path, CT, Volume(CT.array, moved), said=WAYS["acquisition number"])
    assert [case.series.key for case in list_dicom(tmp_path, series_uids=["1.2.3"]).cases] == ["1.2.3:1", "1.2.3:2"]


def test_a_phase_that_lacks_a_slice_is_refused_by_itself(tmp_path: Path) -> None:
    whole = _later()
    _write(tmp_path, CT, whole, said=WAYS["acquisition number"])
    (tmp_path / "1" / "007.dcm").unlink()
    first, second = list_dicom(tmp_path, series_uids=["1.2.3"]).cases
    np.testing.assert_array_equal(first.read([]).array, CT.array)
    with pytest.raises(ImageError, match=r"volume 2 of 2.*1 slice is missing"):
        second.read([])


@pytest.mark.parametrize("numbers", [lambda k: k // 4, lambda k: k], ids=["four slices each", "one slice each"])
def test_a_scan_made_in_steps_is_not_cut_into_slabs(numbers: Any, tmp_path: Path) -> None:
    _write(tmp_path, CT, said=[{"AcquisitionNumber": numbers}])
    (case,) = list_dicom(tmp_path).cases
    assert case.series.part is None
    # two passes of ten steps: the number of the step tells no phase, the time does
    steps = [{"AcquisitionNumber": numbers, "AcquisitionTime": _time(n * 20.0, 0.1)} for n in range(2)]
    _write(tmp_path, CT, _later(), said=steps)
    (case,) = list_dicom(tmp_path).cases
    np.testing.assert_array_equal(case.read([]).array, CT.array)


def test_what_nothing_tells_apart_is_refused_by_name(tmp_path: Path) -> None:
    _write(tmp_path, CT, _later(), said=[{"InstanceNumber": lambda k: k}, {"InstanceNumber": lambda k: k}])
    (case,) = list_dicom(tmp_path).cases
    with pytest.raises(ImageError, match="different images at one place"):
        case.read([])


def test_time_points_within_one_multi_frame_file_are_volumes(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_enhanced(CT, tmp_path / "in" / "4d.dcm", later=[_later(), _later(90)])
    uid = pydicom.dcmread(file).SeriesInstanceUID
    cases = list_dicom(file, series_uids=[uid]).cases
    assert [case.series.key for case in cases] == [f"{uid}:{n}" for n in (1, 2, 3)]
    for case, hu in zip(cases, (0, 50, 90), strict=True):
        np.testing.assert_array_equal(case.read([]).array, CT.array + hu)
    outputs = tmp_path / "out"
    assert main(["predict", str(file), str(outputs), "--models", str(models), "--device", "cpu", "--dicom-seg"]) == 1
    assert "DICOM objects refer to whole files, and this one holds several volumes" in capsys.readouterr().out
    assert [path.name for path in outputs.glob("*.nii.gz")] == [f"{cases[0].name}.nii.gz"]


def test_predict_names_each_volume_and_its_objects_refer_to_it_alone(tmp_path: Path, models: Path) -> None:
    said = [{"TemporalPositionIdentifier": number, "FrameOfReferenceUID": "1.5"} for number in (1, 2)]
    _write(tmp_path / "in", CT, CT, said=said)
    outputs = tmp_path / "out"
    options = ["--models", str(models), "--device", "cpu", "--dicom-seg", "--rtstruct"]
    assert main(["predict", str(tmp_path / "in"), str(outputs), "--series", "1.2.3", *options]) == 0
    for number in (1, 2):
        name = f"ct-c47f5b18b8a4-{number}"
        np.testing.assert_array_equal(canonicalise(read_volume(outputs / f"{name}.nii.gz")).array, TRUTH.array)
        seg = pydicom.dcmread(outputs / f"{name}.seg.dcm")
        referred = {one.ReferencedSOPInstanceUID for one in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
        images = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "in" / str(number - 1)).iterdir()}
        assert referred == images
