"""Which series of a study is labelled, and what is said of the others."""

from pathlib import Path
from typing import Any

import pytest
from attention_dmfnet.dicom.listing import list_dicom
from attention_dmfnet.files.cases import InputError
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Axes, Box, Volume, with_axes
from attention_dmfnet.notes import Note

from tests.engine.dicom.made import write_series
from tests.engine.tiny import block_phantom

CT = block_phantom()[0]
SAGITTAL: Axes = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MR = "1.2.840.10008.5.1.4.1.1.4"


def _part(slices: int) -> Volume:
    return CT.crop(Box((0, 0, 0), (slices, *CT.geometry.shape_zyx[1:])))


def _write(folder: Path, uid: str, volume: Volume = CT, study: str = "1.1", **values: Any) -> None:
    write_series(volume, folder / uid, series_uid=uid, study_uid=study, **values)


def _listed(folder: Path, **options: Any) -> tuple[list[str], dict[str, str]]:
    listing = list_dicom(folder, **options)
    others = {item.path.name: item.kind.rsplit(": ", 1)[-1] for item in listing.series}
    return [case.series.uid for case in listing.cases], others


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "reformatted (MPR)"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, "derived"),
        ({"ImageType": ["ORIGINAL", "SECONDARY", "AXIAL"]}, "secondary"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "projection (such as MIP), not slices"),
        ({"SOPClassUID": SECONDARY_CAPTURE}, "secondary capture, pictures without HU"),
        ({"SOPClassUID": MR, "Modality": "MR"}, "not CT but MR"),
        ({"SeriesDescription": "LUNG 3.0"}, "its kernel is for lung or bone; series 1.2.1 covers as much"),
        ({"ConvolutionKernel": "B70f"}, "its kernel is for lung or bone; series 1.2.1 covers as much"),
        ({"SeriesNumber": 4}, "series 1.2.1 covers as much"),
    ],
)
def test_every_other_series_is_listed_with_the_reason(values: dict[str, Any], reason: str, tmp_path: Path) -> None:
    _write(tmp_path, "1.2.1")
    _write(tmp_path, "1.2.0", **values)
    assert _listed(tmp_path) == (["1.2.1"], {"1.2.0": reason})


def test_the_most_coverage_is_chosen_and_not_the_most_images(tmp_path: Path) -> None:
    _write(tmp_path, "1.2.1", _part(12))
    thin = CT.geometry.with_grid((30, 24, 28), (1.0, 2.0, 2.0))
    _write(tmp_path, "1.2.2", Volume(CT.array[[k // 2 for k in range(30)]], thin))
    _write(tmp_path, "1.2.3")
    _write(tmp_path, "1.2.4", _part(4))
    assert _listed(tmp_path) == (
        ["1.2.3"],
        {
            "1.2.1": "it covers 33 mm, series 1.2.3 57 mm",
            "1.2.2": "it covers 29 mm, series 1.2.3 57 mm",
            "1.2.4": "too few slices (4)",
        },
    )


def test_of_equal_coverage_the_most_slices_are_chosen(tmp_path: Path) -> None:
    _write(tmp_path, "1.2.1")
    thin = CT.geometry.with_grid((40, 24, 28), (1.5, 2.0, 2.0))
    _write(tmp_path, "1.2.2", Volume(CT.array[[k // 2 for k in range(40)]], thin), SeriesNumber=9)
    assert _listed(tmp_path)[0] == ["1.2.2"]


def test_every_study_has_its_own(tmp_path: Path) -> None:
    _write(tmp_path / "a", "1.2.1", study="1.1")
    _write(tmp_path / "b" / "c", "1.2.2", study="1.9")
    chosen, others = _listed(tmp_path)
    assert (sorted(chosen), others) == (["1.2.1", "1.2.2"], {})


def test_files_of_one_series_that_were_put_into_two_studies_are_one_series(tmp_path: Path) -> None:
    write_series(_part(12), tmp_path / "a", series_uid="1.2.1", study_uid="1.1")
    rest = CT.crop(Box((12, 0, 0), CT.geometry.shape_zyx))
    write_series(rest, tmp_path / "b", series_uid="1.2.1", study_uid="1.9")
    (case,) = list_dicom(tmp_path).cases
    assert case.grid().shape_zyx == CT.geometry.shape_zyx


def test_a_sagittal_series_beside_an_axial_one_is_left(tmp_path: Path) -> None:
    _write(tmp_path, "1.2.1", _part(10))
    _write(tmp_path, "1.2.2", with_axes(CT, SAGITTAL))
    assert _listed(tmp_path) == (["1.2.1"], {"1.2.2": "not axial"})


@pytest.mark.parametrize(
    ("axes", "values", "code"),
    [
        (SAGITTAL, {}, "dicom-not-axial"),
        (CANONICAL_AXES_LPS, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, "dicom-derived"),
    ],
)
def test_where_there_is_nothing_better_it_is_labelled_with_a_note(
    axes: Axes, values: dict[str, Any], code: str, tmp_path: Path
) -> None:
    _write(tmp_path, "1.2.1", with_axes(CT, axes), **values)
    _write(tmp_path, "1.2.2", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (case,) = list_dicom(tmp_path).cases
    notes: list[Note] = []
    case.read(notes)
    assert [note.code for note in notes] == ["dicom-series", code]


def test_a_series_that_is_asked_for_is_labelled_alone(tmp_path: Path) -> None:
    _write(tmp_path, "1.2.1")
    _write(tmp_path, "1.2.2", ImageType=["DERIVED", "SECONDARY", "MPR"])
    assert _listed(tmp_path, series_uids=["1.2.2"]) == (["1.2.2"], {})
    assert sorted(_listed(tmp_path, series_uids=["1.2.2", "1.2.1"])[0]) == ["1.2.1", "1.2.2"]
    with pytest.raises(InputError, match=r"no series 1\.2\.3 in .*; there are: 1\.2\.1, 1\.2\.2"):
        _listed(tmp_path, series_uids=["1.2.3"])
