import functools
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest
from attention_dmfnet.geometry import Index
from attention_dmfnet.model import backend_onnxruntime, backend_openvino
from attention_dmfnet.model.backend_onnxruntime import OnnxRuntimeNetwork
from attention_dmfnet.model.backend_openvino import OpenVinoNetwork
from attention_dmfnet.model.cuda_driver import Cuda
from attention_dmfnet.model.manifest import Stage, Variant
from attention_dmfnet.model.network import LoadError, Network, NetworkError, RunError, check_contract, read_model_file

from tests.engine.fake_cuda import FakeDriver
from tests.engine.tiny import nearest_class_onnx, small_cnn_onnx, stage

TILE = (8, 16, 16)
FLOAT32_TOLERANCE = 1e-5
"""Of the largest score: what the order of summing leaves between two float32 runtimes."""

BACKENDS = pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])


def _load(backend: str, content: bytes, of: Stage) -> Network:
    if backend == "openvino":
        return OpenVinoNetwork(content, "fine.onnx", of, "float32", threads=1)
    return OnnxRuntimeNetwork(content, "fine.onnx", of, "cpu", threads=1)


def _variant(content: bytes, precision: str = "float32", file: str = "fine.onnx") -> Variant:
    sha256 = hashlib.sha256(content).hexdigest()
    return msgspec.convert({"file": file, "sha256": sha256, "precision": precision, "parity": None}, Variant)


def test_a_model_file_is_read_when_it_is_the_one_of_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "fine.onnx").write_bytes(b"the weights")
    assert read_model_file(tmp_path, _variant(b"the weights")) == b"the weights"


@pytest.mark.parametrize("content", [b"other weights", b"the wei", b""])
def test_refuses_a_model_file_that_was_swapped_or_cut_short_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fine.onnx").write_bytes(content)
    with pytest.raises(NetworkError, match=r"fine\.onnx is not the file that the manifest was written for"):
        read_model_file(tmp_path, _variant(b"the weights"))


def test_names_a_model_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"fine\.onnx, which is not there"):
        read_model_file(tmp_path, _variant(b"the weights"))


@BACKENDS
def test_a_network_scores_a_tile_class_by_class(backend: str) -> None:
    network = _load(backend, nearest_class_onnx([0.0, 1.0, 5.0], TILE), stage(classes=3))
    tile = np.zeros(TILE, dtype=np.float32)
    tile[1, 2, 3], tile[4, 5, 6] = 0.9, 4.0
    scores = network(tile)
    assert scores.shape == (3, *TILE)
    assert scores.dtype == np.float32
    # 2 c x - c^2 for the classes' centres c
    np.testing.assert_allclose(scores[:, 1, 2, 3], [0, 0.8, -16], rtol=1e-5)
    np.testing.assert_allclose(scores[:, 4, 5, 6], [0, 7, 15], rtol=1e-5)


def test_openvino_and_onnx_runtime_agree_in_float32() -> None:
    content = small_cnn_onnx(TILE)
    openvino, onnxruntime = (_load(backend, content, stage()) for backend in ("openvino", "onnxruntime"))
    random = np.random.default_rng(1)
    for _ in range(3):
        tile = random.normal(size=TILE).astype(np.float32)
        first, second = openvino(tile), onnxruntime(tile)
        assert np.abs(first - second).max() <= FLOAT32_TOLERANCE * np.abs(second).max()


@BACKENDS
@pytest.mark.parametrize(
    ("made_for", "said", "complaint"),
    [
        ((8, 16, 16), stage(classes=3, tile_zyx=(8, 16, 8)), r"'image' has the shape"),
        ((8, 16, 16), stage(classes=4), r"'scores' has the shape"),
    ],
)
def test_a_network_that_is_not_what_the_manifest_says_is_refused(
    backend: str, made_for: tuple[int, int, int], said: Stage, complaint: str
) -> None:
    with pytest.raises(LoadError, match=rf"fine\.onnx: {complaint}"):
        _load(backend, nearest_class_onnx([0.0, 1.0, 5.0], made_for), said)


@BACKENDS
def test_what_is_no_network_is_refused_by_name(backend: str) -> None:
    with pytest.raises(LoadError, match=r"cannot load fine\.onnx"):
        _load(backend, b"nothing of the kind", stage())


def test_a_tensor_of_another_name_is_refused() -> None:
    with pytest.raises(LoadError, match="no tensor named 'scores', only logits"):
        check_contract("fine.onnx", stage(), {"image": [1, 1, *TILE]}, {"logits": [1, 14, *TILE]})


def test_sides_that_a_network_leaves_open_fit_anything() -> None:
    check_contract("fine.onnx", stage(), {"image": [1, 1, "d", None, 16]}, {"scores": [None, 14, "d", "h", "w"]})


