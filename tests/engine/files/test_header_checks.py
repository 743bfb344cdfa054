"""Headers that contradict themselves: what is refused, what is decided, and where two readers see the labels."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
from attention_dmfnet.files.cases import ScanFile
from attention_dmfnet.files.header_checks import check_size
from attention_dmfnet.files.image_io import ImageError, read_scan, read_volume, write_labels
from attention_dmfnet.files.label_maps import fault_of_label_map
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Index, Triple, Volume
from attention_dmfnet.notes import Note

sitk: Any = SimpleITK

SHAPE_XYZ = (40, 30, 20)
SPACING = (5.0, 5.0, 8.0)
HU = np.random.default_rng(0).integers(-1000, 300, SHAPE_XYZ[::-1]).astype(np.int16)
PLAIN = [[-5, 0, 0, 100], [0, -5, 0, 75], [0, 0, 8, -80]]
"""RAS, as ITK writes a grid with LPS axes; its quaternion is (0, 0, 1)."""

Rows = Sequence[Sequence[float]]


def nifti(
    path: Path,
    sform: Rows | None = PLAIN,
    qform: Sequence[float] | None = (0, 0, 1, 100, 75, -80),
    pixdim: Sequence[float] = (1, *SPACING),
    units: int = 2,
    values: npt.NDArray[Any] = HU,
) -> Path:
    """A NIfTI-1 file as nifti1.h lays it out; a form that is None has the code 0."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *values.shape[::-1], 1, 1, 1, 1)
    code = {"int16": 4, "uint16": 512, "float32": 16}[values.dtype.name]
    struct.pack_into("<2h", head, 70, code, 8 * values.itemsize)
    struct.pack_into("<4f", head, 76, *pixdim)
    struct.pack_into("<3f", head, 108, 352, 1, 0)
    head[123] = units
    struct.pack_into("<2h", head, 252, int(qform is not None), int(sform is not None))
    struct.pack_into("<6f", head, 256, *(qform or [0] * 6))
    struct.pack_into("<12f", head, 280, *np.ravel(sform if sform is not None else np.zeros((3, 4))))
    head[344:348] = b"n+1\0"
    path.write_bytes(bytes(head) + values.tobytes())
    return path


def nifti_2(path: Path, order: str = "<", **forms: Any) -> Path:
    """The same as NIfTI-2."""
    first = nifti_1 = nifti(path, **forms).read_bytes()
    head = bytearray(544)
    struct.pack_into(f"{order}i8s2h", head, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16)
    struct.pack_into(f"{order}8q", head, 16, *struct.unpack_from("<8h", first, 40))
    struct.pack_into(f"{order}8d", head, 104, *struct.unpack_from("<8f", first, 76))
    struct.pack_into(f"{order}q2d", head, 168, 544, 1, 0)
    struct.pack_into(f"{order}2i", head, 344, *struct.unpack_from("<2h", first, 252))
    struct.pack_into(f"{order}18d", head, 352, *struct.unpack_from("<18f", first, 256))
    struct.pack_into(f"{order}i", head, 500, first[123])
    voxels = np.frombuffer(nifti_1[352:], "<i2").astype(f"{order}i2")
    path.write_bytes(bytes(head) + voxels.tobytes())
    return path


def _scale(rows: Rows, by: float) -> list[list[float]]:
    return [[number * by for number in row] for row in rows]


def _codes(path: Path) -> list[str]:
    notes: list[Note] = []
    read_scan(path, notes)
    return [note.code for note in notes]


