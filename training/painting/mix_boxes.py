"""Cut-and-mix: a box, or a slab of slices, of one sample put into another.

The seams look wrong, but a network that is trained on such samples must find organs by themselves, not by where a body
has them (CutMix: Yun et al., ICCV 2019).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float3D = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]

_SLAB_PROBABILITY = 0.5
_SHARE = (0.25, 0.65)
"""Of each side that is cut: a slab's slices, each of a box's three sides."""


def mix_boxes(
    image_a: Float3D, labels_a: Labels, image_b: Float3D, labels_b: Labels, rng: np.random.Generator
) -> tuple[Float3D, Labels]:
    """Copies of ``image_a`` and ``labels_a`` (z, y, x) with one box or slab of z from the same place in b.

    Raises ``ValueError`` if the four are not of one shape.
    """
    shapes = {image_a.shape, labels_a.shape, image_b.shape, labels_b.shape}
    if len(shapes) > 1:
        raise ValueError(f"samples to mix have shapes {sorted(shapes)}; they must be alike")
    where = _slab(image_a.shape, rng) if rng.uniform() < _SLAB_PROBABILITY else _box(image_a.shape, rng)
    image, labels = image_a.copy(), labels_a.copy()
    image[where], labels[where] = image_b[where], labels_b[where]
    return image, labels


def _slab(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, ...]:
    return (_interval(shape[0], rng), slice(None), slice(None))


def _box(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, ...]:
    return tuple(_interval(size, rng) for size in shape)


def _interval(size: int, rng: np.random.Generator) -> slice:
    length = max(1, round(size * rng.uniform(*_SHARE)))
    start = int(rng.integers(0, size - length + 1))
    return slice(start, start + length)
