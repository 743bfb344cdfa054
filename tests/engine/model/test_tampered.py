"""Models that were cut short, swapped or edited are refused by name, before the first case is read."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attention_dmfnet.cli.main import main
from attention_dmfnet.cli.status import UNUSABLE
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.manifest import load_manifest
from attention_dmfnet.model.network import LoadError, read_model_file
from attention_dmfnet.model.runtimes import Runtime
from attention_dmfnet.segmenter import Segmenter

from tests.engine.tiny import block_phantom, with_plans


@pytest.fixture
def own(models: Path, tmp_path: Path) -> Path:
    """Models that may be tampered with."""
    shutil.copytree(models, tmp_path / "models")
    return tmp_path / "models"


def _cut(file: str) -> Callable[[Path], object]:
    return lambda models: (models / file).write_bytes((models / file).read_bytes()[:-1])


def _emptied(file: str) -> Callable[[Path], object]:
    return lambda models: (models / file).write_bytes(b"")


def _flipped(file: str) -> Callable[[Path], object]:
    def flip(models: Path) -> None:
        content = bytearray((models / file).read_bytes())
        content[len(content) // 2] ^= 1
        (models / file).write_bytes(content)

    return flip


def _longer(file: str) -> Callable[[Path], object]:
    return lambda models: (models / file).write_bytes((models / file).read_bytes() + b"\0")


def _swapped(models: Path) -> None:
    coarse, fine = (models / "coarse.onnx").read_bytes(), (models / "fine.onnx").read_bytes()
    (models / "coarse.onnx").write_bytes(fine)
    (models / "fine.onnx").write_bytes(coarse)


def _a_folder(models: Path) -> None:
    (models / "coarse.onnx").unlink()
    (models / "coarse.onnx").mkdir()


def _edited(**changes: Any) -> Callable[[Path], object]:
    def edit(models: Path) -> None:
        content = json.loads((models / "manifest.json").read_text())
        content.update(changes)
        (models / "manifest.json").write_text(json.dumps(content))

    return edit


def _points_outside(models: Path) -> None:
    content = json.loads((models / "manifest.json").read_text())
    content["coarse"]["variants"][0]["file"] = "../coarse.onnx"
    (models / "manifest.json").write_text(json.dumps(content))


TAMPERED: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "coarse cut by a byte": (_cut("coarse.onnx"), ("coarse.onnx", "sha256 differs")),
    "coarse emptied": (_emptied("coarse.onnx"), ("coarse.onnx", "sha256 differs")),
    "coarse with one bit flipped": (_flipped("coarse.onnx"), ("coarse.onnx", "sha256 differs")),
    "coarse with a byte appended": (_longer("coarse.onnx"), ("coarse.onnx", "sha256 differs")),
    "fine cut by a byte": (_cut("fine.onnx"), ("fine.onnx", "sha256 differs")),
    "fine with one bit flipped": (_flipped("fine.onnx"), ("fine.onnx", "sha256 differs")),
    "the two swapped": (_swapped, ("coarse.onnx", "sha256 differs")),
    "coarse is a folder": (_a_folder, ("coarse.onnx", "Is a directory")),
    "coarse is gone": (lambda models: (models / "coarse.onnx").unlink(), ("coarse.onnx", "not there")),
    "fine is gone": (lambda models: (models / "fine.onnx").unlink(), ("fine.onnx", "not there")),
    "manifest cut": (_cut("manifest.json"), ("manifest.json", "not valid")),
    "manifest emptied": (_emptied("manifest.json"), ("manifest.json", "not valid")),
    "manifest no text": (lambda m: (m / "manifest.json").write_bytes(b"\xff\xfe\0"), ("manifest.json", "not valid")),
    "manifest a list": (lambda m: (m / "manifest.json").write_text("[]"), ("manifest.json", "not valid")),
    "a future schema": (_edited(schema_version=99), ("manifest.json", "schema version 99")),
    "a schema that is no number": (_edited(schema_version="two"), ("manifest.json", "schema_version")),
    "an unknown field": (_edited(speed="high"), ("manifest.json", "unknown field `speed`")),
    "a file outside the folder": (_points_outside, ("manifest.json", "coarse.variants[0].file")),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_what_was_done_to_the_models_is_named_before_a_case_is_labelled(
    how: str, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tamper, words = TAMPERED[how]
    tamper(own)
    (tmp_path / "in").mkdir()
    write_volume(block_phantom()[0], tmp_path / "in" / "a.nii.gz")

    def score(*given: object) -> None:
        raise AssertionError("a case was tried")

    monkeypatch.setattr(Segmenter, "score", score)
    assert main(["predict", str(tmp_path / "in"), str(tmp_path / "out"), "--models", str(own)]) == UNUSABLE
    said = capfd.readouterr()
    assert said.out == ""
    line = said.err.splitlines()[-1]
    assert all(word in line for word in words), said.err
    assert "Traceback" not in said.err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_plan_that_was_changed_is_refused_by_name(own: Path) -> None:
    manifest = with_plans(own)
    (own / "coarse.plan").write_bytes(b"another")
    with pytest.raises(LoadError, match=r"coarse\.plan is not the file .* sha256 differs"):
        read_model_file(own, manifest.coarse.variants[0])


def test_an_onnx_file_that_is_whole_and_no_network_is_refused_by_name(own: Path) -> None:
    content = json.loads((own / "manifest.json").read_text())
    (own / "coarse.onnx").write_bytes(b"not a network")
    content["coarse"]["variants"][0]["sha256"] = hashlib.sha256(b"not a network").hexdigest()
    (own / "manifest.json").write_text(json.dumps(content))
    manifest = load_manifest(own)
    for backend in ("openvino", "onnxruntime"):
        with pytest.raises(LoadError, match=r"cannot load coarse\.onnx"):
            load_network(own, manifest.coarse, Runtime(backend, "cpu", 1))
