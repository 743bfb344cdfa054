"""What ``python -m training pseudo-label`` leaves behind and ``prepare --pseudo`` takes up.

``labels/CASE.nii.gz`` is the teacher's label map, ``cases/CASE.json`` what is known about it, ``pseudo.json`` what was
selected, ``report.md`` and ``pictures`` are for people.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from attention_dmfnet.json_text import JsonError, decode_json

from training.errors import TrainingError
from training.recipe import Share

PSEUDO_NAME, LABELS_FOLDER, CASES_FOLDER, PICTURES_FOLDER = "pseudo.json", "labels", "cases", "pictures"
REPORT_NAME = "report.md"


class PseudoError(TrainingError):
    """Pseudo labels that are not there or cannot be used."""


class OrganReliability(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a teacher's organ is to be trusted; see ``training.pseudo.reliability``.

    ``agreement`` is None with a single teacher, ``mean_probability`` where label maps of others were taken. ``cut``
    says whether the organ reaches the scan's first or last slice.
    """

    volume_ml: float
    mean_probability: Share | None
    agreement: Share | None
    cut: bool


class LabelledCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the teachers made of one scan: the organs they found, by name. The whole of ``cases/CASE.json``.

    ``teachers`` and ``image_stamp`` tell whether the scan must be labelled again.
    """

    name: str
    image: str
    teachers: tuple[str, ...]
    image_stamp: str
    organs: dict[str, OrganReliability]
    notes: tuple[str, ...]


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one case: the labels (1 to 13) that are kept, and per organ that is not, why.

    ``weight`` is the mean reliability of the organs that are kept; a case that is not ``kept`` is not trained on.
    """

    name: str
    kept: bool
    annotated: tuple[int, ...]
    weight: Share
    dropped: dict[str, str]
    why: str


class PseudoIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of ``pseudo.json``. ``teachers`` are the hashes of their manifests, the one that labelled first,
    or the names of the folders of label maps.
    """

    format: Literal[1]
    teachers: tuple[str, ...]
    cases: tuple[Decision, ...]


def read_pseudo(folder: Path) -> PseudoIndex:
    """``pseudo.json`` of ``folder``. Raises ``PseudoError``."""
    path = folder / PSEUDO_NAME
    try:
        return decode_json(path.read_bytes(), PseudoIndex)
    except FileNotFoundError:
        raise PseudoError(
            f"there is no {path}; label the scans with `python -m training pseudo-label IMAGES --to {folder}`, "
            "or run it again until it is done"
        ) from None
    except OSError as error:
        raise PseudoError(f"cannot read {path}: {error.strerror}") from error
    except JsonError as error:
        raise PseudoError(f"{path} is not valid: {error}; run `python -m training pseudo-label` again") from error


def read_selected(folder: Path) -> dict[str, Decision]:
    """The cases that were selected, by name. Raises ``PseudoError`` if there are none."""
    selected = {decision.name: decision for decision in read_pseudo(folder).cases if decision.kept}
    if not selected:
        raise PseudoError(f"no case in {folder} was selected; see {folder / REPORT_NAME} and lower the thresholds")
    return selected


def labels_path(folder: Path, name: str) -> Path:
    """Where a case's pseudo labels are."""
    return folder / LABELS_FOLDER / f"{name}.nii.gz"
