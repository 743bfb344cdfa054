"""Accuracy against cost when the manifest's settings are changed, without training anything anew.

Each ``--variant`` is a list of changes, ``place=JSON``; ``null`` takes the field out. The scans are labelled by
``predict.sh`` on the CPU once as released and once for each variant, each time in one process. The study behind
docs/decisions/0008-choose-margin-and-settings.md:

    python -m evaluation.studies.settings_sweep SCANS LABELS --to DIR --variant 'fine.spacing_zyx=[2.4,2,2]' \\
        --variant 'fine.tile_multiple=null fine.overlap=0.5'
"""

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_dmfnet.files.cases import list_cases, output_path
from attention_dmfnet.files.image_io import read_volume

from evaluation.accuracy.dice import dice_by_organ
from evaluation.accuracy.same_grid import require_same_grid
from evaluation.command import DONE, run_command
from evaluation.cost.measured_process import MeasuredProcess
from evaluation.cost.system import PREDICT
from evaluation.errors import ArgumentsError, EvaluationError
from evaluation.figure import as_png, new_figure
from evaluation.files import write_bytes, write_text
from evaluation.markdown import table

MODELS = Path(__file__).resolve().parents[2] / "models"
MANIFEST = "manifest.json"

LARGE = ("liver", "right kidney", "spleen", "left kidney")
RELEASED = "as released"
LIMIT_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one variant: DSC as the mean over cases and organs, of all, of the large and the other ones; cost a case."""

    variant: str
    dsc: float
    dsc_large: float
    dsc_small: float
    cpu_s: float


def changed(manifest: dict[str, Any], variant: str) -> dict[str, Any]:
    """A copy of ``manifest`` with the changes of ``variant``: ``fine.overlap=0.5 fine.tile_multiple=null``.

    Raises ``ArgumentsError`` for a change that cannot be read or whose place the manifest does not have.
    """
    result: dict[str, Any] = json.loads(json.dumps(manifest))
    for change in variant.split():
        place, equals, text = change.partition("=")
        *path, field = place.split(".")
        part = result
        for name in path:
            part = part.get(name, {}) if isinstance(part, dict) else {}
        if not equals or not isinstance(part, dict) or field not in part:
            raise ArgumentsError(f"--variant: {change!r} is no place=JSON of the manifest, as in fine.overlap=0.5")
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ArgumentsError(f"--variant: {text!r} is not JSON ({error}); write no blanks in it") from error
        if value is None:
            del part[field]
        else:
            part[field] = value
    return result


def try_variant(variant: str, images: Path, references: Path, models: Path, folder: Path) -> Outcome:
    """Label ``images`` with the changed manifest and score them. Raises ``EvaluationError``, ``ArgumentsError``."""
    pairs = [(path, output_path(path, references)) for path in list_cases(images)]
    missing = [reference.name for _, reference in pairs if not reference.is_file()]
    if missing:
        raise EvaluationError(f"{references} has no {missing[0]}; give a label map for every scan")
    try:
        released = json.loads((models / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise EvaluationError(f"cannot read {models / MANIFEST}: {error}") from error
    manifest = changed(released, "" if variant == RELEASED else variant)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(models, folder / "models")
    write_text(folder / "models" / MANIFEST, json.dumps(manifest))
    cpu_s = _label(images, folder)
    dsc = [_dsc(folder / "labels" / reference.name, reference) for _, reference in pairs]
    large = [score for case in dsc for organ, score in case.items() if organ in LARGE]
    small = [score for case in dsc for organ, score in case.items() if organ not in LARGE]
    return Outcome(variant, _mean(large + small), _mean(large), _mean(small), cpu_s / len(pairs))


def _mean(scores: Sequence[float]) -> float:
    return statistics.mean(scores) if scores else float("nan")


def _label(images: Path, folder: Path) -> float:
    words = ["sh", str(PREDICT), str(images.resolve()), str((folder / "labels").resolve())]
    words += ["--models", str((folder / "models").resolve()), "--device", "cpu"]
    log = folder / "log.txt"
    with MeasuredProcess(words, {}, log) as process:
        process.wait(LIMIT_S)
    if process.status:
        raise EvaluationError(f"predict.sh failed with status {process.status}: {process.last_lines()}; see {log}")
    return process.required_cost().cpu_s


def _dsc(prediction: Path, reference: Path) -> dict[str, float]:
    """Of the organs that the reference shows."""
    found, truth = read_volume(prediction), read_volume(reference)
    require_same_grid(found, str(prediction), truth, str(reference))
    shown = set(truth.array.ravel().tolist())
    scores = dice_by_organ(found.array, truth.array)
    return {organ: dsc for label, (organ, dsc) in enumerate(scores.items(), start=1) if label in shown}


def sweep_table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table, one variant a row."""
    rows = [
        [line.variant, *(f"{dsc:.3f}" for dsc in (line.dsc, line.dsc_large, line.dsc_small)), f"{line.cpu_s:.2f}"]
        for line in outcomes
    ]
    return table(["variant", "DSC", "large organs", "other organs", "CPU-seconds a case"], rows)


def sweep_picture(outcomes: Sequence[Outcome]) -> bytes:
    """A PNG of DSC over CPU-seconds a case, each point with its variant's name."""
    figure = new_figure(6, 3.5)
    axes = figure.add_subplot()
    axes.plot([line.cpu_s for line in outcomes], [line.dsc for line in outcomes], "o")
    for line in outcomes:
        axes.annotate(line.variant, (line.cpu_s, line.dsc), (4, 4), textcoords="offset points", fontsize=7)
    axes.set(xlabel="CPU-seconds a case", ylabel="mean DSC")
    axes.grid(alpha=0.3)
    return as_png(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and draw the picture; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.studies.settings_sweep", description="Accuracy and cost of changed settings."
    )
    parser.add_argument("images", type=Path, metavar="IMAGES", help="a folder of scans, or one scan")
    parser.add_argument("references", type=Path, metavar="REFERENCES", help="a folder of label maps")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="gets the table, the picture, the labels")
    parser.add_argument("--variant", action="append", required=True, metavar="CHANGES", help="may be repeated")
    parser.add_argument("--models", type=Path, default=MODELS, metavar="DIR", help="default: the published ones")
    options = parser.parse_args(arguments)

    def study() -> int:
        outcomes = []
        for number, variant in enumerate([RELEASED, *options.variant]):
            folder = options.to / f"variant-{number}"
            outcomes.append(try_variant(variant, options.images, options.references, options.models, folder))
        write_text(options.to / "sweep.md", sweep_table(outcomes) + "\n")
        write_bytes(options.to / "sweep.png", sweep_picture(outcomes))
        print(sweep_table(outcomes))
        return DONE

    return run_command("settings_sweep", study)


if __name__ == "__main__":
    sys.exit(main())
