"""Which of a teacher's organs and cases a student is trained on."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from attention_dmfnet.adult_volumes import ADULT_VOLUMES
from attention_dmfnet.spelling import did_you_mean

from evaluation.organs import ORGANS
from evaluation.text_file import decode_text
from training.data.pseudo_folder import Decision, LabelledCase, OrganReliability
from training.errors import TrainingError
from training.recipe import Share

_THIN = ("right adrenal gland", "left adrenal gland", "esophagus", "gallbladder", "duodenum", "pancreas")

MIN_PROBABILITY = {organ: 0.80 if organ in _THIN else 0.85 for organ in ORGANS}
MIN_AGREEMENT = {organ: 0.75 if organ in _THIN else 0.85 for organ in ORGANS}
"""Where to begin: a well-trained teacher's good organs lie above, its guesses below. Look at the report and adjust."""

MIN_PHASE_AGREEMENT = {organ: 0.60 if organ in _THIN else 0.80 for organ in ORGANS}
"""Lower: organs bend between breaths, and what bleeds into a phase's edge of view differs."""

ALL = "all"


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The thresholds. The key ``all`` stands for the organs that a table does not name; without it the defaults do.

    A case needs ``min_organs`` organs that pass. Volumes must be possible in adults (``ADULT_VOLUMES``) and, where
    the fingerprint of labelled scans is at hand, lie within ``volume_factor`` times what was seen there. ``leave_out``
    names the organs of a case that are not kept whatever their numbers: what somebody saw in a picture. ``all`` there
    is the whole case.
    """

    min_probability: dict[str, Share] = {}
    min_agreement: dict[str, Share] = {}
    min_phase_agreement: dict[str, Share] = {}
    min_organs: Annotated[int, msgspec.Meta(ge=1, le=13)] = 6
    volume_factor: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    leave_out: dict[str, tuple[str, ...]] = {}

    def __post_init__(self) -> None:
        named = self.min_probability.keys() | self.min_agreement.keys() | self.min_phase_agreement.keys()
        unknown = named.union(*self.leave_out.values()) - {*ORGANS, ALL}
        if unknown:
            raise ValueError(f"{sorted(unknown)[0]!r} is no organ; choose from all, {', '.join(ORGANS)}")


def read_selection(path: Path) -> Selection:
    """A TOML file with the fields of ``Selection``. Raises ``TrainingError``."""
    try:
        return msgspec.convert(tomllib.loads(decode_text(path.read_bytes())), Selection)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise TrainingError(f"cannot use the selection in {path}: {error}") from error


def refuse_unknown_cases(selection: Selection, names: Collection[str]) -> None:
    """Raise ``TrainingError`` if a case is left out by hand that is none of ``names``: it would stay in unseen."""
    for case in selection.leave_out:
        if case not in names:
            guess = did_you_mean(case, names) or ";"
            raise TrainingError(
                f"the selection leaves out organs of {case!r}, which is no scan here{guess} mend leave_out"
            )


def decide(
    case: LabelledCase,
    selection: Selection,
    seen_ml: Mapping[str, tuple[float, float]] | None = None,
    phases: Mapping[str, float] | None = None,
) -> Decision:
    """Which organs of ``case`` are kept, and whether the case is.

    ``seen_ml`` are the least and largest volumes of the organs in labelled scans, ``phases`` the organs' agreement with
    the patient's other phases (:func:`training.pseudo.phases.phase_agreements`), where there are any. An organ that the
    teacher did not find is never kept as absent: whether it is not there or was overlooked cannot be told.
    """
    dropped: dict[str, str] = {}
    kept: dict[str, float] = {}
    by_hand = selection.leave_out.get(case.name, ())
    for organ, found in case.organs.items():
        if organ in by_hand or ALL in by_hand:
            dropped[organ] = "left out by hand"
            continue
        # what the scan cuts is not the same part of the organ in the other phase
        between = None if found.cut else (phases or {}).get(organ)
        why = _doubt(organ, found, selection, (seen_ml or {}).get(organ), between)
        if why is None:
            kept[organ] = _reliability(found, between)
        else:
            dropped[organ] = why
    annotated = tuple(sorted(ORGANS.index(organ) + 1 for organ in kept))
    weight = sum(kept.values()) / len(kept) if kept else 0.0
    enough = len(kept) >= selection.min_organs
    why = "" if enough else f"only {len(kept)} organs can be trusted, {selection.min_organs} are needed"
    return Decision(case.name, enough, annotated, weight, dropped, why)


def _doubt(
    organ: str,
    found: OrganReliability,
    selection: Selection,
    seen_ml: tuple[float, float] | None,
    between: float | None,
) -> str | None:
    """Why ``organ`` cannot be trusted, or None if it can."""
    least = _threshold(organ, selection.min_probability, MIN_PROBABILITY)
    if found.mean_probability is not None and found.mean_probability < least:
        return f"mean probability {found.mean_probability:.2f} is below {least:.2f}"
    least = _threshold(organ, selection.min_agreement, MIN_AGREEMENT)
    if found.agreement is not None and found.agreement < least:
        return f"teachers agree by {found.agreement:.2f}, below {least:.2f}"
    least = _threshold(organ, selection.min_phase_agreement, MIN_PHASE_AGREEMENT)
    if between is not None and between < least:
        return f"the patient's phases agree by {between:.2f}, below {least:.2f}"
    low, high = _volume_range(organ, selection.volume_factor, seen_ml)
    if found.volume_ml > high:
        return f"{found.volume_ml:.0f} mL is more than {high:.0f} mL"
    # an organ that the scan cuts may be as small as it likes
    if found.volume_ml < low and not found.cut:
        return f"{found.volume_ml:.1f} mL is less than {low:.1f} mL"
    return None


def _threshold(organ: str, chosen: Mapping[str, float], default: Mapping[str, float]) -> float:
    return chosen.get(organ, chosen.get(ALL, default[organ]))


def _volume_range(organ: str, factor: float, seen_ml: tuple[float, float] | None) -> tuple[float, float]:
    low, high = ADULT_VOLUMES[organ].possible_ml
    if seen_ml is None:
        return low, high
    # what was seen is possible, whatever the table says
    return min(max(low, seen_ml[0] / factor), seen_ml[0]), max(min(high, seen_ml[1] * factor), seen_ml[1])


def _reliability(found: OrganReliability, between: float | None) -> float:
    """One number for weighting: the geometric mean of probability and agreements, all of which must be high.

    Where only one is known it is that one, and 1 for a single label map of others: nothing is known against it.
    """
    known = [number for number in (found.mean_probability, found.agreement, between) if number is not None]
    return math.prod(known) ** (1 / len(known)) if known else 1.0
