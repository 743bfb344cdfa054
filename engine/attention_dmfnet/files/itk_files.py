"""What SimpleITK reads and writes, all but plain NIfTI. The only module that knows it, and that it reverses the axes.

Imported where it is needed and not before: its import takes 0.1 s and 100 MB.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from attention_dmfnet.files.cases import stem
from attention_dmfnet.files.file_size import most_voxels
from attention_dmfnet.files.image_io import ImageError
from attention_dmfnet.files.itk_name import itk_name
from attention_dmfnet.files.nifti_voxels import DamagedFileError
from attention_dmfnet.files.nrrd_units import nrrd_unit_mm
from attention_dmfnet.geometry import Geometry, GeometryError, Triple, Volume
from attention_dmfnet.notes import Note

# SimpleITK declares itself typed but annotates next to nothing: strict checking would refuse every call of it
sitk: Any = SimpleITK


def image_in_memory(image: object) -> Volume | None:
    """What an image of SimpleITK's holds, or None for anything else. Raises ``ImageError``."""
    if not isinstance(image, sitk.Image):
        return None
    header: Any = image
    geometry = _checked_geometry("the image", header, header.GetNumberOfComponentsPerPixel())
    return Volume(sitk.GetArrayFromImage(header).reshape(geometry.shape_zyx), geometry)


def read_grid(path: Path, notes: list[Note]) -> Geometry:
    """The grid of the image at ``path``, from its header alone. Raises ``ImageError``."""
    with _openable(path) as name, _quiet_itk():
        return _in_mm(path, _read_header(path, name)[1], notes)


def read_voxels(path: Path) -> npt.NDArray[Any]:
    """The voxels (z, y, x) of the image at ``path``. Raises ``ImageError``, ``DamagedFileError`` and ``OSError``."""
    with _openable(path) as name, _quiet_itk():
        reader, geometry = _read_header(path, name)
        _refuse_impossible_size(path, geometry)
        try:
            array = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise _unreadable(path, error) from error
        return array.reshape(geometry.shape_zyx)


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
    with itk_name(path, extension) as name, _quiet_itk():
        try:
            sitk.WriteImage(image, name, useCompression=True)
        except RuntimeError as error:
            # it names no reason, and the place was seen to take a file
            raise OSError(None, "is the disk full?") from error


@contextlib.contextmanager
def _openable(path: Path) -> Iterator[str]:
    try:
        with itk_name(path, path.name[len(stem(path)) :]) as name:
            yield name
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error


def _read_header(path: Path, name: str) -> tuple[Any, Geometry]:
    """ITK's reader of ``path``, which it knows by ``name``, with nothing but the header read, and the grid."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return reader, _checked_geometry(str(path), reader, reader.GetNumberOfComponents())


def _checked_geometry(name: str, header: Any, channels: int) -> Geometry:
    """The grid of ITK's image, or reader of one, that ``name`` stands for. Raises ``ImageError``."""
    size = header.GetSize()
    if channels != 1:
        raise ImageError(f"{name}: {channels} values per voxel; a CT has one (is this in colour?)")
    if len(size) != 3 and not (len(size) == 4 and size[3] == 1):
        raise ImageError(f"{name}: the image has {len(size)} dimensions {size}; give one three-dimensional scan")
    if 0 in size:
        raise ImageError(f"{name}: the image is empty, its size is {size}")
    try:
        return _geometry(header)
    except GeometryError as error:
        raise ImageError(f"{name}: {error}; correct its header") from error


def _in_mm(path: Path, geometry: Geometry, notes: list[Note]) -> Geometry:
    """``geometry`` in mm where an NRRD file states another unit, which ITK passes over."""
    if not path.name.lower().endswith(".nrrd"):
        return geometry
    unit, mm = nrrd_unit_mm(path)
    if mm == 1:
        return geometry
    notes.append(Note("units-converted", f"the header's unit is {unit}; they were converted to mm"))
    return Geometry(
        geometry.shape_zyx,
        _triple(length * mm for length in geometry.spacing_zyx),
        _triple(length * mm for length in geometry.origin_lps),
        geometry.axes_lps,
    )


def _refuse_impossible_size(path: Path, geometry: Geometry) -> None:
    most = most_voxels(path)
    if most is not None and math.prod(geometry.shape_zyx) > most:
        asked = " x ".join(map(str, geometry.shape_zyx[::-1]))
        raise DamagedFileError(f"its header asks for {asked} voxels, the file is too small to hold them")


def _geometry(reader: Any) -> Geometry:
    dimensions = len(reader.GetSize())
    x, y, z = reader.GetSize()[:3]
    # a fourth axis of one frame is dropped from the direction matrix, too
    direction = np.array(reader.GetDirection(), dtype=np.float64).reshape(dimensions, dimensions)[:3, :3]
    along_z, along_y, along_x = (_triple(direction[:, axis]) for axis in (2, 1, 0))
    return Geometry(
        (z, y, x), _triple(reader.GetSpacing()[2::-1]), _triple(reader.GetOrigin()[:3]), (along_z, along_y, along_x)
    )


def _triple(values: Any) -> Triple:
    # + 0.0 turns the negative zeros of ITK's header reader into zeros
    a, b, c = (float(value) + 0.0 for value in values)
    return (a, b, c)


def _unreadable(path: Path, error: RuntimeError) -> ImageError:
    """What ITK's exception means, in one sentence."""
    text = str(error)
    if "orthonormal" in text:
        return ImageError(
            f"{path}: the axes in the header are not at right angles; correct the header, "
            "or set ITK_NIFTI_SFORM_PERMISSIVE=1 to take the nearest right angles"
        )
    if "Unable to determine ImageIO reader" in text:
        return ImageError(f"cannot read {path}: this is not a file of the kind that its name says")
    # the last line says what happened; a "Reason" after it is the last errno of the process, most often unrelated
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Reason:")]
    reason = re.sub(r"^(\w+ ERROR: )?(\w+\(0x\w+\): )?", "", lines[-1]) if lines else "no reason given"
    return ImageError(f"cannot read {path}: {reason}; is the file complete?")


_quiet_lock = threading.Lock()
_quiet_blocks = 0
_loud_before = False


@contextlib.contextmanager
def _quiet_itk() -> Iterator[None]:
    """Without ITK's own remarks about headers: what matters is raised, and they would tear a progress bar apart.

    ITK has one switch for the whole process. It is back as it was when the last thread within such a block leaves.
    """
    global _quiet_blocks, _loud_before
    with _quiet_lock:
        if _quiet_blocks == 0:
            _loud_before = sitk.ProcessObject.GetGlobalWarningDisplay()
            sitk.ProcessObject.SetGlobalWarningDisplay(False)
        _quiet_blocks += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_blocks -= 1
            if _quiet_blocks == 0:
                sitk.ProcessObject.SetGlobalWarningDisplay(_loud_before)