def test_cuda_is_refused_where_onnx_runtime_was_built_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(LoadError, match=r"built without CUDA.*attention-dmfnet\[cuda\]"):
        OnnxRuntimeNetwork(nearest_class_onnx([0.0, 1.0], TILE), "fine.onnx", stage(classes=2), "cuda", threads=1)


def _show_gpu(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver | None = None) -> None:
    """A GPU with its driver, called a fake, and an ONNX Runtime that says that it was built for CUDA 13."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("onnxruntime.cuda_version", "13.0", raising=False)
    monkeypatch.setattr(backend_onnxruntime, "Cuda", lambda: Cuda(driver or FakeDriver()))
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: None, raising=False)
    # what it finds is kept, and must not be for the next test
    monkeypatch.setattr(backend_onnxruntime, "_find_cuda", functools.cache(backend_onnxruntime._find_cuda.__wrapped__))


@pytest.mark.parametrize(
    ("cuda", "capability", "complaint"),
    [
        (12040, (7, 5), r"driver knows CUDA 12\.4, .* needs CUDA 13; update the driver to version 580 or newer, or"),
        (
            13000,
            (7, 0),
            r"Quadro RTX 5000 has compute capability 7\.0, and CUDA 13 needs 7\.5 \(Turing\) or newer; use",
        ),
    ],
)
def test_a_driver_or_gpu_older_than_cuda_13_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, cuda: int, capability: tuple[int, int], complaint: str
) -> None:
    driver = FakeDriver(capability=capability)
    driver.cuda = cuda
    _show_gpu(monkeypatch, driver)
    with pytest.raises(LoadError, match=complaint) as refused:
        OnnxRuntimeNetwork(nearest_class_onnx([0.0, 1.0], TILE), "fine.onnx", stage(classes=2), "cuda", threads=1)
    assert "\n" not in str(refused.value)
    # an ONNX Runtime for CUDA 12 takes both
    monkeypatch.setattr("onnxruntime.cuda_version", "12.8")
    backend_onnxruntime._check_gpu()


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_falls_back_to_the_cpu_in_silence_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # as where CUDA's libraries are missing: it is among the available providers, and the session runs on the CPU
    _show_gpu(monkeypatch)
    with pytest.raises(LoadError, match=r"fine\.onnx on the CPU instead of the GPU"):
        OnnxRuntimeNetwork(nearest_class_onnx([0.0, 1.0], TILE), "fine.onnx", stage(classes=2), "cuda", threads=1)


def test_cuda_gets_its_memory_limit_and_no_way_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _show_gpu(monkeypatch)
    asked: dict[str, Any] = {}

    def refuse(model: bytes, options: Any, **settings: Any) -> None:
        asked.update(settings, options=options)
        raise RuntimeError("enough seen")

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    with pytest.raises(LoadError, match=r"cannot load fine\.onnx: enough seen"):
        OnnxRuntimeNetwork(b"", "fine.onnx", stage(), "cuda", threads=1, memory_limit_mb=100)
    ((provider, settings),) = asked["providers"]
    assert provider == "CUDAExecutionProvider"
    # input and output, which lie outside of the arena, fit into 1 MB here
    assert settings["gpu_mem_limit"] == str(99 * 1024 * 1024)
    assert settings["arena_extend_strategy"] == "kSameAsRequested"
    # what is called float32 is float32
    assert settings["use_tf32"] == "0"
    assert asked["options"].get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
    assert asked["enable_fallback"] == 0


def test_what_onnx_runtime_prints_of_cudas_libraries_is_no_line_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _show_gpu(monkeypatch)
    source = "def preload_dlls():\n    print('Failed to load libcudart')"
    loader: dict[str, Any] = {}
    exec(source, loader)
    monkeypatch.setattr("onnxruntime.preload_dlls", loader["preload_dlls"], raising=False)
    backend_onnxruntime._find_cuda()
    assert capsys.readouterr() == ("", "Failed to load libcudart\n")


@pytest.mark.parametrize(("device", "shrinks"), [("cpu", ""), ("cuda", "gpu:0")])
def test_memory_on_the_gpu_goes_back_after_each_tile(
    monkeypatch: pytest.MonkeyPatch, device: Any, shrinks: str
) -> None:
    # without a GPU: the session and its memory are the CPU's, what it is asked for is the GPU's
    on_cpu = onnxruntime.OrtValue.ortvalue_from_numpy
    monkeypatch.setattr("onnxruntime.OrtValue.ortvalue_from_numpy", lambda array, *place: on_cpu(array))
    whole = backend_onnxruntime._start
    monkeypatch.setattr(
        backend_onnxruntime,
        "_start",
        lambda model, file, device, *rest: whole(model, file, "cpu", backend_onnxruntime._options("cpu", 1), 1),
    )
    network = OnnxRuntimeNetwork(nearest_class_onnx([0.0, 1.0], TILE), "f", stage(classes=2), device, threads=1)
    entry = network._run_options.get_run_config_entry("memory.enable_memory_arena_shrinkage") if shrinks else ""
    assert entry == shrinks


def test_scores_of_one_tile_are_overwritten_by_the_next_and_not_mixed_with_it() -> None:
    network = _load("onnxruntime", nearest_class_onnx([0.0, 1.0], TILE), stage(classes=2))
    first = network(np.full(TILE, 3.0, np.float32))
    assert (first[1] == 5).all()  # 2 c x - c^2 with c = 1, x = 3
    second = network(np.full(TILE, -1.0, np.float32))
    assert np.shares_memory(first, second)
    assert (second[1] == -3).all()


def test_half_precision_is_computed_where_it_is_asked_for() -> None:
    # left to itself OpenVINO takes bfloat16 for float16 where the CPU has only the former, and 1 / 512 is lost in it
    content = nearest_class_onnx([0.0, 1.0], TILE)
    network = OpenVinoNetwork(content, "half.onnx", stage(classes=2), "float16", threads=1)
    tile = np.full(TILE, 1 + 1 / 512, np.float32)
    assert network(tile)[1, 0, 0, 0] == pytest.approx(1 + 1 / 256, abs=1e-6)


def test_every_cpu_computes_in_single_precision_and_half_is_native_to_the_gpu_alone() -> None:
    assert "float32" in backend_openvino.native_precisions()
    assert backend_onnxruntime.native_precisions("cpu") == ("float32",)
    assert "float16" in backend_onnxruntime.native_precisions("cuda")


def test_of_openvino_only_the_compiled_half_is_imported_and_the_whole_still_can_be() -> None:
    """Its model converter, imported for no reason of ours, would fork this process and call home."""
    code = (
        "import sys, attention_dmfnet.model.backend_openvino as ours; ours.native_precisions()\n"
        "print(*(name for name in sys.modules if 'openvino' in name and 'attention' not in name))\n"
        "print(*(name for name in sys.modules if 'telemetry' in name))\n"
        "sys.modules['openvino.tools'] = None\n"
        "import openvino; print(openvino.Core().available_devices[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, notes, device = done.stdout.splitlines()
    assert all(name.startswith("openvino._pyopenvino") for name in modules.split())
    assert (notes, device) == ("", "CPU")


def test_another_thread_may_ask_meanwhile_whether_openvino_is_installed() -> None:
    code = (
        "import importlib, importlib.util\n"
        "imported = importlib.import_module\n"
        "def ask_before(name):\n"
        "    print(name, importlib.util.find_spec('openvino').name)\n"
        "    return imported(name)\n"
        "importlib.import_module = ask_before\n"
        "import attention_dmfnet.model.openvino_core"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["openvino._pyopenvino openvino"]


def test_where_openvino_has_no_such_half_the_whole_of_it_is_imported() -> None:
    code = (
        "import sys; sys.modules['openvino._pyopenvino'] = None; sys.path.insert(0, sys.argv[1])\n"
        "from attention_dmfnet.model.openvino_core import half; print(half.__name__, half.Core)"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "openvino").mkdir()
        Path(folder, "openvino", "__init__.py").write_text("Core = 'the core'")
        done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino the core"


@BACKENDS
def test_of_fitted_tiles_every_shape_is_scored_as_by_a_network_of_that_shape(backend: str) -> None:
    fitted = _load(backend, small_cnn_onnx("zyx"), msgspec.structs.replace(stage(tile_zyx=TILE), tile_multiple=8))
    random = np.random.default_rng(2)
    shapes: list[Index] = [TILE, (16, 16, 24), TILE]
    for shape in shapes:
        tile = random.normal(size=shape).astype(np.float32)
        alone = _load(backend, small_cnn_onnx(shape), stage(tile_zyx=shape))
        np.testing.assert_allclose(fitted(tile), alone(tile), rtol=0, atol=1e-4)


@BACKENDS
def test_a_network_of_one_shape_is_refused_where_tiles_are_fitted(backend: str) -> None:
    with pytest.raises(LoadError, match=r"'image' has the shape \(1, 1, 8, 16, 16\)"):
        _load(backend, small_cnn_onnx(TILE), msgspec.structs.replace(stage(tile_zyx=TILE), tile_multiple=8))


@BACKENDS
def test_a_tile_that_a_runtime_cannot_compute_is_one_cases_error(backend: str) -> None:
    network = _load(backend, nearest_class_onnx([0.0, 1.0], TILE), stage(classes=2))
    with pytest.raises(RunError, match="failed"):
        network(np.zeros((8, 16, 8), np.float32))
    # and the next tile is another matter
    assert network(np.zeros(TILE, np.float32)).shape == (2, *TILE)
