"""A map with a JSON of names beside it is read by these names; a number that nothing explains is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from training.errors import TrainingError
from training.painting.anatomy import read_organ_map
from training.painting.structure_names import names_beside, tissue_of_name
from training.painting.tissue import Tissue


@pytest.mark.parametrize(
    ("name", "tissue"),
    [
        ("liver", Tissue.LIVER),
        ("kidney_left", Tissue.LEFT_KIDNEY),
        ("right_adrenal_gland", Tissue.RIGHT_ADRENAL),
        ("inferior_vena_cava", Tissue.VENA_CAVA),
        ("portal_vein_and_superior_mesenteric_vein", Tissue.PORTAL_VEIN),
        ("Lumbar3", Tissue.SPONGIOSA),
        ("T12-L1-IntervertebralDisc", Tissue.CARTILAGE),
        ("right_psoas_muscle", Tissue.MUSCLE),
        ("rib_left_7", Tissue.CORTICAL_BONE),
        ("urinary_bladder", Tissue.BLADDER),
        ("iliac_artery_left", Tissue.AORTA_BEYOND),
        ("iliac_vena_right", Tissue.CAVA_BEYOND),
        ("right iliac vein", Tissue.CAVA_BEYOND),
        # no part of an organ, or two in one: nothing is claimed
        ("stomach_and_duodenum", Tissue.AIR),
        ("liver tumour", Tissue.AIR),
        ("left_renal_artery", Tissue.AIR),
        ("kidney_cyst_left", Tissue.AIR),
    ],
)
def test_a_structure_is_known_by_its_name(name: str, tissue: Tissue) -> None:
    assert tissue_of_name(name) == tissue


def write_map(path: Path, *numbers: int) -> Path:
    labels = np.zeros((8, 8, 8), np.int16)
    for row, number in enumerate(numbers):
        labels[:, row] = number
    write_volume(Volume(labels, Geometry((8, 8, 8), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)), path)
    return path


def test_names_win_over_numbers_and_may_go_beyond_a_byte(tmp_path: Path) -> None:
    """299 was 43 when it was cut to a byte, and 1 was a liver whatever the file of names said."""
    path = write_map(tmp_path / "atlas_1.nii.gz", 1, 299, 552, 700)
    names = {"1": "spleen", "299": {"name": "liver"}, "552": "L4-L3-disc"}
    path.with_name("atlas_1.json").write_text(json.dumps(names))
    tissues = read_organ_map(path).tissues
    assert tissues[0, :5, 0].tolist() == [Tissue.SPLEEN, Tissue.LIVER, Tissue.CARTILAGE, Tissue.AIR, Tissue.AIR]
    assert read_organ_map(path).known == {Tissue.SPLEEN, Tissue.LIVER, Tissue.CARTILAGE}


@pytest.mark.parametrize(("name", "number"), [("word_1", 20), ("amos_1", 41), ("amos_2", 257), ("amos_3", -1)])
def test_a_number_that_nothing_explains_is_refused(tmp_path: Path, name: str, number: int) -> None:
    path = write_map(tmp_path / f"{name}.nii.gz", 1, number)
    with pytest.raises(TrainingError, match=f"holds the number {number}, and nothing says what that is"):
        read_organ_map(path)


def test_a_map_of_no_organ_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="none of the thirteen organs"):
        read_organ_map(write_map(tmp_path / "amos_1.nii.gz", 15))


def test_no_file_of_names_is_no_names(tmp_path: Path) -> None:
    assert names_beside(tmp_path / "amos_1.nii.gz") is None


@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"one": "liver"}', '{"1": {"colour": "red"}}', '{"1": 5}'])
def test_a_file_that_names_nothing_is_refused_by_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "amos_1.json").write_text(text)
    with pytest.raises(TrainingError, match=r"amos_1\.json does not name the numbers of amos_1\.nii\.gz"):
        names_beside(tmp_path / "amos_1.nii.gz")
