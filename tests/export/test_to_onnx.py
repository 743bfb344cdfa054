import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy
import torch
from attention_dmfnet.model.loading import load_network
from attention_dmfnet.model.manifest import Precision, load_manifest
from attention_dmfnet.model.network import Network
from attention_dmfnet.model.runtimes import Runtime
from onnx import TensorProto, numpy_helper

from export.contenders import TorchNetwork
from export.errors import ExportError
from export.to_onnx import to_onnx
from export.weights import refer_to_weights
from tests.export.conftest import TILES_ZYX
from training.learning.checkpoint import load_trained
from training.network.attention_dmfnet import AttentionDMFNet, use_cpu_kernels

FULL_TOLERANCE, HALF_TOLERANCE = 1e-5, 1e-2
"""Of the largest score."""

ROOT = Path(__file__).resolve().parents[2]


def _networks(exported: Path, backend: str, precision: Precision) -> tuple[Network, Network]:
    stage = load_manifest(exported).fine
    runtime = Runtime("openvino" if backend == "openvino" else "onnxruntime", "cpu", 1, precision=precision)
    original = TorchNetwork(load_trained(exported / "fine.safetensors").network, stage.output.stride)
    return original, load_network(exported, stage, runtime)


@pytest.mark.parametrize(
    ("backend", "precision", "tolerance"),
    [
        ("openvino", "float32", FULL_TOLERANCE),
        ("onnxruntime", "float32", FULL_TOLERANCE),
        ("onnxruntime", "float16", HALF_TOLERANCE),
    ],
)
def test_the_exported_network_scores_as_the_trained_one_does(
    exported: Path, backend: str, precision: Precision, tolerance: float
) -> None:
    original, network = _networks(exported, backend, precision)
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
    assert [node.op_type for node in model.graph.node].count("Cast") == 2
    # in single precision the same weights are widened first, each of them by a Cast
    full = onnx.load(exported / "fine.onnx")
    names = {weight.name for weight in full.graph.initializer if weight.data_type == TensorProto.FLOAT16}
    assert {node.input[0] for node in full.graph.node if node.op_type == "Cast"} == names


def test_the_weights_of_all_variants_are_in_one_file(exported: Path) -> None:
    stored = safetensors.numpy.load_file(exported / "fine.safetensors")
    for file in ("fine.onnx", "fine.float16.onnx"):
        referring = onnx.load(exported / file, load_external_data=False).graph.initializer
        outside = {tensor.name for tensor in referring if tensor.data_location == TensorProto.EXTERNAL}
        # the branches' factors are taken out one by one, so that the graph holds them itself
        assert {name for name in stored if name not in outside} == {n for n in stored if n.endswith(".fibers.weights")}
        assert sum(len(tensor.raw_data) for tensor in referring) < 500
        # other tools find the same numbers at the offsets that the graph names
        for tensor in onnx.load(exported / file).graph.initializer:
            if tensor.name in outside:
                assert np.array_equal(numpy_helper.to_array(tensor), stored[tensor.name]), tensor.name


def test_a_file_says_what_it_is_and_what_it_was_made_from(exported: Path) -> None:
    for stage in ("coarse", "fine"):
        for file, precision in ((f"{stage}.onnx", "float32"), (f"{stage}.float16.onnx", "float16")):
            model = onnx.load(exported / file)
            assert {entry.key: entry.value for entry in model.metadata_props} == {
                "release": "1.2.3",
                "stage": stage,
                "precision": precision,
                "weights_sha256": hashlib.sha256((exported / f"{stage}.safetensors").read_bytes()).hexdigest(),
            }


def test_a_file_tells_nothing_about_the_machine_that_made_it(exported: Path) -> None:
    for path in exported.glob("*.onnx"):
        content = path.read_bytes()
        for trace in (str(ROOT), "site-packages", ".py", "torch", "stack_trace", str(Path.home())):
            assert trace.encode() not in content, f"{trace} in {path.name}"


def test_every_runtime_reads_the_files_without_a_warning(exported: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for path in exported.glob("*.onnx"):
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert capfd.readouterr().err == ""


def test_another_process_makes_the_same_bytes(exported: Path, runs: tuple[Path, Path], tmp_path: Path) -> None:
    # by the command line, and not after other exports as in the fixture: nothing in the file may count on from those
    command = [sys.executable, "-m", "export", "onnx", *map(str, runs), "--to", str(tmp_path / "again")]
    subprocess.run([*command, "--release", "1.2.3", "--precision", "float16"], check=True, cwd=ROOT, timeout=1800)
    names = ["coarse.float16.onnx", "fine.float16.onnx"]
    weights = ["coarse.safetensors", "fine.safetensors"]
    assert {path.name for path in (tmp_path / "again").glob("*.onnx")} == set(names)
    for name in [*names, *weights]:
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes(), name


def test_how_a_network_was_left_after_training_does_not_matter(exported: Path) -> None:
    network = load_trained(exported / "coarse.safetensors").network
    network.train()
    use_cpu_kernels(network, True)
    published = onnx.load(exported / "coarse.onnx", load_external_data=False)
    metadata = {entry.key: entry.value for entry in published.metadata_props if entry.key != "precision"}
    model = to_onnx(network, TILES_ZYX["coarse"], "float32", metadata)
    weights = (exported / "coarse.safetensors").read_bytes()
    assert refer_to_weights(model, weights, "coarse.safetensors") == published
    # and the export leaves it as it was
    assert network.training
    assert any(getattr(module, "dense", False) for module in network.modules())


@pytest.mark.parametrize("tile_zyx", [(16, 16, 24), (0, 16, 16), (-16, 16, 16)])
def test_a_tile_that_the_network_cannot_halve_four_times_is_refused(tile_zyx: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    with pytest.raises(ExportError, match="multiple of 16"):
        to_onnx(AttentionDMFNet(2, 4, 8, 2), tile_zyx, "float32", {})
