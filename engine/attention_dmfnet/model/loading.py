"""Which runtime computes on which device, and the two networks loaded into it while other work goes on."""

import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from attention_dmfnet.cpus import available_cpus
from attention_dmfnet.marks import Step, recording, step
from attention_dmfnet.model.external_data import read_model
from attention_dmfnet.model.manifest import BackendName, DeviceName, Manifest, Precision, Stage, Variant
from attention_dmfnet.model.network import FittedNetwork, Network, NetworkError, Scores, Tile
from attention_dmfnet.model.variants import choose_variant

Device = Literal["auto", "cpu", "cuda"]
Backend = Literal["auto", "openvino", "onnxruntime", "tensorrt"]

GPU_MEMORY_MB = 2048
"""What FLARE22 lets a method use on the GPU before it counts."""

# What CUDA itself takes of the device before anything is loaded; an allowance, it differs between GPUs and drivers.
_CUDA_CONTEXT_MB = 512
# Of the memory for networks. The fine one has the larger tile and seven times the classes.
_COARSE_SHARE, _FINE_SHARE = 0.25, 0.75
_SMALLEST_GPU_MEMORY_MB = 2 * _CUDA_CONTEXT_MB

_NAMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT"}
_INSTALL = {"cpu": 'pip install "attention-dmfnet[cpu]"', "cuda": 'pip install "attention-dmfnet[cuda]"'}


@dataclass(frozen=True, slots=True)
class Runtime:
    """A backend on a device, and why this one where it was not asked for.

    ``precision`` is the one that was asked for (None: the fastest that passed), ``computes`` what both networks are
    computed in once that is known. ``gpu_memory_mb`` counts CUDA's own memory too.
    """

    backend: BackendName
    device: DeviceName
    threads: int
    why: str = ""
    precision: Precision | None = None
    gpu_memory_mb: int = GPU_MEMORY_MB
    computes: tuple[Precision, ...] = ()

    def __str__(self) -> str:
        place = "the GPU" if self.device == "cuda" else f"the CPU, {self.threads} thread{'s' * (self.threads > 1)}"
        # in the order of the stages, and once if they agree
        precisions = "".join(f", {precision}" for precision in dict.fromkeys(self.computes))
        return f"{_NAMES[self.backend]} on {place}{precisions}" + (f" ({self.why})" if self.why else "")


def runtimes_to_try(
    device: Device, backend: Backend, plans: str | None = None, gpu_present: bool | None = None
) -> list[Runtime]:
    """The runtimes that may serve, best first: more than one where the choice is left open and a GPU is involved.

    ``plans`` is the module that the manifest's TensorRT plans need, if there are any. ``gpu_present`` is looked up if
    None. Raises ``NetworkError`` if what was asked for is not installed or not possible.
    """
    _refuse_impossible(device, backend, plans)
    threads = available_cpus()
    on_gpu: list[Runtime] = []
    why = ""
    if device == "cuda" or (device == "auto" and backend != "openvino"):
        if device == "auto" and not (find_gpu() if gpu_present is None else gpu_present):
            why = "no NVIDIA GPU found"
        else:
            on_gpu = [Runtime(name, "cuda", threads) for name in _gpu_backends(backend, plans)]
            if not on_gpu and device == "auto":
                why = "there is a GPU, but ONNX Runtime for it is not installed"
    if device == "cuda" or backend == "tensorrt":
        if not on_gpu:
            advice = _INSTALL["cuda"] if device == "cuda" else "use another --backend"
            raise NetworkError(f"{why or 'ONNX Runtime is not installed'}; {advice}")
        return on_gpu
    # a broken installation for the CPU does not matter while the GPU may serve
    if on_gpu and not any(map(_installed, ("openvino", "onnxruntime"))):
        return on_gpu
    return [*on_gpu, Runtime(_cpu_backend(backend), "cpu", threads, why)]


def _refuse_impossible(device: Device, backend: Backend, plans: str | None) -> None:
    if device == "cuda" and backend == "openvino":
        raise NetworkError("OpenVINO computes on the CPU here; use --backend onnxruntime with --device cuda")
    if backend == "tensorrt" and device == "cpu":
        raise NetworkError("TensorRT computes on the GPU; use another --backend with --device cpu")
    if backend == "tensorrt" and plans is None:
        raise NetworkError("there are no TensorRT plans among these models; make them with `python -m export tensorrt`")


def _gpu_backends(backend: Backend, plans: str | None) -> list[BackendName]:
    """Which of the backends that compute on the GPU may be tried, best first."""
    # a plan whose runtime is not installed is tried as well: its refusal says what to install
    tensorrt: list[BackendName] = ["tensorrt"] if plans is not None and backend in ("auto", "tensorrt") else []
    onnxruntime: list[BackendName] = ["onnxruntime"] if backend != "tensorrt" and _installed("onnxruntime") else []
    return [*tensorrt, *onnxruntime]


def find_gpu(root: Path = Path("/")) -> bool:
    """Whether the system shows an NVIDIA device (Linux, or Linux in Windows)."""
    devices = root / "dev"
    return any(devices.glob("nvidia[0-9]*")) or (devices / "dxg").exists()


