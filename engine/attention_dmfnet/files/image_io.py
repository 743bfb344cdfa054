"""Scans and label maps on disk. The only module that knows SimpleITK, and that it reverses the axes."""

import contextlib
import gzip
import math
import os
import re
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import SimpleITK

from attention_dmfnet.files.cases import EXTENSIONS, EXTENSIONS_IN_WORDS, stem
from attention_dmfnet.files.file_size import ElsewhereError, most_voxels
from attention_dmfnet.files.header_checks import HeaderError, Settled, check_size, settle
from attention_dmfnet.files.itk_name import itk_name
from attention_dmfnet.files.nifti_header import NiftiHeader, label_header
from attention_dmfnet.files.nifti_voxels import (
    DamagedFileError,
    NiftiVoxels,
    ends_as_written,
    read_nifti_header,
    read_nifti_voxels,
)
from attention_dmfnet.files.nrrd_units import nrrd_unit_mm
from attention_dmfnet.files.value_checks import check_values
from attention_dmfnet.files.whole_file import replacing
from attention_dmfnet.geometry import Geometry, GeometryError, NiftiForms, Triple, Volume
from attention_dmfnet.notes import Note, doubts

# SimpleITK declares itself typed but annotates next to nothing: strict checking would refuse every call of it
sitk: Any = SimpleITK

AIR_HU = -1024
"""What a voxel without a value is taken for."""


class ImageError(Exception):
    """An image that cannot be read, is not a CT volume, or cannot be written."""


class ItkImage(Protocol):
    """An image of SimpleITK's, by one of its methods: the module itself tells type checkers nothing."""

    def GetDirection(self) -> tuple[float, ...]: ...  # noqa: N802  # SimpleITK's name


def as_scan(scan: str | os.PathLike[str] | Volume | ItkImage, notes: list[Note]) -> Volume:
    """``scan`` as ``read_scan`` would return it, from a file or from memory. Raises ``ImageError``."""
    if isinstance(scan, str | os.PathLike):
        return read_scan(Path(scan), notes)
    if isinstance(scan, Volume):
        array, geometry = scan.array, scan.geometry
    elif isinstance(scan, sitk.Image):
        geometry = _checked_geometry("the image", scan, scan.GetNumberOfComponentsPerPixel())
        array = sitk.GetArrayFromImage(scan).reshape(geometry.shape_zyx)
    else:
        raise ImageError(
            f"a scan is a path, a Volume or an image of SimpleITK's, not {type(scan).__name__}; "
            "give an array its place in the patient with Volume(array, Geometry(...))"
        )
    if array.dtype.kind not in "buif":
        raise ImageError(f"voxels of type {array.dtype} are no intensities; give whole or real numbers")
    return _checked("the image", _from_values(NiftiVoxels(array, 1.0, 0.0), geometry, notes), notes)


def read_scan(path: Path, notes: list[Note], strict: bool = False) -> Volume:
    """``read_volume``, and see that it can be a CT of a body, in HU: what is doubtful is noted.

    Raises ``ImageError`` for a size that no scan of a body has, and, if ``strict``, for whatever is doubtful.
    """
    volume = _checked(str(path), read_volume(path, notes, sized=True), notes)
    doubtful = doubts(notes) if strict else []
    if doubtful:
        raise ImageError(f"{path}: {'; '.join(doubtful)}; correct the file, or leave --strict out to label it anyway")
    return volume


def _checked(name: str, volume: Volume, notes: list[Note]) -> Volume:
    notes += _checked_size(name, volume.geometry)
    array, said = check_values(volume.array)
    notes += said
    return Volume(array, volume.geometry)


def _checked_size(name: str, geometry: Geometry) -> list[Note]:
    try:
        return check_size(geometry)
    except HeaderError as error:
        raise ImageError(f"{name}: {error}") from error


def read_volume(path: Path, notes: list[Note] | None = None, sized: bool = False) -> Volume:
    """Read a three-dimensional image, with the array in (z, y, x) order and the grid as ITK has it.

    Where a NIfTI header contradicts itself, or states another unit than mm, ``header_checks`` settles the grid, with a
    note. If ``sized``, a grid of a size that no body has is refused before any voxel is read.

    The array is int16 where every value is a whole number that fits, whatever type the file has (labels and rescaled
    CT included), else float32. Voxels without a value (NaN, infinity) become -1024 HU, and a sentence about them is
    appended to ``notes``. A fourth axis of one frame is dropped.

    Raises ``ImageError``, with the file's name, for what is not a whole, single-channel, three-dimensional image.
    """
    said: list[Note] = [] if notes is None else notes
    with _openable(path) as name, _quiet_itk():
        header = _nifti_header(path)
        reader, geometry = _read_grid(path, name, header, said)
        try:
            if sized:
                _checked_size(str(path), geometry)
            voxels = _read_voxels(path, header, reader, geometry, said)
        finally:
            _close(reader)
    return _from_values(voxels, geometry, notes)


def read_geometry(path: Path) -> Geometry:
    """The grid of a scan, from its header alone. Raises ``ImageError`` as ``read_volume`` does."""
    with _openable(path) as name, _quiet_itk():
        reader, geometry = _read_grid(path, name, _nifti_header(path), [])
        _close(reader)
        return geometry


