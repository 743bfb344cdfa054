"""Labels of painted scans of the held-out patients, paired by patient, as docs/protocol.md says.

Only organs that a map's author drew are scored: of lent and drawn ones the truth is not known. A patient's figure is
the mean of its scans:

    python -m evaluation.studies.held_out REFERENCES LABELS [LABELS ...]
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from attention_dmfnet.files.image_io import read_volume

from evaluation.accuracy.dice import dice
from evaluation.command import DONE, run_command
from evaluation.errors import EvaluationError
from evaluation.markdown import table
from evaluation.organs import ORGANS
from evaluation.studies.label_maps import add_folders, label_maps, made_of

_ALL = frozenset(range(1, 14))
_VESSELS = frozenset({5, 6})
DRAWN = {
    "abdomenatlas": frozenset({1, 2, 3, 4, 5, 6, 9, 11, 13}),
    "amos": _ALL,
    "btcv": frozenset({1, 2, 3, 4, 5, 9, 11, 13}),
    "word": _ALL - _VESSELS,
    "zanatomy": _ALL - _VESSELS,
}
"""The organs that the authors of each collection of held-out maps drew, by the first word of a scan's name."""

GUT = (4, 9, 10, 11, 12)
"""Pancreas, gallbladder, esophagus, stomach, duodenum: the protocol's first figure."""

_ONE_PATIENT = {"word_0034": "word_0034+0043", "word_0043": "word_0034+0043"}

ByPatient = dict[str, dict[int, float]]


def score(references: Path, labels: Path) -> tuple[ByPatient, dict[int, float]]:
    """DSC by patient and label, and by label the median over scans of labelled volume / true volume.

    Scans are named COLLECTION_PATIENT_VARIANT.nii.gz. Raises ``EvaluationError`` for names of another kind and for a
    scan that has no label map.
    """
    found: dict[str, dict[int, list[float]]] = {}
    ratios: dict[int, list[float]] = {}
    for name, reference in label_maps(references).items():
        patient = name.rpartition("_")[0]
        drawn = DRAWN.get(patient.split("_")[0])
        if drawn is None:
            raise EvaluationError(
                f"{reference}: which organs its author drew is not known; names begin {', '.join(DRAWN)}"
            )
        true, made = read_volume(reference).array, read_volume(made_of(name, labels)).array
        mine = found.setdefault(_ONE_PATIENT.get(patient, patient), {})
        for label in sorted(drawn):
            of_true, of_made = true == label, made == label
            volume = int(np.count_nonzero(of_true))
            if volume:
                mine.setdefault(label, []).append(dice(of_made, of_true))
                ratios.setdefault(label, []).append(int(np.count_nonzero(of_made)) / volume)
    by_patient = {
        name: {label: statistics.mean(v) for label, v in by_label.items()} for name, by_label in found.items()
    }
    return by_patient, {label: statistics.median(values) for label, values in ratios.items()}


def gut_by_patient(scored: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """The mean DSC of ``GUT`` of each patient who shows any of it."""
    return {
        patient: statistics.mean(by_label[label] for label in GUT if label in by_label)
        for patient, by_label in scored.items()
        if any(label in by_label for label in GUT)
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.studies.held_out", description="Labels of the held-out patients, paired by patient."
    )
    add_folders(parser)
    options = parser.parse_args(arguments)

    def study() -> int:
        names = [folder.name for folder in options.labels]
        scored = [score(options.references, folder) for folder in options.labels]
        gut = [gut_by_patient(by_patient) for by_patient, _ in scored]
        rows = [[patient, *(f"{each[patient]:.3f}" for each in gut)] for patient in gut[0]]
        rows.append(["mean", *(f"{statistics.mean(each.values()):.4f}" for each in gut)])
        print(table(["gut of", *names], rows), end="\n\n")
        rows, means = [], []
        for label, organ in enumerate(ORGANS, start=1):
            values = [[d[label] for d in by_patient.values() if label in d] for by_patient, _ in scored]
            means.append([statistics.mean(each) for each in values])
            ratio = [f"{ratios[label]:.2f}" for _, ratios in scored]
            rows.append([organ, *(f"{value:.3f}" for value in means[-1]), *ratio])
        rows.append(
            ["mean", *(f"{statistics.mean(each):.4f}" for each in zip(*means, strict=True)), *[""] * len(names)]
        )
        print(table(["organ", *names, *(f"{name}: volume / true" for name in names)], rows))
        return DONE

    return run_command("held_out", study)


if __name__ == "__main__":
    sys.exit(main())
