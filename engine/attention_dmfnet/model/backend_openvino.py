"""Networks on the CPU through OpenVINO."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attention_dmfnet.geometry import Index
from attention_dmfnet.marks import step
from attention_dmfnet.model.network import LoadError, RunError, Scores, Tile, check_contract

if TYPE_CHECKING:
    from attention_dmfnet.model.manifest import DeviceName, Precision, Stage, Variant
    from attention_dmfnet.model.runtimes import Runtime

# OpenVINO imports its model converter on its own account, which forks this process to send a note about its use over
# the network and writes to the home folder. The engine needs neither; where a module is None, Python skips it.
if "openvino" not in sys.modules:
    sys.modules["openvino.tools"] = None  # type: ignore[assignment]

import openvino

if sys.modules.get("openvino.tools", openvino) is None:
    # whoever else in this process wants the converter may have it
    del sys.modules["openvino.tools"]

try:
    # OpenVINO's own and promised to nobody; compiling does the same later where it is gone
    from openvino._offline_transformations import apply_moc_transformations
except ImportError:
    apply_moc_transformations = None

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16", "int8")
"""What can be computed, whether or not the CPU has instructions for it."""

_SHAPES_KEPT: Final = 3
"""Compiled networks; each takes 50 MB without its activations, compiling one 0.2 s."""

_FAILURES: Final = (RuntimeError, UnicodeDecodeError)
"""What OpenVINO raises; the second where the reason quotes bytes of a damaged file."""

# OpenVINO takes bfloat16 on its own account wherever the CPU has it, so the precision is always spelled out.
_HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "f32"}
_CAPABILITIES: dict[Precision, str] = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16", "int8": "INT8"}


def native_precisions() -> tuple[Precision, ...]:
    """What this CPU has instructions for; in place of the others it computes in float32."""
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(precision for precision in PRECISIONS if _CAPABILITIES[precision] in capabilities)


def precisions(device: DeviceName) -> tuple[tuple[Precision, ...], tuple[Precision, ...]]:
    """What it cannot, it would compute in float32 under the other name: what is possible is what is native."""
    return native_precisions(), native_precisions()


def load(model: bytes, variant: Variant, stage: Stage, runtime: Runtime, memory_mb: int) -> OpenVinoNetwork:
    """The network of ``variant``; see ``attention_dmfnet.model.loading.BackendModule``."""
    return OpenVinoNetwork(model, variant.file, stage, variant.precision, runtime.threads, runtime.cache)


@functools.cache
def _core() -> Any:
    # each one would load the CPU plugin again
    return openvino.Core()


class OpenVinoNetwork:
    """One compiled network; see ``attention_dmfnet.model.network.Network``."""

    def __init__(
        self, model: bytes, file: str, stage: Stage, precision: Precision, threads: int, cache: Path | None = None
    ) -> None:
        """Load ``model``, the content of ``file``; compile it if all tiles have one shape.

        In the folder ``cache`` compiled networks are kept for the next process. Raises ``LoadError`` if the model does
        not fit the stage, or the folder cannot be made.
        """
        self._file = file
        self._cache = cache
        if cache is not None:
            try:
                cache.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LoadError(f"cannot keep networks in {cache}: {error.strerror}; choose another --cache") from error
        self._settings = {
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
        self._request: Any = None
        self._compiled: dict[Index, Any] = {}
        self._current: Index | None = None
        try:
            self._model = _core().read_model(model)
        except _FAILURES as error:
            raise LoadError(self._refusal(error)) from error
        check_contract(file, stage, _shapes(self._model.inputs), _shapes(self._model.outputs))
        if stage.tile_multiple is None:
            try:
                self._compile(stage.tile_zyx)
            except _FAILURES as error:
                raise LoadError(self._refusal(error)) from error
            del self._model
        elif apply_moc_transformations is not None and cache is None:
            # Needs no shape, so it is done while the scan is read: with reading the model about half of getting ready.
            # What may be compiled already needs it not at all.
            apply_moc_transformations(self._model, cf=True)

    def prepare(self, tile_zyx: Index) -> None:
        """Compile for tiles of ``tile_zyx``, unless that was done for one of the last few shapes.

        An open shape takes more time and memory (docs/decisions/0007-make-a-cold-start-cheap.md).
        """
        try:
            if tile_zyx not in self._compiled:
                with step("compile"):
                    self._compile(tile_zyx)
            elif tile_zyx != self._current:
                self._let_go()
                self._use(tile_zyx, self._compiled.pop(tile_zyx))
        except _FAILURES as error:
            raise RunError(self._refusal(error)) from error

    def __call__(self, tile: Tile) -> Scores:
        try:
            self._request.infer({self._input: tile[None, None]}, share_inputs=True)
        except _FAILURES as error:
            raise RunError(f"OpenVINO failed: {_last_line(error)}") from error
        scores: Scores = self._request.get_tensor(self._output).data[0]
        return scores

    def _compile(self, tile_zyx: Index) -> None:
        # first: the activations of two at a time would be twice the memory
        self._let_go()
        if len(self._compiled) == _SHAPES_KEPT:
            del self._compiled[next(iter(self._compiled))]
        self._model.reshape([1, 1, *tile_zyx])
        with _alone_in(self._cache):
            compiled = _core().compile_model(self._model, "CPU", self._settings)
        self._use(tile_zyx, compiled)

    def _use(self, tile_zyx: Index, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        # at the end: what was used longest ago comes first
        self._compiled[tile_zyx] = compiled
        self._current = tile_zyx

    def _let_go(self) -> None:
        """Give back the memory for activations of the network that is in use; its weights stay."""
        if self._current is not None:
            self._request = None
            self._compiled[self._current].release_memory()
            self._current = None

    def _refusal(self, error: Exception) -> str:
        return f"OpenVINO cannot load {self._file}: {_last_line(error)}"


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
