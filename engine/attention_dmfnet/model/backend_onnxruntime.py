"""Networks through ONNX Runtime, on the CPU or an NVIDIA GPU."""

from __future__ import annotations

import functools
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from attention_dmfnet.model.cuda_driver import Cuda
from attention_dmfnet.model.external_data import read_model
from attention_dmfnet.model.network import MOST_TILE_VOXELS, LoadError, RunError, Scores, Tile, check_contract
from attention_dmfnet.model.runtimes import INSTALL

if TYPE_CHECKING:
    from attention_dmfnet.model.manifest import DeviceName, Precision, Stage, Variant
    from attention_dmfnet.model.runtimes import Runtime

PRECISIONS: tuple[Precision, ...] = ("float32", "float16")

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_FATAL_ONLY = 4
# what CUDA 13 asks for: a build for CUDA 12 runs on older ones
_CUDA_13 = 13
_DRIVER_OF_CUDA_13, _TURING = 580, (7, 5)
_MB = 1 << 20


def native_precisions(device: DeviceName) -> tuple[Precision, ...]:
    """What ``device`` is fast in: on the CPU, half precision is converted to single for every operator."""
    return PRECISIONS if device == "cuda" else ("float32",)


def precisions(device: DeviceName) -> tuple[tuple[Precision, ...], tuple[Precision, ...]]:
    """What can be computed on ``device``, and in which of these it is fast."""
    return PRECISIONS, native_precisions(device)


read = read_model
"""See ``attention_dmfnet.model.loading.BackendModule``: the files as they are."""


def load(model: bytes, variant: Variant, stage: Stage, runtime: Runtime, memory_mb: int) -> OnnxRuntimeNetwork:
    """The network of ``variant``; see ``attention_dmfnet.model.loading.BackendModule``."""
    return OnnxRuntimeNetwork(model, variant.file, stage, runtime.device, runtime.threads, memory_mb)


