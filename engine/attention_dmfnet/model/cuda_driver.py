"""An NVIDIA GPU through its driver: which one it is, memory, copies and a stream. Needs no package.

The driver's library comes with the driver, so that its absence is the surest sign that there is no GPU, found before
any runtime that would crash without one is touched.
"""

import ctypes
import math
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_dmfnet.model.network import LoadError

_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CUdevice_attribute: compute capability


class Cuda:
    """The first GPU, with its primary context: the one that TensorRT and ONNX Runtime use as well."""

    def __init__(self, library: Any = None) -> None:
        """Start the driver; ``library`` stands in for it in tests. Raises ``LoadError`` where there is no GPU."""
        self._library = _load() if library is None else library
        count, self._device = ctypes.c_int(), ctypes.c_int()
        self._call("cuInit", 0)
        self._call("cuDeviceGetCount", ctypes.byref(count))
        if count.value == 0:
            raise LoadError("the NVIDIA driver shows no GPU; use --device cpu")
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)
        self._context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self.use()

    def use(self) -> None:
        """Make this GPU the calling thread's: each thread that computes has to, once."""
        self._call("cuCtxSetCurrent", self._context)

    @property
    def name(self) -> str:
        """As the driver tells it, e.g. "Quadro RTX 5000"."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._device)
        return text.value.decode()

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Major and minor, e.g. (7, 5)."""
        numbers = []
        for attribute in (_MAJOR, _MINOR):
            number = ctypes.c_int()
            self._call("cuDeviceGetAttribute", ctypes.byref(number), attribute, self._device)
            numbers.append(number.value)
        return numbers[0], numbers[1]

    @property
    def memory_bytes(self) -> int:
        """All of the GPU's memory."""
        size = ctypes.c_size_t()
        self._call("cuDeviceTotalMem_v2", ctypes.byref(size), self._device)
        return size.value

    @property
    def cuda_version(self) -> tuple[int, int]:
        """Major and minor of the newest CUDA that the driver knows, e.g. (13, 0)."""
        number = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(number))
        # 1000 times the major, 10 times the minor one
        return number.value // 1000, number.value % 1000 // 10

    def stream(self) -> int:
        """A new stream's handle; it lives as long as the process."""
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), 0)
        return stream.value or 0

    def wait(self, stream: int) -> None:
        """Return when all that was put into ``stream`` is done. Errors of that work are raised here."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def copy_in(self, buffer: "DeviceBuffer", array: npt.NDArray[np.float32], stream: int) -> None:
        """Start copying ``array``, from ``pinned``, to the GPU."""
        self._call(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(buffer.address),
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_size_t(array.nbytes),
            ctypes.c_void_p(stream),
        )

    def copy_out(self, array: npt.NDArray[np.float32], buffer: "DeviceBuffer", stream: int) -> None:
        """Start copying from the GPU to ``array``, from ``pinned``."""
        self._call(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_uint64(buffer.address),
            ctypes.c_size_t(array.nbytes),
            ctypes.c_void_p(stream),
        )

    def pinned(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """An array (float32) in host memory that the GPU copies from and to by itself; freed with the array."""
        count = math.prod(shape)
        address = ctypes.c_void_p()
        self._call("cuMemAllocHost_v2", ctypes.byref(address), ctypes.c_size_t(4 * count))
        assert address.value is not None
        memory = (ctypes.c_float * count).from_address(address.value)
        # keeps `memory` alive, as its base
        array: npt.NDArray[np.float32] = np.ctypeslib.as_array(memory).reshape(shape)
        weakref.finalize(memory, self._free, "cuMemFreeHost", ctypes.c_void_p(address.value))
        return array

    def _free(self, function: str, address: Any) -> None:
        """Never raises: at the end of the process the driver may have gone first."""
        self._library.cuCtxSetCurrent(self._context)
        getattr(self._library, function)(address)

    def _call(self, function: str, *arguments: Any) -> None:
        error = getattr(self._library, function)(*arguments)
        if error != 0:
            raise LoadError(f"the NVIDIA driver's {function} failed: {self._error_name(error)}")

    def _error_name(self, error: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorName(error, ctypes.byref(text))
        return text.value.decode() if text.value else f"error {error}"


class DeviceBuffer:
    """``size`` bytes of the GPU's memory at ``address``, freed with this object. Raises ``LoadError``."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        address = ctypes.c_uint64()
        # of a size of 0 there is nothing to allocate, and the driver refuses to
        cuda._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        self.address, self.size = address.value, size
        weakref.finalize(self, cuda._free, "cuMemFree_v2", ctypes.c_uint64(address.value))


def _load() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        raise LoadError(f"no NVIDIA driver here ({_LIBRARY} is missing); use --device cpu") from None
