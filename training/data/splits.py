"""Which patients are held out in which fold: decided once, kept in a file, the same for teacher and student."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from attention_dmfnet.json_text import JsonError, decode_json

from training.data.cache import write_text
from training.errors import TrainingError

SPLITS_NAME = "splits.json"


class SplitsError(TrainingError):
    """A file of splits that cannot be read, or a fold that does not exist."""


class Splits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``fold_of_patient`` names the fold in which a patient's cases are held out for validation.

    Patients that it does not name (those with pseudo labels only) are trained on in every fold.
    """

    format: Literal[1]
    folds: Annotated[int, msgspec.Meta(ge=1)]
    seed: int
    fold_of_patient: dict[str, Annotated[int, msgspec.Meta(ge=0)]]

    def __post_init__(self) -> None:
        beyond = [patient for patient, fold in self.fold_of_patient.items() if fold >= self.folds]
        if beyond:
            raise ValueError(f"{beyond[0]} is in fold {self.fold_of_patient[beyond[0]]}, but there are {self.folds}")

    def held_out(self, fold: int) -> frozenset[str]:
        """The patients of ``fold``. Raises ``SplitsError`` if there is no such fold."""
        if not 0 <= fold < self.folds:
            raise SplitsError(f"there is no fold {fold}; this data set has the folds 0 to {self.folds - 1}")
        return frozenset(patient for patient, number in self.fold_of_patient.items() if number == fold)


def make_splits(cases_of_patient: Mapping[str, int], folds: int, seed: int, kept: Splits | None = None) -> Splits:
    """Put every patient, with so many labelled cases, into a fold; folds hold about as many cases as each other.

    Patients that ``kept`` knows stay where they are, whatever ``folds`` and ``seed`` say: what was held out once
    must not be trained on later. With fewer patients than folds there are as many folds as patients.
    """
    if kept is not None:
        folds, seed = kept.folds, kept.seed
    else:
        folds = max(1, min(folds, len(cases_of_patient)))
    fold_of_patient = {} if kept is None else dict(kept.fold_of_patient)
    sizes = [0] * folds
    for patient, fold in fold_of_patient.items():
        sizes[fold] += cases_of_patient.get(patient, 0)
    for patient in sorted(cases_of_patient, key=lambda patient: _order(patient, seed)):
        if patient not in fold_of_patient:
            fold = sizes.index(min(sizes))
            fold_of_patient[patient] = fold
            sizes[fold] += cases_of_patient[patient]
    return Splits(1, folds, seed, dict(sorted(fold_of_patient.items())))


def read_splits(path: Path) -> Splits:
    """Raises ``SplitsError`` if the file cannot be read or is not valid."""
    try:
        return decode_json(path.read_bytes(), Splits)
    except OSError as error:
        raise SplitsError(f"cannot read {path}: {error.strerror}") from error
    except JsonError as error:
        raise SplitsError(f"{path} is not valid: {error}; put back the file that the training began with") from error


def write_splits(splits: Splits, path: Path) -> None:
    """Raises ``training.data.cache.CacheError`` if the place cannot be written."""
    write_text(msgspec.json.format(msgspec.json.encode(splits), indent=2).decode() + "\n", path)


def _order(patient: str, seed: int) -> str:
    # by a hash instead of a shuffled list: a patient's place does not depend on who else is there
    return hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest()
