"""Organs that no scan shows alone: what is taken for one where its neighbours are not in view is something else."""

from __future__ import annotations

from collections.abc import Mapping

from attention_dmfnet.model.manifest import SeenTogether
from attention_dmfnet.notes import Note
from attention_dmfnet.steps.roi import listed


def seen_alone(volumes_ml: Mapping[str, float], rule: SeenTogether | None) -> dict[str, float]:
    """The organs that were found and, by the ``rule``, cannot be: the scan shows too little of what they lie beside.

    ``volumes_ml`` has every organ; returned is what it has of these.
    """
    if rule is None or sum(volumes_ml[organ] for organ in rule.beside) >= rule.min_volume_ml:
        return {}
    return {organ: volumes_ml[organ] for organ in rule.organs if volumes_ml[organ]}


def alone_note(dropped_ml: Mapping[str, float], rule: SeenTogether | None) -> Note | None:
    """What is to be said about organs that were dropped, and how large they were."""
    if rule is None or not dropped_ml:
        return None
    what = listed([f"{organ} of {volume:.3g} mL" for organ, volume in dropped_ml.items()])
    text = f"{what}: dropped, as the scan shows less than {rule.min_volume_ml:g} mL of {listed(list(rule.beside))}"
    return Note("organ-alone", text)
