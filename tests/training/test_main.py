"""Claims about the command line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.files.image_io import read_volume
from PIL import Image

from tests.training.bodies import body
from tests.training.raw_anatomy import write_raw_anatomy
from training.__main__ import main
from training.learning.checkpoint import load_trained
from training.painting.bodies import save_body

ROOT = Path(__file__).resolve().parents[2]
TINY = ["network.stem=8", "network.width=16", "network.groups=4", "grid.tile_zyx=[32, 32, 32]", "run.minutes=0",
        "run.epochs=1", "run.steps_per_epoch=2", "sampling.workers=0", "schedule.recalibrate_samples=2",
        "run.validation_cases=1"]  # fmt: skip
COMMANDS = [
    "run",
    "prepare",
    "synthesize",
    "audit",
    "recombine",
    "fit",
    "pseudo-label",
    "ablation",
    "step-time",
    "loader",
    "curve",
    "card",
]


def sets(changes: list[str]) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    folder = tmp_path / "bodies"
    folder.mkdir()
    for name in ("word_0014_0", "word_0034_0"):
        save_body(body(), folder / f"{name}.npz")
    return folder


@pytest.mark.parametrize("stage", ["fine", "coarse"])
def test_a_stage_is_trained_from_bodies_resumed_and_described(bodies: Path, tmp_path: Path, stage: str) -> None:
    run = tmp_path / "run"
    fit = ["fit", "--bodies", str(bodies), "--to", str(run), "--accelerator", "cpu", "--threads", "1"]
    assert main([*fit, "--recipe", f"painted-{stage}", *sets(TINY)]) == 0
    assert load_trained(run).recipe.stage == stage
    assert main([*fit, "--resume", "--set", "run.epochs=2"]) == 0
    assert len((run / "log.jsonl").read_text().splitlines()) == 4  # two epochs, scored after each run
    assert main(["card", str(run)]) == 0
    assert "4 steps in all" in (run / "card.md").read_text()


def test_the_parts_of_a_step_are_timed(bodies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["step-time", "--recipe", "painted-fine", "--bodies", str(bodies), "--steps", "1"]
    assert main([*command, *sets(TINY)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["part"] for row in rows] == ["batch", "gradients", "update"]
    assert all(row["seconds"] > 0 and row["cpu_seconds"] > 0 for row in rows)


def test_the_loader_is_timed_and_does_not_grow_with_the_cases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["loader", "--cases", "60", "--to", str(tmp_path), "--samples", "60", "--set", "grid.tile_zyx=[16,16,16]"]
    off = [f"augmentation.{name}_probability=0" for name in ("spatial", "elastic", "blur", "low_resolution")]
    assert main([*command, *sets(off)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["samples"] for row in rows] == [6 * n for n in range(1, 11)]
    # places and opened arrays of 60 cases that are kept would be 30 MiB
    assert rows[-1]["mib"] < 15
    assert main(["loader", "--cases", "60"]) == 1
    assert "name either --data, or --cases and --to" in capsys.readouterr().err


def test_bodies_are_completed_drawn_and_painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raw_anatomy(tmp_path / "raw")
    # no ball is as large as a liver
    monkeypatch.setattr("training.painting.bodies.audit", lambda *body: [])
    bodies, sheet, scans = tmp_path / "bodies", tmp_path / "sheet.png", tmp_path / "scans"
    command = ["synthesize", str(tmp_path / "raw"), "--to", str(bodies), "--workers", "1"]
    seen = ["--sheet", str(sheet), "--rows", "1", "--scans", str(scans), "--anatomy", "training", "--count", "1"]
    assert main([*command, *seen]) == 0
    names = ["amos_0013_0", "amos_0013_1", "totalseg_s0327_0", "totalseg_s0327_1", "ts_example_0", "vessel_courses"]
    assert [path.stem for path in sorted(bodies.iterdir())] == names
    with Image.open(sheet) as picture:
        assert picture.width > picture.height > 100
    assert [path.name for path in (scans / "labels").iterdir()] == ["amos_0013_0.nii.gz"]
    assert {1, 3, 4} <= set(np.unique(read_volume(scans / "labels" / "amos_0013_0.nii.gz").array))


def test_an_ablation_is_run_from_the_command_line(bodies: Path, tmp_path: Path) -> None:
    save_body(body(), bodies / "word_0016_0.npz")
    command = ["ablation", "--to", str(tmp_path / "ablation"), "--recipe", "painted-fine", "--bodies", str(bodies)]
    few = ["--labelled", "1", "--unlabelled", "1", "--cases", "1", "--seeds", "1"]
    tiny = sets([*TINY, "run.steps_per_epoch=1", 'run.precision="float32"'])
    assert main([*command, *few, "--accelerator", "cpu", "--threads", "1", *tiny]) == 0
    text = (tmp_path / "ablation" / "ablation.md").read_text()
    assert "| organ | teacher only | student, CE |" in text


def test_what_cannot_be_done_is_one_sentence_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--recipe", "small", "--stage", "fine", "--to", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == "python -m training fit: sampling.painted_share 0 needs --data\n"


def test_the_same_command_with_resume_starts_goes_on_and_keeps_all_but_the_budget(
    bodies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    fit = ["fit", "--bodies", str(bodies), "--to", str(run), "--accelerator", "cpu", "--threads", "1", "--resume"]
    same = [*fit, "--recipe", "painted-fine", *sets(TINY)]
    assert main(fit) == 1
    assert "name a recipe: --recipe small, for example; there is no run in" in capsys.readouterr().err
    assert main(same) == 0  # nothing was there: it starts
    weights = (run / "weights.safetensors").read_bytes()
    assert main(same) == 0  # its budget is spent
    assert (run / "weights.safetensors").read_bytes() == weights
    for change in ("run.seed=2", "run.batch=2", 'run.precision="float32"', "run.ema=0.5", "optimiser.learning_rate=1"):
        assert main([*same, "--set", change]) == 1
        assert f"was begun with other values of {change.partition('=')[0]};" in capsys.readouterr().err
    assert main([*fit, "--fold", "all"]) == 1
    assert "was begun with other values of run.fold;" in capsys.readouterr().err
    assert main([*same, "--set", "run.epochs=2"]) == 0
    assert (run / "weights.safetensors").read_bytes() != weights


def test_help_needs_no_library() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = None; import training.__main__ as m; m.main(['-h'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert command in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_tells_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert f"usage: python -m training {command}" in capsys.readouterr().out
