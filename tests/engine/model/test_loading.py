from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.model import loading
from attention_dmfnet.model.loading import choose_for, start_loading
from attention_dmfnet.model.manifest import Stage, load_manifest
from attention_dmfnet.model.network import LoadError, Network, NetworkError, RunError, Scores, Tile
from attention_dmfnet.model.runtimes import Backend, Runtime

from tests.engine.tiny import FakeNetwork, with_plans, write_models


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_both_networks_load_in_the_background_and_then_score(models: Path, backend: Backend) -> None:
    networks = start_loading(models, load_manifest(models), "cpu", backend)
    assert networks.coarse(np.zeros((16, 16, 16), np.float32)).shape == (2, 16, 16, 16)
    assert networks.fine(np.zeros((8, 16, 16), np.float32)).shape == (14, 8, 16, 16)
    assert networks.runtime.result().backend == backend
    # the fine network's file is read and checked while the coarse one loads
    assert sorted({step.name for step in networks.steps}) == [
        "load coarse",
        *(f"load coarse/{part}" for part in ("compile", "import", "read", "read fine")),
        "load fine",
        *(f"load fine/{part}" for part in ("compile", "import")),
    ]


def test_auto_replaces_a_gpu_that_does_not_start_by_the_cpu_and_says_why(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attention_dmfnet.model.runtimes.find_gpu", lambda: True)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    networks = start_loading(models, load_manifest(models), "auto", "auto")
    networks.fine.wait()
    chosen = networks.runtime.result()
    assert (chosen.backend, chosen.device) == ("openvino", "cpu")
    assert "built without CUDA" in str(chosen)


def test_cuda_that_was_asked_for_is_never_replaced(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    networks = start_loading(models, load_manifest(models), "cuda", "auto")
    with pytest.raises(LoadError, match="without CUDA"):
        networks.coarse.wait()
    with pytest.raises(LoadError, match="without CUDA"):
        networks.fine.wait()


def test_a_swapped_fine_network_is_refused_before_the_coarse_one_is_asked(tmp_path: Path) -> None:
    write_models(tmp_path)
    (tmp_path / "fine.onnx").write_bytes((tmp_path / "coarse.onnx").read_bytes())
    networks = start_loading(tmp_path, load_manifest(tmp_path), "cpu", "openvino")
    for network in (networks.coarse, networks.fine):
        with pytest.raises(NetworkError, match=r"fine\.onnx is not the file"):
            network.wait()


def test_the_precision_that_is_asked_for_is_used_and_told(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attention_dmfnet.model.backend_openvino.native_precisions", lambda: ("float32", "bfloat16"))
    manifest = load_manifest(models)
    networks = start_loading(models, manifest, "cpu", "openvino", "float32")
    assert networks.runtime.result().computes == ("float32", "float32")
    with pytest.raises(LoadError, match="no bfloat16 variant"):
        start_loading(models, manifest, "cpu", "openvino", "bfloat16").runtime.result()


def test_too_little_gpu_memory_is_refused_before_anything_is_loaded(models: Path) -> None:
    with pytest.raises(LoadError, match="--gpu-memory-mb 1024 or more"):
        start_loading(models, load_manifest(models), "cpu", "openvino", None, 500)


def test_a_plan_that_cannot_run_here_is_replaced_by_the_onnx_model_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = write_models(tmp_path)
    # `/dev` shows a GPU, and its driver's library is missing: as in a container without NVIDIA's toolkit
    monkeypatch.setattr("attention_dmfnet.model.runtimes.find_gpu", lambda: True)
    monkeypatch.setattr("attention_dmfnet.model.cuda_driver._LIBRARY", "libcuda-that-is-not-here.so")
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    manifest = with_plans(models)
    networks = start_loading(models, manifest, "auto", "auto")
    networks.fine.wait()
    chosen = networks.runtime.result()
    assert (chosen.backend, chosen.device) == ("openvino", "cpu")
    assert "no NVIDIA driver here" in str(chosen)
    assert "built without CUDA" in str(chosen)
    with pytest.raises(LoadError, match="no NVIDIA driver here"):
        start_loading(models, manifest, "cuda", "tensorrt").coarse.wait()


def test_on_the_cpu_plans_are_not_even_looked_at(tmp_path: Path) -> None:
    manifest = with_plans(write_models(tmp_path))
    assert choose_for(manifest.fine, Runtime("openvino", "cpu", 1)).file == "fine.onnx"


def test_a_gpu_counts_when_it_has_computed_a_tile(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = Runtime("onnxruntime", "cuda", 1), Runtime("openvino", "cpu", 1)
    monkeypatch.setattr(loading, "runtimes_to_try", lambda *_: [gpu, cpu])
    load = loading.load_network

    def too_old(tile: Tile) -> Scores:
        raise RunError("no kernel image is available")

    def load_but_not_compute(models: Path, stage: Stage, runtime: Runtime, share: float) -> Network:
        return load(models, stage, runtime, share) if runtime.device == "cpu" else FakeNetwork(too_old)

    monkeypatch.setattr(loading, "load_network", load_but_not_compute)
    networks = start_loading(models, load_manifest(models), "auto", "auto")
    assert str(networks.runtime.result()) == ("OpenVINO on the CPU, 1 thread, float32 (no kernel image is available)")
    assert networks.next_best("whatever") is None
