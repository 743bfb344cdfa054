"""docs/viewers.md, typed line by line. What is typed for OHIF is typed to a real Orthanc, in test_orthanc."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.organs import ORGANS
from pydicom.dataset import Dataset

from tests.engine.dicom.made import write_series
from tests.engine.tiny import block_phantom, write_models

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "viewers.md").read_text(encoding="utf-8")


def blocks_of(heading: str, language: str = "") -> list[str]:
    """What is to be typed below a heading of the page; "" is the page's beginning."""
    section = PAGE.partition(f"## {heading}\n")[2] if heading else PAGE
    return re.findall(rf"^```{language}\n(.*?)^```$", section.partition("\n## ")[0], re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's user stands: scans, a study, and the command, which has networks for scans of blocks."""
    folder = tmp_path_factory.mktemp("place")
    ct, _ = block_phantom()

    def same_frame(image: Dataset, _: int) -> None:
        image.FrameOfReferenceUID = "1.5"

    (folder / "scans").mkdir()
    write_volume(ct, folder / "scans" / "scan_0000.nii.gz")
    shutil.copytree(folder / "scans", folder / "imagesTs")
    write_series(ct, folder / "study", same_frame)
    shutil.make_archive(str(folder / "study"), "zip", folder / "study")
    shutil.copy(ROOT / "docs" / "viewers" / "organs-itk-snap.txt", folder)
    command_with(write_models(folder / "models"), folder / "bin")
    return folder


def command_with(models: Path, folder: Path) -> None:
    """``attention-dmfnet`` in ``folder``, whose ``predict`` uses ``models``."""
    folder.mkdir()
    command = folder / "attention-dmfnet"
    command.write_text(
        f'#!/bin/sh\n[ "$1" = predict ] && set -- "$@" --models "{models}" --device cpu\n'
        f'exec "{sys.executable}" -m attention_dmfnet "$@"\n'
    )
    command.chmod(0o755)


def typed(text: str, place: Path) -> str:
    """Type ``text`` into a shell that stands in ``place``; what it says. Fails with the first line that fails."""
    environment = {
        **os.environ,
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "engine"),
    }
    done = subprocess.run(
        ["bash", "-eu", "-c", text], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_the_page_begins_with_makes_the_files_that_it_lists(place: Path) -> None:
    typed(blocks_of("")[0], place)
    made = {path.name for path in (place / "labels").iterdir()}
    assert {"scan.nii.gz", "scan.seg.nrrd"} <= made
    (series,) = (name.removesuffix(".seg.dcm") for name in made if name.endswith(".seg.dcm"))
    assert {f"{series}.nii.gz", f"{series}.rtstruct.dcm"} <= made


def test_slicers_reader_finds_every_organ_by_its_number(place: Path) -> None:
    typed("attention-dmfnet predict scans labels --seg-nrrd --overwrite", place)
    (block,) = blocks_of("3D Slicer", "python")
    (place / "read.py").write_text(block)
    said = typed(f'"{sys.executable}" read.py', place)
    assert ast.literal_eval(said) == {organ.number: organ.name for organ in ORGANS}


def test_what_itk_snap_is_told_is_there(place: Path) -> None:
    typed("attention-dmfnet predict scans labels --overwrite", place)
    (block,) = blocks_of("ITK-SNAP")
    program, *words = block.split()
    assert program == "itksnap"
    assert [(place / word).is_file() for word in words[1::2]] == [True] * 3
    # index, red, green, blue, opacity, two switches, name in quotation marks: what the file itself says of its rows
    row = re.compile(r'^ *(\d+) +(\d+) +(\d+) +(\d+) +([\d.]+) +([01]) +([01]) +"([^"]+)"$')
    lines = [line for line in (place / "organs-itk-snap.txt").read_text().splitlines() if not line.startswith("#")]
    rows = [match.groups() for line in lines if (match := row.match(line))]
    assert len(rows) == len(lines) == 1 + len(ORGANS)
    for organ, found in zip(ORGANS, rows[1:], strict=True):
        assert (int(found[0]), tuple(map(int, found[1:4])), found[7]) == (organ.number, organ.colour, organ.name)


def test_nnunets_folders_are_labelled_under_nnunets_names(place: Path) -> None:
    typed(blocks_of("nnU-Net's folders")[0], place)
    assert [path.name for path in (place / "labelsTs").iterdir()] == ["scan.nii.gz"]
    labels = json.loads(typed("attention-dmfnet describe --json", place))["labels"]
    assert labels == {"background": 0, **{organ.name: organ.number for organ in ORGANS}}
