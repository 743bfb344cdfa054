"""Releases are taken from the history and run by their own code."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from evaluation.command import UNUSABLE
from evaluation.cost.bench import Compared
from evaluation.errors import ArgumentsError, EvaluationError
from evaluation.studies.releases import main, mean_dsc, releases_table, unpack
from tests.evaluation.cost.fakes import fake_scan

# a release that "labels" by copying the reference or an empty map, in time enough to be watched on a busy machine
PREDICT = """#!/bin/sh
sleep 2
cp "$(dirname "$0")/labels.nii.gz" "$2/a.nii.gz"
"""


def git(clone: Path, *words: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(clone), *identity, *words], check=True, capture_output=True)


def commit_maker(clone: Path, code: str) -> None:
    """A release that has models, and ``code`` to make networks of them."""
    package = clone / "engine" / "attention_dmfnet"
    (package / "model").mkdir(parents=True)
    for file in (package / "__init__.py", package / "model" / "__init__.py"):
        file.touch()
    (package / "model" / "openvino_graphs.py").write_text(code)
    (clone / "models").mkdir()
    (clone / "models" / "manifest.json").write_text("{}")
    git(clone, "add", "--all")
    git(clone, "commit", "--message", "networks")


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A clone with two releases: the first labels nothing, the second as the reference has it."""
    from attention_dmfnet.files.image_io import write_volume
    from attention_dmfnet.geometry import Volume

    from tests.engine.tiny import block_phantom

    clone = tmp_path / "clone"
    clone.mkdir()

    git(clone, "init", "--initial-branch=main")
    _, labels = block_phantom()
    (tmp_path / "references").mkdir()
    write_volume(labels, tmp_path / "references" / "a.nii.gz")
    (clone / "predict.sh").write_text(PREDICT)
    for version, made in (("0.1.0", np.zeros_like(labels.array)), ("0.2.0", labels.array)):
        (clone / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')
        write_volume(Volume(made, labels.geometry), clone / "labels.nii.gz")
        git(clone, "add", "--all")
        git(clone, "commit", "--message", version)
        git(clone, "tag", f"v{version}")
    return clone


def test_the_command_prints_a_row_for_each_release_run_by_its_own_code(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evaluation.studies.releases.ROOT", history)
    scan = fake_scan(tmp_path / "scans", "a_0000.nii.gz")
    asked = ["--scans", str(scan), "--references", str(tmp_path / "references"), "--runs", "1"]
    assert main(["v0.1.0", "v0.2.0", *asked, "--to", str(tmp_path / "to")]) == 0
    page = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:3] == "| 0"]
    assert [row[:2] for row in rows] == [["0.1.0 (v0.1.0)", "0.000"], ["0.2.0 (v0.2.0)", "1.000"]]


def test_a_revision_that_is_not_in_the_history_is_refused_by_name(history: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentsError, match=r"v9 cannot be taken from .*clone"):
        unpack("v9", tmp_path / "to", history)


def test_a_release_that_keeps_its_networks_in_openvinos_format_is_run_with_them(history: Path, tmp_path: Path) -> None:
    """The history holds no such networks: an installation makes them once, by the release's own code."""
    made = "import sys\nfrom pathlib import Path\n"
    made += "Path(sys.argv[1], '.openvino').write_text(Path(__file__).parents[2].name)\n"
    commit_maker(history, made)
    unpack("main", tmp_path / "to", history)
    assert (tmp_path / "to" / "models" / ".openvino").read_text() == "engine"


def test_a_release_that_cannot_make_its_networks_is_not_measured(history: Path, tmp_path: Path) -> None:
    commit_maker(history, "import sys\nsys.exit('no memory')\n")
    with pytest.raises(EvaluationError, match="main cannot make its OpenVINO networks: no memory"):
        unpack("main", tmp_path / "to", history)


def test_scans_of_which_none_has_a_reference_are_refused_before_anything_runs(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evaluation.studies.releases.ROOT", history)
    scan = fake_scan(tmp_path / "scans", "b_0000.nii.gz")
    asked = ["--scans", str(scan), "--references", str(tmp_path / "references"), "--to", str(tmp_path / "to")]
    assert main(["v0.1.0", *asked]) == UNUSABLE
    assert "has no label map CASE.nii.gz for any of the scans" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_organs_that_a_reference_draws_as_one_are_counted_as_one_there_alone() -> None:
    made = np.array([11, 12, 1, 0], np.uint8)
    # stomach and duodenum as one: both voxels are right, and so is the liver's
    assert mean_dsc(made, np.array([11, 11, 1, 0], np.uint8), {12: 11}) == 1.0
    # both drawn: nothing is merged
    assert mean_dsc(made, np.array([11, 12, 12, 0], np.uint8), {12: 11}) == pytest.approx((1 + 2 / 3) / 2)
    with pytest.raises(EvaluationError, match="no organ"):
        mean_dsc(made, np.zeros(4, np.uint8), {})


def test_the_table_has_a_row_for_each_release_with_accuracy_and_cost() -> None:
    costs = [
        Compared("c", release, 3, 1.0, (1.0, 1.0), cpu_s, 350.0, 0.0) for release, cpu_s in (("x", 2.0), ("y", 1.5))
    ]
    table = releases_table(["x", "y"], {("x", "c"): 0.5, ("y", "c"): 0.75}, costs)
    assert "| x | 0.500 | 2.00 / 350 |" in table
    assert "| y | 0.750 | 1.50 / 350 |" in table
