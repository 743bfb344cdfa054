"""Networks on an NVIDIA GPU through TensorRT plans, which `python -m export tensorrt` makes.

A plan runs in the version of TensorRT that made it and on the GPU it was made for. Both are checked here by name
before TensorRT is touched: without a GPU it does not fail, it crashes.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from attention_dmfnet.model.cuda_driver import Cuda, DeviceBuffer
from attention_dmfnet.model.external_data import read_model
from attention_dmfnet.model.network import LoadError, RunError, Scores, Tile, check_contract
from attention_dmfnet.model.runtimes import INSTALL, NAMES

if TYPE_CHECKING:
    from attention_dmfnet.model.manifest import DeviceName, Plan, Precision, Stage, Variant
    from attention_dmfnet.model.runtimes import Runtime

PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "bfloat16")

_AMPERE = (8, 0)
_MB = 1 << 20
_BUILD_AGAIN = "build it again with `python -m export tensorrt`"


def precisions(device: DeviceName) -> tuple[tuple[Precision, ...], tuple[Precision, ...]]:
    """A plan is computed as it was built: it would be no faster in another precision."""
    return PRECISIONS, PRECISIONS


read = read_model
"""See ``attention_dmfnet.model.loading.BackendModule``: the files as they are."""


def load(model: bytes, variant: Variant, stage: Stage, runtime: Runtime, memory_mb: int) -> TensorRtNetwork:
    """The network of ``variant``; see ``attention_dmfnet.model.loading.BackendModule``."""
    assert variant.plan is not None
    return TensorRtNetwork(model, variant.file, stage, variant.plan, memory_mb)


class TensorRtNetwork:
    """One plan with its buffers; see ``attention_dmfnet.model.network.Network``."""

    def __init__(
        self,
        plan: bytes,
        file: str,
        stage: Stage,
        origin: Plan,
        memory_limit_mb: int,
        tensorrt: Any = None,
        cuda: Cuda | None = None,
    ) -> None:
        """Load ``plan``, the content of ``file``, made as ``origin`` says.

        ``memory_limit_mb`` bounds what weights, activations, input and output take on the GPU together. ``tensorrt``
        and ``cuda`` stand in for the runtime and the driver in tests. Raises ``LoadError`` if the plan is not for
        this GPU or version, does not fit the stage, or needs more memory.
        """
        self._cuda = Cuda() if cuda is None else cuda
        _check_gpu(file, origin, self._cuda)
        self._runtime_module = _import(origin) if tensorrt is None else tensorrt
        _check_version(file, origin, self._runtime_module)
        in_shape, out_shape = (1, 1, *stage.tile_zyx), (1, stage.output.classes, *stage.scores_tile_zyx)
        in_bytes, out_bytes = 4 * int(np.prod(in_shape)), 4 * int(np.prod(out_shape))
        # twice: reading a plan uploads its weights, and only then TensorRT tells what its activations take
        _check_memory(file, len(plan) + in_bytes + out_bytes, None, memory_limit_mb)
        self._engine = self._deserialise(plan, file)
        _check_tensors(self._engine, self._runtime_module, file, stage)
        activations = int(self._engine.device_memory_size_v2)
        _check_memory(file, len(plan) + in_bytes + out_bytes + activations, activations, memory_limit_mb)
        # Everything is allocated here, once: a tile allocates nothing.
        self._input, self._output = self._cuda.pinned(in_shape), self._cuda.pinned(out_shape)
        self._device_input, self._device_output, self._activations = (
            DeviceBuffer(self._cuda, size) for size in (in_bytes, out_bytes, activations)
        )
        self._stream = self._cuda.stream()
        self._context = self._make_context(stage)

    def __call__(self, tile: Tile) -> Scores:
        try:
            self._cuda.use()
            self._input[0, 0] = tile
            self._cuda.copy_in(self._device_input, self._input, self._stream)
            if not self._context.execute_async_v3(self._stream):
                raise RunError("TensorRT did not start the computation; its log says why")
            self._cuda.copy_out(self._output, self._device_output, self._stream)
            self._cuda.wait(self._stream)
        except LoadError as error:  # the driver's
            raise RunError(str(error)) from error
        scores: Scores = self._output[0]
        return scores

    def _deserialise(self, plan: bytes, file: str) -> Any:
        module = self._runtime_module
        # TensorRT keeps neither its logger nor its runtime alive
        self._logger = module.Logger(module.Logger.ERROR)
        self._runtime = module.Runtime(self._logger)
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise LoadError(f"TensorRT cannot load {file}; {_BUILD_AGAIN}")
        return engine

    def _make_context(self, stage: Stage) -> Any:
        strategy = self._runtime_module.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise LoadError("TensorRT made no execution context: the GPU is out of memory")
        context.set_device_memory(self._activations.address, self._activations.size)
        context.set_tensor_address(stage.input.name, self._device_input.address)
        context.set_tensor_address(stage.output.name, self._device_output.address)
        return context


def _import(origin: Plan) -> ModuleType:
    try:
        return importlib.import_module(origin.runtime)
    except ImportError as error:
        name, how = NAMES[origin.runtime], INSTALL[origin.runtime]
        raise LoadError(f"{name} is not installed ({error}); {how}") from error


def _check_gpu(file: str, origin: Plan, cuda: Cuda) -> None:
    here = cuda.compute_capability
    made_for = tuple(map(int, origin.compute_capability.split(".")))
    fits = {
        "none": here == made_for and cuda.name == origin.gpu,
        "same_compute_capability": here == made_for,
        "ampere_plus": here >= _AMPERE,
    }[origin.compatibility]
    if not fits:
        raise LoadError(
            f"{file} was built for {origin.gpu} (compute capability {origin.compute_capability}), this GPU is "
            f"{cuda.name} ({here[0]}.{here[1]}); {_BUILD_AGAIN}"
        )


def _check_version(file: str, origin: Plan, module: Any) -> None:
    if module.__version__ != origin.version:
        name = NAMES[origin.runtime]
        raise LoadError(
            f"{file} was built by {name} {origin.version}, installed is {module.__version__}; {_BUILD_AGAIN}, "
            "or install that version"
        )


def _check_tensors(engine: Any, module: Any, file: str, stage: Stage) -> None:
    shapes: dict[bool, dict[str, list[object]]] = {True: {}, False: {}}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == module.TensorIOMode.INPUT
        shapes[is_input][name] = list(engine.get_tensor_shape(name))
        if engine.get_tensor_dtype(name) != module.float32:
            raise LoadError(f"{file}: {name!r} is not float32; {_BUILD_AGAIN}")
    check_contract(file, stage, shapes[True], shapes[False])


def _check_memory(file: str, needed_bytes: int, activations: int | None, limit_mb: int) -> None:
    needed_mb = -(-needed_bytes // _MB)
    if needed_mb > limit_mb:
        part = "without its activations" if activations is None else f"{activations // _MB} of them for activations"
        raise LoadError(
            f"{file} needs {needed_mb} MB on the GPU ({part}), {limit_mb} MB are left for it; raise --gpu-memory-mb, "
            "or export with smaller tiles"
        )
