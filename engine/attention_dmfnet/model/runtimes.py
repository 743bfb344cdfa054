"""The runtimes that compute networks: their names, what installs them, and which of them may serve on this machine."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from attention_dmfnet.cpus import available_cpus
from attention_dmfnet.model.manifest import BackendName, DeviceName, Precision
from attention_dmfnet.model.network import LoadError

Device = Literal["auto", DeviceName]
Backend = Literal["auto", BackendName]

GPU_MEMORY_MB = 2048
"""What FLARE22 lets a method use on the GPU before it counts."""

NAMES: Final = {
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT-RTX",
}
"""What people call each Python module that computes networks."""

INSTALL: Final = {
    **{extra: f'pip install "attention-dmfnet[{extra}]"' for extra in ("cpu", "cuda", "tensorrt")},
    "tensorrt_rtx": "pip install tensorrt-rtx-cu13",
}
"""The command for each extra of this distribution; TensorRT-RTX, which tests build plans with, is none of its own."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A backend on a device, and why this one where it was not asked for.

    ``precision`` is the one that was asked for (None: the fastest that passed), ``computes`` what both networks are
    computed in once that is known, from ``files``. ``gpu_memory_mb`` counts CUDA's own memory too. ``cache`` is a
    folder for what OpenVINO has compiled.
    """

    backend: BackendName
    device: DeviceName
    threads: int
    why: str = ""
    precision: Precision | None = None
    gpu_memory_mb: int = GPU_MEMORY_MB
    computes: tuple[Precision, ...] = ()
    files: tuple[str, ...] = ()
    cache: Path | None = None

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
