"""``predict`` on DICOM, and on folders where there is some."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import attention_dmfnet as dmf
import numpy as np
import pytest
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.status import DONE, SOME_FAILED, UNUSABLE
from attention_dmfnet.files.image_io import ImageError, read_volume, write_volume
from attention_dmfnet.geometry import canonicalise

from tests.engine.dicom.made import write_enhanced, write_series
from tests.engine.tiny import block_phantom

ROOT = Path(__file__).parents[3]
CT, TRUTH = block_phantom()


def _predict(inputs: Path, outputs: Path, models: Path, *options: str) -> int:
    return main(["predict", str(inputs), str(outputs), "--models", str(models), "--device", "cpu", *options])


def _label_maps(outputs: Path) -> list[str]:
    return sorted(path.name for path in outputs.glob("*.nii.gz"))


def _reports(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_folder_with_nifti_and_dicom_is_labelled_whole(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    write_series(CT, inputs / "Doe Jane" / "series", series_uid="1.2.3", study_uid="1.1")
    write_series(CT, inputs / "Doe Jane" / "scout", study_uid="1.1", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_enhanced(CT, inputs / "enhanced.dcm")
    write_volume(CT, inputs / "a_0000.nii.gz")
    assert _predict(inputs, outputs, models) == DONE
    names = _label_maps(outputs)
    assert len(names) == 3
    assert names[0] == "a.nii.gz"
    assert "ct-c47f5b18b8a4.nii.gz" in names
    for name in names:
        np.testing.assert_array_equal(canonicalise(read_volume(outputs / name)).array, TRUTH.array)
    said = capsys.readouterr()
    assert "series 1.2.3 number 3" in said.out
    assert f"not labelled: {inputs / 'Doe Jane' / 'scout'}, DICOM series" in said.err
    assert "of 20 images: localizer" in said.err
    assert "Doe" not in "".join(names)
    # a second run keeps what is whole
    assert _predict(inputs, outputs, models, "--json") == DONE
    reports = _reports(capsys.readouterr().out)
    assert [report["status"] for report in reports] == ["passed over", "skipped", "skipped", "skipped"]


def test_a_series_and_names_are_asked_for(tmp_path: Path, models: Path) -> None:
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    write_volume(CT, inputs.parent / "b.nii.gz")
    write_series(CT, inputs / "a", series_uid="1.2.3", study_uid="1.1")
    write_series(CT, inputs / "b", series_uid="1.2.4", study_uid="1.1")
    assert _predict(inputs, outputs, models, "--series", "1.2.4", "--patient-names") == DONE
    assert _label_maps(outputs) == ["MRN-12-34-ct-30f3fadac3f9.nii.gz"]
    assert _predict(inputs, outputs, models, "--series", "9.9") == UNUSABLE
    assert _predict(tmp_path / "b.nii.gz", outputs, models, "--series", "1.2.4") == UNUSABLE


@pytest.mark.parametrize("kind", ["archive", "enhanced"])
def test_one_archive_or_file_is_labelled(kind: str, tmp_path: Path, models: Path) -> None:
    if kind == "archive":
        write_series(CT, tmp_path / "in")
        inputs = Path(shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "in"))
    else:
        inputs = write_enhanced(CT, tmp_path / "IM0001")
    assert _predict(inputs, tmp_path / "out", models) == DONE
    (output,) = _label_maps(tmp_path / "out")
    np.testing.assert_array_equal(canonicalise(read_volume(tmp_path / "out" / output)).array, TRUTH.array)


def test_a_series_with_a_gap_fails_by_name_and_the_others_are_labelled(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(CT, tmp_path / "in" / "whole")
    write_series(CT, tmp_path / "in" / "gap")[7].unlink()
    assert _predict(tmp_path / "in", tmp_path / "out", models) == SOME_FAILED
    assert "1 slice is missing" in capsys.readouterr().out


def test_a_folder_of_other_dicom_says_why_there_is_nothing_to_do(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(CT, tmp_path / "in", Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4")
    assert _predict(tmp_path / "in", tmp_path / "out", models) == UNUSABLE
    assert "not CT but MR" in capsys.readouterr().err


def _in_a_process(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


def _program(inputs: Path, outputs: Path, models: Path, before: str = "") -> str:
    arguments = ["predict", str(inputs), str(outputs), "--models", str(models), "--device", "cpu"]
    loaded = "[m for m in sys.modules if m.startswith(('pydicom', 'highdicom', 'zipfile', 'attention_dmfnet.dicom'))]"
    return (
        f"import sys\n{before}\nfrom attention_dmfnet.cli.main import main\nstatus = main({arguments})\n"
        f"print({loaded})\nsys.exit(status)"
    )


def test_nothing_of_dicom_is_imported_for_a_folder_without(tmp_path: Path, models: Path) -> None:
    (tmp_path / "in").mkdir()
    write_volume(CT, tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "notes.txt").write_text("text")
    result = _in_a_process(_program(tmp_path / "in", tmp_path / "out", models))
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "[]"), result.stderr
    # the count counts: a series brings them
    write_series(CT, tmp_path / "in" / "series")
    assert "'pydicom'" in _in_a_process(_program(tmp_path / "in", tmp_path / "out", models)).stdout


def test_without_the_extra_dicom_is_named_with_what_brings_it(tmp_path: Path, models: Path) -> None:
    without = "sys.modules['pydicom'] = None"
    write_series(CT, tmp_path / "in" / "series")
    result = _in_a_process(_program(tmp_path / "in", tmp_path / "out", models, without))
    assert result.returncode == UNUSABLE
    assert 'pip install "attention-dmfnet[dicom]"' in result.stderr
    assert len(result.stderr.splitlines()) == 1
    write_volume(CT, tmp_path / "in" / "a.nii.gz")
    result = _in_a_process(_program(tmp_path / "in", tmp_path / "out", models, without))
    assert result.returncode == DONE, result.stderr
    assert 'pip install "attention-dmfnet[dicom]"' in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "run.json"]


def test_without_the_extra_the_interface_says_what_brings_it(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(CT, tmp_path / "in")
    for name in [name for name in sys.modules if name.startswith("attention_dmfnet.dicom")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with (
        dmf.load(models=models, device="cpu") as segmenter,
        pytest.raises(ImageError, match=r"attention-dmfnet\[dicom"),
    ):
        segmenter(tmp_path / "in")
