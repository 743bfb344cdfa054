"""Networks on the CPU through OpenVINO."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

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
    return OpenVinoNetwork(model, variant.file, stage, variant.precision, runtime.threads)


@functools.cache
def _core() -> Any:
    # each one would load the CPU plugin again
    return openvino.Core()


class OpenVinoNetwork:
    """One compiled network; see ``attention_dmfnet.model.network.Network``."""

    def __init__(self, model: bytes, file: str, stage: Stage, precision: Precision, threads: int) -> None:
        """Load ``model``, the content of ``file``; compile it if all tiles have one shape.

        Raises ``LoadError`` if it does not fit the stage.
        """
        self._file = file
        self._settings = {
            "INFERENCE_PRECISION_HINT": _hint(precision),
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # pinned threads of two processes on one machine would share the same few cores
            "ENABLE_CPU_PINNING": False,
        }
        self._input: str = stage.input.name
        self._output: str = stage.output.name
        self._tile_zyx: Index | None = None
        self._request: Any = None
        try:
            self._model = _core().read_model(model)
        except RuntimeError as error:
            raise LoadError(self._refusal(error)) from error
        check_contract(file, stage, _shapes(self._model.inputs), _shapes(self._model.outputs))
        if stage.tile_multiple is None:
            try:
                self._compile(stage.tile_zyx)
            except RuntimeError as error:
                raise LoadError(self._refusal(error)) from error
            del self._model
        elif apply_moc_transformations is not None:
            # Needs no shape, so it is done while the scan is read: with reading the model about half of getting ready.
            apply_moc_transformations(self._model, cf=True)

    def prepare(self, tile_zyx: Index) -> None:
        """Compile for tiles of ``tile_zyx``.

        An open shape takes more time and memory (docs/decisions/0007-make-a-cold-start-cheap.md).
        """
        if tile_zyx == self._tile_zyx:
            return
        try:
            with step("compile"):
                self._compile(tile_zyx)
        except RuntimeError as error:
            raise RunError(self._refusal(error)) from error

    def __call__(self, tile: Tile) -> Scores:
        try:
            self._request.infer({self._input: tile[None, None]}, share_inputs=True)
        except RuntimeError as error:
            raise RunError(f"OpenVINO failed: {_last_line(error)}") from error
        scores: Scores = self._request.get_tensor(self._output).data[0]
        return scores

    def _compile(self, tile_zyx: Index) -> None:
        # the one before goes first: two at a time would be twice the memory
        self._request = None
        self._tile_zyx = None
        self._model.reshape([1, 1, *tile_zyx])
        self._request = _core().compile_model(self._model, "CPU", self._settings).create_infer_request()
        self._tile_zyx = tile_zyx

    def _refusal(self, error: RuntimeError) -> str:
        return f"OpenVINO cannot load {self._file}: {_last_line(error)}"


def _last_line(error: RuntimeError) -> str:
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