def write_labels(labels: Volume, path: Path) -> None:
    """Write a label map as uint8, compressed, on its own grid: the whole file or none.

    Raises ``ImageError`` if the labels are not whole numbers from 0 to 255, or the place cannot be written.
    """
    array = labels.array
    if array.dtype != np.uint8:
        compact = array.astype(np.uint8)
        if not np.array_equal(compact, array):
            raise ImageError(f"{path}: labels must be whole numbers from 0 to 255")
        array = compact
    write_volume(Volume(array, labels.geometry), path)


def write_volume(volume: Volume, path: Path) -> None:
    """Write ``volume`` compressed, in its array's own type and on its own grid: the whole file or none.

    Labels of a scan whose header contradicts itself get a header with the same contradictions: whichever statement a
    program reads, it sees the labels on the scan.

    The file is made beside ``path`` under a hidden name and renamed when it is complete. NIfTI keeps spacing, origin
    and direction as 32-bit numbers.

    Raises ``ImageError`` if the place cannot be written, or its name is of no kind that is known.
    """
    if not path.name.lower().endswith(EXTENSIONS):
        raise ImageError(f"cannot write {path}: its name tells no known kind of file; name it {EXTENSIONS_IN_WORDS}")
    geometry = volume.geometry
    if geometry.nifti_forms is not None and volume.array.dtype == np.uint8 and ".nii" in path.name.lower():
        _write_with_forms(volume.array, geometry, geometry.nifti_forms, path)
        return
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array))
    image.SetSpacing(geometry.spacing_zyx[::-1])
    image.SetOrigin(geometry.origin_lps)
    # ITK's direction matrix, row by row: its columns are the directions of x, y, z
    image.SetDirection(np.array(geometry.axes_lps[::-1], dtype=np.float64).T.ravel().tolist())
    extension = path.name[len(stem(path)) :]
    try:
        # the partial file is made first, because SimpleITK's own report of a full or read-only disk names no reason
        with replacing(path, extension) as partial, itk_name(partial, extension) as name, _quiet_itk():
            try:
                sitk.WriteImage(image, name, useCompression=True)
            except RuntimeError as error:
                raise ImageError(f"cannot write {path}: is the disk full?") from error
            # ITK does not notice when a NIfTI file takes no more bytes
            if ".nii" in extension.lower() and not ends_as_written(partial, volume.array.nbytes):
                raise ImageError(f"cannot write {path}: it is cut short; is the disk full?")
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}") from error


def _write_with_forms(labels: npt.NDArray[np.uint8], geometry: Geometry, forms: NiftiForms, path: Path) -> None:
    """A NIfTI file that says of its place what ``forms`` say. Raises ``ImageError``."""
    packed = path.name.lower().endswith(".gz")
    try:
        with (
            replacing(path, path.name[len(stem(path)) :]) as partial,
            gzip.GzipFile(partial, "wb", 6, mtime=0) if packed else partial.open("wb") as file,
        ):
            file.write(label_header(forms, geometry.shape_zyx))
            for plane in labels:
                file.write(np.ascontiguousarray(plane).data)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def _openable(path: Path) -> Iterator[str]:
    """The name of ``path`` for ITK, which itself would say of all that cannot be opened that it does not exist."""
    refuse_unopenable(path)
    with contextlib.ExitStack() as stack:
        try:
            name = stack.enter_context(itk_name(path, path.name[len(stem(path)) :]))
        except OSError as error:
            raise ImageError(f"cannot read {path}: {error.strerror}") from error
        yield name


def refuse_unopenable(path: Path) -> None:
    """Raise ``ImageError`` with the reason if ``path`` is no file that can be opened."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            # not opened: a pipe that nobody writes to would be waited for without end
            raise ImageError(f"{path}: this is not a regular file; give the scan itself")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        if path.is_symlink():
            raise ImageError(f"{path}: this is a link to {os.readlink(path)}, which is not there") from error
        raise ImageError(f"{path}: no such file") from error
    except PermissionError as error:
        raise ImageError(f"cannot read {path}: no permission to read it; change its owner or mode") from error
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error


def _read_grid(path: Path, name: str, header: NiftiHeader | None, notes: list[Note]) -> tuple[Any, Geometry]:
    """The grid that is believed, and ITK's reader, or None where ITK is not asked. Reads the header alone."""
    settled = None if header is None else _settle(path, header)
    if settled is not None and settled.geometry is not None:
        reader, geometry = None, settled.geometry
    elif header is not None and header.version == 2:
        # unknown to ITK
        raise ImageError(
            f"cannot read {path}: of NIfTI-2 only three-dimensional scans with one number per voxel "
            "and axes at right angles are read; convert it to NIfTI-1"
        )
    else:
        # what ITK may crash on, it reads in a process of its own
        plain = header is not None and header.shape_zyx is not None and header.dtype is not None
        reader, geometry = _read_header(path, name, plain)
        geometry = _in_mm(path, geometry, notes)
    notes += settled.notes if settled is not None else ()
    return reader, geometry


