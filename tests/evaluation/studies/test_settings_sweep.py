"""Settings are changed in a copy of the manifest, and what comes of it is scored."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluation.command import DONE, FAILED
from evaluation.errors import ArgumentsError
from evaluation.studies.settings_sweep import changed, main
from tests.engine.tiny import block_phantom, write_models
from tests.evaluation.accuracy.test_roi_coverage import write_case

MANIFEST: dict[str, Any] = {"roi_margin_mm": [55, 20, 20], "fine": {"overlap": 0.25, "tile_multiple": 16}}


def test_a_variant_changes_the_fields_that_it_names_and_takes_out_those_that_are_null() -> None:
    variant = "fine.overlap=0.5 fine.tile_multiple=null roi_margin_mm=[30,20,20]"
    assert changed(MANIFEST, variant) == {"roi_margin_mm": [30, 20, 20], "fine": {"overlap": 0.5}}
    assert MANIFEST["fine"] == {"overlap": 0.25, "tile_multiple": 16}


@pytest.mark.parametrize("variant", ["fine.stride=1", "coarse.overlap=1", "overlap", "fine.overlap=half"])
def test_a_change_that_cannot_be_made_is_refused(variant: str) -> None:
    with pytest.raises(ArgumentsError, match="--variant: "):
        changed(MANIFEST, variant)


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    # where there is no .venv beside it, predict.sh takes the first python3
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    write_case(tmp_path, *block_phantom())
    models = write_models(tmp_path / "models")
    folders = [str(tmp_path / "images"), str(tmp_path / "labels"), "--models", str(models)]
    return [*folders, "--to", str(tmp_path / "out")]


def test_the_script_labels_with_each_variant_and_writes_table_and_picture(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stand-in networks read intensities: on the scan's own grid they are perfect, on one of 12 mm they are not."""
    assert main([*arguments, "--variant", "fine.spacing_zyx=[12,12,12]"]) == DONE
    table = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table[2:]]
    assert [row[0] for row in cells] == ["as released", "fine.spacing_zyx=[12,12,12]"]
    assert cells[0][1:4] == ["1.000", "1.000", "1.000"]
    assert float(cells[1][1]) < 0.9
    assert all(float(row[4]) > 0 for row in cells)
    assert (tmp_path / "out" / "sweep.md").read_text().splitlines() == table
    assert (tmp_path / "out" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    # the models that were named are as they were
    assert json.loads((tmp_path / "models" / "manifest.json").read_text())["fine"]["spacing_zyx"] == [3.0, 2.0, 2.0]


def test_settings_that_the_engine_refuses_end_the_study_in_its_words(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--variant", "fine.overlap=7"]) == FAILED
    assert "settings_sweep: predict.sh failed with status 2: " in capsys.readouterr().err


def test_a_scan_without_a_label_map_is_named(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels" / "A.nii.gz").unlink()
    assert main([*arguments, "--variant", "fine.overlap=0.5"]) == FAILED
    assert "has no A.nii.gz" in capsys.readouterr().err
