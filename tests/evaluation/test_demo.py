from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.geometry import Volume
from PIL import Image

from evaluation import demo
from evaluation.demo import run_demo
from evaluation.errors import ArgumentsError, EvaluationError
from evaluation.phantom import make_phantom, phantom_geometry, write_phantom

GRID = phantom_geometry((30, 60, 70), (10, 6, 6))


@pytest.fixture(autouse=True)
def small_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "write_phantom", lambda folder, seed: write_phantom(folder, seed, GRID))


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\nset -eu\n{body}\n")
    return path


def test_the_demonstration_draws_and_scores_what_predict_found(tmp_path: Path) -> None:
    labels = make_phantom(GRID, 1)[1]
    without_liver = np.where(labels.array == 1, 0, labels.array)
    write_volume(Volume(without_liver, labels.geometry), tmp_path / "found.nii.gz")
    copy = f'test -f "$1"/Phantom_0001_0000.nii.gz && cp "{tmp_path}"/found.nii.gz "$2"/Phantom_0001.nii.gz'
    found = script(tmp_path / "predict.sh", copy)
    lines: list[str] = []
    pictures = run_demo(tmp_path / "out", tell=lines.append, predict=found)
    assert pictures == [tmp_path / "out" / "Phantom_0001.png"]
    with Image.open(pictures[0]) as picture:
        assert picture.format == "PNG"
    table = [line.rsplit(maxsplit=1) for line in "\n".join(lines).splitlines() if line.startswith("  ")]
    scores = {organ.strip(): dsc for organ, dsc in table}
    # twelve of thirteen
    assert (scores.pop("liver"), scores.pop("mean")) == ("0.000", "0.923")
    assert list(scores.values()) == ["1.000"] * 12


def test_an_own_scan_is_drawn_without_a_score(tmp_path: Path) -> None:
    ct, labels = make_phantom(GRID, 2)
    write_volume(ct, tmp_path / "mine_0000.nii.gz")
    write_volume(labels, tmp_path / "found.nii.gz")
    found = script(tmp_path / "predict.sh", f'test -f "$1" && cp "{tmp_path}/found.nii.gz" "$2"/mine.nii.gz')
    lines: list[str] = []
    pictures = run_demo(tmp_path / "out", tmp_path / "mine_0000.nii.gz", tell=lines.append, predict=found)
    assert pictures == [tmp_path / "out" / "mine.png"]
    assert "DSC" not in "\n".join(lines)


def test_a_failed_prediction_stops_the_demonstration(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"predict\.sh failed with status 3"):
        run_demo(tmp_path / "out", predict=script(tmp_path / "predict.sh", "exit 3"))


def test_a_scan_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ArgumentsError, match="--ct: no such file"):
        run_demo(tmp_path / "out", tmp_path / "nothing.nii.gz")
    assert not (tmp_path / "out").exists()
