import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import SimpleITK
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.status import DONE, SOME_FAILED, UNUSABLE
from attention_dmfnet.files.image_io import read_volume, write_labels, write_volume
from attention_dmfnet.geometry import Volume
from attention_dmfnet.model.manifest import Precision
from attention_dmfnet.model.runtimes import Backend, Device

from tests.engine.tiny import block_phantom, write_models

sitk: Any = SimpleITK
ROOT = Path(__file__).parents[3]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A folder with one phantom scan, ``a_0000.nii.gz``."""
    (tmp_path / "in").mkdir()
    write_volume(block_phantom()[0], tmp_path / "in" / "a_0000.nii.gz")
    return tmp_path / "in"


@pytest.fixture
def inputs(scan: Path) -> Path:
    return scan


def _predict(inputs: Path, outputs: Path, models: Path, *options: str) -> int:
    return main(["predict", str(inputs), str(outputs), "--models", str(models), *options])


def test_a_folder_of_scans_is_labelled(inputs: Path, tmp_path: Path, models: Path) -> None:
    assert _predict(inputs, tmp_path / "out" / "deep", models) == DONE
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "deep" / "a.nii.gz").array, block_phantom()[1].array)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_either_runtime_gives_the_same_labels(inputs: Path, tmp_path: Path, models: Path, backend: str) -> None:
    assert _predict(inputs / "a_0000.nii.gz", tmp_path / "out", models, "--backend", backend) == DONE
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a.nii.gz").array, block_phantom()[1].array)


def test_all_48_orientations_give_the_same_organs_at_the_same_place(tmp_path: Path, models: Path, inputs: Path) -> None:
    """SimpleITK turns the scan and turns the labels back: its reading of directions is independent of ours."""
    ct, truth = block_phantom()
    original = sitk.ReadImage(str(inputs / "a_0000.nii.gz"))
    (tmp_path / "turned").mkdir()
    codes = [
        "".join(directions)
        for axes in itertools.permutations(("RL", "AP", "IS"))
        for directions in itertools.product(*axes)
    ]
    assert len(codes) == 48
    for code in codes:
        sitk.WriteImage(sitk.DICOMOrient(original, code), str(tmp_path / "turned" / f"{code}.nii.gz"))
    assert _predict(tmp_path / "turned", tmp_path / "out", models) == DONE
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 48
    for code in codes:
        scan = sitk.ReadImage(str(tmp_path / "turned" / f"{code}.nii.gz"))
        labels = sitk.ReadImage(str(tmp_path / "out" / f"{code}.nii.gz"))
        assert labels.GetSize() == scan.GetSize()
        assert labels.GetSpacing() == scan.GetSpacing()
        assert labels.GetOrigin() == scan.GetOrigin()
        assert labels.GetDirection() == scan.GetDirection()
        assert labels.GetPixelID() == sitk.sitkUInt8
        upright = sitk.DICOMOrient(labels, "LPS")
        assert upright.GetOrigin() == pytest.approx(ct.geometry.origin_lps, abs=1e-4)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(upright), truth.array, err_msg=code)


def test_a_failed_case_gives_status_1_and_a_list_and_the_others_are_there(
    inputs: Path, tmp_path: Path, models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (inputs / "broken.nii.gz").write_bytes(b"not a scan")
    write_volume(block_phantom()[0], inputs / "z.mha")
    assert _predict(inputs, tmp_path / "out", models) == SOME_FAILED
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "run.json", "z.nii.gz"]
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 3
    assert "broken  FAILED" in out
    assert "1 of 3 cases failed: broken" in err


def test_json_is_one_object_per_case_and_nothing_else_on_standard_output(
    inputs: Path, tmp_path: Path, models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (inputs / "broken.nii.gz").write_bytes(b"not a scan")
    assert _predict(inputs, tmp_path / "out", models, "--json") == SOME_FAILED
    done, failed = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert (done["case"], done["status"]) == ("a", "done")
    assert done["volumes_ml"]["liver"] == pytest.approx(0.72)
    assert (failed["case"], failed["status"]) == ("broken", "failed")


def test_what_is_there_already_is_kept_and_said_unless_overwritten(
    inputs: Path, tmp_path: Path, models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    by_hand = np.zeros((20, 24, 28), np.uint8)
    write_labels(Volume(by_hand, block_phantom()[0].geometry), tmp_path / "out" / "a.nii.gz")
    before = (tmp_path / "out" / "a.nii.gz").read_bytes()
    assert _predict(inputs, tmp_path / "out", models) == DONE
    assert (tmp_path / "out" / "a.nii.gz").read_bytes() == before
    assert "a  skipped" in capfd.readouterr().out
    assert _predict(inputs, tmp_path / "out", models, "--overwrite") == DONE
    assert read_volume(tmp_path / "out" / "a.nii.gz").array.any()


def test_the_cpu_is_told_in_one_line_with_its_reason(
    inputs: Path, tmp_path: Path, models: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attention_dmfnet.model.runtimes.find_gpu", lambda: False)
    _predict(inputs, tmp_path / "out", models)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("OpenVINO on the CPU")
    assert lines[0].endswith("(no NVIDIA GPU found)")


def _refused(capfd: pytest.CaptureFixture[str]) -> str:
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("inputs", "outputs", "models", "options", "complaint"),
    [
        ("nowhere", "out", "models", [], "no such file or folder"),
        ("empty", "out", "models", [], "no scan in"),
        ("file", "out", "models", [], "is not a scan"),
        ("in", "file", "models", [], "cannot write to"),
        ("in", "file/below", "models", [], "cannot write to"),
        ("in", "/proc/nowhere", "models", [], "cannot write to"),
        ("in", "out", "empty", [], "no manifest at"),
        ("in", "out", "models", ["--device", "cuda", "--backend", "openvino"], "--backend onnxruntime"),
    ],
)
@pytest.mark.usefixtures("scan")
def test_unusable_arguments_give_status_2_and_one_sentence(
    inputs: str,
    outputs: str,
    models: str,
    options: list[str],
    complaint: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    write_models(tmp_path / "models")
    assert _predict(tmp_path / inputs, tmp_path / outputs, tmp_path / models, *options) == UNUSABLE
    assert complaint in _refused(capfd)


def test_a_swapped_network_gives_status_2_by_name(
    inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    models = write_models(tmp_path / "models")
    (models / "fine.onnx").write_bytes((models / "coarse.onnx").read_bytes())
    assert _predict(inputs, tmp_path / "out", models) == UNUSABLE
    assert "fine.onnx is not the file that the manifest was written for" in _refused(capfd)
    assert list((tmp_path / "out").iterdir()) == []


def test_two_scans_of_one_name_give_status_2(
    inputs: Path, tmp_path: Path, models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_volume(block_phantom()[0], inputs / "a.mha")
    assert _predict(inputs, tmp_path / "out", models) == UNUSABLE
    err = _refused(capfd)
    assert "a.mha" in err
    assert "a_0000.nii.gz" in err


@pytest.mark.parametrize("name", ["labels.nii.gz", "labels.nrrd"])
def test_the_name_of_a_label_map_is_no_folder_for_outputs(
    name: str, tmp_path: Path, models: Path, inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _predict(inputs, tmp_path / name, models) == 2
    assert f"{name} is no folder's name; give a folder: each label map in it is called" in _refused(capfd)
    assert not (tmp_path / name).exists()
    (tmp_path / name).mkdir()
    assert _predict(inputs, tmp_path / name, models) == 0


def test_a_scan_is_never_replaced_by_its_labels(
    tmp_path: Path, models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_volume(block_phantom()[0], tmp_path / "a.nii.gz")
    before = (tmp_path / "a.nii.gz").read_bytes()
    assert _predict(tmp_path, tmp_path, models, "--overwrite") == UNUSABLE
    assert "would replace the scan itself" in _refused(capfd)
    assert (tmp_path / "a.nii.gz").read_bytes() == before


@pytest.mark.parametrize("arguments", [[], ["predict"], ["predict", "in", "out", "--device", "tpu"], ["guess"]])
def test_a_command_line_that_makes_no_sense_gives_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    assert exit_status.value.code == 2


def test_a_run_that_is_told_to_stop_leaves_only_whole_files(tmp_path: Path, models: Path) -> None:
    (tmp_path / "in").mkdir()
    ct, _ = block_phantom((60, 120, 140))
    for number in range(60):
        os.link(_large(ct, tmp_path), tmp_path / "in" / f"case{number:02}.nii.gz")
    command = [sys.executable, "-m", "attention_dmfnet", "predict", str(tmp_path / "in"), str(tmp_path / "out")]
    with subprocess.Popen(
        [*command, "--models", str(models)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()  # the first case is done, the others are not
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=600)
    assert run.returncode == 130
    assert "Traceback" not in err
    assert (tmp_path / "out" / "run.json").exists()
    written = sorted(path for path in (tmp_path / "out").iterdir() if path.name != "run.json")
    assert 1 <= len(written) < 60
    for path in written:
        assert read_volume(path).geometry.shape_zyx == (60, 120, 140)


@pytest.mark.parametrize("broken", [False, True])
def test_a_process_that_leaves_at_once_has_written_and_said_everything(
    inputs: Path, tmp_path: Path, models: Path, broken: bool
) -> None:
    if broken:
        (inputs / "broken.nii.gz").write_bytes(b"not a scan")
    command = [
        sys.executable,
        "-m",
        "attention_dmfnet",
        "predict",
        str(inputs),
        str(tmp_path / "out"),
        "--models",
        str(models),
    ]
    run = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == (SOME_FAILED if broken else DONE)
    assert [json.loads(line)["case"] for line in run.stdout.splitlines()] == ["a", "broken"][: 1 + broken]
    assert ("1 of 2 cases failed: broken" in run.stderr.splitlines()) == broken
    # nothing else: no file half done
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "run.json"]
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a.nii.gz").array, block_phantom()[1].array)


@pytest.mark.parametrize("output", ["full", "closed"])
def test_lines_that_cannot_be_printed_stop_nothing(tmp_path: Path, models: Path, output: str) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c"):
        write_volume(block_phantom()[0], tmp_path / "in" / f"{name}.nii.gz")
    command = [sys.executable, "-m", "attention_dmfnet", "predict", str(tmp_path / "in"), str(tmp_path / "out")]
    if output == "full":
        lines: int = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, lines = os.pipe()
        os.close(reader)
    run = subprocess.run([*command, "--models", str(models)], cwd=ROOT, stdout=lines, stderr=lines, check=False)
    os.close(lines)
    assert run.returncode == DONE
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 3


def test_a_name_that_the_terminal_cannot_show_is_escaped(tmp_path: Path, models: Path) -> None:
    write_volume(block_phantom()[0], tmp_path / "Müller.nii.gz")
    command = [sys.executable, "-m", "attention_dmfnet", "predict", str(tmp_path), str(tmp_path / "out")]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = subprocess.run(
        [*command, "--models", str(models)], cwd=ROOT, env=ascii_only, capture_output=True, check=False
    )
    assert run.returncode == DONE
    assert run.stdout.startswith(rb"M\xfcller  ")


def _large(ct: Volume, folder: Path) -> Path:
    path = folder / "large.nii.gz"
    if not path.exists():
        write_volume(ct, path)
    return path


def test_help_names_the_options(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_status:
        main(["predict", "--help"])
    assert exit_status.value.code == 0
    assert "--overwrite" in capfd.readouterr().out


def test_the_choices_of_the_command_are_those_of_the_interface(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    said = capfd.readouterr().out
    for choice in (Device, Backend, Precision):
        assert f"{{{','.join(get_args(choice))}}}" in said


def test_strict_refuses_a_scan_that_is_labelled_with_a_note_otherwise(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct, _ = block_phantom()
    write_volume(Volume((ct.array + 300).astype(np.int16), ct.geometry), tmp_path / "a.nii.gz")
    arguments = ["predict", str(tmp_path / "a.nii.gz"), str(tmp_path / "out"), "--models", str(models), "--json"]
    assert main([*arguments, "--strict"]) == 1
    assert "no HU" in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "out" / "a.nii.gz").exists()
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["notes"][0]["code"] == "values-no-hu"


def test_what_is_not_read_and_what_is_made_again_is_told_with_a_code(
    scan: Path, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scan / "analyze.hdr").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.nii.gz").write_bytes(b"half a label map")
    assert _predict(scan, tmp_path / "out", models, "--json") == DONE
    passed_over, made_again = map(json.loads, capsys.readouterr().out.splitlines())
    assert (passed_over["status"], passed_over["notes"]) == (
        "passed over",
        [{"code": "not-read", "text": f"{scan / 'analyze.hdr'} is not read: Analyze or NIfTI in two files"}],
    )
    assert made_again["status"] == "done"
    assert made_again["notes"][0]["code"] == "made-again"
    assert {passed_over["schema_version"], made_again["schema_version"]} == {2}