def test_a_header_whose_statements_agree_gets_no_note_and_itks_grid(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii")
    notes: list[Note] = []
    geometry = read_scan(path, notes).geometry
    assert notes == []
    image = sitk.ReadImage(str(path))
    assert geometry.point_lps((3, 2, 1)) == pytest.approx(image.TransformIndexToPhysicalPoint((1, 2, 3)))


CONTRADICTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "shifted along x": ("header-forms-differ", {"qform": (0, 0, 1, 180, 75, -80)}),
    "shifted along z": ("header-forms-differ", {"qform": (0, 0, 1, 100, 75, 300)}),
    "turned by 90 degrees": ("header-forms-differ", {"qform": (0, 0, 0.70711, 100, 75, -80)}),
    "turned by 10 degrees": ("header-forms-differ", {"qform": (0, 0.08716, 0.99619, 100, 75, -80)}),
    "mirrored in z by qfac": ("header-forms-mirrored", {"pixdim": (-1, *SPACING)}),
    "mirrored in x by the sform": ("header-forms-mirrored", {"sform": [[5, 0, 0, -95], *PLAIN[1:]]}),
    "spacing of the qform alone": ("header-forms-differ", {"pixdim": (1, 5, 5, 4)}),
    "spacing beside an sform": ("header-spacing-differs", {"pixdim": (1, 2.5, 5, 8), "qform": None}),
    "no orientation": ("header-no-orientation", {"qform": None, "sform": None}),
    "an sform of zeros": ("header-sform-unusable", {"sform": np.zeros((3, 4))}),
    "an sform of no numbers": ("header-sform-unusable", {"sform": np.full((3, 4), np.nan)}),
    "a qform of no numbers": ("header-qform-unusable", {"qform": (np.nan, 0, 1, 0, 0, 0)}),
    "a qform nowhere": ("header-qform-unusable", {"qform": (0, 0, 1, np.inf, 0, 0)}),
    "mm called metres": ("units-doubtful", {"units": 1}),
    "mm called microns": ("units-doubtful", {"units": 3}),
    "metres": ("units-converted", {"units": 1, "pixdim": (1, 0.005, 0.005, 0.008), "sform": _scale(PLAIN, 0.001)}),
    "microns": ("units-converted", {"units": 3, "pixdim": (1, 5000, 5000, 8000), "sform": _scale(PLAIN, 1000)}),
}
for _name in ("metres", "microns"):
    _scale_of_unit = 0.001 if _name == "metres" else 1000
    CONTRADICTIONS[_name][1]["qform"] = (0, 0, 1, *(mm * _scale_of_unit for mm in (100, 75, -80)))
