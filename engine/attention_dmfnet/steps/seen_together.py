"""Organs that no scan shows alone: what is taken for one where its neighbours are not in view is something else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from attention_dmfnet.model.manifest import SeenTogether
from attention_dmfnet.notes import Note
from attention_dmfnet.steps.roi import listed


def seen_alone(volumes_ml: Mapping[str, float], rule: SeenTogether | None) -> list[str]:
    """The organs that were found and, by the ``rule``, cannot be: the scan shows too little of what they lie beside."""
    if rule is None or sum(volumes_ml[organ] for organ in rule.beside) >= rule.min_volume_ml:
        return []
    return [organ for organ in rule.organs if volumes_ml[organ]]


def erase(labels: npt.NDArray[np.uint8], numbers: list[int]) -> None:
    """Set to 0, in place, all labels of these ``numbers``."""
    table = np.arange(256, dtype=np.uint8)
    table[numbers] = 0
    np.take(table, labels, out=labels)


def alone_note(dropped_ml: Mapping[str, float], rule: SeenTogether) -> Note:
    """What is to be said about organs that were erased, and how large they were."""
    what = listed([f"{organ} of {volume:.3g} mL" for organ, volume in dropped_ml.items()])
    text = f"{what}: dropped, as the scan shows less than {rule.min_volume_ml:g} mL of {listed(list(rule.beside))}"
    return Note("organ-alone", text)
