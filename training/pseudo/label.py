"""``python -m training pseudo-label``: a teacher labels scans that nobody has labelled, with the engine's own code.

What it predicts here is what it would predict in ``predict.sh``. A scan whose labels are there is not labelled again,
unless the scan or a teacher has changed; the selection is made anew each time, so that thresholds can be tried.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from attention_dmfnet.cli.progress import Progress
from attention_dmfnet.files.cases import InputError, case_name, list_cases
from attention_dmfnet.files.image_io import ImageError, write_labels
from attention_dmfnet.folder import ReadAhead, Scan
from attention_dmfnet.geometry import GeometryError, Volume, canonicalise
from attention_dmfnet.json_text import JsonError, decode_json
from attention_dmfnet.model.loading import Networks, start_loading
from attention_dmfnet.model.manifest import MANIFEST_NAME, Manifest, ManifestError, load_manifest
from attention_dmfnet.model.network import NetworkError
from attention_dmfnet.notes import Note
from attention_dmfnet.segmenter import segment
from attention_dmfnet.steps.stage import StageModel

from evaluation.organs import ORGANS
from training.data.cache import write_text
from training.data.fingerprint import read_fingerprint
from training.data.pseudo_folder import (
    CASES_FOLDER,
    PSEUDO_NAME,
    Decision,
    LabelledCase,
    OrganReliability,
    PseudoError,
    PseudoIndex,
    labels_path,
)
from training.errors import TrainingError
from training.pseudo.reliability import RecordingStage, agreements, mean_probabilities
from training.pseudo.report import write_report
from training.pseudo.selection import Selection, decide, read_selection

DONE, SOME_FAILED = 0, 1

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``pseudo-label``."""
    parser.add_argument("images", metavar="IMAGES", type=Path, nargs="+", help="folders of unlabelled scans")
    parser.add_argument("--to", metavar="PSEUDO", type=Path, required=True, help="the folder for the labels")
    parser.add_argument(
        "--models",
        metavar="MODELS",
        type=Path,
        nargs="+",
        required=True,
        help="the teacher, as `python -m export` makes it; further ones are asked whether they agree",
    )
    parser.add_argument("--data", metavar="DATASET", type=Path, help="a data set whose organ volumes are believable")
    parser.add_argument("--selection", metavar="TOML", type=Path, help="thresholds other than the defaults")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto")
    parser.add_argument(
        "--backend", choices=["auto", "openvino", "onnxruntime"], default="auto", help="the runtime; default: auto"
    )
    parser.add_argument("--pictures", type=int, default=20, help="pictures of the most doubtful cases; default: 20")


