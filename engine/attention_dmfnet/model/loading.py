"""Which runtime computes on which device, and the two networks loaded into it while other work goes on."""

import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from attention_dmfnet.cpus import available_cpus
from attention_dmfnet.geometry import Index
from attention_dmfnet.marks import Step, recording, step
from attention_dmfnet.model.manifest import BackendName, DeviceName, Manifest, Precision, Stage, Variant
from attention_dmfnet.model.network import LoadError, Network, NetworkError, Scores, Tile, read_model_file
from attention_dmfnet.model.runtimes import INSTALL, NAMES
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


def default_models() -> Path:
    """The folder of models that came with this code: in an installed package its own, in a clone the one at its top."""
    package = Path(__file__).resolve().parents[1]
    return package / "models" if (package / "models").is_dir() else package.parents[1] / "models"


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
        return f"{NAMES[self.backend]} on {place}{precisions}" + (f" ({self.why})" if self.why else "")


def runtimes_to_try(
    device: Device, backend: Backend, plans: str | None = None, gpu_present: bool | None = None
) -> list[Runtime]:
    """The runtimes that may serve, best first: more than one where the choice is left open and a GPU is involved.

    ``plans`` is the module that the manifest's TensorRT plans need, if there are any. ``gpu_present`` is looked up if
    None. Raises ``LoadError`` if what was asked for is not installed or not possible.
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
            advice = INSTALL["cuda"] if device == "cuda" else "use another --backend"
            raise LoadError(f"{why or 'ONNX Runtime is not installed'}; {advice}")
        return on_gpu
    # a broken installation for the CPU does not matter while the GPU may serve
    if on_gpu and not any(map(_installed, ("openvino", "onnxruntime"))):
        return on_gpu
    return [*on_gpu, Runtime(_cpu_backend(backend), "cpu", threads, why)]


def _refuse_impossible(device: Device, backend: Backend, plans: str | None) -> None:
    for what, asked, known in (("device", device, get_args(Device)), ("backend", backend, get_args(Backend))):
        if asked not in known:
            raise LoadError(f"there is no {what} {asked!r}; take one of {', '.join(known)}")
    if device == "cuda" and backend == "openvino":
        raise LoadError("OpenVINO computes on the CPU here; use --backend onnxruntime with --device cuda")
    if backend == "tensorrt" and device == "cpu":
        raise LoadError("TensorRT computes on the GPU; use another --backend with --device cpu")
    if backend == "tensorrt" and plans is None:
        raise LoadError("there are no TensorRT plans among these models; make them with `python -m export tensorrt`")


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
    """The variant of a stage that ``runtime`` would use on this machine. Raises ``LoadError``."""
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
    """Load a stage's network into ``runtime``, within ``gpu_share`` of its GPU memory. Raises ``LoadError``."""
    with step("import"):
        variant = choose_for(stage, runtime)
    with step("read"):
        model = read_model_file(models, variant)
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
    """A network that may still be loading: its first use waits for it, and raises what its loading raised."""

    def __init__(self, network: Future[Network]) -> None:
        self._network = network

    def prepare(self, tile_zyx: Index) -> None:
        """Get ready for tiles of ``tile_zyx``."""
        self._network.result().prepare(tile_zyx)

    def __call__(self, tile: Tile) -> Scores:
        network = self._network.result()
        with step("network"):
            return network(tile)

    def wait(self) -> None:
        """Return when the network is loaded. Raises ``LoadError`` if it cannot be."""
        self._network.result()


@dataclass(frozen=True, slots=True)
class Networks:
    """Both stages' networks, loading; ``runtime`` and ``steps`` are complete when ``fine`` is.

    ``next_best`` starts to load them into the runtime that is next to try where the choice was left open, if there is
    one; it takes the reason for that.
    """

    coarse: LoadingNetwork
    fine: LoadingNetwork
    runtime: Future[Runtime]
    steps: list[Step]
    next_best: Callable[[str], "Networks | None"]


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
    runtime, which says why. Raises ``LoadError`` at once if no runtime fits; other errors come from the networks.
    """
    if gpu_memory_mb < _SMALLEST_GPU_MEMORY_MB:
        raise LoadError(
            f"{gpu_memory_mb} MB of GPU memory are too few, CUDA itself takes about {_CUDA_CONTEXT_MB}; "
            f"give --gpu-memory-mb {_SMALLEST_GPU_MEMORY_MB} or more"
        )
    candidates = [
        replace(candidate, precision=precision, gpu_memory_mb=gpu_memory_mb)
        for candidate in runtimes_to_try(device, backend, _module_of_plans(manifest))
    ]
    return _start_loading(models, manifest, candidates)


def _start_loading(models: Path, manifest: Manifest, candidates: Sequence[Runtime]) -> Networks:
    steps: list[Step] = []
    runtime: Future[Runtime] = Future()
    left = list(candidates)

    def load_coarse() -> Network:
        with recording() as marks:
            try:
                network, chosen = _load_first(models, manifest, left)
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

    def next_best(why: str) -> Networks | None:
        others = [replace(candidate, why=why) for candidate in left]
        return _start_loading(models, manifest, others) if others else None

    return Networks(*_in_order(load_coarse, load_fine), runtime, steps, next_best)


def _load_first(models: Path, manifest: Manifest, left: list[Runtime]) -> tuple[Network, Runtime]:
    """The coarse network in the first of the runtimes that takes both stages' variants, loads and computes this one.

    Those that were tried are taken out of ``left``.
    """
    why = ""
    while True:
        candidate = left.pop(0)
        runtime = replace(candidate, why=why or candidate.why)
        try:
            with step("load coarse"):
                network = load_network(models, manifest.coarse, runtime, _COARSE_SHARE)
                chosen = [choose_for(stage, runtime).precision for stage in (manifest.coarse, manifest.fine)]
                if runtime.device == "cuda":
                    # a GPU may load what it cannot compute; the first tile takes long anyhow, and here nobody waits
                    network.prepare(manifest.coarse.tile_zyx)
                    network(np.zeros(manifest.coarse.tile_zyx, np.float32))
            return network, replace(runtime, computes=tuple(chosen))
        except NetworkError as error:
            if not left:
                raise
            why = f"{why}; {error}" if why else str(error)


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
        raise LoadError(f"neither OpenVINO nor ONNX Runtime is installed; {INSTALL['cpu']}")
    if not _installed(backend):
        raise LoadError(f"{NAMES[backend]} is not installed; {INSTALL['cpu']}")
    return backend


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
