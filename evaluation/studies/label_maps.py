"""Two folders of label maps, file by file: the scans' own labels, and what a release made of them."""

import argparse
from pathlib import Path

from evaluation.errors import EvaluationError

_ENDING = ".nii.gz"


def add_folders(parser: argparse.ArgumentParser) -> None:
    """The command line of a study that compares one release or several: ``references`` and ``labels``."""
    parser.add_argument("references", type=Path, metavar="REFERENCES", help="the painted scans' own labels")
    parser.add_argument("labels", type=Path, nargs="+", metavar="LABELS", help="a release's labels of them, or several")


def label_maps(folder: Path) -> dict[str, Path]:
    """The label maps of ``folder`` by the names of their scans. Raises ``EvaluationError`` if there are none."""
    found = {path.name.removesuffix(_ENDING): path for path in sorted(folder.glob(f"*{_ENDING}"))}
    if not found:
        raise EvaluationError(f"{folder} holds no label maps (*{_ENDING})")
    return found


def made_of(name: str, labels: Path) -> Path:
    """The label map in ``labels`` of the scan ``name``. Raises ``EvaluationError`` if it is not there."""
    path = labels / f"{name}{_ENDING}"
    if not path.exists():
        raise EvaluationError(f"{path} is missing; label every painted scan")
    return path
