"""``python -m training pseudo-label``: teachers label scans that nobody has labelled, with the engine's own code.

What a teacher predicts here is what it would predict in ``predict.sh``. A scan whose labels are there is not labelled
again, unless the scan or a teacher has changed; the selection is made anew each time, so that thresholds can be tried.
Several processes can share the scans out as shards, into one folder; with ``--cluster`` many machines do.
"""

from __future__ import annotations

import argparse
import functools
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
from attention_dmfnet.cli.case_line import failed_line
from attention_dmfnet.cli.progress import Progress
from attention_dmfnet.files.cases import InputError, ScanFile, case_name, list_cases
from attention_dmfnet.files.image_io import ImageError, write_labels
from attention_dmfnet.files.read_ahead import ReadAhead, Scan
from attention_dmfnet.geometry import GeometryError
from attention_dmfnet.json_text import JsonError, decode_json
from attention_dmfnet.model.manifest import ManifestError
from attention_dmfnet.model.network import NetworkError

from training.data.cache import write_text
from training.data.fingerprint import read_fingerprint
from training.data.pseudo_folder import (
    CASES_FOLDER,
    PSEUDO_NAME,
    Decision,
    LabelledCase,
    PseudoError,
    PseudoIndex,
    labels_path,
)
from training.errors import TrainingError
from training.pseudo.phases import phase_agreements
from training.pseudo.ready_maps import find_maps
from training.pseudo.report import write_report
from training.pseudo.selection import Selection, decide, read_selection, refuse_unknown_cases
from training.pseudo.teachers import Ensemble, Labeller, Panel, ReadyMaps, Teacher

DONE, SOME_FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``pseudo-label``."""
    parser.add_argument("images", metavar="IMAGES", type=Path, nargs="+", help="folders of unlabelled scans")
    parser.add_argument("--to", metavar="PSEUDO", type=Path, required=True, help="the folder for the labels")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--models",
        metavar="MODELS",
        type=Path,
        nargs="+",
        help="the teacher, as `python -m export` makes it; further ones are asked whether they agree",
    )
    who.add_argument(
        "--maps",
        metavar="MAPS",
        type=Path,
        nargs="+",
        help="instead: folders of ready label maps; the first's are taken, the others are asked whether they agree",
    )
    parser.add_argument("--ensemble", action="store_true", help="all teachers label together, by their mean")
    parser.add_argument(
        "--shard", metavar="K/N", type=_shard, default=(1, 1), help="label the K-th of N shares of the scans only"
    )
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="label on the machines of a running Ray, `auto` for this machine's, which all see these folders",
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
        refuse_unknown_cases(selection, {case_name(path) for path in scans})
        labeller = _labeller(options)
        label_missing = _label_missing if options.cluster is None else functools.partial(_label_on_cluster, options)
        failed = label_missing(_share(scans, *options.shard), labeller, options.to)
    except (InputError, ManifestError, NetworkError) as error:
        raise TrainingError(str(error)) from error
    labelled = _labelled(scans, labeller, options.to)
    while True:
        phases = phase_agreements(options.to, labelled)
        decisions = [decide(case, selection, seen_ml, phases.get(case.name)) for case in labelled]
        write_report(options.to, labelled, decisions, failed, options.pictures, phases)
        # last: a folder with an index is whole
        index = PseudoIndex(1, labeller.hashes, tuple(decisions))
        write_text(msgspec.json.format(msgspec.json.encode(index), indent=1).decode() + "\n", options.to / PSEUDO_NAME)
        before, labelled = labelled, _labelled(scans, labeller, options.to)
        if len(labelled) == len(before):  # or another shard's process has labelled more meanwhile
            break
    _tell(options.to, decisions, failed, len(scans) - len(labelled) - len(failed))
    return SOME_FAILED if failed else DONE


def _labeller(options: argparse.Namespace) -> Labeller:
    if options.maps is not None:
        if options.ensemble:
            raise PseudoError("--ensemble is for --models: label maps have no probabilities; leave it out")
        return ReadyMaps(options.maps, [find_maps(folder) for folder in options.maps])
    teachers = [Teacher.load(models, options) for models in options.models]
    return Ensemble(teachers) if options.ensemble else Panel(teachers)


def _shard(text: str) -> tuple[int, int]:
    """K and N of ``K/N``."""
    share, _, shares = text.partition("/")
    if not (share.isdecimal() and shares.isdecimal() and 1 <= int(share) <= int(shares)):
        raise argparse.ArgumentTypeError(f"{text!r} is no share of the scans; write 2/4 for the second of four")
    return int(share), int(shares)


def _share(scans: Sequence[Path], share: int, shares: int) -> Sequence[Path]:
    """Every N-th scan: shares take about as long as each other, as neighbours in a folder are alike."""
    return scans[share - 1 :: shares]


def _scans(folders: Sequence[Path]) -> list[Path]:
    paths = [path for folder in folders for path in list_cases(folder / "images" if _has_images(folder) else folder)]
    first: dict[str, Path] = {}
    for path in paths:
        if first.setdefault(case_name(path), path) != path:
            raise InputError(f"{path} has the same case name as {first[case_name(path)]}; rename one of the two")
    return paths


def _has_images(folder: Path) -> bool:
    return (folder / "images").is_dir()


def _label_missing(paths: Sequence[Path], labeller: Labeller, folder: Path) -> dict[str, str]:
    """Label what is not labelled yet; returns why for the scans that could not be."""
    missing = [path for path in paths if _read_case(path, labeller, folder) is None]
    if missing:
        # labels and selection must not be taken for each other's until the run is through
        (folder / PSEUDO_NAME).unlink(missing_ok=True)
    progress = Progress(len(missing), sys.stderr)
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        ahead = stack.enter_context(ReadAhead([ScanFile(path) for path in missing])) if missing else None
        stack.callback(progress.clear)
        for path in missing:
            assert ahead is not None
            progress.show(case_name(path))
            try:
                # taken in the call, so that no scan is held while the next but one is read
                _label(path, ahead.take(), labeller, folder)
            except (ImageError, GeometryError, PseudoError) as error:
                failed[case_name(path)] = str(error)
                progress.print_line(failed_line(case_name(path), str(error)), sys.stderr)
            progress.case_done()
    return failed


def _label_on_cluster(
    options: argparse.Namespace, paths: Sequence[Path], labeller: Labeller, folder: Path
) -> dict[str, str]:
    """As ``_label_missing``, on the machines of the Ray at ``options.cluster``. Raises ``InputError``."""
    missing = {case_name(path): path.resolve() for path in paths if _read_case(path, labeller, folder) is None}
    if not missing:
        return {}
    try:
        from cluster.folder_job import Needs, do_all
    except ModuleNotFoundError as error:
        raise PseudoError(f"--cluster needs the folder cluster of the clone ({error.name} is missing)") from error
    (folder / PSEUDO_NAME).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    given = {name: getattr(options, name) for name in ("models", "maps", "ensemble", "device", "backend")}
    for name in ("models", "maps"):
        given[name] = None if given[name] is None else [path.resolve() for path in given[name]]
    make = functools.partial(_worker, argparse.Namespace(**given), folder.resolve())
    # each teacher holds a scan's scores at a time
    needs = Needs(memory_mb=1500 + 500 * len(labeller.hashes))
    ended = do_all(missing, make, folder, " ".join(labeller.hashes), needs, options.cluster)
    return {name: error for name, error in ended if error is not None}


def _worker(options: argparse.Namespace, folder: Path) -> Callable[[Path], object]:
    """In a worker's process: what labels one scan, and says why it could not be, or None."""
    from cluster.folder_job import timed

    labeller = _labeller(options)
    # the teachers' networks see one scan at a time
    lock = threading.Lock()

    def label(path: Path) -> str | None:
        try:
            with ReadAhead([ScanFile(path)]) as ahead:
                scan = ahead.take()
            with lock:
                _label(path, scan, labeller, folder)
        except (ImageError, GeometryError, PseudoError) as error:
            return str(error)
        return None

    return timed(label)


