"""Which runtime computes on which device, and the two networks loaded into it while other work goes on."""

import importlib.util
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.cpus import available_cpus
from engine.manifest import Manifest, Stage
from engine.marks import Step, recording, step
from engine.network import Network, NetworkError, Scores, Tile, choose_variant, read_model_file

Device = Literal["auto", "cpu", "cuda"]
Backend = Literal["auto", "openvino", "onnxruntime"]

_NAMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
_INSTALL = {"cpu": 'pip install "attention-dmfnet[cpu]"', "cuda": 'pip install "attention-dmfnet[cuda]"'}


@dataclass(frozen=True, slots=True)
class Runtime:
    """A backend on a device, and why this device where that was not asked for."""

    backend: Literal["openvino", "onnxruntime"]
    device: Literal["cpu", "cuda"]
    threads: int
    why: str = ""

    def __str__(self) -> str:
        place = "the GPU" if self.device == "cuda" else f"the CPU, {self.threads} thread{'s' * (self.threads > 1)}"
        return f"{_NAMES[self.backend]} on {place}" + (f" ({self.why})" if self.why else "")


def choose_runtime(device: Device, backend: Backend, gpu_present: bool | None = None) -> Runtime:
    """The runtime to try first. Raises ``NetworkError`` if what was asked for is not installed or not possible.

    ``gpu_present`` is looked up if None.
    """
    threads = available_cpus()
    if device == "cuda" and backend == "openvino":
        raise NetworkError("OpenVINO computes on the CPU here; use --backend onnxruntime with --device cuda")
    if device == "cuda":
        _require("onnxruntime", "cuda")
        return Runtime("onnxruntime", "cuda", threads)
    why = ""
    if device == "auto" and backend != "openvino":
        if not (find_gpu() if gpu_present is None else gpu_present):
            why = "no NVIDIA GPU found"
        elif not _installed("onnxruntime"):
            why = "there is a GPU, but ONNX Runtime for it is not installed"
        else:
            return Runtime("onnxruntime", "cuda", threads)
    return Runtime(_cpu_backend(backend), "cpu", threads, why)


def find_gpu(root: Path = Path("/")) -> bool:
    """Whether the system shows an NVIDIA device (Linux, or Linux in Windows)."""
    devices = root / "dev"
    return any(devices.glob("nvidia[0-9]*")) or (devices / "dxg").exists()


def load_network(models: Path, stage: Stage, runtime: Runtime) -> Network:
    """Load a stage's network into ``runtime``. Raises ``NetworkError``."""
    # imported here: an image needs only one of the two, and start-up waits for every import
    if runtime.backend == "openvino":
        from engine import network_openvino

        variant = choose_variant(stage, network_openvino.PRECISIONS)
        model = read_model_file(models, variant)
        return network_openvino.OpenVinoNetwork(model, variant.file, stage, variant.precision, runtime.threads)
    from engine import network_onnxruntime

    variant = choose_variant(stage, network_onnxruntime.PRECISIONS)
    model = read_model_file(models, variant)
    return network_onnxruntime.OnnxRuntimeNetwork(model, variant.file, stage, runtime.device, runtime.threads)


class LoadingNetwork:
    """A network that may still be loading: the first call waits for it, and raises what its loading raised."""

    def __init__(self, network: Future[Network]) -> None:
        self._network = network

    def __call__(self, tile: Tile) -> Scores:
        return self._network.result()(tile)

    def wait(self) -> None:
        """Return when the network is loaded. Raises ``NetworkError`` if it cannot be."""
        self._network.result()


@dataclass(frozen=True, slots=True)
class Networks:
    """Both stages' networks, loading; ``runtime`` and ``steps`` are complete when ``fine`` is."""

    coarse: LoadingNetwork
    fine: LoadingNetwork
    runtime: Future[Runtime]
    steps: list[Step]


def start_loading(models: Path, manifest: Manifest, device: Device, backend: Backend) -> Networks:
    """Load both networks on a thread of their own, the coarse one first, while the first scan is read.

    With ``device`` "auto" a GPU that does not start is replaced by the CPU, and the runtime says why.
    Raises ``NetworkError`` at once if no runtime fits; other errors come from the networks.
    """
    first = choose_runtime(device, backend)
    steps: list[Step] = []
    runtime: Future[Runtime] = Future()

    def load_coarse() -> Network:
        with recording() as marks:
            try:
                network, chosen = _load_first(models, manifest.coarse, first, device, backend)
            except BaseException as error:
                runtime.set_exception(error)
                raise
            finally:
                steps.extend(marks)
        runtime.set_result(chosen)
        return network

    def load_fine() -> Network:
        with recording() as marks:
            try:
                with step("load fine"):
                    return load_network(models, manifest.fine, runtime.result())
            finally:
                steps.extend(marks)

    return Networks(*_in_order(load_coarse, load_fine), runtime, steps)


def _load_first(
    models: Path, stage: Stage, runtime: Runtime, device: Device, backend: Backend
) -> tuple[Network, Runtime]:
    try:
        with step("load coarse"):
            return load_network(models, stage, runtime), runtime
    except NetworkError as error:
        if not (device == "auto" and runtime.device == "cuda"):
            raise
        fallback = Runtime(_cpu_backend(backend), "cpu", runtime.threads, str(error))
    with step("load coarse"):
        return load_network(models, stage, fallback), fallback


def _in_order(*loads: Callable[[], Network]) -> tuple[LoadingNetwork, LoadingNetwork]:
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="networks")
    coarse, fine = (LoadingNetwork(pool.submit(load)) for load in loads)
    pool.shutdown(wait=False)
    return coarse, fine


def _cpu_backend(backend: Backend) -> Literal["openvino", "onnxruntime"]:
    if backend == "auto":
        for candidate in ("openvino", "onnxruntime"):
            if _installed(candidate):
                return candidate
        raise NetworkError(f"neither OpenVINO nor ONNX Runtime is installed; {_INSTALL['cpu']}")
    _require(backend, "cpu")
    return backend


def _require(backend: Literal["openvino", "onnxruntime"], extra: str) -> None:
    if not _installed(backend):
        raise NetworkError(f"{_NAMES[backend]} is not installed; {_INSTALL[extra]}")


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
