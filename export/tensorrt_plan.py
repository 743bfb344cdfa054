"""An ONNX model as a TensorRT plan.

Written against what TensorRT 11 and TensorRT-RTX have in common, with the module passed in: TensorRT-RTX builds
without a GPU, so that every network is parsed and built by the tests. A plan of the one is no plan of the other.
Both are strongly typed: the precision is what the ONNX model says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attention_dmfnet.model.cuda_driver import Cuda
from attention_dmfnet.model.manifest import Plan, Stage
from attention_dmfnet.model.network import NetworkError, check_contract

from export.errors import ExportError

if TYPE_CHECKING:
    from attention_dmfnet.geometry import Index

Compatibility = Literal["none", "same_compute_capability", "ampere_plus"]
_MB = 1 << 20
_RTX = "tensorrt_rtx"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build: ``workspace_mb`` bounds the scratch memory of any layer.

    ``timing_cache`` is a file, made by one build, that speeds up the next. With another ``compatibility`` than "none"
    the plan also runs on other GPUs, somewhat slower.
    """

    workspace_mb: int = 512
    compatibility: Compatibility = "none"
    timing_cache: Path | None = None


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan, what it is tied to, and one line on each of its layers."""

    content: bytes
    origin: Plan
    layers: tuple[str, ...]


def build_plan(model: bytes, file: str, sha256: str, stage: Stage, tensorrt: Any, options: BuildOptions) -> BuiltPlan:
    """Build ``model``, the content of ``file``, which holds the network of ``stage``.

    ``tensorrt`` is the module: ``tensorrt`` (which builds for the GPU of this machine) or ``tensorrt_rtx``. Raises
    ``ExportError`` with TensorRT's own words if it refuses the model, or if that does not fit the stage.
    """
    place = _place_of_build(tensorrt, options.compatibility)
    log = _make_log(tensorrt)
    builder = tensorrt.Builder(log)
    network = _parse(model, file, builder, tensorrt, log)
    _check_tensors(network, file, stage, tensorrt)
    # sides that the model leaves open are closed: all sizes are then known, and reported
    network.get_input(0).shape = (1, 1, *stage.tile_zyx)
    config = _configure(builder, network, tensorrt, stage.tile_zyx, options)
    content = builder.build_serialized_network(network, config)
    if content is None:
        raise ExportError(f"TensorRT does not build {file}: {log.complaint()}")
    _store_timing_cache(config, tensorrt, options.timing_cache)
    layers = tuple(_describe_layers(network))
    origin = Plan(tensorrt.__name__, tensorrt.__version__, *place, onnx_sha256=sha256)
    return BuiltPlan(bytes(content), origin, layers)


def _place_of_build(tensorrt: Any, compatibility: Compatibility) -> tuple[str, str, Compatibility]:
    """GPU, compute capability and compatibility for the plan's origin."""
    if tensorrt.__name__ == _RTX:
        # it compiles for the GPU only when the plan is loaded, and needs none to build
        return "any GPU from Ampere on", "8.0", "ampere_plus"
    try:
        # a look before TensorRT is touched: without a GPU it does not raise, it crashes
        cuda = Cuda()
    except NetworkError as error:
        raise ExportError(
            f"TensorRT builds plans on the GPU they are for, and there is none here: {error.args[0]}; "
            "TensorRT-RTX (--runtime tensorrt_rtx) builds without one"
        ) from error
    major, minor = cuda.compute_capability
    return cuda.name, f"{major}.{minor}", compatibility


def _make_log(tensorrt: Any) -> Any:
    """A logger that keeps what TensorRT complains about: its functions return None and say nothing."""

    class Log(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity == tensorrt.ILogger.Severity.ERROR:
                self.errors.append(message)

        def complaint(self) -> str:
            return self.errors[-1] if self.errors else "it gives no reason"

    return Log()


def _parse(model: bytes, file: str, builder: Any, tensorrt: Any, log: Any) -> Any:
    flags = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = tensorrt.OnnxParser(network, log)
    if not parser.parse(model):
        reasons = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
        raise ExportError(f"TensorRT cannot read {file}: {'; '.join(reasons) or log.complaint()}")
    return network


def _parser_error(error: Any) -> str:
    node = f"{error.node_name()} ({error.node_operator()}): " if error.node_name() else ""
    return f"{node}{' '.join(error.desc().split())}"


def _check_tensors(network: Any, file: str, stage: Stage, tensorrt: Any) -> None:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    for tensor in (*inputs, *outputs):
        if tensor.dtype != tensorrt.float32:
            raise ExportError(f"{file}: {tensor.name!r} is {tensor.dtype}, the engine hands in and expects float32")
    in_shapes, out_shapes = ({tensor.name: list(tensor.shape) for tensor in tensors} for tensors in (inputs, outputs))
    try:
        check_contract(file, stage, in_shapes, out_shapes)
    except NetworkError as error:
        raise ExportError(str(error)) from error


def _configure(builder: Any, network: Any, tensorrt: Any, tile_zyx: Index, options: BuildOptions) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, options.workspace_mb * _MB)
    if tensorrt.__name__ != _RTX:
        if options.compatibility != "none":
            level = tensorrt.HardwareCompatibilityLevel
            config.hardware_compatibility_level = getattr(level, options.compatibility.upper())
        if options.timing_cache is not None:
            stored = options.timing_cache.read_bytes() if options.timing_cache.exists() else b""
            config.set_timing_cache(config.create_timing_cache(stored), False)
    # The shapes are fixed: one profile whose least, usual and largest shape agree. TensorRT then plans all memory.
    profile = builder.create_optimization_profile()
    shape = (1, 1, *tile_zyx)
    profile.set_shape(network.get_input(0).name, shape, shape, shape)
    if config.add_optimization_profile(profile) < 0:
        raise ExportError(f"TensorRT refuses tiles of {tile_zyx}: the model is for {network.get_input(0).shape}")
    return config


def _store_timing_cache(config: Any, tensorrt: Any, path: Path | None) -> None:
    # TensorRT-RTX has none
    if path is not None and tensorrt.__name__ != _RTX:
        path.write_bytes(bytes(config.get_timing_cache().serialize()))


def _describe_layers(network: Any) -> Iterator[str]:
    """Number, type, output and its size in MiB of each layer, as parsed: TensorRT fuses many of them."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for number in range(layer.num_outputs):
            tensor = layer.get_output(number)
            shape = tuple(tensor.shape)
            count = 1
            for side in shape:
                count *= side
            kind, dtype = str(layer.type).rpartition(".")[2], str(tensor.dtype).rpartition(".")[2]
            yield f"{index:4d}  {kind:16s} {dtype:6s} {shape!s:28s} {count * tensor.dtype.itemsize / _MB:8.2f} MiB"
