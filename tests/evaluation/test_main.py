import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluation.__main__ import main
from tests.evaluation.grids import labels_of, write

BLOCKED_FOR_THE_DEMO = ("torch", "scipy", "matplotlib", "surface_distance", "onnx", "monai", "numba", "psutil")


def two_cubes() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    array = np.zeros((8, 12, 12), np.uint8)
    array[2:5, 2:5, 2:5], array[2:5, 7:10, 7:10] = 1, 3
    return array


def test_scoring_prints_the_summary_and_writes_table_and_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("predictions", "references"):
        write(labels_of(two_cubes()), tmp_path / folder / "A.nii.gz")
    status = main(
        ["score", str(tmp_path / "predictions"), str(tmp_path / "references"), "--csv", str(tmp_path / "scores.csv")]
    )
    assert status == 0
    assert "mean over organs" in capsys.readouterr().out
    assert (tmp_path / "scores.csv").read_text().splitlines()[1].startswith("A.nii.gz,1.0000,")
    assert (tmp_path / "scores.png").is_file()


def test_a_missing_prediction_fails_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(labels_of(two_cubes()), tmp_path / "references" / "A.nii.gz")
    write(labels_of(two_cubes()), tmp_path / "predictions" / "B.nii.gz")
    folders = [str(tmp_path / "predictions"), str(tmp_path / "references")]
    assert main(["score", *folders, "--csv", str(tmp_path / "scores.csv")]) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("evaluation: ")
    assert "A.nii.gz" in error
    assert not (tmp_path / "scores.csv").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "nowhere", "nowhere", "--csv", "out.csv"],
        ["phantom", "--to", "out", "--seed", "-1"],
        ["demo", "--ct", "nowhere.nii.gz", "--to", "out"],
    ],
)
def test_arguments_that_cannot_be_used_have_status_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["paint"], ["score", "a", "b"], ["score", "a", "b", "--rules", "mine"]])
def test_a_command_line_that_makes_no_sense_has_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    labels = write(labels_of(two_cubes()), tmp_path / "labels.nii.gz")
    ct = write(labels_of(two_cubes() * 20), tmp_path / "A_0000.nii.gz")
    assert main(["picture", str(ct), str(labels), "--to", str(tmp_path / "A.png")]) == 0
    assert (tmp_path / "A.png").read_bytes().startswith(b"\x89PNG")


def test_help_loads_no_image_library() -> None:
    code = "import sys, evaluation.__main__; sys.exit('SimpleITK' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_demonstration_needs_only_the_engine_and_pillow() -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({BLOCKED_FOR_THE_DEMO}));"
        "import evaluation.demo, evaluation.phantom, evaluation.pictures.picture, evaluation.accuracy.dice"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
