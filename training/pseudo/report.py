"""The report on pseudo labels: what was kept, what was dropped and why, and pictures of the doubtful cases."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from attention_dmfnet.files.image_io import ImageError, read_volume

from evaluation.errors import EvaluationError
from evaluation.organs import ORGANS
from evaluation.pictures.picture import draw
from training.data.cache import write_text
from training.data.pseudo_folder import PICTURES_FOLDER, REPORT_NAME, Decision, LabelledCase, labels_path


def write_report(
    folder: Path,
    cases: Sequence[LabelledCase],
    decisions: Sequence[Decision],
    failed: Mapping[str, str],
    pictures: int,
    phases: Mapping[str, Mapping[str, float]],
) -> None:
    """Write ``report.md`` and, of up to ``pictures`` doubtful cases, one picture each, the most doubtful first.

    ``phases`` is the agreement of a patient's phases by case and organ.
    """
    doubtful = [decision for decision in decisions if decision.dropped or not decision.kept]
    doubtful.sort(key=lambda decision: (decision.kept, -len(decision.dropped), decision.weight))
    drawn = _draw(folder, {case.name: case for case in cases}, doubtful[:pictures])
    lines = ["# Pseudo labels", "", *_overview(decisions, failed), ""]
    lines += ["## Organs", "", *_organ_table(cases, decisions, phases), "", "## Doubtful cases", ""]
    for decision in doubtful:
        lines += [f"### {decision.name}: {'kept' if decision.kept else 'not kept'}", ""]
        lines += [f"- {decision.why}"] if decision.why else []
        lines += [f"- {organ}: {why}" for organ, why in decision.dropped.items()]
        lines += ["", *drawn.get(decision.name, [])]
    if not doubtful:
        lines.append("None.")
    if failed:
        lines += ["", "## Not labelled", "", *(f"- {name}: {error}" for name, error in failed.items())]
    write_text("\n".join(lines) + "\n", folder / REPORT_NAME)


def _overview(decisions: Sequence[Decision], failed: Mapping[str, str]) -> Iterator[str]:
    kept = [decision for decision in decisions if decision.kept]
    yield f"{len(kept)} of {len(decisions)} cases are kept; {len(failed)} scans could not be labelled."
    yield "An organ that is dropped is not taught in that case: it may be there or not."


def _organ_table(
    cases: Sequence[LabelledCase], decisions: Sequence[Decision], phases: Mapping[str, Mapping[str, float]]
) -> Iterator[str]:
    yield "| organ | found | kept | median probability | median agreement | median agreement of phases | median mL |"
    yield "|---|---|---|---|---|---|---|"
    for label, organ in enumerate(ORGANS, start=1):
        found = [case.organs[organ] for case in cases if organ in case.organs]
        kept = sum(decision.kept and label in decision.annotated for decision in decisions)
        agreement = [each.agreement for each in found if each.agreement is not None]
        numbers = (
            _median([each.mean_probability for each in found if each.mean_probability is not None], ".2f"),
            _median(agreement, ".2f"),
            _median([each[organ] for each in phases.values() if organ in each], ".2f"),
            _median([each.volume_ml for each in found], ".0f"),
        )
        yield f"| {organ} | {len(found)} | {kept} | {' | '.join(numbers)} |"


def _median(numbers: Sequence[float], form: str) -> str:
    return format(float(np.median(numbers)), form) if numbers else "-"


def _draw(folder: Path, cases: Mapping[str, LabelledCase], doubtful: Sequence[Decision]) -> dict[str, list[str]]:
    """Draw the cases; returns the lines that show or replace the picture of each."""
    # pictures of an earlier selection would be taken for this one's
    shutil.rmtree(folder / PICTURES_FOLDER, ignore_errors=True)
    lines = {}
    for decision in doubtful:
        picture = folder / PICTURES_FOLDER / f"{decision.name}.png"
        try:
            scan, labels = (
                read_volume(Path(cases[decision.name].image)),
                read_volume(labels_path(folder, decision.name)),
            )
            draw(scan, labels, picture, f"{decision.name}  doubtful: {', '.join(decision.dropped) or 'the whole case'}")
        except (ImageError, EvaluationError) as error:
            lines[decision.name] = [f"No picture: {error}", ""]
        else:
            lines[decision.name] = [f"![{decision.name}]({PICTURES_FOLDER}/{picture.name})", ""]
    return lines
