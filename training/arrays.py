"""The arrays that all rooms of training hand each other, and the one thing that a tile's sides must fit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hu = npt.NDArray[np.float32]
"""(z, y, x) HU."""

Labels = npt.NDArray[np.uint8]
"""(z, y, x) labels; coarse stage: 1 is any organ; fine stage: FLARE22's 1 to 13; 0 is the rest, 255 unknown."""

UNKNOWN = 255
"""The label of voxels in which nobody knows what is there: they teach nothing."""

Rgb = npt.NDArray[np.uint8]
"""(row, column, 3)."""

TILE_MULTIPLE = 16
"""Every side of a network's input must be a multiple of this: four stages halve it."""
