"""Scans and label maps on disk. NIfTI is read and written here, and SimpleITK imported for everything else."""

import contextlib
import errno
import importlib.util
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from attention_dmfnet.files.cases import EXTENSIONS, EXTENSIONS_IN_WORDS, stem
from attention_dmfnet.files.header_checks import HeaderError, Settled, check_size, settle
from attention_dmfnet.files.label_names import label_names
from attention_dmfnet.files.nifti_header import NiftiHeader
from attention_dmfnet.files.nifti_voxels import DamagedFileError, NiftiVoxels, read_nifti_header, read_nifti_voxels
from attention_dmfnet.files.nifti_writing import NotForNiftiError, write_nifti
from attention_dmfnet.files.value_checks import check_values
from attention_dmfnet.files.whole_file import replacing
from attention_dmfnet.geometry import Geometry, Volume
from attention_dmfnet.notes import Note, doubts

if TYPE_CHECKING:
    from attention_dmfnet.files.itk_reading import ItkFile

AIR_HU = -1024
"""What a voxel without a value is taken for."""


class ImageError(Exception):
    """An image that cannot be read, is not a CT volume, or cannot be written."""


class ItkImage(Protocol):
    """An image of SimpleITK's, by one of its methods: the module itself tells type checkers nothing."""

    def GetDirection(self) -> tuple[float, ...]: ...  # noqa: N802  # SimpleITK's name


def as_scan(scan: str | os.PathLike[str] | Volume | ItkImage, notes: list[Note], strict: bool = False) -> Volume:
    """``scan`` as ``read_scan`` would return it, from a file or from memory. Raises ``ImageError``."""
    if isinstance(scan, str | os.PathLike):
        return read_scan(Path(scan), notes, strict)
    volume = scan if isinstance(scan, Volume) else _of_simpleitk(scan)
    if volume is None:
        raise ImageError(
            f"a scan is a path, a Volume or an image of SimpleITK's, not {type(scan).__name__}; "
            "give an array its place in the patient with Volume(array, Geometry(...))"
        )
    if volume.array.dtype.kind not in "buif":
        raise ImageError(f"voxels of type {volume.array.dtype} are no intensities; give whole or real numbers")
    values = _from_values(NiftiVoxels(volume.array, 1.0, 0.0), volume.geometry, notes)
    return check_scan("the image", values, notes, strict)


def _of_simpleitk(scan: object) -> Volume | None:
    if "SimpleITK" not in sys.modules:
        return None  # nobody has made an image of its
    from attention_dmfnet.files import itk_files

    return itk_files.image_in_memory(scan)


def need_simpleitk(name: object) -> None:
    """Raise ``ImageError`` for the file ``name`` where SimpleITK, which all but plain NIfTI needs, is not installed."""
    if importlib.util.find_spec("SimpleITK") is None:
        raise ImageError(
            f"{name}: only plain NIfTI is read and written without the Python package SimpleITK, which is not "
            "installed; convert it to .nii.gz, or install SimpleITK (a container: build it with FORMATS=all)"
        )


def read_scan(path: Path, notes: list[Note], strict: bool = False) -> Volume:
    """``read_volume``, and see that it can be a CT of a body, in HU: what is doubtful is noted.

    Raises ``ImageError`` for a size that no scan of a body has, and, if ``strict``, for whatever is doubtful.
    """
    return check_scan(str(path), read_volume(path, notes, sized=True), notes, strict)


def check_scan(name: str, volume: Volume, notes: list[Note], strict: bool) -> Volume:
    """See that ``volume``, which messages call ``name``, can be a CT of a body; values that are HU + 1024 become HU.

    What is doubtful is appended to ``notes``. Raises ``ImageError`` as ``read_scan`` does.
    """
    volume = _checked(name, volume, notes)
    doubtful = doubts(notes) if strict else []
    if doubtful:
        raise ImageError(f"{name}: {'; '.join(doubtful)}; correct it, or leave --strict out to label it anyway")
    return volume


def _checked(name: str, volume: Volume, notes: list[Note]) -> Volume:
    notes += check_grid(name, volume.geometry)
    array, said = check_values(volume.array)
    notes += said
    return Volume(array, volume.geometry)


def check_grid(name: str, geometry: Geometry) -> list[Note]:
    """What is unusual about the size of a scan. Raises ``ImageError`` for one that no scan of a body has."""
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
    refuse_unopenable(path)
    header = _nifti_header(path)
    with _opened(path, header, said) as opened:
        if sized:
            check_grid(str(path), opened.geometry)
        voxels = _read_voxels(path, header, opened, said)
        geometry = opened.geometry
    return _from_values(voxels, geometry, notes)


