"""The label maps that are in the folder for outputs already: whole ones are kept, anything else is made again."""

from pathlib import Path

import numpy as np

from attention_dmfnet.files.cases import Case
from attention_dmfnet.files.image_io import ImageError, read_volume
from attention_dmfnet.geometry import GeometryError

_TOLERANCE_MM = 0.01
"""Of the corners: NIfTI keeps the grid as 32-bit numbers, other formats as 64-bit ones."""

_MOST_LABEL = 255


def fault_of_label_map(path: Path, scan: Case) -> str | None:
    """Why the file ``path`` is not a whole label map on the grid of ``scan``, or None if it is.

    The label map is read to its end, of the scan only what its header says of the grid.
    """
    try:
        labels = read_volume(path)
    except ImageError as error:
        return str(error)
    except (GeometryError, OSError, MemoryError, RuntimeError, ValueError) as error:
        return f"cannot read {path}: {type(error).__name__}: {error}"
    values = labels.array
    if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() > _MOST_LABEL:
        return f"{path} holds values that are no labels"
    try:
        grid = scan.grid()
    except ImageError as error:
        # what the scan is worth, its own turn will show
        return f"{path} cannot be compared with its scan ({error})"
    if not labels.geometry.matches(grid, _TOLERANCE_MM):
        return f"{path} is on another grid than its scan"
    return None