ALL = pytest.mark.parametrize(("code", "header"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())


@ALL
@pytest.mark.parametrize("write", [nifti, nifti_2])
def test_what_was_decided_is_noted(tmp_path: Path, write: Any, code: str, header: dict[str, Any]) -> None:
    assert _codes(write(tmp_path / "a.nii", **header)) == [code]


@ALL
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_labels_lie_on_the_scan_for_every_reader(
    tmp_path: Path, extension: str, code: str, header: dict[str, Any]
) -> None:
    path = nifti(tmp_path / "a.nii", **header)
    scan = read_volume(path)
    labels = (scan.array > 0).astype(np.uint8)
    write_labels(Volume(labels, scan.geometry), tmp_path / f"l{extension}")
    theirs, ours = (nibabel.Nifti1Image.from_filename(name) for name in (path, tmp_path / f"l{extension}"))
    np.testing.assert_array_equal(np.asarray(ours.dataobj).T, labels)
    assert ours.header["qform_code"] == theirs.header["qform_code"]
    assert ours.header["sform_code"] == theirs.header["sform_code"]
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    for field in ("pixdim", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "srow_x", "srow_y", "srow_z"):
        here, there = (np.atleast_1d(header[field])[:4] for header in (ours.header, theirs.header))
        np.testing.assert_array_equal(here, there, err_msg=field)
    assert ours.header["xyzt_units"] == theirs.header["xyzt_units"]
    # ITK reads the labels where it reads the scan, if it reads the scan at all
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        return
    back = sitk.ReadImage(str(tmp_path / f"l{extension}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), labels)
    assert back.IsSameImageGeometryAs(image, 0.0, 0.0)


def test_of_two_forms_the_sform_counts(tmp_path: Path) -> None:
    geometry = read_volume(nifti(tmp_path / "a.nii", qform=(0, 0, 1, 180, 75, 300))).geometry
    # RAS (100, 75, -80) is LPS (-100, -75, -80)
    assert geometry.origin_lps == (-100, -75, -80)
    assert geometry.axes_lps == CANONICAL_AXES_LPS


@pytest.mark.parametrize("shift_mm", [0.0, 0.01, 1.0])
def test_rounding_and_less_than_half_a_voxel_are_no_contradiction(tmp_path: Path, shift_mm: float) -> None:
    assert _codes(nifti(tmp_path / "a.nii", qform=(0, 0, 1, 100 + shift_mm, 75, -80))) == []


@pytest.mark.parametrize(
    ("unit", "factor"), [(1, 0.001), (2, 1.0), (3, 1000.0), (0, 1.0)], ids=["metres", "mm", "microns", "unknown"]
)
def test_a_grid_is_the_same_in_every_unit(tmp_path: Path, unit: int, factor: float) -> None:
    steps = [mm * factor for mm in SPACING]
    offset = [mm * factor for mm in (100, 75, -80)]
    path = nifti(tmp_path / "a.nii", _scale(PLAIN, factor), (0, 0, 1, *offset), (1, *steps), unit)
    expected = Geometry(HU.shape, (8.0, 5.0, 5.0), (-100.0, -75.0, -80.0), CANONICAL_AXES_LPS)
    assert read_volume(path).geometry.matches(expected)


@pytest.mark.parametrize("wrong", [0.0, np.nan, np.inf, -np.inf, -5.0])
@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("write", [nifti, nifti_2])
def test_a_spacing_that_cannot_be_is_refused(tmp_path: Path, write: Any, axis: int, wrong: float) -> None:
    pixdim = [1, *SPACING]
    pixdim[axis] = wrong
    with pytest.raises(ImageError, match=r"a\.nii: .*spacing \(pixdim\).* finite and above 0; correct it"):
        read_volume(write(tmp_path / "a.nii", pixdim=pixdim))


@pytest.mark.parametrize("tilt_degrees", [2, 10, 20, -30])
@pytest.mark.parametrize("qform", [None, (0, 0, 1, 100, 75, -80)], ids=["alone", "hidden by a plain qform"])
def test_a_tilted_gantry_is_refused(tmp_path: Path, tilt_degrees: float, qform: Any) -> None:
    tilt = 8 * np.tan(np.radians(tilt_degrees))
    sheared = [PLAIN[0], [0, -5, tilt, 75], PLAIN[2]]
    norm = float(np.hypot(8, tilt)) if qform is None else 8.0
    with pytest.raises(ImageError, match=r"not at right angles.*resample the scan"):
        read_volume(nifti(tmp_path / "a.nii", sheared, qform, (1, 5, 5, norm)))


@pytest.mark.parametrize(
    "header",
    [
        {"sform": np.full((3, 4), np.nan), "qform": None},
        {"sform": np.zeros((3, 4)), "qform": (np.nan, 0, 1, 0, 0, 0)},
        {"sform": None, "qform": (np.inf, 0, 0, 0, 0, 0)},
    ],
)
def test_a_header_without_one_possible_orientation_is_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match="orientation holds impossible numbers; convert the scan"):
        read_volume(nifti(tmp_path / "a.nii", **header))


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_2_is_read_as_nifti_1_is(tmp_path: Path, order: str) -> None:
    first, second = read_volume(nifti(tmp_path / "a.nii")), read_volume(nifti_2(tmp_path / "b.nii", order))
    np.testing.assert_array_equal(first.array, second.array)
    assert first.geometry.matches(second.geometry)


def test_nifti_2_of_another_kind_is_refused_as_such(tmp_path: Path) -> None:
    path = nifti_2(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 12, 128)  # RGB
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"of NIfTI-2 only three-dimensional scans .* convert it to NIfTI-1"):
        read_volume(path)


SHIFTED = (0, 0, 1, 130, 75, -80)


@pytest.mark.parametrize("forms", [{}, {"qform": SHIFTED}, {"sform": None, "qform": None}, {"units": 1}, {"units": 3}])
@pytest.mark.parametrize("write", [nifti, nifti_2])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_a_label_map_that_repeats_its_scans_header_is_whole(
    tmp_path: Path, write: Callable[..., Path], forms: dict[str, Any], extension: str
) -> None:
    scan, output = write(tmp_path / "a.nii", **forms), tmp_path / f"labels{extension}"
    volume = read_volume(scan)
    write_labels(Volume(np.ones(volume.array.shape, np.uint8), volume.geometry), output)
    assert fault_of_label_map(output, ScanFile(scan)) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii", output.name]
    other = nifti(tmp_path / "b.nii", np.add(PLAIN, [[0, 0, 0, 9]] * 3).tolist(), None)
    assert fault_of_label_map(output, ScanFile(other))


@pytest.mark.parametrize("factor", [0.001, 0.1, 10.0, 1000.0, 1e30])
def test_a_size_that_no_body_has_is_refused_before_a_voxel_is_read(tmp_path: Path, factor: float) -> None:
    # a scan of 400 x 300 x 400 mm
    steps = [10 * factor, 10 * factor, 20 * factor]
    form = np.diag([-steps[0], -steps[1], steps[2]]).tolist()
    path = nifti(tmp_path / "a.nii", [[*row, 0] for row in form], (0, 0, 1, 0, 0, 0), (1, *steps))
    path.write_bytes(path.read_bytes()[:352])
    with pytest.raises(ImageError, match=r"a\.nii: the scan would be .* no scan of a body is; correct the spacing"):
        read_scan(path, [])


def test_one_axis_of_unusual_spacing_is_noted(tmp_path: Path) -> None:
    form = [[-5, 0, 0, 0], [0, -5, 0, 0], [0, 0, 30, 0]]
    assert _codes(nifti(tmp_path / "a.nii", form, (0, 0, 1, 0, 0, 0), (1, 5, 5, 30))) == ["spacing-unusual"]


@pytest.mark.parametrize(
    ("shape_zyx", "spacing_zyx", "noted"),
    [
        ((100, 400, 500), (3.0, 0.9, 1.7), "the scan is 850 mm wide, more than any scanner sees; "),
        ((100, 500, 400), (3.0, 1.7, 0.9), "the scan is 850 mm deep, more than any scanner sees; "),
        ((52, 256, 256), (1.3, 1.3, 3.0), "axial slices of 256 x 256 voxels have them 3 x 1.3 mm large; "),
        # a whole body; a coronal series; a scan brought to as many voxels along each axis
        ((700, 512, 512), (2.5, 0.97, 0.97), None),
        ((512, 60, 512), (0.9, 4.0, 0.9), None),
        ((128, 128, 128), (3.1, 2.6, 3.2), None),
    ],
)
def test_a_width_that_no_scanner_sees_and_pixels_that_none_makes_are_noted(
    shape_zyx: Index, spacing_zyx: Triple, noted: str | None
) -> None:
    for axes in (CANONICAL_AXES_LPS, ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))):
        said = check_size(Geometry(shape_zyx, spacing_zyx, (0.0, 0.0, 0.0), axes))
        codes = [] if noted is None else ["spacing-axes" if noted.startswith("axial") else "spacing-too-wide"]
        assert [note.code for note in said] == codes
        assert all(note.startswith(noted or "") for note in said)


