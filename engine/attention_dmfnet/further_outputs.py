"""Further outputs of a case, beside its label map: each is an ``Extra`` of ``folder.predict``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from attention_dmfnet.dicom.algorithm import Algorithm
from attention_dmfnet.files.cases import Case
from attention_dmfnet.files.image_io import ImageError

if TYPE_CHECKING:
    from attention_dmfnet.geometry import Volume
    from attention_dmfnet.segmenter import Segmentation


class FileOutput(Protocol):
    """An extra that writes known files."""

    def paths(self, case: Case, outputs: Path) -> list[Path]:
        """The files that it writes of ``case``."""
        ...

    def write(self, case: Case, ct: Volume, result: Segmentation, outputs: Path) -> None:
        """See ``folder.Extra``."""
        ...


class SegNrrd:
    """3D Slicer's segmentation, ``NAME.seg.nrrd``."""

    def paths(self, case: Case, outputs: Path) -> list[Path]:
        """See ``FileOutput``."""
        return [outputs / f"{case.name}.seg.nrrd"]

    def write(self, case: Case, ct: Volume, result: Segmentation, outputs: Path) -> None:
        """See ``FileOutput``. Raises ``ImageError``."""
        from attention_dmfnet.files.seg_nrrd import write_seg_nrrd

        write_seg_nrrd(result.labels, result.organs, self.paths(case, outputs)[0])


@runtime_checkable
class _OfDicom(Protocol):
    """A case that is a series of DICOM."""

    def datasets(self) -> Iterator[Any]:
        """The header of each of its images."""
        ...


def is_of_dicom(case: Case) -> bool:
    """Whether DICOM's objects can refer to what ``case`` is."""
    return isinstance(case, _OfDicom)


@dataclass(frozen=True, slots=True)
class DicomObjects:
    """DICOM's own: a SEG, ``NAME.seg.dcm``, and an RTSTRUCT, ``NAME.rtstruct.dcm``, where they are asked for."""

    algorithm: Algorithm
    seg: bool
    rtstruct: bool

    def paths(self, case: Case, outputs: Path) -> list[Path]:
        """See ``FileOutput``; none of a case that is no DICOM."""
        if not is_of_dicom(case):
            return []
        asked = ((self.seg, "seg"), (self.rtstruct, "rtstruct"))
        return [outputs / f"{case.name}.{kind}.dcm" for wanted, kind in asked if wanted]

    def write(self, case: Case, ct: Volume, result: Segmentation, outputs: Path) -> None:
        """See ``FileOutput``. Raises ``ImageError``, also for a case that is no DICOM."""
        if not isinstance(case, _OfDicom):
            raise ImageError(
                f"{case.path}: its label map is written, but --dicom-seg and --rtstruct need the DICOM that a scan "
                "came from, and this is another kind of file; give the DICOM, or leave them out"
            )
        from attention_dmfnet.dicom.rtstruct import write_rtstruct
        from attention_dmfnet.dicom.seg import write_seg

        sources = list(case.datasets())
        paths = iter(self.paths(case, outputs))
        if self.seg:
            write_seg(sources, result.labels, result.organs, self.algorithm, next(paths))
        if self.rtstruct:
            write_rtstruct(sources, result.labels, result.organs, self.algorithm, next(paths))


def algorithm_of(models: Path | None = None) -> Algorithm:
    """What DICOM's objects call the networks in ``models`` (None: this release's). Raises ``ManifestError``.

    Their release, and the hash of their manifest, which holds those of the networks.
    """
    from attention_dmfnet.model.loading import default_models
    from attention_dmfnet.model.manifest import load_manifest, manifest_sha256

    folder = default_models() if models is None else models
    return Algorithm(load_manifest(folder).release, manifest_sha256(folder))
