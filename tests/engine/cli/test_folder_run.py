"""A folder as archives have it, and several engines on it, through the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.status import DONE, SOME_FAILED, UNUSABLE
from attention_dmfnet.files.image_io import read_volume, write_volume

from tests.engine.tiny import block_phantom

ROOT = Path(__file__).parents[3]
TRUTH = block_phantom()[1].array


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    write_volume(block_phantom()[0], folder / "a.nii.gz")
    return folder


def _predict(inputs: Path, outputs: Path, models: Path, *options: str) -> int:
    return main(["predict", str(inputs), str(outputs), "--models", str(models), *options])


@pytest.mark.parametrize("there", [b"", b"labels by hand" * 99])
def test_what_is_there_but_not_whole_is_made_again_and_said(
    inputs: Path, tmp_path: Path, models: Path, there: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "out"
    outputs.mkdir()
    (outputs / "a.nii.gz").write_bytes(there)
    assert _predict(inputs, outputs, models, "--json") == DONE
    report = json.loads(capfd.readouterr().out)
    assert report["status"] == "done"
    assert report["notes"][0]["text"].startswith("made again, because there was no whole label map: ")
    np.testing.assert_array_equal(read_volume(outputs / "a.nii.gz").array, TRUTH)
    assert _predict(inputs, outputs, models, "--json") == DONE
    assert json.loads(capfd.readouterr().out)["status"] == "skipped"


def test_what_looks_like_a_scan_is_listed_and_does_not_change_the_status(
    inputs: Path, tmp_path: Path, models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (inputs / "b.mhd").touch()
    (inputs / "c.mgz").touch()
    (inputs / "below").mkdir()
    (inputs / "below" / "d.nii.gz").touch()
    assert _predict(inputs, tmp_path / "out", models, "--json") == DONE
    out, err = capfd.readouterr()
    reports = [json.loads(line) for line in out.splitlines()]
    assert [(report["case"], report["status"]) for report in reports] == [
        ("b.mhd", "passed over"),
        ("below", "passed over"),
        ("c.mgz", "passed over"),
        ("a", "done"),
    ]
    assert "b.mhd (MetaImage in two files); below (folder with scans); c.mgz (FreeSurfer)" in err
    (inputs / "a.nii.gz").unlink()
    assert _predict(inputs, tmp_path / "out", models) == UNUSABLE
    assert "c.mgz (FreeSurfer)" in capfd.readouterr().err


def test_a_link_to_nowhere_is_a_failed_case(
    inputs: Path, tmp_path: Path, models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (inputs / "b.nii.gz").symlink_to("archive/b.nii.gz")
    os.mkfifo(inputs / "c.mha")
    assert _predict(inputs, tmp_path / "out", models) == SOME_FAILED
    out, err = capfd.readouterr()
    assert "this is a link to archive/b.nii.gz, which is not there" in out
    assert "2 of 3 cases failed: b, c" in err
    assert sorted(os.listdir(tmp_path / "out")) == ["a.nii.gz", "run.json"]


def test_engines_side_by_side_finish_all_and_clear_up_after_a_killed_one(tmp_path: Path, models: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(8):
        write_volume(block_phantom()[0], tmp_path / "in" / f"{number}.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".attention-dmfnet-0123456789abcdef.partial.nii.gz").write_bytes(b"half")
    # all of them believe to be process 1, as in containers
    program = "import os\nos.getpid = lambda: 1\nfrom attention_dmfnet.cli.main import run\nrun()"
    arguments = ["predict", str(tmp_path / "in"), str(tmp_path / "out"), "--models", str(models), "--json"]
    engines = [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    made: dict[str, int] = {}
    for engine in engines:
        out, err = engine.communicate(timeout=600)
        assert engine.returncode == DONE, err
        for report in map(json.loads, out.splitlines()):
            made[report["case"]] = made.get(report["case"], 0) + (report["status"] == "done")
    assert set(made.values()) <= {1, 2}
    assert len(made) == 8
    assert sorted(os.listdir(tmp_path / "out")) == [*(f"{number}.nii.gz" for number in range(8)), "run.json"]
    for number in range(8):
        np.testing.assert_array_equal(read_volume(tmp_path / "out" / f"{number}.nii.gz").array, TRUTH)


def test_what_a_library_prints_is_not_among_the_lines_of_json(inputs: Path, tmp_path: Path, models: Path) -> None:
    program = (
        "import ctypes, os\nfrom attention_dmfnet.cli import main, predict\nload = predict.load_segmenter\n"
        "def loud(options):\n    os.write(1, b'libcuda: no such file\\n')\n"
        "    ctypes.CDLL(None).puts(b'loader')\n    ctypes.CDLL(None).fflush(None)\n    return load(options)\n"
        "predict.load_segmenter = loud\nmain.run()"
    )
    arguments = ["predict", str(inputs), str(tmp_path / "out"), "--models", str(models), "--json"]
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert run.returncode == DONE
    assert [json.loads(line)["case"] for line in run.stdout.splitlines()] == ["a"]
    assert "libcuda" in run.stderr
    assert "loader" in run.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed_stop_nothing(inputs: Path, tmp_path: Path, models: Path, closed: str) -> None:
    line = f'exec "$0" -m attention_dmfnet predict "$@" {closed}'
    arguments = [sys.executable, str(inputs), str(tmp_path / "out"), "--models", str(models)]
    run = subprocess.run(["sh", "-c", line, *arguments], cwd=ROOT, check=False, timeout=600)
    assert run.returncode == DONE
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a.nii.gz").array, TRUTH)