def _read_header(path: Path, name: str, plain: bool) -> tuple[Any, Geometry]:
    """ITK's reader of ``path``, which it knows by ``name``, with nothing but the header read, and the grid.

    What is not a ``plain`` NIfTI file is read in a process of its own; ``_close`` the reader.
    """
    reader: Any = None
    try:
        reader = _plain_reader(name) if plain else _apart_reader(path, name)
        reader.ReadImageInformation()
        return reader, _checked_geometry(str(path), reader, reader.GetNumberOfComponents())
    except BaseException as error:
        _close(reader)
        if isinstance(error, RuntimeError):
            raise _unreadable(path, error) from error
        if isinstance(error, OSError):
            raise ImageError(f"cannot read {path}: {error.strerror}") from error
        raise


def _plain_reader(name: str) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    return reader


def _apart_reader(path: Path, name: str) -> Any:
    # imported here: starting processes is nothing that a plain NIfTI file needs
    from attention_dmfnet.files.apart import ApartReader

    _most_voxels(path, 1)  # no other file is opened before it is known where it lies
    return ApartReader(name) if sys.executable else _plain_reader(name)


def _close(reader: Any) -> None:
    if reader is not None and not isinstance(reader, sitk.ImageFileReader):
        reader.close()


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


def _nifti_header(path: Path) -> NiftiHeader | None:
    """The header of a file with a NIfTI name, or None if it is no single-file NIfTI."""
    if ".nii" not in path.name.lower():
        return None
    try:
        return read_nifti_header(path)
    except DamagedFileError as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error


def _settle(path: Path, header: NiftiHeader) -> Settled | None:
    # what is of another kind is refused in ITK's words
    if header.dtype is None:
        return None
    try:
        return settle(header)
    except HeaderError as error:
        raise ImageError(f"{path}: {error}") from error


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


def _read_voxels(
    path: Path, header: NiftiHeader | None, reader: Any, geometry: Geometry, notes: list[Note]
) -> NiftiVoxels:
    try:
        voxels = None if header is None else read_nifti_voxels(path, header, notes)
        if voxels is None:
            _refuse_impossible_size(path, geometry, getattr(reader, "voxel_bytes", 1))
            image = reader.Execute()
            array = image if isinstance(image, np.ndarray) else sitk.GetArrayFromImage(image)
            voxels = NiftiVoxels(array.reshape(array.shape[-3:]), 1.0, 0.0)
    except DamagedFileError as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error
    except MemoryError as error:
        asked = " x ".join(map(str, geometry.shape_zyx[::-1]))
        raise ImageError(
            f"cannot read {path}: not enough memory for {asked} voxels; crop it or give the process more memory"
        ) from error
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return voxels


def _most_voxels(path: Path, voxel_bytes: int) -> int:
    try:
        return most_voxels(path, voxel_bytes)
    except ElsewhereError as error:
        raise ImageError(f"cannot read {path}: {error}") from error


def _refuse_impossible_size(path: Path, geometry: Geometry, voxel_bytes: int) -> None:
    if math.prod(geometry.shape_zyx) > _most_voxels(path, voxel_bytes):
        asked = " x ".join(map(str, geometry.shape_zyx[::-1]))
        raise DamagedFileError(f"its header asks for {asked} voxels, the file is too small to hold them")


def _damaged(path: Path, error: DamagedFileError) -> ImageError:
    return ImageError(f"cannot read {path}: {error}; copy or download it again")


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


def _from_values(voxels: NiftiVoxels, geometry: Geometry, notes: list[Note] | None) -> Volume:
    array, empty_voxels = _compact(voxels)
    if empty_voxels and notes is not None:
        notes.append(Note("empty-voxels", f"{empty_voxels} voxels have no value and were read as air"))
    return Volume(array, geometry)


def _compact(voxels: NiftiVoxels) -> tuple[npt.NDArray[Any], int]:
    """The values as int16 or else float32, and how many voxels had none."""
    stored = voxels.array
    unscaled = voxels.slope == 1 and voxels.intercept == 0
    if unscaled and stored.dtype == np.int16:
        return stored, 0
    array: npt.NDArray[Any] = np.empty(stored.shape, dtype=np.int16)
    empty_voxels = 0
    # slice by slice: a float64 scan must not be held in memory a second time
    for z, plane in enumerate(stored):
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows has no value
            values = plane if unscaled else plane * voxels.slope + voxels.intercept
            missing = ~np.isfinite(values.astype(np.float32) if values.dtype == np.float64 else values)
        empty_voxels += int(missing.sum())
        values = np.where(missing, values.dtype.type(AIR_HU), values) if missing.any() else values
        if array.dtype == np.int16 and not _fits_int16(values):
            array = array.astype(np.float32)
        array[z] = values
    return array, empty_voxels


def _fits_int16(values: npt.NDArray[Any]) -> bool:
    limits = np.iinfo(np.int16)
    if values.min() < limits.min or values.max() > limits.max:
        return False
    return np.issubdtype(values.dtype, np.integer) or bool(np.array_equal(values, np.rint(values)))


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