def pseudo_label(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status: 1 if some scan could not be labelled.

    Raises ``TrainingError`` for arguments, models or scans that cannot be used at all.
    """
    selection = Selection() if options.selection is None else read_selection(options.selection)
    seen_ml = None if options.data is None else read_fingerprint(options.data).volumes_ml()
    try:
        scans = _scans(options.images)
        teachers = [_Teacher.load(models, options) for models in options.models]
        labelled, failed = _label_all(scans, teachers, options.to)
    except (InputError, ManifestError, NetworkError) as error:
        raise TrainingError(str(error)) from error
    decisions = [decide(case, selection, seen_ml) for case in labelled]
    hashes = tuple(teacher.hash for teacher in teachers)
    write_report(options.to, labelled, decisions, failed, options.pictures)
    # last: a folder with an index is whole
    index = PseudoIndex(1, hashes, tuple(decisions))
    write_text(msgspec.json.format(msgspec.json.encode(index), indent=1).decode() + "\n", options.to / PSEUDO_NAME)
    _tell(options.to, decisions, failed)
    return SOME_FAILED if failed else DONE


@dataclass(frozen=True)
class _Teacher:
    """A models folder, its networks loading."""

    manifest: Manifest
    networks: Networks
    hash: str

    @staticmethod
    def load(models: Path, options: argparse.Namespace) -> _Teacher:
        manifest = load_manifest(models)
        if manifest.labels != {organ: label for label, organ in enumerate(ORGANS, start=1)}:
            raise PseudoError(f"the models in {models} number their organs unlike FLARE22; export them again")
        # the manifest holds the hashes of the networks
        digest = hashlib.sha256((models / MANIFEST_NAME).read_bytes()).hexdigest()
        return _Teacher(manifest, start_loading(models, manifest, options.device, options.backend), digest)

    def label(self, scan: Volume) -> tuple[Volume, RecordingStage, tuple[Note, ...]]:
        """The label map, the fine stage with its probabilities, and what is to be said about the case."""
        coarse = StageModel(self.manifest.coarse, self.networks.coarse)
        fine = RecordingStage(self.manifest.fine, self.networks.fine)
        result = segment(scan, coarse, fine, self.manifest)
        return result.labels, fine, result.notes


def _scans(folders: Sequence[Path]) -> list[Path]:
    paths = [path for folder in folders for path in list_cases(folder / "images" if _has_images(folder) else folder)]
    first: dict[str, Path] = {}
    for path in paths:
        if first.setdefault(case_name(path), path) != path:
            raise InputError(f"{path} has the same case name as {first[case_name(path)]}; rename one of the two")
    return paths


def _has_images(folder: Path) -> bool:
    return (folder / "images").is_dir()


def _label_all(
    paths: Sequence[Path], teachers: Sequence[_Teacher], folder: Path
) -> tuple[list[LabelledCase], dict[str, str]]:
    """What is known of every scan, and why for those that could not be labelled."""
    hashes = tuple(teacher.hash for teacher in teachers)
    done = {path: _read_case(path, hashes, folder) for path in paths}
    missing = [path for path in paths if done[path] is None]
    if missing:
        # labels and selection must not be taken for each other's until the run is through
        (folder / PSEUDO_NAME).unlink(missing_ok=True)
    progress = Progress(len(missing), sys.stderr)
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        ahead = stack.enter_context(ReadAhead(missing)) if missing else None
        stack.callback(progress.clear)
        for path in missing:
            assert ahead is not None
            progress.show(case_name(path))
            try:
                # taken in the call, so that no scan is held while the next but one is read
                done[path] = _label(path, ahead.take(), teachers, folder)
            except (ImageError, GeometryError) as error:
                failed[case_name(path)] = str(error)
                progress.print_line(f"{case_name(path)}  FAILED: {error}", sys.stderr)
            progress.case_done()
    return [case for case in done.values() if case is not None], failed


def _label(path: Path, scan: Scan, teachers: Sequence[_Teacher], folder: Path) -> LabelledCase:
    """Label one scan and write the labels, then what is known of them: with that file the case is done."""
    labels, fine, notes = teachers[0].label(scan.volume)
    probabilities = mean_probabilities(labels, *fine.recorded[0])
    others = [teacher.label(scan.volume)[0].array for teacher in teachers[1:]]
    agreement = agreements(labels.array, others)
    organs = {}
    for label, probability in probabilities.items():
        inside = canonicalise(labels).array == label
        volume_ml = float(np.count_nonzero(inside) * labels.geometry.voxel_volume_mm3 / 1000)
        cut = bool(inside[0].any() or inside[-1].any())
        organs[ORGANS[label - 1]] = OrganReliability(volume_ml, probability, agreement[label], cut)
    name = case_name(path)
    output = labels_path(folder, name)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_labels(labels, output)
    hashes = tuple(teacher.hash for teacher in teachers)
    said = tuple(str(note) for note in (*scan.notes, *notes))
    case = LabelledCase(name, str(path.resolve()), hashes, _stamp(path), organs, said)
    write_text(msgspec.json.encode(case).decode() + "\n", folder / CASES_FOLDER / f"{name}.json")
    return case


def _read_case(path: Path, teachers: tuple[str, ...], folder: Path) -> LabelledCase | None:
    """What an earlier run found out about a scan; None if there is none, or the scan or a teacher has changed."""
    name = case_name(path)
    try:
        case = decode_json((folder / CASES_FOLDER / f"{name}.json").read_bytes(), LabelledCase)
    except (OSError, JsonError):
        return None
    same = case.teachers == teachers and case.image_stamp == _stamp(path)
    return case if same and labels_path(folder, name).is_file() else None


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _tell(folder: Path, decisions: Sequence[Decision], failed: dict[str, str]) -> None:
    kept = [decision for decision in decisions if decision.kept]
    organs = sum(len(decision.annotated) for decision in kept)
    print(f"{folder}: {len(kept)} of {len(decisions)} cases kept, with {organs} organs; see {folder / 'report.md'}")
    if failed:
        print(f"{len(failed)} scans could not be labelled: {', '.join(failed)}", file=sys.stderr)
