"""Networks on the CPU through OpenVINO."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from attention_dmfnet.model.external_data import read_model
from attention_dmfnet.model.network import Content, LoadError, RunError, Scores, Tile, check_contract
from attention_dmfnet.model.openvino_core import core, half
from attention_dmfnet.model.openvino_graphs import graph_and_weights, kept_graph

if TYPE_CHECKING:
    from attention_dmfnet.model.manifest import DeviceName, Precision, Stage, Variant
    from attention_dmfnet.model.runtimes import Runtime

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
"""What can be computed, whether or not the CPU has instructions for it."""

_FAILURES: Final = (RuntimeError, UnicodeDecodeError)
"""What OpenVINO raises; the second where the reason quotes bytes of a damaged file."""

# OpenVINO takes bfloat16 on its own account wherever the CPU has it, so the precision is always spelled out.
_HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_CAPABILITIES: dict[Precision, str] = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}


def native_precisions() -> tuple[Precision, ...]:
    """What this CPU has instructions for; in place of the others it computes in float32."""
    capabilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(precision for precision in PRECISIONS if _CAPABILITIES[precision] in capabilities)


def precisions(device: DeviceName) -> tuple[tuple[Precision, ...], tuple[Precision, ...]]:
    """What it cannot, it would compute in float32 under the other name: what is possible is what is native."""
    return native_precisions(), native_precisions()


def read(models: Path, stage: Stage, variant: Variant) -> Content:
    """The form that is kept of ``variant`` (``openvino_graphs``), or else its ONNX model."""
    kept = kept_graph(models, stage, variant)
    return read_model(models, stage, variant) if kept is None else kept


def load(model: Content, variant: Variant, stage: Stage, runtime: Runtime, memory_mb: int) -> OpenVinoNetwork:
    """The network of ``variant``; see ``attention_dmfnet.model.loading.BackendModule``."""
    return OpenVinoNetwork(model, variant.file, stage, variant.precision, runtime.threads, runtime.cache)


class OpenVinoNetwork:
    """One compiled network; see ``attention_dmfnet.model.network.Network``.

    Where tiles are fitted it is compiled once, with its sides open: before any scan is read, and for all of them
    (docs/decisions/0011-one-network-for-all-tiles.md).
    """

    def __init__(
        self, model: Content, file: str, stage: Stage, precision: Precision, threads: int, cache: Path | None = None
    ) -> None:
        """Load and compile ``model``, the content of ``file`` or its kept form (``openvino_graphs``).

        In the folder ``cache`` compiled networks are kept for the next process. Raises ``LoadError`` if the model does
        not fit the stage, or the folder cannot be made.
        """
        if cache is not None:
            try:
                cache.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LoadError(f"cannot keep networks in {cache}: {error.strerror}; choose another --cache") from error
        settings = {
            "INFERENCE_PRECISION_HINT": _hint(precision),
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # pinned threads of two processes on one machine would share the same few cores
            "ENABLE_CPU_PINNING": False,
            # named by the network's content, the settings, OpenVINO's version and the kind of CPU
            **({} if cache is None else {"CACHE_DIR": str(cache)}),
        }
        self._input: str = stage.input.name
        self._output: str = stage.output.name
        try:
            if isinstance(model, bytes):
                read = core().read_model(model)
            else:
                graph, weights = graph_and_weights(model)
                # The weights are not copied, and OpenVINO does not hold the array that it reads them from.
                self._weights = weights
                read = core().read_model(graph, half.Tensor(weights, shared_memory=True))
            check_contract(file, stage, _shapes(read.inputs), _shapes(read.outputs))
            with _alone_in(cache):
                compiled = core().compile_model(read, "CPU", settings)
            self._request = compiled.create_infer_request()
        except _FAILURES as error:
            raise LoadError(f"OpenVINO cannot load {file}: {_last_line(error)}") from error

    def __call__(self, tile: Tile) -> Scores:
        # not copied: held until the next one comes
        self._tile = np.ascontiguousarray(tile[None, None])
        try:
            self._request.set_tensor(self._input, half.Tensor(self._tile, shared_memory=True))
            self._request.infer({}, share_outputs=True, decode_strings=False)
        except _FAILURES as error:
            raise RunError(f"OpenVINO failed: {_last_line(error)}") from error
        scores: Scores = self._request.get_tensor(self._output).data[0]
        return scores


@contextlib.contextmanager
def _alone_in(cache: Path | None) -> Iterator[None]:
    """So long no other process reads or writes compiled networks there: OpenVINO itself does not wait."""
    if cache is None:
        yield
        return
    folder = os.open(cache, os.O_RDONLY)
    try:
        # a disk that knows no locks is one that is not shared
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _last_line(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it gave a reason that is no text; is the file damaged?"
    return (str(error).strip().splitlines() or ["no reason given"])[-1]


def _shapes(ports: Any) -> dict[str, list[object]]:
    return {
        name: [side.get_length() if side.is_static else None for side in port.partial_shape]
        for port in ports
        for name in port.names
    }


def _hint(precision: Precision) -> str:
    # left to itself OpenVINO computes in bfloat16 where it is asked for float16 and the CPU has only the former
    return _HINTS[precision] if precision in native_precisions() else _HINTS["float32"]