def choose_for(stage: Stage, runtime: Runtime) -> Variant:
    """The variant of a stage that ``runtime`` would use on this machine. Raises ``NetworkError``."""
    possible: Sequence[Precision]
    native: Sequence[Precision]
    # imported here: an image needs only one of them, and start-up waits for every import
    if runtime.backend == "openvino":
        from attention_dmfnet.model import backend_openvino

        # what it cannot, it would compute in float32 under the other name
        possible = native = backend_openvino.native_precisions()
    elif runtime.backend == "onnxruntime":
        from attention_dmfnet.model import backend_onnxruntime

        possible, native = backend_onnxruntime.PRECISIONS, backend_onnxruntime.native_precisions(runtime.device)
    else:
        from attention_dmfnet.model import backend_tensorrt

        possible = native = backend_tensorrt.PRECISIONS
    return choose_variant(stage, runtime.backend, runtime.device, possible, native, runtime.precision)


def load_network(models: Path, stage: Stage, runtime: Runtime, gpu_share: float = 1.0) -> Network:
    """Load a stage's network into ``runtime``, within ``gpu_share`` of its GPU memory. Raises ``NetworkError``."""
    with step("import"):
        variant = choose_for(stage, runtime)
    with step("read"):
        model = read_model(models, stage, variant)
    memory_mb = int((runtime.gpu_memory_mb - _CUDA_CONTEXT_MB) * gpu_share)
    with step("compile"):
        if runtime.backend == "openvino":
            from attention_dmfnet.model.backend_openvino import OpenVinoNetwork

            return OpenVinoNetwork(model, variant.file, stage, variant.precision, runtime.threads)
        if runtime.backend == "onnxruntime":
            from attention_dmfnet.model.backend_onnxruntime import OnnxRuntimeNetwork

            return OnnxRuntimeNetwork(model, variant.file, stage, runtime.device, runtime.threads, memory_mb)
        from attention_dmfnet.model.backend_tensorrt import TensorRtNetwork

        assert variant.plan is not None
        return TensorRtNetwork(model, variant.file, stage, variant.plan, memory_mb)


class LoadingNetwork:
    """A network that may still be loading: the first call waits for it, and raises what its loading raised."""

    def __init__(self, network: Future[Network]) -> None:
        self._network = network

    def __call__(self, tile: Tile) -> Scores:
        network = self._network.result()
        if isinstance(network, FittedNetwork):
            z, y, x = tile.shape
            network.fit((z, y, x))
        with step("network"):
            return network(tile)

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


def start_loading(
    models: Path,
    manifest: Manifest,
    device: Device,
    backend: Backend,
    precision: Precision | None = None,
    gpu_memory_mb: int = GPU_MEMORY_MB,
) -> Networks:
    """Load both networks on a thread of their own, the coarse one first, while the first scan is read.

    Where ``device`` or ``backend`` is "auto", a GPU or a plan that does not start is replaced by the next best
    runtime, which says why. Raises ``NetworkError`` at once if no runtime fits; other errors come from the networks.
    """
    if gpu_memory_mb < _SMALLEST_GPU_MEMORY_MB:
        raise NetworkError(
            f"{gpu_memory_mb} MB of GPU memory are too few, CUDA itself takes about {_CUDA_CONTEXT_MB}; "
            f"give --gpu-memory-mb {_SMALLEST_GPU_MEMORY_MB} or more"
        )
    candidates = [
        replace(candidate, precision=precision, gpu_memory_mb=gpu_memory_mb)
        for candidate in runtimes_to_try(device, backend, _module_of_plans(manifest))
    ]
    steps: list[Step] = []
    runtime: Future[Runtime] = Future()

    def load_coarse() -> Network:
        with recording() as marks:
            try:
                network, chosen = _load_first(models, manifest, candidates)
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
                    return load_network(models, manifest.fine, runtime.result(), _FINE_SHARE)
            finally:
                steps.extend(marks)

    return Networks(*_in_order(load_coarse, load_fine), runtime, steps)


def _load_first(models: Path, manifest: Manifest, candidates: Sequence[Runtime]) -> tuple[Network, Runtime]:
    """The coarse network in the first of the runtimes that takes both stages' variants and loads this one."""
    why = ""
    for candidate in candidates:
        runtime = replace(candidate, why=why or candidate.why)
        try:
            with step("load coarse"):
                network = load_network(models, manifest.coarse, runtime, _COARSE_SHARE)
                chosen = [choose_for(stage, runtime).precision for stage in (manifest.coarse, manifest.fine)]
            return network, replace(runtime, computes=tuple(chosen))
        except NetworkError as error:
            if candidate is candidates[-1]:
                raise
            why = f"{why}; {error}" if why else str(error)
    raise AssertionError("there is always a candidate")


def _module_of_plans(manifest: Manifest) -> str | None:
    """The Python module that runs the manifest's plans, if both stages have one."""
    modules = [
        [v.plan.runtime for v in stage.variants if v.plan is not None] for stage in (manifest.coarse, manifest.fine)
    ]
    return modules[1][0] if all(modules) else None


def _in_order(*loads: Callable[[], Network]) -> tuple[LoadingNetwork, LoadingNetwork]:
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="networks")
    coarse, fine = (LoadingNetwork(pool.submit(load)) for load in loads)
    pool.shutdown(wait=False)
    return coarse, fine


def _cpu_backend(backend: Backend) -> BackendName:
    if backend == "auto":
        candidates: tuple[BackendName, ...] = ("openvino", "onnxruntime")
        for candidate in candidates:
            if _installed(candidate):
                return candidate
        raise NetworkError(f"neither OpenVINO nor ONNX Runtime is installed; {_INSTALL['cpu']}")
    if not _installed(backend):
        raise NetworkError(f"{_NAMES[backend]} is not installed; {_INSTALL['cpu']}")
    return backend


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
