"""``python -m cluster predict`` gives what ``attention-dmfnet predict`` gives; here with one worker in this process."""

import errno
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attention_dmfnet.cli.main import main as engine_main
from attention_dmfnet.files.cases import Case
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

import cluster.predict_command
from cluster.__main__ import _parser, main
from cluster.errors import ClusterError
from cluster.labelling import Labelled, Labeller, Order, manifest_hash
from tests.cluster.conftest import write_scans
from tests.cluster.inline import InlineCrew
from tests.engine.dicom.made import write_series
from tests.engine.tiny import block_phantom, write_models

ROOT = Path(__file__).parents[2]
REAL = cluster.predict_command._ray


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.predict_command, "_ray", InlineCrew)


def both(inputs: Path, folder: Path, models: Path, *options: str) -> tuple[Path, Path]:
    """The folders of a solo run and of many machines' one, with the same options."""
    solo, many = folder / "solo", folder / "many"
    words = ["--models", str(models), *options]
    expected = engine_main(["predict", str(inputs), str(solo), *words])
    assert main(["predict", str(inputs), str(many), *words]) == expected
    return solo, many


def files(folder: Path) -> dict[str, bytes]:
    kept = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in kept.items() if not name.startswith(("run.json", "ledger.sqlite"))}


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    for case in found["cases"]:
        case.update(seconds={}, run="")
    return found


