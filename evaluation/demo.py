"""The demonstration: a scan, ``predict.sh`` on it, a picture of the organs, and how well they were found."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from attention_dmfnet.files.cases import InputError, case_name, list_cases
from attention_dmfnet.files.image_io import read_volume

from evaluation.accuracy.dice import dice_by_organ
from evaluation.accuracy.same_grid import require_same_grid
from evaluation.errors import ArgumentsError, EvaluationError
from evaluation.phantom import write_phantom
from evaluation.pictures.picture import draw

PREDICT = Path(__file__).resolve().parent.parent / "predict.sh"


def run_demo(
    folder: Path,
    ct_path: Path | None = None,
    seed: int = 1,
    tell: Callable[[str], None] = print,
    predict: Path = PREDICT,
) -> list[Path]:
    """Label a phantom, or the scans at ``ct_path`` (a file or a folder), and draw a PNG of each into ``folder``.

    ``tell`` gets the lines for a person: for the phantom, whose organs are known, also the DSC of each.
    Returns the pictures.

    Raises ``ArgumentsError`` for a ``ct_path`` that holds no scan, ``EvaluationError`` if ``predict`` (a shell
    script) fails.
    """
    predictions = folder.resolve() / "predictions"
    reference: Path | None = None
    if ct_path is None:
        tell("making a phantom CT")
        image, reference = write_phantom(folder.resolve() / "phantom", seed)
        inputs, scans = image.parent, [image]
    else:
        inputs = ct_path.resolve()
        scans = _own_scans(ct_path)
    tell(f"labelling {', '.join(scan.name for scan in scans)} with {predict.name}")
    _run(predict, inputs, predictions)
    pictures = [_drawn(scan, predictions, folder, phantom=reference is not None) for scan in scans]
    if reference is not None:
        tell(_accuracy(predictions / reference.name, reference))
    for picture in pictures:
        tell(f"look at {picture}")
    return pictures


def _own_scans(ct_path: Path) -> list[Path]:
    try:
        return list_cases(ct_path)
    except InputError as error:
        raise ArgumentsError(f"--ct: {error}") from error


def _run(predict: Path, inputs: Path, predictions: Path) -> None:
    if not predict.is_file():
        raise EvaluationError(f"no {predict}; run the demonstration from a clone of the repository")
    predictions.mkdir(parents=True, exist_ok=True)
    # --overwrite: a second demonstration shows what this version finds, not what the last one left
    command = ["sh", str(predict), str(inputs), str(predictions), "--overwrite"]
    # where there is no .venv beside it, the script takes the first python3: let that be the one that runs here
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    status = subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode
    if status:
        raise EvaluationError(f"{predict.name} failed with status {status}; its own message stands above")


def _drawn(scan: Path, predictions: Path, folder: Path, phantom: bool) -> Path:
    name = case_name(scan)
    ct, labels = read_volume(scan), read_volume(predictions / f"{name}.nii.gz")
    picture = folder / f"{name}.png"
    draw(ct, labels, picture, f"{name}: a made-up CT, organs found by the networks" if phantom else name)
    return picture


def _accuracy(prediction: Path, reference: Path) -> str:
    predicted, labelled = read_volume(prediction), read_volume(reference)
    require_same_grid(predicted, str(prediction), labelled, str(reference))
    scores = dice_by_organ(predicted.array, labelled.array)
    lines = ["DSC against the phantom's own labels:"]
    lines += [f"  {organ:20s} {dsc:.3f}" for organ, dsc in scores.items()]
    lines.append(f"  {'mean':20s} {sum(scores.values()) / len(scores):.3f}")
    return "\n".join(lines)
