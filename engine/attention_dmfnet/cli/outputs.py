"""The further outputs that are asked for on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from attention_dmfnet.files.cases import Case, InputError, ScanFile
from attention_dmfnet.files.passed_over import INSTALL_DICOM

if TYPE_CHECKING:
    from attention_dmfnet.further_outputs import FileOutput

_SLICER = "pip install SimpleITK (a container: build it with FORMATS=all)"
_REPORT = (
    'pip install "attention-dmfnet[report]"; --statistics works without, and `attention-dmfnet report` makes the pages '
    "afterwards, elsewhere if need be"
)

NEEDED: dict[str, tuple[tuple[str, ...], str]] = {
    "--seg-nrrd": (("SimpleITK",), _SLICER),
    "--dicom-seg": (("pydicom", "highdicom"), INSTALL_DICOM),
    "--rtstruct": (("pydicom", "highdicom", "contourpy"), INSTALL_DICOM),
    "--report": (("jinja2", "PIL"), _REPORT),
}
"""The packages of each output that needs more than the label maps do, and what brings them."""


def refuse_what_is_missing(options: argparse.Namespace) -> None:
    """Raise ``InputError`` for an output that cannot be written here, before anything is looked at."""
    for option, (packages, remedy) in NEEDED.items():
        if not getattr(options, option.removeprefix("--").replace("-", "_")):
            continue
        for package in packages:
            if find_spec(package) is None:
                raise InputError(f"{option} needs the Python package {package}, which is not installed: {remedy}")


def asked_for(options: argparse.Namespace, cases: Sequence[Case]) -> list[FileOutput]:
    """What writes them; nothing is imported where none is asked for. Raises ``InputError`` if none can be written."""
    if not (options.seg_nrrd or options.dicom_seg or options.rtstruct):
        return []
    if options.dicom_seg or options.rtstruct:
        _refuse_without_dicom(options.inputs, cases)
    from attention_dmfnet.further_outputs import DicomObjects, SegNrrd, algorithm_of

    outputs: list[FileOutput] = [SegNrrd()] if options.seg_nrrd else []
    if options.dicom_seg or options.rtstruct:
        outputs.append(DicomObjects(algorithm_of(options.models), options.dicom_seg, options.rtstruct))
    return outputs


def _refuse_without_dicom(inputs: Path, cases: Sequence[Case]) -> None:
    if all(isinstance(case, ScanFile) for case in cases):
        raise InputError(f"--dicom-seg and --rtstruct refer to the DICOM that a scan came from; {inputs} holds none")
