"""Networks through ONNX Runtime, on the CPU or an NVIDIA GPU."""

from typing import Any, Literal

import onnxruntime

from engine.manifest import Precision, Stage
from engine.network import NetworkError, Scores, Tile, check_contract

PRECISIONS: tuple[Precision, ...] = ("float32",)

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_FATAL_ONLY = 4
_CUDA_OPTIONS = {
    # the arena takes what a tile needs, not the next power of two
    "arena_extend_strategy": "kSameAsRequested",
    # large workspaces buy little speed, and device memory is scored
    "cudnn_conv_use_max_workspace": "0",
    # trying out every algorithm takes longer than computing a case
    "cudnn_conv_algo_search": "HEURISTIC",
}


class OnnxRuntimeNetwork:
    """One session; see ``engine.network.Network``."""

    def __init__(self, model: bytes, file: str, stage: Stage, device: Literal["cpu", "cuda"], threads: int) -> None:
        """Load ``model``, the content of ``file``.

        Raises ``NetworkError`` if it does not fit the stage, or would run on another device than ``device``.
        """
        if device == "cuda":
            _find_cuda()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        # without the arena a tile's memory goes back after the tile: a whole case peaks at half the memory
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        # threads that wait between tiles must not spin: the CPU time of a case is scored
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider = _PROVIDERS[device]
        providers: list[Any] = [(provider, _CUDA_OPTIONS), _PROVIDERS["cpu"]] if device == "cuda" else [provider]
        try:
            session = onnxruntime.InferenceSession(model, options, providers=providers)
        except Exception as error:  # its exceptions share no base class but this
            raise NetworkError(f"ONNX Runtime cannot load {file}: {_first_line(error)}") from error
        # it takes the CPU without a word when CUDA does not start
        if provider not in session.get_providers():
            raise NetworkError(
                f"ONNX Runtime runs {file} on {', '.join(session.get_providers())} instead of {provider}: "
                "CUDA did not start; check the driver, or use --device cpu"
            )
        check_contract(file, stage, _shapes(session.get_inputs()), _shapes(session.get_outputs()))
        self._session = session
        self._input = stage.input.name
        self._output = stage.output.name

    def __call__(self, tile: Tile) -> Scores:
        scores: Scores = self._session.run([self._output], {self._input: tile[None, None]})[0][0]
        return scores


def _find_cuda() -> None:
    if _PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        raise NetworkError(
            "this ONNX Runtime was built without CUDA; in an environment of its own, "
            '`pip install "attention-dmfnet[cuda]"`, or use --device cpu'
        )
    # the CUDA libraries come as Python packages, where the loader does not look
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()


def _shapes(tensors: Any) -> dict[str, list[object]]:
    return {tensor.name: list(tensor.shape) for tensor in tensors}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
