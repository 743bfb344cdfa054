"""On fakes (see `fake_cuda`): the order of the work, the memory and the refusals. Nothing here ran on a GPU."""

import gc
import importlib.util
from typing import Any

import msgspec
import numpy as np
import pytest
from attention_dmfnet.model.backend_tensorrt import TensorRtNetwork
from attention_dmfnet.model.cuda_driver import Cuda
from attention_dmfnet.model.manifest import Plan
from attention_dmfnet.model.network import LoadError, RunError

from tests.engine.fake_cuda import FakeContext, FakeDriver, FakeEngine, FakeTensorRt
from tests.engine.tiny import stage

TILE = (4, 8, 8)
VOXELS = 4 * 8 * 8
PLAN = Plan("tensorrt", "11.4.0", "Quadro RTX 5000", "7.5", "none", "0" * 64)


def _load(
    driver: FakeDriver, tensorrt: FakeTensorRt, plan: Plan = PLAN, content: bytes = b"double", limit_mb: int = 100
) -> TensorRtNetwork:
    return TensorRtNetwork(
        content, "fine.plan", stage(classes=3, tile_zyx=TILE), plan, limit_mb, tensorrt, Cuda(driver)
    )


def _fakes(**settings: Any) -> tuple[FakeDriver, FakeTensorRt]:
    driver = FakeDriver(**settings)
    return driver, FakeTensorRt(driver, 3, TILE)


def test_a_tile_goes_in_and_its_scores_come_out() -> None:
    network = _load(*_fakes())
    tile = np.random.default_rng(0).normal(size=TILE).astype(np.float32)
    scores = network(tile)
    assert scores.shape == (3, *TILE)
    np.testing.assert_array_equal(scores, [tile, 2 * tile, 3 * tile])
    np.testing.assert_array_equal(network(-tile)[0], -tile)


def test_everything_is_allocated_once_and_a_tile_is_one_round_on_the_stream() -> None:
    driver, tensorrt = _fakes()
    network = _load(driver, tensorrt)
    # input and output in pinned memory, then both and the activations on the GPU
    sizes = [4 * VOXELS, 3 * 4 * VOXELS]
    allocated = [*(f"pin {size}" for size in sizes), *(f"allocate {size}" for size in (*sizes, 4096))]
    assert driver.log == ["upload weights", *allocated]
    for _ in range(2):
        driver.log.clear()
        network(np.zeros(TILE, np.float32))
        assert driver.log == ["copy in", "compute", "copy out", "wait"]


def test_memory_is_given_back_with_the_network_and_with_the_last_scores() -> None:
    driver, tensorrt = _fakes()
    network = _load(driver, tensorrt)
    scores = network(np.ones(TILE, np.float32))
    del network
    gc.collect()
    # the scores are still in use, and so is their memory
    assert [len(block) for block in driver.blocks.values()] == [3 * 4 * VOXELS]
    assert scores[2].max() == 3
    del scores
    gc.collect()
    assert driver.blocks == {}


@pytest.mark.parametrize(
    ("compatibility", "name", "capability", "fits"),
    [
        ("none", "Quadro RTX 5000", (7, 5), True),
        ("none", "Tesla T4", (7, 5), False),
        ("none", "Quadro RTX 5000", (8, 6), False),
        ("same_compute_capability", "Tesla T4", (7, 5), True),
        ("same_compute_capability", "NVIDIA A10", (8, 6), False),
        ("ampere_plus", "NVIDIA H100", (9, 0), True),
        ("ampere_plus", "Tesla T4", (7, 5), False),
    ],
)
def test_a_plan_runs_on_the_gpus_it_was_built_for_and_is_refused_by_name_on_others(
    compatibility: str, name: str, capability: tuple[int, int], fits: bool
) -> None:
    plan = msgspec.structs.replace(PLAN, compatibility=compatibility)
    driver, tensorrt = _fakes(name=name, capability=capability)
    if fits:
        _load(driver, tensorrt, plan)
    else:
        with pytest.raises(LoadError, match=rf"fine\.plan was built for Quadro RTX 5000 .* this GPU is {name}"):
            _load(driver, tensorrt, plan)


