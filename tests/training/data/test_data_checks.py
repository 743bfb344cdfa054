"""Bad data sets, one kind a test: each is refused with the file's name and what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
from attention_dmfnet.files.image_io import read_volume, write_labels, write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Box, Geometry, Volume, canonicalise

from tests.training.small_patients import add_labelled, make_patient, organ_hu, write_flare22, write_nnunet
from training.data.checks import Checked, check_cases
from training.data.layouts import LayoutError, read_layout
from training.data.problem import Problem

# as in attention_dmfnet.files.image_io: declared typed, but annotated next to nothing
sitk: Any = SimpleITK

Change = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

FIRST = "FLARE22_Tr_0001"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flare22(tmp_path_factory.mktemp("good"), labelled=2, unlabelled=1)


@pytest.fixture
def raw(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "raw"))


def image_of(raw: Path, name: str = FIRST) -> Path:
    return raw / "FLARE22_LabeledCase50" / "images" / f"{name}_0000.nii.gz"


def labels_of(raw: Path, name: str = FIRST) -> Path:
    return raw / "FLARE22_LabeledCase50" / "labels" / f"{name}.nii.gz"


def check(raw: Path) -> tuple[Problem, ...]:
    folder = read_layout(raw)
    return (*folder.problems, *check_cases(folder.cases).problems)


def check_good(raw: Path) -> Checked:
    return check_cases(read_layout(raw).cases)


def moved(volume: Volume, **changes: object) -> Volume:
    """The same voxels with another header."""
    geometry = volume.geometry
    values = {
        "shape_zyx": geometry.shape_zyx,
        "spacing_zyx": geometry.spacing_zyx,
        "origin_lps": geometry.origin_lps,
        "axes_lps": geometry.axes_lps,
    }
    return Volume(volume.array, Geometry(**(values | changes)))  # type: ignore[arg-type]  # the changes are as typed


def test_good_data_have_no_problems(raw: Path) -> None:
    assert check(raw) == ()


def test_facts_are_those_of_the_files(raw: Path) -> None:
    facts = check_good(raw).facts[FIRST]
    assert facts.image.shape_zyx == (30, 42, 52)
    assert facts.image.spacing_zyx == (6.0, 5.0, 5.0)
    assert facts.labels is not None
    assert sorted(facts.labels.organs) == list(range(1, 14))
    liver = facts.labels.organs[1]
    # a box of 8 x 14 x 16 voxels of 6 x 5 x 5 mm
    assert liver.volume_ml == pytest.approx(8 * 14 * 16 * 0.15)
    assert liver.hu[1] == pytest.approx(organ_hu(1), abs=1)
    assert not liver.cut


def test_facts_do_not_depend_on_the_order_of_the_axes(tmp_path: Path) -> None:
    facts = []
    for number, axes in enumerate((CANONICAL_AXES_LPS, ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (-1.0, 0.0, 0.0)))):
        ct, labels = make_patient(1, axes_lps=axes)
        add_labelled(tmp_path / str(number), FIRST, ct, labels)
        facts.append(check_good(tmp_path / str(number)).facts[FIRST])
    assert facts[0].image == facts[1].image
    assert facts[0].labels == facts[1].labels
    assert facts[0].geometry != facts[1].geometry


def spoil_origin(raw: Path) -> Path:
    labels = read_volume(labels_of(raw))
    x, y, z = labels.geometry.origin_lps
    write_labels(moved(labels, origin_lps=(x, y + 5.0, z)), labels_of(raw))
    return labels_of(raw)


def spoil_spacing(raw: Path) -> Path:
    write_labels(moved(read_volume(labels_of(raw)), spacing_zyx=(5.0, 5.0, 5.0)), labels_of(raw))
    return labels_of(raw)


def spoil_direction(raw: Path) -> Path:
    mirrored = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))
    write_labels(moved(read_volume(labels_of(raw)), axes_lps=mirrored), labels_of(raw))
    return labels_of(raw)


def spoil_size(raw: Path) -> Path:
    labels = read_volume(labels_of(raw))
    write_labels(labels.crop(Box((0, 0, 0), (29, 42, 52))), labels_of(raw))
    return labels_of(raw)


def spoil_values(change: Change) -> Callable[[Path], Path]:
    def spoil(raw: Path) -> Path:
        labels = read_volume(labels_of(raw))
        write_volume(Volume(change(labels.array), labels.geometry), labels_of(raw))
        return labels_of(raw)

    return spoil


def spoil_image(change: Change) -> Callable[[Path], Path]:
    def spoil(raw: Path) -> Path:
        scan = read_volume(image_of(raw))
        write_volume(Volume(change(scan.array), scan.geometry), image_of(raw))
        return image_of(raw)

    return spoil


def spoil_both(**header: object) -> Callable[[Path], Path]:
    def spoil(raw: Path) -> Path:
        for path in (image_of(raw), labels_of(raw)):
            write_volume(moved(read_volume(path), **header), path)
        return labels_of(raw)

    return spoil


def cut_off(path_of: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def spoil(raw: Path) -> Path:
        path = path_of(raw)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    return spoil


def spoil_dimensions(raw: Path) -> Path:
    frame = sitk.ReadImage(str(image_of(raw)))
    sitk.WriteImage(sitk.JoinSeries([frame, frame]), str(image_of(raw)))
    return image_of(raw)


def spoil_channels(raw: Path) -> Path:
    frame = sitk.ReadImage(str(image_of(raw)))
    sitk.WriteImage(sitk.Compose(frame, frame, frame), str(image_of(raw)))
    return image_of(raw)


def spoil_format(raw: Path) -> Path:
    image_of(raw).write_text("I am no image.")
    return image_of(raw)


def spoil_to_nothing(raw: Path) -> Path:
    image_of(raw).write_bytes(b"")
    return image_of(raw)


def copy_to_unlabelled(raw: Path) -> Path:
    copy = raw / "FLARE22_UnlabeledCase1-1000" / "Case_00009_0000.nii.gz"
    shutil.copy(image_of(raw), copy)
    return copy


def turn_and_rename(raw: Path) -> Path:
    ct, labels = make_patient(1, axes_lps=((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)))
    return add_labelled(raw, "FLARE22_Tr_0051", ct, labels)[0]


def add_another_reconstruction(raw: Path) -> Path:
    ct, labels = make_patient(1, noise_hu=6.0)
    return add_labelled(raw, "FLARE22_Tr_0051", ct, labels)[0]


def give_labels_of_another(raw: Path) -> Path:
    shutil.copy(labels_of(raw), labels_of(raw, "FLARE22_Tr_0002"))
    return labels_of(raw, "FLARE22_Tr_0002")


def remove_scan(raw: Path) -> Path:
    image_of(raw).unlink()
    return labels_of(raw)


def remove_labels(raw: Path) -> Path:
    labels_of(raw).unlink()
    return image_of(raw)


def add_second_format(raw: Path) -> Path:
    other = image_of(raw).with_name(f"{FIRST}.mha")
    write_volume(read_volume(image_of(raw)), other)
    return image_of(raw)


def mirror_in_both(axis: int) -> Callable[[Path], Path]:
    """The voxels turned round, as a header with the wrong sign shows them; the two files still fit each other."""

    def spoil(raw: Path) -> Path:
        for path in (image_of(raw), labels_of(raw)):
            volume = read_volume(path)
            write_volume(Volume(np.flip(volume.array, axis), volume.geometry), path)
        return labels_of(raw)

    return spoil


def move_scan_away(raw: Path) -> Path:
    spoil_image(lambda hu: np.roll(hu, 21, axis=1))(raw)
    return labels_of(raw)


def lose_liver_voxels(raw: Path) -> Path:
    scan, labels = read_volume(image_of(raw)), read_volume(labels_of(raw))
    hu = scan.array.astype(np.float32)
    hu[labels.array == 1] = np.nan
    write_volume(Volume(hu, scan.geometry), image_of(raw))
    return labels_of(raw)


def swap(first: int, second: int) -> Change:
    def change(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.select([labels == first, labels == second], [second, first], labels).astype(np.uint8)

    return change


def write_bad_sidecar(raw: Path) -> Path:
    (labels_of(raw).parent / f"{FIRST}.json").write_text('{"annotated": ["liver", "left foot"]}')
    return labels_of(raw)


def write_patients(text: str) -> Callable[[Path], Path]:
    def spoil(raw: Path) -> Path:
        (raw / "patients.csv").write_text(text)
        return raw / "patients.csv"

    return spoil


def empty_folder(raw: Path) -> Path:
    for path in (raw / "FLARE22_UnlabeledCase1-1000").iterdir():
        path.unlink()
    return raw / "FLARE22_UnlabeledCase1-1000"


def lose_labels_folder(raw: Path) -> Path:
    shutil.rmtree(labels_of(raw).parent)
    return labels_of(raw).parent.parent


BAD = {
    "labels shifted against the scan": (spoil_origin, "is shifted by (+0, +5, +0) mm", "save the labels on the grid"),
    "labels with another spacing": (spoil_spacing, "has voxels of 5 x 5 x 5 mm, its scan of 5 x 5 x 6", "save the"),
    "labels with another direction": (spoil_direction, "is turned or mirrored", "save the labels on the grid"),
    "labels of another size": (spoil_size, "has 52 x 42 x 29 voxels, its scan 52 x 42 x 30", "save the labels"),
    "labels with fractions": (spoil_values(lambda a: a.astype(np.float32) / 2), "holds fractions", "save whole label"),
    "label 14": (spoil_values(lambda a: np.where(a == 13, 14, a).astype(np.uint8)), "holds the label 14", "correct"),
    "a negative label": (spoil_values(lambda a: np.where(a == 13, -1, a).astype(np.int16)), "the label -1", "correct"),
    "an empty label map": (spoil_values(np.zeros_like), "is empty", 'move the scan to an "unlabeled" folder'),
    "a scan that ends too early": (cut_off(image_of), "ends before its last voxel", "replace the file"),
    "labels that end too early": (cut_off(labels_of), "ends before its last voxel", "replace the file"),
    "a scan over time": (spoil_dimensions, "4 dimensions", "give one three-dimensional scan"),
    "a scan in colour": (spoil_channels, "3 values per voxel", "leave the case out"),
    "no image at all": (spoil_format, "not a file of the kind", "replace the file"),
    "a file of no bytes": (spoil_to_nothing, "", "replace the file"),
    "a labelled scan among the unlabelled": (copy_to_unlabelled, "the very voxels of", "remove one of the two"),
    "a scan twice, stored in another order": (turn_and_rename, "the same patient twice", "remove one of the two"),
    "a patient twice, reconstructed anew": (add_another_reconstruction, "shows the same body as", "patients.csv"),
    "the labels of another patient": (give_labels_of_another, "is the very label map of", "put the right label map"),
    "labels without a scan": (remove_scan, f"has no scan {FIRST}_0000.nii.gz", "add the scan"),
    "a scan without labels": (remove_labels, f"has no label map {FIRST}.nii.gz", "add it"),
    "two scans of one name": (add_second_format, f"has the same case name as {FIRST}.mha", "rename or remove one"),
    "a scan without its intercept": (spoil_image(lambda a: a + 1024), "is not in HU", "apply the rescale intercept"),
    "a scan of 8 bits": (
        spoil_image(lambda a: np.clip((a + 160) * 0.6, 0, 255).astype(np.uint8)),
        "as a picture's do",
        "convert it from DICOM",
    ),
    "a scan of one value": (spoil_image(lambda a: np.full_like(a, -1000)), "is empty", "replace the file"),
    "a spacing in metres": (
        lambda raw: spoil_both(spacing_zyx=(0.006, 0.005, 0.005))(raw) and image_of(raw),
        "which no CT of a patient has",
        "correct the spacing",
    ),
    "a scan of a hand's breadth": (
        lambda raw: spoil_both(spacing_zyx=(1.0, 5.0, 5.0))(raw) and image_of(raw),
        "covers only 260 x 210 x 30 mm",
        "give the whole scan",
    ),
    "left and right exchanged": (mirror_in_both(2), "the right kidney lies to the left of", "correct the direction"),
    "head and feet exchanged": (mirror_in_both(0), "lies above its adrenal gland", "correct the direction"),
    "front and back exchanged": (mirror_in_both(1), "lies in front of the pancreas", "correct the direction"),
    "labels beside the organs": (
        move_scan_away,
        "the voxels of solid organs have medians of",
        "see whether the labels belong",
    ),
    "organs without intensities": (lose_liver_voxels, "have medians of liver -1024 HU", "see whether"),
    "exchanged label numbers": (spoil_values(swap(1, 7)), "shows a right adrenal gland of 269 mL", "correct the label"),
    "a sidecar that names no organ": (write_bad_sidecar, "'left foot' is no organ", "correct the sidecar"),
    "patients of unknown cases": (write_patients("case,patient\nX,1\n"), "names a case 'X'", "correct the line"),
    "patients without a heading": (write_patients("FLARE22_Tr_0001;7\n"), "has the columns", "case,patient"),
    "a case of two patients": (
        write_patients(f"case,patient\n{FIRST},1\n{FIRST}_0000.nii.gz,2\n"),
        f"gives {FIRST} two patients",
        "keep one of the lines",
    ),
    "a folder without scans": (empty_folder, "holds no scan", "put files named *.nii.gz there"),
    "scans without a labels folder": (lose_labels_folder, "has images but no labels", "put the label maps there"),
}


def assert_refused(raw: Path, spoil: Callable[[Path], Path], what: str, remedy: str) -> None:
    """The file that ``spoil`` names is refused, with ``what`` is wrong and the ``remedy``."""
    file = spoil(raw)
    problems = check(raw)
    assert any(problem.file == file and what in problem.what and remedy in str(problem) for problem in problems), (
        "\n".join(map(str, problems))
    )


@pytest.mark.parametrize("kind", BAD)
def test_refuses_with_the_files_name_and_what_to_do(kind: str, raw: Path) -> None:
    assert_refused(raw, *BAD[kind])


def test_tells_all_problems_at_once(raw: Path) -> None:
    spoil_values(np.zeros_like)(raw)
    cut_off(lambda raw: image_of(raw, "FLARE22_Tr_0002"))(raw)
    copy_to_unlabelled(raw).with_name("Case_00010_0000.nii.gz").write_text("")
    assert len({problem.file for problem in check(raw)}) == 3


def test_two_scans_of_one_declared_patient_are_no_problem(raw: Path) -> None:
    add_another_reconstruction(raw)
    write_patients(f"case,patient\n{FIRST},p\nFLARE22_Tr_0051,p\n")(raw)
    assert check(raw) == ()


def test_an_image_that_is_not_in_hu_is_not_held_against_its_labels(raw: Path) -> None:
    file = spoil_image(lambda hu: hu + 1024)(raw)
    assert [problem.file for problem in check(raw)] == [file]


def test_label_maps_that_hold_nothing_are_not_taken_for_one_anothers(tmp_path: Path) -> None:
    raw = write_nnunet(tmp_path, NUMBERS)
    file = drop_about(raw)
    assert [problem.file for problem in check(raw)] == [file]


def test_an_absent_organ_is_noted_but_not_refused(raw: Path) -> None:
    spoil_values(lambda a: np.where(a == 9, 0, a).astype(np.uint8))(raw)
    checked = check_good(raw)
    assert checked.problems == ()
    assert any("without gallbladder" in note for note in checked.notes)


def test_an_absent_organ_that_a_sidecar_leaves_out_is_not_noted(raw: Path) -> None:
    spoil_values(lambda a: np.where(a == 9, 0, a).astype(np.uint8))(raw)
    drawn = [label for label in range(1, 14) if label != 9]
    labels_of(raw).with_name(f"{FIRST}.json").write_text(json.dumps({"annotated": drawn}))
    assert check_good(raw).notes == ()


def test_voxels_without_a_value_are_noted(raw: Path) -> None:
    scan = read_volume(image_of(raw))
    hu = scan.array.astype(np.float32)
    hu[0, 0, :5] = np.nan
    write_volume(Volume(hu, scan.geometry), image_of(raw))
    checked = check_good(raw)
    assert checked.problems == ()
    assert any("5 voxels have no value" in note for note in checked.notes)


def test_processes_find_what_one_process_finds(raw: Path) -> None:
    cut_off(image_of)(raw)
    cases = read_layout(raw).cases
    assert check_cases(cases, workers=2) == check_cases(cases, workers=1)


NUMBERS = {"liver": 5, "Right_Kidney": 1, "spleen": 2, "kidney_left": 3}


def edit_about(**changes: object) -> Callable[[Path], Path]:
    def spoil(raw: Path) -> Path:
        about = json.loads((raw / "dataset.json").read_text())
        (raw / "dataset.json").write_text(json.dumps(about | changes))
        return raw / "dataset.json"

    return spoil


def drop_about(raw: Path) -> Path:
    (raw / "dataset.json").unlink()
    return raw / "dataset.json"


def add_channel(raw: Path) -> Path:
    path = raw / "imagesTr" / "abdomen_001_0001.nii.gz"
    shutil.copy(raw / "imagesTr" / "abdomen_001_0000.nii.gz", path)
    return path


def use_unlisted_number(raw: Path) -> Path:
    path = raw / "labelsTr" / "abdomen_001.nii.gz"
    labels = read_volume(path)
    write_labels(Volume(np.where(labels.array == 5, 4, labels.array), labels.geometry), path)
    return path


BAD_NNUNET = {
    "no dataset.json": (drop_about, "cannot be read", "write one with"),
    "a dataset.json without labels": (
        lambda raw: (raw / "dataset.json").write_text("{}") and raw / "dataset.json",
        "is not nnU-Net's dataset.json",
        "correct the file",
    ),
    "MR instead of CT": (edit_about(channel_names={"0": "T1"}), "names the channels ['T1']", "keep one channel"),
    "two channels": (edit_about(channel_names={"0": "CT", "1": "PET"}), "names the channels", "keep one channel"),
    "another number of scans": (edit_about(numTraining=50), "numTraining 50, but 2 scans", "complete the data set"),
    "regions": (edit_about(labels={"background": 0, "liver": [1, 2]}), "not one whole number", "give each label"),
    "no known organ": (edit_about(labels={"background": 0, "tibia": 1}), "none of the thirteen", "name them as in"),
    "an organ twice": (
        edit_about(labels={"background": 0, "liver": 5, "Liver": 1, "spleen": 2, "left kidney": 3}),
        "names liver twice",
        "merge the two labels",
    ),
    "a second channel's file": (add_channel, "is a second channel", "keep the channel _0000"),
    "a number that dataset.json does not list": (use_unlisted_number, "holds the label 4", "correct the labels"),
}


@pytest.mark.parametrize("kind", BAD_NNUNET)
def test_refuses_a_bad_nnunet_folder(kind: str, tmp_path: Path) -> None:
    assert_refused(write_nnunet(tmp_path / "raw", NUMBERS), *BAD_NNUNET[kind])


def test_a_folder_in_neither_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"neither in FLARE22's layout .* nor in nnU-Net's"):
        read_layout(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="there is no folder"):
        read_layout(tmp_path / "raw")


def test_the_phantoms_own_orientation_is_the_canonical_one() -> None:
    # what the mirrored cases above rely on
    ct, _ = make_patient(1)
    assert canonicalise(ct).geometry == ct.geometry


def test_labels_whose_header_says_two_places_are_told_and_named_as_a_reason(tmp_path: Path) -> None:
    raw = write_flare22(tmp_path / "raw", labelled=1)
    path = raw / "FLARE22_LabeledCase50" / "labels" / "FLARE22_Tr_0001.nii.gz"
    nifti: Any = nibabel  # typed in part
    read = nifti.load(path)
    image = nifti.Nifti1Image(np.asarray(read.dataobj), read.affine, read.header)  # all of it: the file is replaced
    there = image.affine.copy()
    image.set_sform(there, code=1)
    aside = there.copy()
    aside[0, 3] += 30
    image.set_qform(aside, code=1)
    nifti.save(image, path)
    checked = check_cases(read_layout(raw).cases)
    assert checked.problems == ()  # by the sform they lie on the scan
    assert any(str(path) in note and "qform and sform lie up to 30 mm apart" in note for note in checked.notes)
    # now the sform is the wrong one
    image.set_qform(there, code=1)
    image.set_sform(aside, code=1)
    nifti.save(image, path)
    (problem,) = check_cases(read_layout(raw).cases).problems
    assert "is shifted by" in problem.what
    assert "the qform and sform of one of them differ" in problem.what
    assert problem.remedy.startswith("make the two forms agree in both headers, or save the labels on the grid")
