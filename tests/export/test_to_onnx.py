import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.manifest import Precision, load_manifest
from attention_dmfnet.model.network import Network
from attention_dmfnet.model.runtimes import Runtime
from onnx import TensorProto

from export.contenders import TorchNetwork
from export.errors import ExportError
from export.to_onnx import to_onnx
from tests.export.conftest import TILES_ZYX
from training.learning.checkpoint import load_trained
from training.network.attention_dmfnet import AttentionDMFNet, use_cpu_kernels

FULL_TOLERANCE, HALF_TOLERANCE = 1e-5, 1e-2
"""Of the largest score."""

ROOT = Path(__file__).resolve().parents[2]


def _networks(exported: Path, run: Path, backend: str, precision: Precision) -> tuple[Network, Network]:
    stage = load_manifest(exported).fine
    runtime = Runtime("openvino" if backend == "openvino" else "onnxruntime", "cpu", 1, precision=precision)
    return TorchNetwork(load_trained(run).network, stage.output.stride), load_network(exported, stage, runtime)


@pytest.mark.parametrize(
    ("backend", "precision", "tolerance"),
    [
        ("openvino", "float32", FULL_TOLERANCE),
        ("onnxruntime", "float32", FULL_TOLERANCE),
        ("onnxruntime", "float16", HALF_TOLERANCE),
    ],
)
def test_the_exported_network_scores_as_the_trained_one_does(
    exported: Path, runs: tuple[Path, Path], backend: str, precision: Precision, tolerance: float
) -> None:
    original, network = _networks(exported, runs[1], backend, precision)
    tile = np.random.default_rng(3).normal(size=TILES_ZYX["fine"]).astype(np.float32)
    expected, found = original(tile), network(tile)
    assert found.shape == (14, *(side // 2 for side in TILES_ZYX["fine"]))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
    # and half precision is not full precision under another name
    if precision == "float16":
        assert np.abs(found - expected).max() > FULL_TOLERANCE * np.abs(expected).max()


def test_half_precision_is_half_inside_and_single_outside(exported: Path) -> None:
    model = onnx.load(exported / "fine.float16.onnx")
    types = [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)]
    assert types == [TensorProto.FLOAT, TensorProto.FLOAT]
    weights = {weight.data_type for weight in model.graph.initializer if len(weight.dims) == 5}
    assert weights == {TensorProto.FLOAT16}
    full, half = ((exported / name).stat().st_size for name in ("fine.onnx", "fine.float16.onnx"))
    assert half < 0.7 * full


def test_a_file_says_what_it_is_and_what_it_was_made_from(exported: Path, runs: tuple[Path, Path]) -> None:
    for stage, run in zip(("coarse", "fine"), runs, strict=True):
        for file, precision in ((f"{stage}.onnx", "float32"), (f"{stage}.float16.onnx", "float16")):
            model = onnx.load(exported / file)
            assert {entry.key: entry.value for entry in model.metadata_props} == {
                "release": "1.2.3",
                "stage": stage,
                "precision": precision,
                "weights_sha256": hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest(),
            }


def test_a_file_tells_nothing_about_the_machine_that_made_it(exported: Path) -> None:
    for path in exported.glob("*.onnx"):
        content = path.read_bytes()
        for trace in (str(ROOT), "site-packages", ".py", "torch", "stack_trace", str(Path.home())):
            assert trace.encode() not in content, f"{trace} in {path.name}"


def test_every_runtime_reads_the_files_without_a_warning(exported: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for path in exported.glob("*.onnx"):
        onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    assert capfd.readouterr().err == ""


def test_another_process_makes_the_same_bytes(exported: Path, runs: tuple[Path, Path], tmp_path: Path) -> None:
    # by the command line, and not after other exports as in the fixture: nothing in the file may count on from those
    command = [sys.executable, "-m", "export", "onnx", *map(str, runs), "--to", str(tmp_path / "again")]
    subprocess.run([*command, "--release", "1.2.3", "--precision", "float16"], check=True, cwd=ROOT, timeout=600)
    names = ["coarse.float16.onnx", "fine.float16.onnx"]
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == [*names, "manifest.json"]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes(), name


def test_how_a_network_was_left_after_training_does_not_matter(exported: Path, runs: tuple[Path, Path]) -> None:
    network = load_trained(runs[0]).network
    network.train()
    use_cpu_kernels(network, True)
    published = onnx.load(exported / "coarse.onnx")
    metadata = {entry.key: entry.value for entry in published.metadata_props if entry.key != "precision"}
    assert to_onnx(network, TILES_ZYX["coarse"], "float32", metadata) == published
    # and the export leaves it as it was
    assert network.training
    assert any(getattr(module, "dense", False) for module in network.modules())


@pytest.mark.parametrize("tile_zyx", [(16, 16, 24), (0, 16, 16), (-16, 16, 16)])
def test_a_tile_that_the_network_cannot_halve_four_times_is_refused(tile_zyx: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    with pytest.raises(ExportError, match="multiple of 16"):
        to_onnx(AttentionDMFNet(2, 4, 8, 2), tile_zyx, "float32", {})
