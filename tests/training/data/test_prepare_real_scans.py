"""Real scans pass the checks that refuse bad ones, and become cases."""

import json
import shutil
from pathlib import Path

import pytest

from training.__main__ import main
from training.data.dataset import open_dataset
from training.data.fingerprint import read_fingerprint

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the real scans in {DATA}")


def test_real_scans_with_partial_labels_are_prepared(tmp_path: Path) -> None:
    labelled, unlabelled = tmp_path / "raw" / "labelled", tmp_path / "raw" / "unlabelled"
    for folder in (labelled / "images", labelled / "labels", unlabelled):
        folder.mkdir(parents=True)
    for name in ("SPL-atlas", "TS-example"):
        shutil.copy(DATA / "ct" / f"{name}_0000.nii.gz", labelled / "images")
        shutil.copy(DATA / "labels" / f"{name}.nii.gz", labelled / "labels")
    shutil.copy(DATA / "ct" / "C3N-00249_0000.nii.gz", unlabelled)
    # label 11 is stomach and duodenum together there, and the esophagus was not drawn
    drawn = json.dumps({"annotated": [1, 2, 3, 4, 5, 6, 7, 8, 9, 13]})
    (labelled / "labels" / "SPL-atlas.json").write_text(drawn)
    arguments = ["prepare", str(tmp_path / "raw"), "--to", str(tmp_path / "data"), "--recipe", "small"]
    assert main([*arguments, "--workers", "1"]) == 0
    fine = {case.name: case for case in open_dataset(tmp_path / "data", "fine").cases}
    assert set(fine) == {"SPL-atlas", "TS-example"}
    assert set(fine["SPL-atlas"].class_locations) == {1, 2, 3, 4, 5, 6, 7, 8, 9, 13}
    # stomach, duodenum and esophagus may lie anywhere: the whole scan is there
    assert fine["SPL-atlas"].geometry.extent_mm_zyx[2] == pytest.approx(333, abs=5)
    liver = read_fingerprint(tmp_path / "data").organs["liver"]
    assert liver.cases == 2
    # liver in any phase
    assert 30 <= liver.hu[1] <= 130
