"""The whole command, on exported networks of random weights."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
from attention_dmfnet.files.image_io import read_volume, write_volume
from attention_dmfnet.geometry import Volume
from attention_dmfnet.model.backend_openvino import native_precisions
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.manifest import load_manifest
from attention_dmfnet.model.runtimes import Runtime
from attention_dmfnet.segmenter import segment
from attention_dmfnet.steps.stage import StageModel
from onnx import numpy_helper

from export.__main__ import main
from export.figures import read_figures
from export.release import sha256
from tests.engine.tiny import block_phantom

ROOT = Path(__file__).resolve().parents[2]
CT = ROOT / ".." / "shared" / "data" / "ct"


@pytest.fixture
def models(exported: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "models"
    shutil.copytree(exported, copy)
    (copy / "MODEL_CARD.md").write_text("a card")
    # what networks of random weights find lies anywhere and is small: none of it would be left to compare
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"seen_together": None}))
    return copy


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    # noise in lumps, of which networks of random weights make lumps of several organs
    phantom, _ = block_phantom((40, 80, 80))
    lumps = np.random.default_rng(0).normal(40, 150, (8, 10, 10))
    noise = np.kron(lumps, np.ones((5, 8, 8))).astype(np.int16)
    write_volume(Volume(noise, phantom.geometry), tmp_path / "noise_0000.nii.gz")
    return tmp_path / "noise_0000.nii.gz"


def _parity(models: Path, scan: Path, *more: str) -> int:
    return main(["parity", str(models), str(scan), *more])


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_passed_against_torch_comes_into_the_manifest_and_its_figures_beside_it(
    models: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.md"
    weights = sha256((models / "fine.safetensors").read_bytes())
    assert _parity(models, scan, "--table", str(table)) == 0
    assert table.read_text() in capsys.readouterr().out
    assert "Against PyTorch" in table.read_text()
    manifest = load_manifest(models)
    figures = read_figures(models / "measured.json")
    for name, stage in (("coarse", manifest.coarse), ("fine", manifest.fine)):
        full = stage.variants[0]
        assert full.precision == "float32"
        assert {(row.backend, row.device) for row in full.parity or ()} >= {("openvino", "cpu"), ("onnxruntime", "cpu")}
        for row in figures.of(name, full.file, "float32"):
            assert row.labels_differ <= 1e-5
            assert row.measured_on == "1 scan: noise"
    assert (models / "MODEL_CARD.md").read_text() == "a card"
    # the weights and the recipes that they were trained by stay, so that the release can be made again
    assert sha256((models / "fine.safetensors").read_bytes()) == weights
    assert (models / "fine.recipe.toml").exists()
    if "bfloat16" in native_precisions():
        assert "bfloat16" in table.read_text()


def test_measuring_alone_leaves_the_models_as_they_are(models: Path, scan: Path) -> None:
    before = _contents(models)
    assert _parity(models, scan, "--only-measure") == 0
    assert _contents(models) == before


def test_a_network_that_is_not_the_trained_one_is_not_published(
    models: Path, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # one bias of the head is off, and the manifest vouches for that file: only a comparison can tell
    model = onnx.load(models / "fine.onnx", load_external_data=False)
    bias = next(weight for weight in model.graph.initializer if weight.name == "head.bias")
    wrong = safetensors.numpy.load_file(models / "fine.safetensors")["head.bias"].copy()
    wrong[1] += 100
    bias.CopyFrom(numpy_helper.from_array(wrong, bias.name))
    content = model.SerializeToString()
    old = sha256((models / "fine.onnx").read_bytes())
    (models / "fine.onnx").write_bytes(content)
    manifest = models / "manifest.json"
    manifest.write_text(manifest.read_text().replace(old, sha256(content)))
    before = _contents(models)
    assert _parity(models, scan) == 2
    assert "is not the network that was trained: labels differ" in capsys.readouterr().err
    assert _contents(models) == before


def test_without_recipes_onnx_runtime_is_the_original(
    models: Path, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "coarse.recipe.toml").unlink()
    assert main(["parity", str(models), str(scan), "--only-measure"]) == 0
    assert "Against ONNX Runtime, float32, on 1 scan: noise." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["parity", "nowhere", "scan.nii.gz"], "no such file or folder: scan.nii.gz"),
        (["parity", "nowhere", str(ROOT)], "no scan in"),
        (["onnx", "nowhere", "nowhere", "--release", "1", "--to", "nowhere-either"], "nowhere is no run folder"),
        (["tensorrt", "nowhere", "--to", "nowhere-either"], "no manifest at nowhere"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("python -m export: ")
    assert complaint in said
    assert said.count("\n") == 1
    assert not Path("nowhere-either").exists()


def test_help_is_there_without_waiting_for_torch() -> None:
    code = (
        "import sys\nfrom export.__main__ import main\n"
        "try:\n    main(['--help'])\nfinally:\n    print(sorted({'torch', 'onnx', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert "parity" in done.stdout
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.skipif(not CT.is_dir(), reason="needs real scans in ../shared/data/ct")
def test_full_precision_is_the_trained_network_on_a_real_scan_too(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _parity(models, CT / "TS-example_0000.nii.gz", "--only-measure") == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "| float32 |" in line]
    assert len(rows) >= 4
    assert all(row.endswith("| passed |") for row in rows)


def test_random_networks_tell_organs_apart_in_the_noise(models: Path, scan: Path) -> None:
    """Otherwise the tests above would compare nothing."""
    manifest = load_manifest(models)
    runtime = Runtime("onnxruntime", "cpu", 1)
    stages = [StageModel(stage, load_network(models, stage, runtime)) for stage in (manifest.coarse, manifest.fine)]
    labels = segment(read_volume(scan), stages[0], stages[1], manifest).labels.array
    assert len(np.unique(labels)) >= 5
