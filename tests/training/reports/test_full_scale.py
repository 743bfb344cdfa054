"""The dry run of the full scale: scans of the size that was asked for, and costs that are multiplied."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.small_patients import write_recipe_for_patients
from training.errors import TrainingError
from training.reports.full_scale import _of_flare22, _samples_a_minute, main, make_scan


def test_a_scan_is_the_phantom_in_smaller_voxels() -> None:
    ct, labels = make_scan(1, (1, 2, 2))
    assert ct.geometry.shape_zyx == (50, 256, 256)
    assert ct.geometry.spacing_zyx == (6.0, 1.6, 1.6)
    assert ct.geometry == labels.geometry
    whole = make_scan(1, (1, 1, 1))[1].array
    np.testing.assert_array_equal(labels.array[:, ::2, 1::2], whole)
    # 12 HU of noise: what is left when a voxel's own neighbour is subtracted has twice the variance
    pairs = ct.array[:, ::2, ::2].astype(float) - ct.array[:, ::2, 1::2]
    assert pairs.std() == pytest.approx(12 * np.sqrt(2), rel=0.05)


def test_the_command_prints_what_2050_scans_cost(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe_for_patients(tmp_path / "recipe.toml")
    how = ["--labelled", "2", "--unlabelled", "1", "--repeat", "1", "1", "1", "--samples", "10"]
    assert main(["--to", str(tmp_path), "--recipe", str(recipe), *how]) == 0
    *measured, total = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["what"] for row in measured] == [
        "prepare, labelled scans",
        "prepare again, nothing changed",
        "prepare, with unlabelled scans",
    ]
    assert total["data_set_gb_2050_with_labels"] == pytest.approx(2.05 * total["data_set_mb_a_labelled_scan"], abs=0.02)
    assert total["samples_a_minute_of_a_core"] > 0


@pytest.mark.parametrize("option", ["--labelled", "--unlabelled", "--samples"])
def test_a_count_that_measures_nothing_is_refused_before_the_work(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--to", str(tmp_path), option, "0"]) == 1
    assert f"{option} 0 measures nothing; give 1 or more" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_loader_that_fails_ends_it_with_a_sentence() -> None:
    with pytest.raises(TrainingError, match="loader: status 1; what it printed above says why"):
        _samples_a_minute(["loader", "--data", "nowhere", "--samples", "1"])


def test_a_scans_cost_is_multiplied_by_hand() -> None:
    row = {
        "cpu_s_a_labelled_scan": 7.2,
        "cpu_s_an_unlabelled_scan": 1.8,
        "raw_mb_a_scan": 30.0,
        "data_set_mb_a_labelled_scan": 2.0,
        "samples_a_minute_of_a_core": 250.0,
    }
    assert _of_flare22(row, "flare22") == {
        # (50 x 7.2 + 2000 x 1.8) s, 2050 x 7.2 s
        "core_hours_prepare_50_and_2000_unlabelled": pytest.approx(1.1),
        "core_hours_prepare_2050_with_labels": pytest.approx(4.1),
        "raw_gb_2050": pytest.approx(61.5),
        "data_set_gb_2050_with_labels": pytest.approx(4.1),
        # 500 samples by 8 workers
        "seconds_an_epoch_by_the_recipes_workers": pytest.approx(15),
    }
