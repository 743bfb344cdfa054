"""Claims about real scans as template bodies: what of a network's labels is believed, and what the rest becomes."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from attention_dmfnet.files.image_io import write_labels, write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from tests.training.bodies import anatomy
from tests.training.raw_anatomy import write_raw_anatomy
from training.errors import TrainingError
from training.painting import body_building
from training.painting.anatomy import Anatomy
from training.painting.bodies import audit_body, body_paths, faults_of, read_atlas, read_body
from training.painting.body_building import build
from training.painting.completion import BODY_SPACING_ZYX, Body, complete
from training.painting.real_scans import VALIDATION_ONLY, one_phase_each, read_real_scan, real_scan_names
from training.painting.tissue import Tissue
from training.painting.vessel_courses import make_atlas

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
SHAPE = (70, 100, 120)
SPACING_MM = 3.0
LIVER_HU, LIVER_MM, LABELLED_MM = 110, 57.0, 51.0
BOWEL_HU, BONE_HU, FAT_HU, MUSCLE_HU = 40, 250, -100, 55
LIVER_AT, BOWEL_AT, GAS_AT, SPLEEN_AT, KIDNEY_AT = (
    (0, -5, -60),
    (-50, -50, 45),
    (-50, -20, 60),
    (80, 0, 75),
    (-20, 30, 70),
)
SPINE_AT = (70, 0)


def away_mm(centre: tuple[int, int, int]) -> npt.NDArray[Any]:
    """Distance of each voxel from a point, both from the middle of the phantom (z, y, x)."""
    axes = [(np.arange(n) - n / 2) * SPACING_MM for n in SHAPE]
    mm = np.stack(np.meshgrid(*axes, indexing="ij"))
    away: npt.NDArray[Any] = np.sqrt(((mm - np.array(centre)[:, None, None, None]) ** 2).sum(0))
    return away


def scan() -> tuple[np.ndarray, np.ndarray]:
    """HU and labels: a trunk on a table; the liver's label is 6 mm too small, two labels are wrong."""
    _, y, x = np.meshgrid(*((np.arange(n) - n / 2) * SPACING_MM for n in SHAPE), indexing="ij")
    hu, labels = np.full(SHAPE, -1000, np.int16), np.zeros(SHAPE, np.uint8)
    across = np.sqrt((y / 110) ** 2 + (x / 140) ** 2)
    hu[across < 1] = FAT_HU
    hu[(across < 0.94) & (across > 0.84)] = MUSCLE_HU
    hu[np.hypot(y - SPINE_AT[0], x - SPINE_AT[1]) < 15] = BONE_HU
    hu[(y > 134) & (y < 138)] = 100
    for centre, radius, value in (
        (BOWEL_AT, 20, BOWEL_HU), (GAS_AT, 24, BOWEL_HU), (GAS_AT, 14, -990), (SPLEEN_AT, 27, 120),
        (KIDNEY_AT, 26, 200),
    ):  # fmt: skip
        hu[away_mm(centre) < radius] = value
    hu[away_mm(LIVER_AT) < LIVER_MM] = LIVER_HU
    labels[away_mm(LIVER_AT) < LABELLED_MM] = Tissue.LIVER
    labels[away_mm(SPLEEN_AT) < 27] = Tissue.SPLEEN
    labels[away_mm(KIDNEY_AT) < 26] = Tissue.LEFT_KIDNEY
    labels[away_mm((-60, 20, -20)) < 22] = Tissue.PANCREAS  # all of it fat
    labels[away_mm((-80, 20, -70)) < 9] = Tissue.RIGHT_KIDNEY  # 3 mL
    return hu, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("real")
    hu, labels = scan()
    (made / "ct").mkdir()
    z, y, x = SHAPE
    geometry = Geometry(SHAPE, (SPACING_MM,) * 3, (-x * 1.5, -y * 1.5, -z * 1.5), CANONICAL_AXES_LPS)
    for name in ("patient-portal", *VALIDATION_ONLY):
        write_volume(Volume(hu, geometry), made / "ct" / f"{name}_0000.nii.gz")
    write_labels(Volume(labels, geometry), made / "labels.nii.gz")
    shifted = Geometry(SHAPE, (SPACING_MM,) * 3, (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    write_labels(Volume(labels, shifted), made / "shifted.nii.gz")
    write_labels(Volume(np.where(labels == 1, 0, labels).astype(np.uint8), geometry), made / "no_liver.nii.gz")
    return made


@pytest.fixture(scope="module")
def template(folder: Path) -> Anatomy:
    return read_real_scan(folder / "ct" / "patient-portal_0000.nii.gz", folder / "labels.nii.gz")


def tissue_at(template: Anatomy, point_zyx_mm: tuple[float, float, float]) -> Tissue:
    origin = np.array(template.volume.geometry.origin_lps)[::-1]
    z, y, x = np.rint((np.array(point_zyx_mm) - origin) / BODY_SPACING_ZYX).astype(int)
    return Tissue(int(template.tissues[z, y, x]))


def test_validation_scans_are_neither_listed_nor_read(folder: Path) -> None:
    assert real_scan_names(folder) == ["patient-portal"]
    for name in VALIDATION_ONLY:
        with pytest.raises(TrainingError, match="validation scan"):
            read_real_scan(folder / "ct" / f"{name}_0000.nii.gz", folder / "labels.nii.gz")


def test_patients_whose_phases_are_compared_are_no_templates(tmp_path: Path) -> None:
    """The portal phases of both were painted backgrounds up to release 0.10.0."""
    (tmp_path / "ct").mkdir()
    for name in ("HCC-011-portal", "HCC-011-arterial", "HCC-015-portal", "HCC-0150-portal", "HCC-002-portal"):
        (tmp_path / "ct" / f"{name}_0000.nii.gz").touch()
    assert real_scan_names(tmp_path) == ["HCC-002-portal", "HCC-0150-portal"]


def test_of_each_patient_the_portal_phase_is_preferred() -> None:
    names = ["HCC-009-after", "HCC-009-arterial", "HCC-009-portal", "HCC-002-arterial", "CRLM-1004"]
    assert one_phase_each(names) == ["CRLM-1004", "HCC-002-arterial", "HCC-009-portal"]
    # all phases are told by their names
    assert one_phase_each(["A-1-plain", "A-1-venous", "A-1-after"]) == ["A-1-after"]


def test_refuses_labels_of_another_grid_and_labels_without_a_liver(folder: Path) -> None:
    path = folder / "ct" / "patient-portal_0000.nii.gz"
    with pytest.raises(TrainingError, match="grid"):
        read_real_scan(path, folder / "shifted.nii.gz")
    with pytest.raises(TrainingError, match="no plausible liver"):
        read_real_scan(path, folder / "no_liver.nii.gz")


def test_a_pancreas_of_fat_and_a_kidney_of_three_ml_are_not_believed(template: Anatomy) -> None:
    assert template.known == {Tissue.LIVER, Tissue.SPLEEN, Tissue.LEFT_KIDNEY}
    assert tissue_at(template, (-60, 20, -20)) == Tissue.UNKNOWN
    assert tissue_at(template, LIVER_AT) == Tissue.LIVER


def test_an_organ_at_the_scans_end_is_cut(template: Anatomy) -> None:
    # the spleen's top would be at 107 mm, the scan ends at 105
    assert template.cut == {Tissue.SPLEEN}


def test_what_the_livers_label_spares_of_it_is_unknown(template: Anatomy) -> None:
    z, y, x = LIVER_AT
    # above the labelled ball, inside the liver; then fat
    assert tissue_at(template, (z + LABELLED_MM + 3, y, x)) == Tissue.UNKNOWN
    assert tissue_at(template, (z + LIVER_MM + 7, y, x)) == Tissue.FAT


def test_bowel_is_no_muscle_and_its_gas_is_air(template: Anatomy) -> None:
    assert tissue_at(template, BOWEL_AT) == Tissue.SOFT
    assert tissue_at(template, GAS_AT) == Tissue.AIRWAY
    z, y, x = GAS_AT
    assert tissue_at(template, (z - 20, y, x)) == Tissue.SOFT
    assert tissue_at(template, (-80, 0, -124)) == Tissue.MUSCLE
    assert tissue_at(template, (-80, *SPINE_AT)) == Tissue.SPONGIOSA


def test_the_table_is_no_part_of_the_body(template: Anatomy) -> None:
    assert template.hu is not None
    z, y, x = template.volume.geometry.shape_zyx
    assert (template.tissues[:, -2:] == Tissue.AIR).all()
    assert template.hu[z // 2, y - 2, x // 2] == -1000


def test_hu_are_those_of_the_scan(template: Anatomy) -> None:
    assert template.hu is not None
    assert np.median(template.hu[template.tissues == Tissue.LIVER]) == LIVER_HU
    assert np.median(template.hu[template.tissues == Tissue.FAT]) == FAT_HU


def test_nothing_of_the_templates_liver_stays_visible_beside_the_targets(template: Anatomy) -> None:
    target, whole = anatomy("target", False, False, 0.7), anatomy("whole", True, True)
    made = complete(target, template, whole, make_atlas([whole, anatomy("larger", True, True, 1.05)]))
    beside = np.isin(made.tissues, (Tissue.FAT, Tissue.MUSCLE, Tissue.SOFT, Tissue.VESSEL))
    in_view = target_rows(made)
    assert not (in_view & (made.tissues == Tissue.UNKNOWN)).any()
    left = beside & in_view & (abs(made.hu - LIVER_HU) < 12)
    # partial volume at the edge of bone passes this value; a liver that sticks out is hundreds of mL
    assert left.sum() * np.prod(BODY_SPACING_ZYX) / 1000 < 8


def target_rows(made: Body) -> npt.NDArray[Any]:
    """The slices that hold the liver."""
    rows: npt.NDArray[Any] = (made.tissues == Tissue.LIVER).any((1, 2))[:, None, None]
    return rows


@pytest.mark.skipif(not (SHARED / "labels" / "TS-example.nii.gz").exists(), reason="no shared data")
def test_of_ts_example_the_liver_is_believed_and_the_pancreas_is_not() -> None:
    template = read_real_scan(SHARED / "ct" / "TS-example_0000.nii.gz", SHARED / "labels" / "TS-example.nii.gz")
    assert template.known >= {Tissue.LIVER, Tissue.SPLEEN, Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY}
    assert int(Tissue.PANCREAS) not in template.known
    assert int(Tissue.LIVER) in template.cut
    shares = {tissue: np.mean(template.tissues == tissue) for tissue in (Tissue.FAT, Tissue.MUSCLE, Tissue.UNKNOWN)}
    assert shares[Tissue.FAT] > 0.1
    assert shares[Tissue.MUSCLE] > 0.05
    assert 0 < shares[Tissue.UNKNOWN] < 0.05


def test_with_scan_labels_bodies_are_completed_in_another_scan(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no drawing of these phantoms passes the audit
    monkeypatch.setattr(body_building, "_MOST_DRAWINGS", 2)
    monkeypatch.setattr(body_building, "_MOST_TEMPLATES", 1)
    data, labels = tmp_path / "data", tmp_path / "labels"
    write_raw_anatomy(data)
    (data / "ct" / "patient-portal_0000.nii.gz").symlink_to(folder / "ct" / "patient-portal_0000.nii.gz")
    labels.mkdir()
    (labels / "patient-portal.nii.gz").symlink_to(folder / "labels.nii.gz")
    tissues = []
    for name, scan_labels in (("without", None), ("with", labels)):
        build(data, tmp_path / name, workers=1, scan_labels=scan_labels)
        tissues.append({path.stem: read_body(path).tissues for path in body_paths(tmp_path / name)})
        # the audit finds in what is read and painted what it found when the bodies were built
        atlas = read_atlas(tmp_path / name)
        for path in body_paths(tmp_path / name):
            found = [str(one) for one in audit_body(read_body(path), atlas) if one.severity == "fail"]
            assert found == faults_of(path), path
    without, within = tissues
    # by their names both maps are given the scan for the first of their bodies; the second is a phantom's
    assert {name for name in within if not np.array_equal(within[name], without[name])} == {
        "amos_0013_0",
        "totalseg_s0327_0",
    }
    assert within.keys() == without.keys() > {"amos_0013_1", "totalseg_s0327_1", "ts_example_0"}
