"""Which files are organ maps, and what their numbers and their grids may be."""

from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.geometry import Axes, Geometry, Volume

from training.errors import TrainingError
from training.painting.bodies import organ_maps
from training.painting.label_maps import read_byte_map, read_label_map

ANATOMY = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "anatomy"


def turned(degrees: float) -> Axes:
    """Axes turned about the patient's long axis."""
    c, s = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    return ((0.0, 0.0, 1.0), (-s, c, 0.0), (c, s, 0.0))


def write(path: Path, *numbers: float, degrees: float = 0.0) -> Path:
    array = np.zeros((8, 8, 8), np.float32)
    array[0, 0, : len(numbers)] = numbers
    write_volume(Volume(array, Geometry((8, 8, 8), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), turned(degrees))), path)
    return path


def test_almost_whole_numbers_are_rounded_and_others_refused(tmp_path: Path) -> None:
    labels = read_label_map(write(tmp_path / "a.nii.gz", 1.0004, 2.9996)).array
    assert labels.dtype.kind == "i"
    assert labels[0, 0, :3].tolist() == [1, 3, 0]
    for number, told in ((2.5, r"2\.5"), (1e12, r"1e\+12")):
        with pytest.raises(TrainingError, match=rf"b\.nii\.gz holds {told}, which is no label's number"):
            read_label_map(write(tmp_path / "b.nii.gz", 1, number))


@pytest.mark.parametrize("number", [-1, 257])
def test_numbers_beyond_a_byte_are_not_cut_to_one(number: int, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f"holds the number {number}; its labels lie between 0 and 255"):
        read_byte_map(write(tmp_path / "a.nii.gz", 1, number))


@pytest.mark.parametrize("degrees", [25.0, -12.0])
def test_a_map_that_is_turned_is_refused_and_a_few_degrees_are_not(degrees: float, tmp_path: Path) -> None:
    assert read_label_map(write(tmp_path / "a.nii.gz", 1, degrees=degrees / 4)).array[0, 0, 0] == 1
    with pytest.raises(TrainingError, match=f"is turned by {abs(degrees):.0f} degrees"):
        read_label_map(write(tmp_path / "b.nii.gz", 1, degrees=degrees))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_every_map_below_anatomy_is_taken_but_templates_and_what_is_measured_on(tmp_path: Path) -> None:
    touch(
        tmp_path / "anatomy", "icrp110_am.nii.gz", "ts_example.nii.gz", "spl_atlas.nii.gz", ".hidden.nii.gz",
        "mypatient_1.nii.gz", "others/deep/mypatient_2.nii.gz", "amos_0013.nii.gz", "word/word_0014.nii.gz",
        "btcv/btcv_0001.nii.gz", "meshes/vh_male.nii.gz", "names.json", "word/notes.txt",
    )  # fmt: skip
    assert [path.name.split(".")[0] for path in organ_maps(tmp_path)] == [
        "word_0014", "btcv_0001", "amos_0013", "mypatient_1", "vh_male", "mypatient_2",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a+b", "a~b", "a=b"])
def test_a_name_that_a_recombined_body_could_have_is_refused(name: str, tmp_path: Path) -> None:
    touch(tmp_path / "anatomy", f"{name}.nii.gz")
    with pytest.raises(TrainingError, match="rename it"):
        organ_maps(tmp_path)


def test_two_maps_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "anatomy", "a/patient.nii.gz", "b/patient.nii.gz")
    with pytest.raises(TrainingError, match="have one name"):
        organ_maps(tmp_path)


@pytest.mark.skipif(not ANATOMY.is_dir(), reason="the shared anatomy is not here")
def test_the_shared_folder_gives_the_maps_that_it_always_gave() -> None:
    """By fixed names and folders: the order is that of courses and donors, too."""
    names = ["amos_0013", "amos_0540", "totalseg_s0327", "totalseg_s0328", "abdomenatlas_338"]
    expected = [
        *sorted((ANATOMY / "word").glob("*.nii.gz")), *sorted((ANATOMY / "btcv").glob("*.nii.gz")),
        *(ANATOMY / f"{name}.nii.gz" for name in names), *sorted((ANATOMY / "meshes").glob("*.nii.gz")),
    ]  # fmt: skip
    assert organ_maps(ANATOMY.parent) == expected