class OnnxRuntimeNetwork:
    """One session with the memory of its input and output; see ``attention_dmfnet.model.network.Network``."""

    def __init__(
        self,
        model: bytes,
        file: str,
        stage: Stage,
        device: DeviceName,
        threads: int,
        memory_limit_mb: int = 1024,
    ) -> None:
        """Load ``model``, the content of ``file``; on the GPU it allocates at most ``memory_limit_mb``.

        Raises ``LoadError`` if it does not fit the stage, or would run on another device than ``device``.
        """
        largest = (
            stage.tile_zyx if stage.tile_multiple is None else (1, 1, max(MOST_TILE_VOXELS, math.prod(stage.tile_zyx)))
        )
        # input and output lie on the GPU outside of the arena
        tensors_mb = -(-4 * (1 + stage.output.classes) * math.prod(largest) // _MB)
        session = _start(model, file, device, _options(device, threads), max(1, memory_limit_mb - tensors_mb))
        check_contract(file, stage, _shapes(session.get_inputs()), _shapes(session.get_outputs()))
        self._session = session
        self._stage = stage
        self._device = device
        self._on_gpu = device == "cuda"
        self._run_options = onnxruntime.RunOptions()
        if self._on_gpu:
            # after each tile what it took goes back: otherwise the arena keeps the blocks of every shape of a folder
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "gpu:0")
        self._tile_zyx: tuple[int, ...] | None = None
        try:
            self._allocate(stage.tile_zyx)
        except RunError as error:
            raise LoadError(str(error)) from error

    def _allocate(self, tile_zyx: tuple[int, ...]) -> None:
        """Allocate input and output for tiles of ``tile_zyx``: they stay where they are for all of them."""
        if tile_zyx == self._tile_zyx:
            return
        self._tile_zyx = None
        output = self._stage.output
        in_shape, out_shape = (1, 1, *tile_zyx), (1, output.classes, *(side // output.stride for side in tile_zyx))
        self._output = np.zeros(out_shape, dtype=np.float32)
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        try:
            # on the GPU, or in this array itself on the CPU
            self._device_input = value(np.zeros(in_shape, np.float32), self._device, 0)
            self._device_output = value(self._output, self._device, 0)
            self._binding = self._session.io_binding()
            self._binding.bind_ortvalue_input(self._stage.input.name, self._device_input)
            self._binding.bind_ortvalue_output(self._stage.output.name, self._device_output)
        except Exception as error:  # its exceptions share no base class but this
            raise self._failure(error) from error
        self._tile_zyx = tile_zyx

    def __call__(self, tile: Tile) -> Scores:
        self._allocate(tile.shape)
        try:
            self._device_input.update_inplace(np.ascontiguousarray(tile[None, None]))
            self._binding.synchronize_inputs()
            self._session.run_with_iobinding(self._binding, self._run_options)
            self._binding.synchronize_outputs()
            scores: Scores = self._device_output.numpy()[0] if self._on_gpu else self._output[0]
        except Exception as error:
            raise self._failure(error) from error
        return scores

    def _failure(self, error: Exception) -> RunError:
        hint = "; raise --gpu-memory-mb" if self._on_gpu and "memory" in str(error).lower() else ""
        return RunError(f"ONNX Runtime failed: {_first_line(error)}{hint}")


def _options(device: DeviceName, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    # without the arena a tile's memory goes back after the tile: a whole case peaks at half the memory
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # threads that wait between tiles must not spin: the CPU time of a case is scored
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device == "cuda":
        # loading fails, instead of a network whose operators run on the CPU without a word
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _start(model: bytes, file: str, device: DeviceName, options: Any, arena_mb: int) -> Any:
    provider = _PROVIDERS[device]
    settings: dict[str, str] = {}
    if device == "cuda":
        _find_cuda()
        # a line for each convolution otherwise, from a logger that is no session's
        onnxruntime.set_default_logger_severity(_FATAL_ONLY)
        settings = _cuda_settings(arena_mb)
    try:
        # enable_fallback: the Python layer would try again on the CPU by itself, also later when a tile fails
        session = onnxruntime.InferenceSession(model, options, providers=[(provider, settings)], enable_fallback=0)
    except Exception as error:  # its exceptions share no base class but this
        if device == "cuda" and "CPU EP" in str(error):
            raise LoadError(_not_on_gpu(file)) from error
        raise LoadError(f"ONNX Runtime cannot load {file}: {_first_line(error)}") from error
    if provider not in session.get_providers():
        raise LoadError(_not_on_gpu(file))
    return session


def _cuda_settings(arena_mb: int) -> dict[str, str]:
    return {
        # CUDA's own memory comes on top
        "gpu_mem_limit": str(arena_mb * _MB),
        # the arena takes what a tile needs, not the next power of two
        "arena_extend_strategy": "kSameAsRequested",
        # large workspaces buy little speed, and device memory is scored
        "cudnn_conv_use_max_workspace": "0",
        # cuDNN's own heuristics find no plan for grouped 3-D convolutions in float16, and take longer in float32;
        # trying out every algorithm takes longer than computing a case (docs/gpu.md)
        "cudnn_conv_algo_search": "DEFAULT",
        # on by default: ten bits of the mantissa under the name of float32, which no parity test has seen
        "use_tf32": "0",
    }


def _not_on_gpu(file: str) -> str:
    return (
        f"ONNX Runtime would run {file} on the CPU instead of the GPU: CUDA did not start, or an operator has no CUDA "
        "form; check the driver, or use --device cpu"
    )


@functools.cache
def _find_cuda() -> None:
    if _PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        raise LoadError(
            f"this ONNX Runtime was built without CUDA; in an environment of its own, `{INSTALL['cuda']}`, "
            "or use --device cpu"
        )
    _check_gpu()
    # the CUDA libraries come as Python packages, where the loader does not look
    if hasattr(onnxruntime, "preload_dlls"):
        # it prints what it does not find to standard output, which is for lines of JSON: its own name `print` is less
        # than the stream that other threads write to
        preload: Any = onnxruntime.preload_dlls
        preload.__globals__["print"] = functools.partial(print, file=sys.stderr)
        preload()


def _check_gpu() -> None:
    """Refuse a driver or GPU that is too old for this build's CUDA: ONNX Runtime's own words for it name files in it.

    Raises ``LoadError``.
    """
    cuda = Cuda()
    needed = int((getattr(onnxruntime, "cuda_version", "") or "0").partition(".")[0])
    major, minor = cuda.cuda_version
    if major < needed:
        newer = f" to version {_DRIVER_OF_CUDA_13} or newer" if needed == _CUDA_13 else ""
        raise LoadError(
            f"the NVIDIA driver knows CUDA {major}.{minor}, and this ONNX Runtime needs CUDA {needed}; "
            f"update the driver{newer}, or use --device cpu"
        )
    if needed >= _CUDA_13 and cuda.compute_capability < _TURING:
        here, turing = (".".join(map(str, capability)) for capability in (cuda.compute_capability, _TURING))
        raise LoadError(
            f"{cuda.name} has compute capability {here}, and CUDA {needed} needs {turing} (Turing) or newer; "
            "use --device cpu"
        )


def _shapes(tensors: Any) -> dict[str, list[object]]:
    return {tensor.name: list(tensor.shape) for tensor in tensors}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
