"""Claims about label maps that others have published, and about the folders in which FLARE publishes them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import read_volume, write_labels, write_volume
from attention_dmfnet.geometry import Volume

from evaluation.organs import ORGANS
from tests.training.small_patients import make_patient, write_recipe_for_patients
from training.__main__ import main
from training.data.dataset import open_dataset
from training.data.layouts import read_layout
from training.data.pseudo_folder import read_pseudo
from training.data.release import find_release

TEACHERS = ("flare22_aladdin5_pseudo", "pseudo_label_blackbean_flare22")
LIVER, SPLEEN, AORTA = 1, 3, 5


def write_release(raw: Path) -> Path:
    """Two drawn patients; three with two teachers' maps, of which one calls half of the aorta spleen; one to measure"""
    drawn, pseudo, held = (raw / name for name in ("train_gt_label", "train_pseudo_label", "validation"))
    for folder in (drawn / "imagesTr", drawn / "labelsTr", pseudo / "imagesTr", *(pseudo / name for name in TEACHERS)):
        folder.mkdir(parents=True)
    for number in (1, 2):
        ct, labels = make_patient(number)
        write_volume(ct, drawn / "imagesTr" / f"FLARE22_Tr_{number:04}_0000.nii.gz")
        write_labels(labels, drawn / "labelsTr" / f"FLARE22_Tr_{number:04}.nii.gz")
    for number in (101, 102, 103):
        ct, labels = make_patient(number)
        write_volume(ct, pseudo / "imagesTr" / f"Case_{number:05}_0000.nii.gz")
        write_labels(labels, pseudo / TEACHERS[1] / f"Case_{number:05}.nii.gz")
        other = labels.array.copy()
        aorta = np.argwhere(other == AORTA)
        other[tuple(aorta[: len(aorta) // 2].T)] = SPLEEN
        write_labels(Volume(other, labels.geometry), pseudo / TEACHERS[0] / f"Case_{number:05}.nii.gz")
    ct, labels = make_patient(7)
    for name, write, volume in (("Images", write_volume, ct), ("Labels", write_labels, labels)):
        (held / f"Validation-Public-{name}").mkdir(parents=True)
        write(volume, held / f"Validation-Public-{name}" / f"FLARETs_0001{'_0000' * (name == 'Images')}.nii.gz")
    return raw


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_release(tmp_path / "release")


def agree(raw: Path, to: Path, *extra: str) -> int:
    pseudo = raw / "train_pseudo_label"
    maps = [str(pseudo / TEACHERS[1]), str(pseudo / TEACHERS[0])]
    return main(["pseudo-label", str(pseudo / "imagesTr"), "--to", str(to), "--pictures", "0", *extra, "--maps", *maps])


def test_the_releases_parts_are_found_by_name(raw: Path) -> None:
    release = find_release(raw)
    assert release is not None
    assert [folder.name for folder in release.pseudo_maps] == [TEACHERS[1], TEACHERS[0]]  # the winner's are taken
    layout = read_layout(raw)
    assert layout.problems == ()
    names = [(case.name, case.labels is not None) for case in layout.cases]
    assert names == [("FLARE22_Tr_0001", True), ("FLARE22_Tr_0002", True)] + [
        (f"Case_{number:05}", False) for number in (101, 102, 103)
    ]
    assert any("left alone" in note for note in layout.notes)  # FLARETs_0001 is no case of training's
    assert find_release(raw / "train_gt_label") is None


def test_ready_maps_are_taken_and_their_agreement_is_the_reliability(raw: Path, tmp_path: Path) -> None:
    assert agree(raw, tmp_path / "pseudo") == 0
    index = read_pseudo(tmp_path / "pseudo")
    assert len(index.cases) == 3
    for decision in index.cases:
        assert decision.kept
        # half of the aorta: 2 * 0.5 / 1.5 = 0.67; the other half is a third of a spleen: 2 / 2.34 = 0.853
        assert decision.dropped["aorta"] == "teachers agree by 0.67, below 0.85"
        assert decision.dropped["liver"] == "268.8 mL is less than 600.0 mL"  # a doll's
        assert set(decision.annotated) == set(range(1, 14)) - {LIVER, AORTA}
        assert 0.9 < decision.weight <= 1
    for name in ("Case_00101", "Case_00103"):
        taken = read_volume(tmp_path / "pseudo" / "labels" / f"{name}.nii.gz")
        theirs = read_volume(raw / "train_pseudo_label" / TEACHERS[1] / f"{name}.nii.gz")
        np.testing.assert_array_equal(taken.array, theirs.array)


def test_a_map_on_another_grid_or_missing_fails_its_case_alone(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = raw / "train_pseudo_label" / TEACHERS[1]
    (maps / "Case_00101.nii.gz").unlink()
    labels = make_patient(102)[1]
    write_labels(Volume(labels.array[1:], labels.geometry.with_grid((29, 42, 52), labels.geometry.spacing_zyx)),
                 maps / "Case_00102.nii.gz")  # fmt: skip
    assert agree(raw, tmp_path / "pseudo") == 1
    said = capsys.readouterr().err
    assert "no label map Case_00101.nii.gz in" in said
    assert "Case_00102.nii.gz does not lie voxel on voxel on its scan" in said
    assert [decision.name for decision in read_pseudo(tmp_path / "pseudo").cases] == ["Case_00103"]


def test_shards_share_the_scans_out_and_the_last_one_selects_from_all(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agree(raw, tmp_path / "pseudo", "--shard", "2/2") == 0
    assert [path.stem for path in (tmp_path / "pseudo" / "cases").iterdir()] == ["Case_00102"]
    assert "2 scans of other shards are not labelled yet" in capsys.readouterr().err
    assert agree(raw, tmp_path / "pseudo", "--shard", "1/2") == 0
    assert len(read_pseudo(tmp_path / "pseudo").cases) == 3
    assert "other shards" not in capsys.readouterr().err
    for wrong in ("3/2", "0/2", "a/b", "1"):
        with pytest.raises(SystemExit):
            agree(raw, tmp_path / "pseudo", "--shard", wrong)


def test_prepare_takes_several_folders_and_the_first_ones_labels_of_a_case(raw: Path, tmp_path: Path) -> None:
    assert agree(raw, tmp_path / "both") == 0
    first = tmp_path / "first"
    assert agree(raw, first, "--shard", "1/3") == 0  # Case_00101 alone
    # a stricter selection, so that it shows whose labels a case has
    strict = tmp_path / "strict.toml"
    strict.write_text("[min_agreement]\nall = 1.0\n")
    assert agree(raw, first, "--shard", "1/3", "--selection", str(strict)) == 0
    recipe = write_recipe_for_patients(tmp_path / "recipe.toml")
    arguments = ["prepare", str(raw), "--to", str(tmp_path / "data"), "--recipe", str(recipe), "--workers", "1"]
    assert main([*arguments, "--stage", "fine", "--pseudo", str(first), str(tmp_path / "both")]) == 0
    cases = {case.name: case for case in open_dataset(tmp_path / "data", "fine").cases if case.is_pseudo}
    assert set(cases) == {"Case_00101", "Case_00102", "Case_00103"}
    assert cases["Case_00101"].annotated == set(range(1, len(ORGANS) + 1)) - {LIVER, SPLEEN, AORTA}
    assert cases["Case_00101"].weight == 1
    assert cases["Case_00102"].weight < 1


def test_what_is_no_folder_of_maps_is_refused(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(raw / "train_pseudo_label" / TEACHERS[0])
    assert agree(raw, tmp_path / "pseudo") == 1
    assert f"there is no folder {raw / 'train_pseudo_label' / TEACHERS[0]}" in capsys.readouterr().err
    assert agree(raw, tmp_path / "pseudo", "--ensemble") == 1
