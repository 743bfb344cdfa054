"""Images that ITK reads, in a process of its own (``apart``): all kinds but plain NIfTI."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_dmfnet.files.apart import ApartReader
from attention_dmfnet.files.cases import stem
from attention_dmfnet.files.file_size import ElsewhereError, most_voxels
from attention_dmfnet.files.image_io import ImageError
from attention_dmfnet.files.itk_name import itk_name
from attention_dmfnet.files.nifti_voxels import DamagedFileError
from attention_dmfnet.files.nrrd_units import nrrd_unit_mm
from attention_dmfnet.geometry import Geometry, GeometryError, Triple
from attention_dmfnet.notes import Note


class ItkFile:
    """An image that ITK reads, in a process of its own: ``geometry`` is its grid. ``close`` it."""

    def __init__(self, path: Path, notes: list[Note]) -> None:
        """Read the header alone. Raises ``ImageError``."""
        self._path = path
        self._stack = contextlib.ExitStack()
        try:
            _most_voxels(path, 1)  # no other file is opened before it is known where it lies
            name = self._stack.enter_context(itk_name(path, path.name[len(stem(path)) :]))
            self._reader = self._stack.enter_context(contextlib.closing(ApartReader(name)))
            self._reader.ReadImageInformation()
            geometry = checked_geometry(str(path), self._reader, self._reader.GetNumberOfComponents())
            self.geometry = _in_mm(path, geometry, notes)
        except BaseException as error:
            self.close()
            if isinstance(error, RuntimeError):
                raise _unreadable(path, error) from error
            if isinstance(error, OSError):
                raise ImageError(f"cannot read {path}: {error.strerror}") from error
            raise

    def read_voxels(self) -> npt.NDArray[Any]:
        """The voxels (z, y, x). Raises ``ImageError``, ``DamagedFileError`` and ``OSError``."""
        if math.prod(self.geometry.shape_zyx) > _most_voxels(self._path, self._reader.voxel_bytes):
            asked = " x ".join(map(str, self.geometry.shape_zyx[::-1]))
            raise DamagedFileError(f"its header asks for {asked} voxels, the file is too small to hold them")
        try:
            return self._reader.Execute().reshape(self.geometry.shape_zyx)
        except RuntimeError as error:
            raise _unreadable(self._path, error) from error

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()


def _most_voxels(path: Path, voxel_bytes: int) -> int:
    try:
        return most_voxels(path, voxel_bytes)
    except ElsewhereError as error:
        raise ImageError(f"cannot read {path}: {error}") from error


def checked_geometry(name: str, header: Any, channels: int) -> Geometry:
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
