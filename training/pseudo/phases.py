"""How far a teacher's labels of one patient's contrast phases agree: the same anatomy, labelled twice or more.

Teachers of one family share their mistakes; phases of one patient look different and are the same, so an organ that
changes its shape between them is wrong in one. Scans are taken for phases by their names (``HCC-011-portal``).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import canonicalise

from evaluation.accuracy.phases import agreement, patient_of
from evaluation.organs import ORGANS
from training.data.pseudo_folder import LabelledCase, labels_path


def phase_agreements(folder: Path, cases: Sequence[LabelledCase]) -> dict[str, dict[str, float]]:
    """By case and organ, the mean DSC with the labels of the patient's other phases in ``folder``, centroids aligned.

    Cases of patients with one phase are not in it.
    """
    patients: dict[str, list[str]] = {}
    for case in cases:
        patient = patient_of(case.name)
        if patient is not None:
            patients.setdefault(patient, []).append(case.name)
    found: dict[str, dict[str, list[float]]] = {}
    for names in patients.values():
        maps = {name: canonicalise(read_volume(labels_path(folder, name))) for name in names}
        for one, other in itertools.combinations(names, 2):
            for label, value in agreement(maps[one], maps[other], aligned=True).items():
                for name in (one, other):
                    found.setdefault(name, {}).setdefault(ORGANS[label - 1], []).append(value)
    return {name: {organ: float(np.mean(each)) for organ, each in organs.items()} for name, organs in found.items()}
