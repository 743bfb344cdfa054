"""Runs in the image: makes 24 cases of all kinds, a third of them bad, and compares what became of them.

``mixed_cases.py make PHANTOMS INPUTS`` crops painted phantoms; ``mixed_cases.py compare TOGETHER ALONE`` demands that
every good case was labelled as it is alone, bit for bit, and that nothing else is there.
"""

import gzip
import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

sitk: Any = SimpleITK

SIDE_MM = (200.0, 180.0, 140.0)
GOOD, BAD = 16, 8
EXTENSIONS = ("nii.gz", "nii", "nrrd", "mha")


def make(phantoms: Path, inputs: Path) -> None:
    """Good and bad cases in turns, by name."""
    for number in range(GOOD):
        phantom = sitk.ReadImage(str(phantoms / str(number % 2 + 1) / "images" / "Phantom_0001_0000.nii.gz"))
        scan = _crop(phantom, number)
        sitk.WriteImage(scan, str(inputs / f"{number:02d}-good.{EXTENSIONS[number // 2 % 4]}"), useCompression=True)
    for number, spoil in enumerate(SPOILED):
        name = spoil.__name__.removeprefix("_")
        spoil(inputs / f"{2 * number:02d}-{name}", (inputs / "00-good.nii.gz").read_bytes())
    made = sorted(path.name for path in inputs.iterdir())
    assert len(made) == GOOD + BAD, made


def _crop(scan: Any, number: int) -> Any:
    """A part of the middle, another one for every number."""
    size, spacing = scan.GetSize(), scan.GetSpacing()
    wanted = [min(n, int(mm / step)) for n, mm, step in zip(size, SIDE_MM, spacing, strict=True)]
    start = [(n - w) // 2 for n, w in zip(size, wanted, strict=True)]
    start[2] = min(start[2] + number // 2, size[2] - wanted[2])
    return sitk.RegionOfInterest(scan, wanted, start)


def _cut(path: Path, good: bytes) -> None:
    path.with_suffix(".nii.gz").write_bytes(good[: len(good) // 2])


def _flipped(path: Path, good: bytes) -> None:
    content = bytearray(good)
    content[len(content) // 2] ^= 8
    path.with_suffix(".nii.gz").write_bytes(content)


def _empty(path: Path, good: bytes) -> None:
    path.with_suffix(".nii.gz").write_bytes(b"")


def _text(path: Path, good: bytes) -> None:
    path.with_suffix(".nii").write_text("this is no scan\n" * 100)


def _link_to_nowhere(path: Path, good: bytes) -> None:
    path.with_suffix(".nii.gz").symlink_to("/nowhere.nii.gz")


def _crashes_itk(path: Path, good: bytes) -> None:
    path.with_suffix(".mha").write_text(
        "ObjectType = Image\nNDims = -32768\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )


def _64_tebibytes(path: Path, good: bytes) -> None:
    head = bytearray(gzip.decompress(good)[:352])
    struct.pack_into("<8h", head, 40, 3, 32767, 32767, 32767, 1, 1, 1, 1)
    path.with_suffix(".nii").write_bytes(head)


def _elsewhere(path: Path, good: bytes) -> None:
    path.with_suffix(".nrrd").write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 100 100 100\nendian: little\nencoding: raw\n"
        "space: left-posterior-superior\nspace directions: (3,0,0) (0,3,0) (0,0,3)\nspace origin: (0,0,0)\n"
        "data file: /etc/passwd\n\n"
    )


SPOILED = (_cut, _flipped, _empty, _text, _link_to_nowhere, _crashes_itk, _64_tebibytes, _elsewhere)


def compare(together: Path, alone: Path) -> None:
    """Every label map of ``together`` is that of ``alone``."""
    names = [f"{number:02d}-good.nii.gz" for number in range(GOOD)]
    for folder in (together, alone):
        assert sorted(set(os.listdir(folder)) - {"run.json"}) == names, (folder, os.listdir(folder))
    labelled = 0
    for name in names:
        one, other = (sitk.ReadImage(str(folder / name)) for folder in (together, alone))
        assert np.array_equal(sitk.GetArrayViewFromImage(one), sitk.GetArrayViewFromImage(other)), name
        labelled += int(sitk.GetArrayViewFromImage(one).any())
    # the control: empty label maps would be equal as well
    assert labelled > GOOD // 2, f"only {labelled} label maps hold an organ"


if __name__ == "__main__":
    {"make": make, "compare": compare}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
