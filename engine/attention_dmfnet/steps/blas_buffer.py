"""Room for the buffer of NumPy's matrix products: OpenBLAS ends the process where it gets none."""

from __future__ import annotations

import mmap
from typing import Final

_BUFFER_BYTES: Final = 40 << 20
"""OpenBLAS takes 32 MiB for a thread on x86-64, when the first product of that size comes, and keeps them."""


def need_buffer() -> None:
    """Raise ``MemoryError`` where OpenBLAS would get no buffer. Asks for as much and gives it back: 10 microseconds.

    Between here and there another thread may take the memory; the process ends only then.
    """
    try:
        # private, as OpenBLAS's own: limits on a process's data do not count what is shared
        mmap.mmap(-1, _BUFFER_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise MemoryError(f"no {_BUFFER_BYTES >> 20} MiB for matrix products") from error
