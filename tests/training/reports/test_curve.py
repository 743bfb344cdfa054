"""Claims about the picture of a training's course."""

import json
from pathlib import Path

import pytest
from PIL import Image

from training.__main__ import main
from training.reports.curve import Run, loss_by_samples

ROOT = Path(__file__).resolve().parents[3]


def test_steps_are_counted_in_samples_from_the_runs_before() -> None:
    run = Run("fine", "fine-848-steps.jsonl", seen_before=3714, samples_per_step=2)
    samples, loss = loss_by_samples(run, ROOT / "docs" / "training-logs")
    assert samples[:2] == [3714 + 2 * 20, 3714 + 2 * 40]
    assert loss[0] == pytest.approx(0.463, abs=1e-3)


def test_the_published_story_can_be_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "training.png"
    assert main(["curve", str(ROOT / "docs" / "training-logs"), "--to", str(picture)]) == 0
    with Image.open(picture) as image:
        assert image.width > image.height > 100


def test_a_log_that_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = {"stage": "fine", "log": "no.jsonl", "seen_before": 0, "samples_per_step": 1}
    (tmp_path / "runs.json").write_text(json.dumps({"runs": [run], "mean_dsc": {}}))
    assert main(["curve", str(tmp_path), "--to", str(tmp_path / "x.png")]) == 1
    assert "no.jsonl" in capsys.readouterr().err
