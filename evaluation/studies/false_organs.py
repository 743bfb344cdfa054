"""What is labelled where no organ is: of each organ the most that a scan shows of it without having it.

For scans of a chest or a pelvis alone, painted by ``python -m training synthesize --field``. A voxel of another organ's
label counts as false too:

    python -m evaluation.studies.false_organs REFERENCES LABELS [LABELS ...]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from attention_dmfnet.files.image_io import read_volume

from evaluation.accuracy.same_grid import require_same_grid
from evaluation.command import DONE, run_command
from evaluation.markdown import table
from evaluation.organs import ORGANS
from evaluation.studies.label_maps import add_folders, label_maps, made_of


class Most(NamedTuple):
    """The largest volume in mL, and the scan that shows it."""

    ml: float
    scan: str


def most_of_each(references: Path, labels: Path) -> list[Most]:
    """By organ, in the order of their labels: the most that lies where the reference has no such label.

    Raises ``EvaluationError`` where there are no references, for a scan without a label map, and for another grid.
    """
    most = [Most(0.0, "")] * len(ORGANS)
    for name, reference in label_maps(references).items():
        path = made_of(name, labels)
        true, made = read_volume(reference), read_volume(path)
        require_same_grid(true, str(reference), made, str(path))
        wrong = made.array[made.array != true.array].astype(np.int64)
        ml = np.bincount(wrong, minlength=len(ORGANS) + 1)[1:] * true.geometry.voxel_volume_mm3 / 1000
        most = [max(old, Most(float(new), name), key=lambda one: one.ml) for old, new in zip(most, ml, strict=True)]
    return most


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.studies.false_organs", description="What is labelled where no organ is."
    )
    add_folders(parser)
    options = parser.parse_args(arguments)

    def study() -> int:
        found = [most_of_each(options.references, folder) for folder in options.labels]
        rows = [
            [organ, *(f"{most.ml:.0f} mL {most.scan}" if most.ml >= 0.5 else "0 mL" for most in each)]
            for organ, each in zip(ORGANS, zip(*found, strict=True), strict=True)
        ]
        print(table(["most of a false organ", *(str(folder) for folder in options.labels)], rows))
        return DONE

    return run_command("false_organs", study)


if __name__ == "__main__":
    sys.exit(main())
