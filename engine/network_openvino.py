"""Networks on the CPU through OpenVINO."""

import functools
import sys
from typing import Any

from engine.manifest import Precision, Stage
from engine.network import NetworkError, Scores, Tile, check_contract

# OpenVINO imports its model converter on its own account, which forks this process to send a note about its use over
# the network and writes to the home folder. The engine needs neither; where a module is None, Python skips it.
sys.modules.setdefault("openvino.tools", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16", "int8")
"""What can be computed, whether or not the CPU has instructions for it."""

# OpenVINO takes bfloat16 on its own account wherever the CPU has it, so the precision is always spelled out.
_HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "f32"}
_CAPABILITIES: dict[Precision, str] = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16", "int8": "INT8"}


def native_precisions() -> tuple[Precision, ...]:
    """What this CPU has instructions for; in place of the others it computes in float32."""
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(precision for precision in PRECISIONS if _CAPABILITIES[precision] in capabilities)


@functools.cache
def _core() -> Any:
    # each one would load the CPU plugin again
    return openvino.Core()


class OpenVinoNetwork:
    """One compiled network; see ``engine.network.Network``."""

    def __init__(self, model: bytes, file: str, stage: Stage, precision: Precision, threads: int) -> None:
        """Compile ``model``, the content of ``file``. Raises ``NetworkError`` if it does not fit the stage."""
        core = _core()
        try:
            network = core.read_model(model)
            compiled = core.compile_model(
                network,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": _hint(precision),
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": 1,
                    # pinned threads of two processes on one machine would share the same few cores
                    "ENABLE_CPU_PINNING": False,
                },
            )
        except RuntimeError as error:
            raise NetworkError(f"OpenVINO cannot load {file}: {str(error).strip().splitlines()[-1]}") from error
        check_contract(file, stage, _shapes(compiled.inputs), _shapes(compiled.outputs))
        self._request = compiled.create_infer_request()
        self._input: str = stage.input.name
        self._output: str = stage.output.name

    def __call__(self, tile: Tile) -> Scores:
        self._request.infer({self._input: tile[None, None]}, share_inputs=True)
        scores: Scores = self._request.get_tensor(self._output).data[0]
        return scores


def _shapes(ports: Any) -> dict[str, list[object]]:
    return {
        name: [side.get_length() if side.is_static else None for side in port.partial_shape]
        for port in ports
        for name in port.names
    }


def _hint(precision: Precision) -> str:
    # left to itself OpenVINO computes in bfloat16 where it is asked for float16 and the CPU has only the former
    return _HINTS[precision] if precision in native_precisions() else _HINTS["float32"]
