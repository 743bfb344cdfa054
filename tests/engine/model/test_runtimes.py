from dataclasses import replace
from pathlib import Path

import pytest
from attention_dmfnet.model import runtimes
from attention_dmfnet.model.network import LoadError
from attention_dmfnet.model.runtimes import Backend, Device, Runtime, find_gpu, runtimes_to_try


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The runtimes that seem to be installed; change it at will."""
    modules = {"openvino", "onnxruntime"}
    monkeypatch.setattr(runtimes, "_installed", lambda module: module in modules)
    return modules


def _try(device: Device, backend: Backend = "auto", gpu: bool = False, plans: str | None = None) -> list[Runtime]:
    return runtimes_to_try(device, backend, plans, gpu_present=gpu)


def _choose(device: Device, backend: Backend = "auto", gpu: bool = False) -> tuple[str, str]:
    chosen = _try(device, backend, gpu)[0]
    return chosen.backend, chosen.device


def test_the_cpu_is_served_by_openvino_and_else_by_onnx_runtime(installed: set[str]) -> None:
    assert _choose("cpu") == ("openvino", "cpu")
    assert _choose("cpu", "onnxruntime") == ("onnxruntime", "cpu")
    installed.remove("openvino")
    assert _choose("cpu") == ("onnxruntime", "cpu")


def test_auto_takes_the_gpu_if_there_is_one_and_the_cpu_if_there_is_none(installed: set[str]) -> None:
    assert _choose("auto", gpu=True) == ("onnxruntime", "cuda")
    assert _choose("auto", gpu=False) == ("openvino", "cpu")
    assert _choose("auto", "openvino", gpu=True) == ("openvino", "cpu")


def test_auto_says_why_it_takes_the_cpu(installed: set[str]) -> None:
    assert _try("auto", gpu=False)[0].why == "no NVIDIA GPU found"
    installed.remove("onnxruntime")
    assert "not installed" in _try("auto", gpu=True)[0].why


def test_a_runtime_that_is_not_installed_is_named_with_what_to_install(installed: set[str]) -> None:
    installed.clear()
    with pytest.raises(LoadError, match=r'neither .* pip install "attention-dmfnet\[cpu\]"'):
        _try("cpu", "auto")
    with pytest.raises(LoadError, match=r'OpenVINO is not installed; pip install "attention-dmfnet\[cpu\]"'):
        _try("cpu", "openvino")
    with pytest.raises(LoadError, match=r'ONNX Runtime is not installed; pip install "attention-dmfnet\[cuda\]"'):
        _try("cuda", "auto")


def test_plans_are_tried_first_on_a_gpu_and_onnx_runtime_then_the_cpu_after_them(installed: set[str]) -> None:
    def order(device: Device, backend: Backend, plans: str | None) -> list[tuple[str, str]]:
        return [(runtime.backend, runtime.device) for runtime in _try(device, backend, gpu=True, plans=plans)]

    plan, gpu, cpu = ("tensorrt", "cuda"), ("onnxruntime", "cuda"), ("openvino", "cpu")
    assert order("auto", "auto", "tensorrt") == [plan, gpu, cpu]
    assert order("cuda", "auto", "tensorrt") == [plan, gpu]
    assert order("auto", "auto", None) == [gpu, cpu]
    # what was asked for is not replaced
    assert order("auto", "tensorrt", "tensorrt") == [plan]
    assert order("cuda", "onnxruntime", "tensorrt") == [gpu]


def test_tensorrt_is_refused_without_a_gpu_without_plans_and_on_the_cpu(installed: set[str]) -> None:
    with pytest.raises(LoadError, match="no NVIDIA GPU found; use another --backend"):
        _try("auto", "tensorrt", gpu=False, plans="tensorrt")
    with pytest.raises(LoadError, match="python -m export tensorrt"):
        _try("auto", "tensorrt", gpu=True, plans=None)
    with pytest.raises(LoadError, match="TensorRT computes on the GPU"):
        _try("cpu", "tensorrt", plans="tensorrt")


def test_openvino_on_cuda_is_refused(installed: set[str]) -> None:
    with pytest.raises(LoadError, match="--backend onnxruntime"):
        _try("cuda", "openvino")


def test_a_gpu_is_found_by_its_device_file(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()  # the driver's, there without any GPU
    assert not find_gpu(tmp_path)
    (tmp_path / "dev" / "nvidia0").touch()
    assert find_gpu(tmp_path)


def test_the_runtime_is_told_in_one_line() -> None:
    assert str(Runtime("openvino", "cpu", 2, "no NVIDIA GPU found")) == (
        "OpenVINO on the CPU, 2 threads (no NVIDIA GPU found)"
    )
    assert str(Runtime("openvino", "cpu", 1)) == "OpenVINO on the CPU, 1 thread"
    assert str(Runtime("onnxruntime", "cuda", 8)) == "ONNX Runtime on the GPU"
    both = Runtime("openvino", "cpu", 1, "no NVIDIA GPU found", computes=("float32", "bfloat16"))
    assert str(both) == "OpenVINO on the CPU, 1 thread, float32, bfloat16 (no NVIDIA GPU found)"
    assert str(replace(both, computes=("float32", "float32"), why="")) == "OpenVINO on the CPU, 1 thread, float32"
