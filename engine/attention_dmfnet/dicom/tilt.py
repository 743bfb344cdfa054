"""A stack of a tilted gantry, set upright: every plane is moved within itself, so no slice is mixed with another."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def moved(plane: Array, shift_yx: npt.NDArray[np.float64], shape_yx: tuple[int, int], outside: float) -> Array:
    """``plane`` from ``shift_yx`` pixels onwards in a larger one of ``shape_yx``, interpolated linearly (float32).

    Where the plane has no value within half a pixel, it is ``outside``.
    """
    values: Array = plane.astype(np.float32)
    for axis, (shift, size) in enumerate(zip(shift_yx, shape_yx, strict=True)):
        values = _moved_along(values, axis, float(shift), size, outside)
    return values


def _moved_along(values: Array, axis: int, shift: float, size: int, outside: float) -> Array:
    last = values.shape[axis] - 1
    from_index = np.arange(size) - shift
    below = np.floor(from_index).astype(np.int64)
    share = (from_index - below).astype(np.float32)
    share = share[:, None] if axis == 0 else share[None, :]
    low, high = (np.take(values, np.clip(below + more, 0, last), axis=axis) for more in (0, 1))
    result: Array = low + (high - low) * share
    beyond = (from_index < -0.5) | (from_index > last + 0.5)
    result[(beyond, slice(None)) if axis == 0 else (slice(None), beyond)] = outside
    return result
