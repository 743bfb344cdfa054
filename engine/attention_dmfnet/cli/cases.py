"""The cases that are asked for: scans that are files, and series of DICOM where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_dmfnet.files.cases import Case, InputError, ScanFile, is_scan_name, list_cases, refuse_shared_names
from attention_dmfnet.files.passed_over import (
    DICOM,
    FOLDER_WITH_DICOM,
    INSTALL_DICOM,
    PassedOver,
    as_sentence,
    find_passed_over,
    is_dicom,
)

_INSTALL = f"{INSTALL_DICOM} brings what reads it"


@dataclass(frozen=True, slots=True)
class Found:
    """The ``cases``, what looks like a scan and is none of them, and ``series`` of DICOM that are not labelled."""

    cases: list[Case]
    passed_over: list[PassedOver]
    series: list[PassedOver]


def find_cases(inputs: Path, outputs: Path, series_uids: Sequence[str] = (), patient: bool = False) -> Found:
    """What ``inputs`` holds: a folder's scans, or the one that it is, and the DICOM in it and below it.

    pydicom is imported only where there is DICOM. Raises ``InputError`` if there is no case, or if two of them would be
    written to the same output.
    """
    passed_over = find_passed_over(inputs, outputs)
    here = [item for item in passed_over if item.kind in (DICOM, FOLDER_WITH_DICOM)]
    if not here and not _is_dicom_file(inputs):
        if series_uids:
            raise InputError(f"there is no DICOM in {inputs}; --series chooses one of its series")
        return Found(_files(inputs, passed_over), passed_over, [])
    beside = [item for item in passed_over if item not in here]
    try:
        # late, and only here: a folder without DICOM pays nothing for it
        from attention_dmfnet.dicom.listing import list_dicom, nothing_to_label
    except ModuleNotFoundError as error:
        without = [PassedOver(item.path, f"{item.kind}: {_INSTALL}") for item in here]
        if not here or not _has_files(inputs):
            raise InputError(
                f"{inputs} holds DICOM, and the Python package {error.name} is missing: {_INSTALL}"
            ) from error
        return Found(_files(inputs, beside), [*beside, *without], [])
    listing = list_dicom(inputs, outputs, series_uids, patient)
    # a series that is asked for by its UID is asked for alone
    files: list[Case] = _files(inputs, beside) if _has_files(inputs) and not series_uids else []
    cases = [*files, *listing.cases]
    if not cases:
        raise InputError(nothing_to_label(inputs, listing.series, [*beside, *listing.damaged]))
    refuse_shared_names(cases)
    return Found(cases, [*beside, *listing.damaged], listing.series)


def _files(inputs: Path, passed_over: Sequence[PassedOver]) -> list[Case]:
    try:
        return [ScanFile(path) for path in list_cases(inputs)]
    except InputError as error:
        # where nothing can be read, what is there instead is half of the answer
        raise InputError(f"{error} ({as_sentence(passed_over)})" if passed_over else str(error)) from error


def _is_dicom_file(inputs: Path) -> bool:
    return inputs.is_file() and not is_scan_name(inputs) and is_dicom(inputs)


def _has_files(inputs: Path) -> bool:
    return inputs.is_dir() and any(is_scan_name(path) and not path.is_dir() for path in inputs.iterdir())