@pytest.mark.parametrize(
    ("field", "unit", "factor", "noted"),
    [
        ("space units", "cm", 0.1, True),
        ("space units", "m", 0.001, True),
        ("space units", "um", 1000.0, True),
        ("space units", "mm", 1.0, False),
        ("space units", "", 1.0, False),
        ("units", "cm", 0.1, True),
    ],
)
def test_an_nrrd_is_converted_from_its_unit(tmp_path: Path, field: str, unit: str, factor: float, noted: bool) -> None:
    x, y, z = (mm * factor for mm in SPACING)
    words = " ".join([f'"{unit}"'] * 3)
    place = f"space: left-posterior-superior\nspace origin: ({-100 * factor},{-75 * factor},{-80 * factor})\n"
    axes = f"{place}space directions: ({x},0,0) (0,{y},0) (0,0,{z})" if "space" in field else f"spacings: {x} {y} {z}"
    head = f"NRRD0004\ntype: int16\ndimension: 3\nsizes: 40 30 20\n{axes}\n{field}: {words}\n"
    head += "kinds: domain domain domain\nendian: little\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + HU.tobytes())
    notes: list[Note] = []
    volume = read_scan(tmp_path / "a.nrrd", notes)
    origin = (-100.0, -75.0, -80.0) if "space" in field else (0.0, 0.0, 0.0)
    assert volume.geometry.matches(Geometry(HU.shape, (8.0, 5.0, 5.0), origin, CANONICAL_AXES_LPS))
    assert [note.code for note in notes] == ["units-converted"] * noted


@pytest.mark.parametrize("name", ["shifted along x", "no orientation", "mm called metres", "spacing beside an sform"])
def test_strict_refuses_what_is_doubtful_and_says_why(tmp_path: Path, name: str) -> None:
    path = nifti(tmp_path / "a.nii", **CONTRADICTIONS[name][1])
    with pytest.raises(ImageError, match=r"a\.nii: .*; correct it, or leave --strict out"):
        read_scan(path, [], strict=True)


@pytest.mark.parametrize("name", ["metres", "microns"])
def test_strict_takes_what_is_settled(tmp_path: Path, name: str) -> None:
    assert read_scan(nifti(tmp_path / "a.nii", **CONTRADICTIONS[name][1]), [], strict=True).array.any()