def test_label_maps_records_and_failures_are_those_of_one_machine(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = write_scans(tmp_path / "in", ["a", "b", "c"])
    (inputs / "bad.nii.gz").write_bytes(b"no scan")
    (inputs / "other.mgz").write_bytes(b"")
    solo, many = both(inputs, tmp_path, models, "--seg-nrrd", "--organs", "liver", "spleen")
    assert sorted(files(many)) == [f"{name}.{kind}" for name in "abc" for kind in ("nii.gz", "seg.nrrd")]
    assert files(many) == files(solo)
    there, expected = record(many), record(solo)
    assert [case["status"] for case in there["cases"]] == ["done", "done", "failed", "done"]
    for case in (*there["cases"], *expected["cases"]):
        case["output"] = Path(case["output"]).name
        if case["error"]:
            case["error"] = case["error"].replace(str(many), "OUT").replace(str(solo), "OUT")
    assert there["cases"] == expected["cases"]
    assert there["runs"][0]["models"] == expected["runs"][0]["models"]
    assert there["runs"][0]["runtime"]["backend"] == expected["runs"][0]["runtime"]["backend"]
    assert "other.mgz" in capsys.readouterr().err


def test_numbers_and_pages_are_those_of_one_machine(tmp_path: Path, models: Path) -> None:
    solo, many = both(write_scans(tmp_path / "in", ["a", "b"]), tmp_path, models, "--statistics")
    assert sorted(files(many)) == ["a.nii.gz", "b.nii.gz", "statistics.csv", "statistics.json"]
    assert files(many) == files(solo)
    # again, of what is there: the numbers are measured anew, but for the networks' probability
    both(tmp_path / "in", tmp_path, models, "--statistics")
    assert files(many) == files(solo)


def test_a_repeated_run_labels_nothing_and_a_new_model_all(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, outputs = write_scans(tmp_path / "in", ["a", "b"]), tmp_path / "out"
    assert main(["predict", str(inputs), str(outputs), "--models", str(models)]) == 0
    before = files(outputs)
    (outputs / "b.nii.gz").unlink()
    capsys.readouterr()
    assert main(["predict", str(inputs), str(outputs), "--models", str(models)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("a  skipped: ")
    assert said[1].startswith("b  ")
    assert files(outputs) == before
    with monkeypatch.context() as patch:
        # nothing is to be done: no worker is asked for
        patch.setattr(cluster.predict_command, "_ray", None)
        assert main(["predict", str(inputs), str(outputs), "--models", str(models)]) == 0
    other = write_models(tmp_path / "newer", margin_mm=(12.0, 12.0, 12.0))
    capsys.readouterr()
    assert main(["predict", str(inputs), str(outputs), "--models", str(other)]) == 0
    assert "skipped" not in capsys.readouterr().out
    rows = sqlite3.connect(outputs / "ledger.sqlite").execute("SELECT completions FROM cases ORDER BY name").fetchall()
    assert rows == [(2,), (3,)]


def test_a_damaged_label_map_from_before_is_made_again_with_a_note(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs, outputs = write_scans(tmp_path / "in", ["a"]), tmp_path / "out"
    outputs.mkdir()
    (outputs / "a.nii.gz").write_bytes(b"half")
    assert main(["predict", str(inputs), str(outputs), "--models", str(models), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["notes"][0]["code"]) == ("done", "made-again")


def test_studies_of_dicom_are_labelled_too(tmp_path: Path, models: Path) -> None:
    write_series(block_phantom()[0], tmp_path / "in" / "patient" / "series")
    solo, many = both(tmp_path / "in", tmp_path, models)
    assert [name[:3] for name in files(many)] == ["ct-"]
    assert files(many) == files(solo)


def test_a_file_beside_dicom_gets_its_label_map_and_fails_where_dicoms_objects_are_asked_for(
    tmp_path: Path, models: Path
) -> None:
    inputs = write_scans(tmp_path / "in", ["a"])
    frame, study = generate_uid(), generate_uid()

    def of_one_patient(image: Dataset, k: int) -> None:
        image.FrameOfReferenceUID = frame

    write_series(block_phantom()[0], inputs / "patient" / "series", of_one_patient, study_uid=study)
    solo, many = both(inputs, tmp_path, models, "--dicom-seg")
    assert sorted(files(many)) == sorted(files(solo))
    assert sorted(name.partition(".")[2] for name in files(many)) == ["nii.gz", "nii.gz", "seg.dcm"]
    assert [case["status"] for case in record(many)["cases"]] == ["failed", "done"]
    assert "its label map is written" in record(many)["cases"][0]["error"]


def test_what_fails_around_a_case_fails_that_case_in_a_sentence(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    label = Labeller._label

    def full(self: Labeller, case: Case, *given: Any) -> Labelled:
        if case.name == "a":
            raise OSError(errno.ENOSPC, "No space left on device", "/scratch")
        return label(self, case, *given)

    monkeypatch.setattr(Labeller, "_label", full)
    inputs = write_scans(tmp_path / "in", ["a", "b"])
    assert main(["predict", str(inputs), str(tmp_path / "out"), "--models", str(models)]) == 1
    said = capsys.readouterr()
    assert re.search(r"a  FAILED: a could not be labelled on \S+: No space left on device \(/scratch\)", said.out)
    assert "1 of 2 cases failed: a" in said.err


def test_relative_paths_are_the_coordinators_for_a_worker_that_begins_elsewhere(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    write_scans(here / "in", ["a"])
    elsewhere.mkdir()
    (here / "models").symlink_to(models)
    make = Order.make

    def made_elsewhere(self: Order) -> Labeller:
        os.chdir(elsewhere)
        return make(self)

    monkeypatch.chdir(here)
    monkeypatch.setattr(Order, "make", made_elsewhere)
    assert main(["predict", "in", "out", "--models", "models"]) == 0
    assert (here / "out" / "a.nii.gz").exists()
    assert list(elsewhere.iterdir()) == []
    assert json.loads((here / "out" / "run.json").read_text())["runs"][0]["options"]["outputs"] == "out"


def test_models_that_cannot_be_read_are_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = write_scans(tmp_path / "in", ["a"])
    assert main(["predict", str(inputs), str(tmp_path / "out"), "--models", str(tmp_path / "none")]) == 2
    assert "manifest.json" in capsys.readouterr().err


def test_a_worker_with_other_models_than_the_coordinators_does_not_begin(tmp_path: Path, models: Path) -> None:
    options = _parser("predict").parse_args(["predict", "in", "out", "--models", str(models)])
    with pytest.raises(ClusterError, match=f"the models in {models} on .* are others than the coordinator's"):
        Order(options, options.inputs, options.outputs, "ab" * 32, tmp_path, 1).make()
    made = Order(options, options.inputs, options.outputs, manifest_hash(models), tmp_path, 1).make()
    assert made.told[1].release == "0.0.0"


def test_every_option_of_predict_is_there() -> None:
    from attention_dmfnet.cli.parser import Parser

    rows: Any = _parser("predict")._subparsers
    command = rows._group_actions[0].choices["predict"]
    own = {word for action in command._actions for word in action.option_strings}
    assert own >= Parser.of({"predict"}).commands["predict"].option_names()


@pytest.mark.parametrize(
    ("error", "words", "sentence"),
    [
        (
            ConnectionError("Nobody there."),
            ["--address", "auto"],
            "there is no Ray at auto (Nobody there.)",
        ),
        (Exception("The node timed out."), [], "Ray did not start on this machine (The node timed out.)"),
    ],
)
def test_where_ray_is_not_there_or_does_not_start_it_is_said_in_one_sentence(
    error: Exception,
    words: list[str],
    sentence: str,
    tmp_path: Path,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def nobody(**named: Any) -> None:
        raise error

    monkeypatch.setattr("ray.init", nobody)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster.predict_command, "_ray", REAL)
    inputs = write_scans(tmp_path / "in", ["a"])
    assert main(["predict", str(inputs), str(tmp_path / "out"), "--models", str(models), *words]) == 2
    assert sentence in capsys.readouterr().err


WITHOUT = "import sys\nsys.modules['ray'] = None\n"


def test_a_machine_without_ray_sees_one_sentence(tmp_path: Path, models: Path) -> None:
    inputs = write_scans(tmp_path / "in", ["a"])
    words = ["predict", str(inputs), str(tmp_path / "out"), "--models", str(models)]
    program = f"{WITHOUT}from cluster.__main__ import main\nsys.exit(main({words}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "the Python package ray is missing" in done.stderr
    assert list((tmp_path / "out").glob("*.nii.gz")) == []
