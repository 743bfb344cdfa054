"""What SimpleITK writes, and its images in memory. The only module that imports it, but for ``itk_child``.

Imported where it is needed and not before: its import takes 0.1 s and 100 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import SimpleITK

from attention_dmfnet.files.itk_name import itk_name
from attention_dmfnet.files.itk_reading import checked_geometry
from attention_dmfnet.geometry import Volume
from attention_dmfnet.switch import OffWithin

# SimpleITK declares itself typed but annotates next to nothing: strict checking would refuse every call of it
sitk: Any = SimpleITK


def _quieten() -> Callable[[], object]:
    loud_before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return lambda: sitk.ProcessObject.SetGlobalWarningDisplay(loud_before)


_quiet_itk = OffWithin(_quieten)
"""Without ITK's own remarks about headers: what matters is raised, and they would tear a progress bar apart."""


def image_in_memory(image: object) -> Volume | None:
    """What an image of SimpleITK's holds, or None for anything else. Raises ``ImageError``."""
    if not isinstance(image, sitk.Image):
        return None
    header: Any = image
    geometry = checked_geometry("the image", header, header.GetNumberOfComponentsPerPixel())
    return Volume(sitk.GetArrayFromImage(header).reshape(geometry.shape_zyx), geometry)


def write_image(volume: Volume, path: Path, extension: str, metadata: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write ``volume`` to ``path``, whose ``extension`` tells the kind of file, with ``metadata`` in its header.

    Raises ``OSError``.
    """
    geometry = volume.geometry
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array))
    image.SetSpacing(geometry.spacing_zyx[::-1])
    image.SetOrigin(geometry.origin_lps)
    # ITK's direction matrix, row by row: its columns are the directions of x, y, z
    image.SetDirection(np.array(geometry.axes_lps[::-1], dtype=np.float64).T.ravel().tolist())
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    with itk_name(path, extension) as name, _quiet_itk:
        try:
            sitk.WriteImage(image, name, useCompression=True)
        except RuntimeError as error:
            # it names no reason, and the place was seen to take a file
            raise OSError(None, "is the disk full?") from error
