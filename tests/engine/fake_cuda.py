"""Fakes of the NVIDIA driver and of TensorRT: a "GPU" of host memory, and plans that are named functions.

They show that buffers, shapes, order and refusals are right. They say nothing about speed, memory or numbers on a GPU.
"""

import ctypes
from collections.abc import Callable
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

CUDA_ERROR_OUT_OF_MEMORY = 2


class FakeDriver:
    """What ``model.cuda_driver`` calls of libcuda, over host memory. ``log`` holds the calls in order."""

    def __init__(self, gpus: int = 1, name: str = "Quadro RTX 5000", capability: tuple[int, int] = (7, 5)) -> None:
        self.gpus, self.name, self.capability = gpus, name, capability
        self.cuda = 13010
        self.memory_left = 1 << 30
        self.log: list[str] = []
        self.blocks: dict[int, Any] = {}
        self.pending: list[Callable[[], None]] = []

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.gpus
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:  # noqa: N802
        context._obj.value = 1
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:  # noqa: N802
        return 0

    def cuDeviceGetName(self, text: Any, length: int, device: Any) -> int:  # noqa: N802
        text.value = self.name.encode()
        return 0

    def cuDeviceGetAttribute(self, number: Any, attribute: int, device: Any) -> int:  # noqa: N802
        number._obj.value = self.capability[{75: 0, 76: 1}[attribute]]
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, device: Any) -> int:  # noqa: N802
        size._obj.value = 16 << 30
        return 0

    def cuDriverGetVersion(self, number: Any) -> int:  # noqa: N802
        number._obj.value = self.cuda
        return 0

    def cuStreamCreate(self, stream: Any, flags: int) -> int:  # noqa: N802
        stream._obj.value = 77
        return 0

    def cuStreamSynchronize(self, stream: Any) -> int:  # noqa: N802
        self.log.append("wait")
        for work in self.pending:
            work()
        self.pending.clear()
        return 0

    def cuMemAlloc_v2(self, address: Any, size: Any) -> int:  # noqa: N802
        return self._allocate("allocate", address, size)

    def cuMemAllocHost_v2(self, address: Any, size: Any) -> int:  # noqa: N802
        return self._allocate("pin", address, size)

    def cuMemFree_v2(self, address: Any) -> int:  # noqa: N802
        return self._release("free", address.value)

    def cuMemFreeHost(self, address: Any) -> int:  # noqa: N802
        return self._release("unpin", address.value)

    def cuMemcpyHtoDAsync_v2(self, to: Any, start: Any, size: Any, stream: Any) -> int:  # noqa: N802
        return self._copy("copy in", to.value, start.value, size.value)

    def cuMemcpyDtoHAsync_v2(self, to: Any, start: Any, size: Any, stream: Any) -> int:  # noqa: N802
        return self._copy("copy out", to.value, start.value, size.value)

    def cuGetErrorName(self, error: int, text: Any) -> int:  # noqa: N802
        text._obj.value = {2: b"CUDA_ERROR_OUT_OF_MEMORY"}.get(error)
        return 0

    def floats(self, address: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """The device memory at ``address``, as a kernel sees it."""
        count = int(np.prod(shape))
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)

    def _allocate(self, what: str, address: Any, size: Any) -> int:
        if size.value > self.memory_left:
            return CUDA_ERROR_OUT_OF_MEMORY
        block = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(block)
        self.blocks[ctypes.addressof(block)] = block
        self.log.append(f"{what} {size.value}")
        return 0

    def _release(self, what: str, address: int) -> int:
        self.log.append(f"{what} {len(self.blocks.pop(address))}")
        return 0

    def _copy(self, what: str, to: int, start: int, size: int) -> int:
        self.log.append(what)

        # asynchronous, as the real one: nothing is there before someone waits
        def copy() -> None:
            ctypes.memmove(to, start, size)

        self.pending.append(copy)
        return 0


class _Mode(Enum):
    INPUT = 0
    OUTPUT = 1


class _Strategy(Enum):
    USER_MANAGED = 2


class FakeLogger:
    ERROR = 1

    def __init__(self, severity: int) -> None:
        self.severity = severity


class FakeTensorRt:
    """What ``model.backend_tensorrt`` uses of the TensorRT module. The plan b"double" scores class c as (c + 1) x."""

    float32, float16 = "float32", "float16"
    TensorIOMode = _Mode
    ExecutionContextAllocationStrategy = _Strategy
    Logger = FakeLogger

    def __init__(
        self, driver: FakeDriver, classes: int, tile_zyx: tuple[int, int, int], version: str = "11.4.0"
    ) -> None:
        self.__version__ = version
        self.driver = driver
        self.tensors = {"image": (1, 1, *tile_zyx), "scores": (1, classes, *tile_zyx)}
        self.dtype = self.float32
        self.activations = 4096
        self.starts = True

    def Runtime(self, logger: FakeLogger) -> Any:  # noqa: N802
        return SimpleNamespace(deserialize_cuda_engine=self._deserialise)

    def _deserialise(self, plan: bytes) -> "FakeEngine | None":
        if plan != b"double":
            return None
        self.driver.log.append("upload weights")
        return FakeEngine(self)


class FakeEngine:
    """See ``tensorrt.ICudaEngine``."""

    def __init__(self, module: FakeTensorRt) -> None:
        self._module = module
        self.num_io_tensors = len(module.tensors)
        self.device_memory_size_v2 = module.activations

    def get_tensor_name(self, index: int) -> str:
        return list(self._module.tensors)[index]

    def get_tensor_mode(self, name: str) -> _Mode:
        return _Mode.INPUT if name == "image" else _Mode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._module.tensors[name]

    def get_tensor_dtype(self, name: str) -> str:
        return self._module.dtype

    def create_execution_context(self, strategy: _Strategy) -> "FakeContext":
        assert strategy is _Strategy.USER_MANAGED
        return FakeContext(self._module)


class FakeContext:
    """See ``tensorrt.IExecutionContext``."""

    def __init__(self, module: FakeTensorRt) -> None:
        self._module = module
        self._addresses: dict[str, int] = {}

    def set_device_memory(self, memory: int, size: int) -> None:
        assert len(self._module.driver.blocks[memory]) >= size >= self._module.activations
        self._memory = memory

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory in self._module.driver.blocks
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._memory
        driver = self._module.driver
        driver.log.append("compute")
        image, scores = (
            driver.floats(self._addresses[name], self._module.tensors[name]) for name in ("image", "scores")
        )

        def kernel() -> None:
            scores[0] = image[0] * np.arange(1, scores.shape[1] + 1, dtype=np.float32)[:, None, None, None]

        driver.pending.append(kernel)
        return self._module.starts
