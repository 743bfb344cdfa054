"""``doctor``: status 0 where a scan can be labelled, otherwise 1 and a sentence with what to do."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attention_dmfnet.cli import examination
from attention_dmfnet.cli.machine import Memory
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.status import DONE, SOME_FAILED
from attention_dmfnet.model import backend_openvino
from attention_dmfnet.model.manifest import Stage
from attention_dmfnet.model.runtimes import Runtime

from tests.engine.tiny import stage_json, write_models


def _doctor(models: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, Any]:
    status = main(["doctor", "--models", str(models), "--json", *options])
    return status, json.loads(capsys.readouterr().out)


def test_a_machine_that_can_label_is_told_with_all_it_has(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = _doctor(models, capsys, "--device", "cpu")
    assert (status, found["problem"], found["schema_version"]) == (DONE, None, 1)
    assert found["cpu"]["usable"] >= 1
    assert {"OpenVINO", "ONNX Runtime", "TensorRT"} == {runtime["name"] for runtime in found["runtimes"]}
    assert next(runtime["fault"] for runtime in found["runtimes"] if runtime["module"] == "openvino") is None
    for file in found["files"]:
        assert file["sha256"] == hashlib.sha256((models / file["file"]).read_bytes()).hexdigest()
        assert file["fault"] is None
    chosen = [(stage["stage"], stage["file"], stage["precision"], stage["why"]) for stage in found["stages"]]
    why = "full precision, which needs no test"
    assert chosen == [("coarse", "coarse.onnx", "float32", why), ("fine", "fine.onnx", "float32", why)]
    assert found["tile"]["voxels_zyx"] == [8, 16, 16]
    assert 0 < found["tile"]["seconds"] < 60
    assert found["runtime"].startswith("OpenVINO on the CPU")


def test_for_people_the_last_line_is_the_answer(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--models", str(models), "--device", "cpu"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "A scan can be labelled."
    first = [line.split()[0] for line in lines]
    assert [*dict.fromkeys(first)] == ["CPU", "memory", "GPU", "runtime", "models", "coarse", "fine", "one", "A"]


def test_a_changed_model_is_named_and_nothing_can_be_labelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = write_models(tmp_path / "models")
    (models / "fine.onnx").write_bytes((models / "coarse.onnx").read_bytes())
    status, found = _doctor(models, capsys, "--device", "cpu")
    assert status == SOME_FAILED
    faults = {file["file"]: file["fault"] for file in found["files"]}
    assert faults["coarse.onnx"] is None
    assert "its sha256 differs" in faults["fine.onnx"]
    assert found["problem"] == faults["fine.onnx"]
    assert main(["doctor", "--models", str(models), "--device", "cpu"]) == SOME_FAILED
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("No scan can be labelled: ")
    assert last.endswith("fetch the models again")


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (["--device", "cuda", "--backend", "openvino"], "use --backend onnxruntime with --device cuda"),
        (["--gpu-memory-mb", "10"], "give --gpu-memory-mb 1024 or more"),
        (["--device", "cpu", "--precision", "float16"], "choose another --precision"),
    ],
)
def test_a_wish_that_cannot_be_met_is_answered_with_what_to_do(
    options: list[str], advice: str, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = _doctor(models, capsys, *options)
    assert status == SOME_FAILED
    assert advice in found["problem"]
    assert found["tile"] is None


def test_without_a_manifest_the_machine_is_still_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = _doctor(tmp_path, capsys)
    assert status == SOME_FAILED
    assert "no manifest at" in found["problem"]
    assert found["memory"]["total_mib"] > 0
    assert found["release"] is None


def test_a_missing_package_is_a_sentence() -> None:
    program = "import sys\nsys.modules['numpy'] = None\nfrom attention_dmfnet.cli.main import main\n"
    program += "sys.exit(main(['doctor']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == SOME_FAILED
    assert "the Python package numpy is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_runtime_that_is_broken_is_told_and_not_raised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.11 is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    found = examination._runtime("tensorrt")
    assert found.version is None
    assert found.fault == "is installed and cannot be imported: libnvinfer.so.11 is missing"


def _stage() -> Stage:
    json_of = stage_json("fine.onnx", b"", 14, (3.0, 2.0, 2.0), (8, 16, 16))

    def variant(file: str, precision: str, seconds: float | None) -> dict[str, Any]:
        row = {"backend": "openvino", "device": "cpu", "seconds_per_tile": seconds}
        parity = None if seconds is None else [row]
        return {"file": file, "sha256": "0" * 64, "precision": precision, "parity": parity}

    json_of["variants"] = [
        variant("fine.onnx", "float32", 0.4),
        variant("fine.onnx", "bfloat16", 0.2),
        variant("fine.16.onnx", "float16", 0.1),
        variant("fine.b.onnx", "bfloat16", None),
    ]
    return msgspec.convert(json_of, Stage)


def test_each_variant_that_is_not_taken_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_openvino, "native_precisions", lambda: ("float32", "bfloat16"))
    found = examination._choice("fine", _stage(), Runtime("openvino", "cpu", 1))
    assert (found.file, found.precision) == ("fine.onnx", "bfloat16")
    assert found.why.startswith("the fastest that passed the parity test in OpenVINO on the CPU")
    assert found.others == [
        "fine.onnx in float32: 0.4 s a tile in the parity test, the one taken 0.2",
        "fine.16.onnx in float16: this machine has no instructions for it",
        "fine.b.onnx in bfloat16: not tested in OpenVINO on the CPU",
    ]
    asked = examination._choice("fine", _stage(), Runtime("openvino", "cpu", 1, precision="float32"))
    assert (asked.precision, asked.why) == ("float32", "asked for with --precision")


@pytest.mark.parametrize(
    ("memory", "warns"),
    [
        (Memory(16000, 8000, None), False),
        (Memory(16000, 8000, 600), False),
        (Memory(16000, 8000, 500), True),
        (Memory(16000, 300, 4096), True),
        (Memory(None, None, None), False),
    ],
)
def test_too_little_memory_is_a_warning(memory: Memory, warns: bool) -> None:
    assert bool(examination._memory_warnings(memory)) == warns