def read_geometry(path: Path) -> Geometry:
    """The grid of a scan, from its header alone. Raises ``ImageError`` as ``read_volume`` does."""
    refuse_unopenable(path)
    with _opened(path, _nifti_header(path), []) as opened:
        return opened.geometry


def write_labels(labels: Volume, path: Path, organs: Mapping[str, int] = MappingProxyType({})) -> None:
    """Write a label map as uint8, compressed, on its own grid: the whole file or none.

    A NIfTI file says which number is which of ``organs``, in an extension of its header.

    Raises ``ImageError`` if the labels are not whole numbers from 0 to 255, or the place cannot be written.
    """
    array = labels.array
    if array.dtype != np.uint8:
        compact = array.astype(np.uint8)
        if not np.array_equal(compact, array):
            raise ImageError(f"{path}: labels must be whole numbers from 0 to 255")
        array = compact
    write_volume(Volume(array, labels.geometry), path, label_names(organs))


def write_volume(volume: Volume, path: Path, nifti_extension: bytes = b"") -> None:
    """Write ``volume`` compressed, in its array's own type and on its own grid: the whole file or none.

    Labels of a scan whose header contradicts itself get a header with the same contradictions: whichever statement a
    program reads, it sees the labels on the scan.

    The file is made beside ``path`` under a hidden name and renamed when it is complete. NIfTI keeps spacing, origin
    and direction as 32-bit numbers.

    Raises ``ImageError`` if the place cannot be written, or its name is of no kind that is known.
    """
    if not path.name.lower().endswith(EXTENSIONS):
        raise ImageError(f"cannot write {path}: its name tells no known kind of file; name it {EXTENSIONS_IN_WORDS}")
    extension = path.name[len(stem(path)) :]
    try:
        # the partial file is made first, because SimpleITK's own report of a full or read-only disk names no reason
        with replacing(path, extension) as partial:
            if ".nii" in extension.lower():
                packed = extension.lower().endswith(".gz")
                write_nifti(volume.array, volume.geometry, partial, packed, nifti_extension)
            else:
                need_simpleitk(path)
                from attention_dmfnet.files import itk_files

                itk_files.write_image(volume, partial, extension)
    except NotForNiftiError as error:
        raise ImageError(f"cannot write {path}: {error}; name it .nrrd") from error
    except OSError as error:
        full = "; is the disk full?" if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) else ""
        raise ImageError(f"cannot write {path}: {error.strerror}{full}") from error


def refuse_unopenable(path: Path) -> None:
    """Raise ``ImageError`` with the reason if ``path`` is no file that can be opened."""
    if path.absolute().parts[1:3] in (("dev", "stdin"), ("dev", "fd")) or path.absolute().parts[1:2] == ("proc",):
        # a reader that is a process of its own would wait for what is written to its own standard input
        raise ImageError(f"{path}: this is the process's own name of a file; give the scan itself")
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


@dataclass(frozen=True, slots=True)
class _Opened:
    """An image of which the header alone was read; ``itk`` where ITK reads it."""

    geometry: Geometry
    itk: "ItkFile | None" = None


@contextlib.contextmanager
def _opened(path: Path, header: NiftiHeader | None, notes: list[Note]) -> Iterator[_Opened]:
    """The grid that is believed, and the file as long as the block lasts. Raises ``ImageError``."""
    settled = None if header is None else _settle(path, header)
    said = settled.notes if settled is not None else ()
    if settled is not None and settled.geometry is not None:
        notes += said
        yield _Opened(settled.geometry)
    elif header is not None and header.version == 2:
        # unknown to ITK
        raise ImageError(
            f"cannot read {path}: of NIfTI-2 only three-dimensional scans with one number per voxel "
            "and axes at right angles are read; convert it to NIfTI-1"
        )
    else:
        need_simpleitk(path)
        # imported here: a plain NIfTI file needs no process of its own
        from attention_dmfnet.files.itk_reading import ItkFile

        with contextlib.closing(ItkFile(path, notes)) as itk:
            notes += said
            yield _Opened(itk.geometry, itk)


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


def _read_voxels(path: Path, header: NiftiHeader | None, opened: _Opened, notes: list[Note]) -> NiftiVoxels:
    try:
        voxels = None if header is None else read_nifti_voxels(path, header, notes)
        if voxels is None:
            if opened.itk is None:
                raise DamagedFileError("it has changed since its header was read")
            voxels = NiftiVoxels(opened.itk.read_voxels(), 1.0, 0.0)
    except DamagedFileError as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error
    except MemoryError as error:
        asked = " x ".join(map(str, opened.geometry.shape_zyx[::-1]))
        raise ImageError(
            f"cannot read {path}: not enough memory for {asked} voxels; crop it or give the process more memory"
        ) from error
    return voxels


def _damaged(path: Path, error: DamagedFileError) -> ImageError:
    return ImageError(f"cannot read {path}: {error}; copy or download it again")


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
