"""DSC and NSD of a folder of predictions against a folder of references."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.cases import InputError, case_name, list_cases, printable
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import Volume

from evaluation.accuracy.annotated import annotated_labels, parse_merges, parse_organs
from evaluation.accuracy.flare22 import FLARE22, LABELS, PLAIN, OrganScore, Rules, score_organ
from evaluation.accuracy.same_grid import require_same_grid
from evaluation.errors import EvaluationError

RULES: dict[str, Rules] = {"flare22": FLARE22, "plain": PLAIN}


@dataclass(frozen=True, slots=True)
class CaseScore:
    """The scores of one case by label; a label that is not annotated or was not asked for is missing."""

    name: str
    organs: dict[int, OrganScore]


def score_folders(
    predictions: Path,
    references: Path,
    rules: str = "flare22",
    missing: str = "error",
    organs: str | None = None,
    merge: Sequence[str] = (),
    note: Callable[[str], None] = lambda line: None,
) -> list[CaseScore]:
    """Score each reference's prediction, matched by case name (or by nothing, if both are single files).

    ``rules`` is ``flare22`` or ``plain``. ``missing`` says what a reference without a prediction is: an ``error``, or
    ``zero`` for every organ that would have been scored, as for a container that failed. ``organs`` is a list for
    ``parse_organs``; sidecars narrow it further. ``merge`` is for ``parse_merges``: organs that the references draw as
    one are scored as one, by the second's name. Predictions that have no reference are told to ``note``.

    Raises ``EvaluationError``, with the files' names, for missing predictions, and for grids that differ.
    """
    wanted = frozenset(LABELS) if organs is None else parse_organs(organs)
    merges = parse_merges(merge)
    wanted -= merges.keys()
    pairs = _pairs(predictions, references, missing, note)
    absent = [reference for reference, prediction in pairs if prediction is None]
    if absent and missing == "error":
        names = ", ".join(reference.name for reference in absent)
        raise EvaluationError(
            f"{predictions} has no prediction for {len(absent)} of {len(pairs)} references: {names}; "
            "predict them, or score them 0 with --missing zero"
        )
    scores = []
    for reference, prediction in pairs:
        labels = sorted(wanted & annotated_labels(reference))
        if prediction is None:
            note(f"{printable(reference.name)}: no prediction, scored 0")
            organ_scores = dict.fromkeys(labels, OrganScore(0.0, 0.0))
        else:
            organ_scores = _score_pair(prediction, reference, labels, merges, RULES[rules])
        scores.append(CaseScore(printable(reference.name), organ_scores))
    return scores


def _pairs(
    predictions: Path, references: Path, missing: str, note: Callable[[str], None]
) -> list[tuple[Path, Path | None]]:
    reference_paths = list_cases(references)
    if predictions.is_file() and references.is_file():
        return [(reference_paths[0], list_cases(predictions)[0])]
    by_case: dict[str, Path] = {}
    try:
        by_case = {case_name(path): path for path in list_cases(predictions)}
    except InputError:
        # an empty folder is what a run leaves in which every case failed
        if not (missing == "zero" and predictions.is_dir()):
            raise
    pairs = [(reference, by_case.pop(case_name(reference), None)) for reference in reference_paths]
    for prediction in by_case.values():
        note(f"{printable(prediction.name)}: no reference, not scored")
    return pairs


def _score_pair(
    prediction: Path, reference: Path, labels: list[int], merges: dict[int, int], rules: Rules
) -> dict[int, OrganScore]:
    predicted, labelled = _read_labels(prediction), _read_labels(reference)
    require_same_grid(predicted, str(prediction), labelled, str(reference))
    spacing_zyx = labelled.geometry.spacing_zyx
    ours, theirs = (merged(volume.array, merges) for volume in (predicted, labelled))
    return {label: score_organ(ours, theirs, label, spacing_zyx, rules) for label in labels}


def merged(labels: npt.NDArray[np.integer], merges: Mapping[int, int]) -> npt.NDArray[np.integer]:
    """A label map (z, y, x) in which each of ``merges``' labels is counted as the other one; ``labels`` if none is."""
    counted = labels.copy() if merges else labels
    for label, into in merges.items():
        counted[labels == label] = into
    return counted


def _read_labels(path: Path) -> Volume:
    labels = read_volume(path)
    if not np.issubdtype(labels.array.dtype, np.integer):
        raise EvaluationError(f"{path} is no label map: it holds values that are not whole numbers")
    return labels