def _labelled(paths: Sequence[Path], labeller: Labeller, folder: Path) -> list[LabelledCase]:
    """What is known of every scan that is labelled, by whichever process."""
    found = (_read_case(path, labeller, folder) for path in paths)
    return [case for case in found if case is not None]


def _label(path: Path, scan: Scan, labeller: Labeller, folder: Path) -> None:
    """Label one scan and write the labels, then what is known of them: with that file the case is done."""
    name = case_name(path)
    made = labeller.label(name, scan.hand_over())
    output = labels_path(folder, name)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_labels(made.labels, output)
    said = (*map(str, scan.notes), *made.notes)
    stamp = _stamp(path) + labeller.stamp(name)
    case = LabelledCase(name, str(path.resolve()), labeller.hashes, stamp, made.organs, said)
    write_text(msgspec.json.encode(case).decode() + "\n", folder / CASES_FOLDER / f"{name}.json")


def _read_case(path: Path, labeller: Labeller, folder: Path) -> LabelledCase | None:
    """What an earlier run found out about a scan; None if there is none, or the scan or a teacher has changed."""
    name = case_name(path)
    try:
        case = decode_json((folder / CASES_FOLDER / f"{name}.json").read_bytes(), LabelledCase)
    except (OSError, JsonError):
        return None
    same = case.teachers == labeller.hashes and case.image_stamp == _stamp(path) + labeller.stamp(name)
    return case if same and labels_path(folder, name).is_file() else None


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _tell(folder: Path, decisions: Sequence[Decision], failed: dict[str, str], waiting: int) -> None:
    kept = [decision for decision in decisions if decision.kept]
    organs = sum(len(decision.annotated) for decision in kept)
    print(f"{folder}: {len(kept)} of {len(decisions)} cases kept, with {organs} organs; see {folder / 'report.md'}")
    if failed:
        print(f"{len(failed)} scans could not be labelled: {', '.join(failed)}", file=sys.stderr)
    if waiting:
        print(f"{waiting} scans of other shards are not labelled yet; the last one selects from all", file=sys.stderr)
