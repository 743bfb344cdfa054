"""How far the labels of one patient's contrast phases agree: a measure of labels on real scans that nobody has drawn.

Scans of one patient are named PATIENT-PHASE (``HCC-011-portal``); other names are passed over. Of each pair the second
is brought on to the first one's grid; only what lies in both fields of view is compared. Breathing between the phases
costs some agreement, in every release alike:

    python -m evaluation.studies.phases LABELS
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import canonicalise

from evaluation.accuracy.phases import agreement, patient_of
from evaluation.command import DONE, run_command
from evaluation.errors import EvaluationError
from evaluation.markdown import table
from evaluation.organs import ORGANS

_ENDING = ".nii.gz"


def phases_of(folder: Path) -> dict[str, list[Path]]:
    """The label maps of each patient who has two or more. Raises ``EvaluationError`` if nobody has."""
    patients: dict[str, list[Path]] = {}
    for path in sorted(folder.glob(f"*{_ENDING}")):
        patient = patient_of(path.name.removesuffix(_ENDING))
        if patient is not None:
            patients.setdefault(patient, []).append(path)
    found = {name: paths for name, paths in patients.items() if len(paths) > 1}
    if not found:
        raise EvaluationError(f"{folder} holds no patient with two phases, such as HCC-011-portal{_ENDING}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table by patient and organ; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.studies.phases", description="DSC between the labels of one patient's phases."
    )
    parser.add_argument("labels", type=Path, metavar="LABELS", help="a folder of label maps, as `predict` makes them")
    options = parser.parse_args(arguments)

    def study() -> int:
        by_patient: dict[str, dict[int, list[float]]] = {}
        for patient, paths in phases_of(options.labels).items():
            volumes = [canonicalise(read_volume(path)) for path in paths]
            found = by_patient.setdefault(patient, {})
            for one, other in itertools.combinations(volumes, 2):
                for label, value in agreement(one, other).items():
                    found.setdefault(label, []).append(value)
        rows = []
        for label, organ in enumerate(ORGANS, start=1):
            values = [statistics.mean(found[label]) for found in by_patient.values() if label in found]
            cells = [f"{statistics.mean(f[label]):.3f}" if label in f else "" for f in by_patient.values()]
            rows.append([organ, *cells, f"{statistics.mean(values):.3f}" if values else ""])
        print(table(["organ", *by_patient, "mean"], rows))
        return DONE

    return run_command("phases", study)


if __name__ == "__main__":
    sys.exit(main())