def test_a_plan_of_another_version_is_refused_with_both_versions() -> None:
    driver, _ = _fakes()
    other = FakeTensorRt(driver, 3, TILE, version="11.5.1")
    with pytest.raises(LoadError, match=r"built by TensorRT 11\.4\.0, installed is 11\.5\.1; build it again"):
        _load(driver, other)


def test_a_plan_that_tensorrt_cannot_read_is_refused() -> None:
    with pytest.raises(LoadError, match=r"cannot load fine\.plan"):
        _load(*_fakes(), content=b"half a pl")


def test_a_plan_of_other_tensors_is_refused() -> None:
    driver, tensorrt = _fakes()
    tensorrt.dtype = tensorrt.float16
    with pytest.raises(LoadError, match="'image' is not float32"):
        _load(driver, tensorrt)
    with pytest.raises(LoadError, match="'scores' has the shape"):
        _load(driver, FakeTensorRt(driver, 4, TILE))


def test_a_plan_that_needs_more_memory_than_allowed_is_refused_before_it_takes_any() -> None:
    driver, tensorrt = _fakes()
    tensorrt.activations = 300 << 20
    with pytest.raises(LoadError, match=r"needs 301 MB on the GPU \(300 of them for activations\), 100 MB are left"):
        _load(driver, tensorrt)
    # TensorRT tells what its activations take when it has read the plan
    assert driver.log == ["upload weights"]


def test_a_plan_whose_weights_alone_are_too_large_is_refused_before_they_are_uploaded() -> None:
    driver, tensorrt = _fakes()
    with pytest.raises(LoadError, match=r"needs 1 MB on the GPU \(without its activations\), 0 MB are left"):
        _load(driver, tensorrt, limit_mb=0)
    assert driver.log == []


def test_a_gpu_that_is_full_says_so() -> None:
    driver, tensorrt = _fakes()
    driver.memory_left = 3000
    with pytest.raises(LoadError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        _load(driver, tensorrt)


def test_a_computation_that_does_not_start_is_an_error() -> None:
    driver, tensorrt = _fakes()
    network = _load(driver, tensorrt)
    tensorrt.starts = False
    with pytest.raises(RunError, match="did not start"):
        network(np.zeros(TILE, np.float32))


def test_without_a_gpu_tensorrt_is_never_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt = FakeTensorRt(FakeDriver(), 3, TILE)
    monkeypatch.setattr(tensorrt, "Runtime", lambda logger: pytest.fail("TensorRT would have crashed here"))
    with pytest.raises(LoadError, match="shows no GPU"):
        _load(FakeDriver(gpus=0), tensorrt)
    monkeypatch.setattr("attention_dmfnet.model.cuda_driver._LIBRARY", "libcuda-that-is-not-here.so")
    with pytest.raises(LoadError, match="no NVIDIA driver here"):
        TensorRtNetwork(b"double", "fine.plan", stage(classes=3, tile_zyx=TILE), PLAN, 100, tensorrt)


def test_a_missing_tensorrt_says_what_to_install() -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    with pytest.raises(LoadError, match=r'TensorRT is not installed .*pip install "attention-dmfnet\[tensorrt\]"'):
        TensorRtNetwork(b"", "fine.plan", stage(classes=3, tile_zyx=TILE), PLAN, 100, None, Cuda(FakeDriver()))


def test_the_fake_offers_nothing_that_the_real_interface_does_not_have() -> None:
    real = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx-cu13 to compare the fake with")
    for fake, original in ((FakeEngine, real.ICudaEngine), (FakeContext, real.IExecutionContext)):
        assert {name for name in vars(fake) if not name.startswith("_")} <= set(dir(original))
    for name in ("num_io_tensors", "device_memory_size_v2"):
        assert hasattr(real.ICudaEngine, name)
    assert hasattr(real.Runtime, "deserialize_cuda_engine")
    assert hasattr(real.ExecutionContextAllocationStrategy, "USER_MANAGED")
    assert hasattr(real.TensorIOMode, "INPUT")
    assert real.Logger(real.Logger.ERROR) is not None
    assert real.float32 is not None
    assert isinstance(real.__version__, str)
