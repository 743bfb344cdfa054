"""``attention-dmfnet predict INPUTS OUTPUTS``: label the organs in every scan of a folder.

Exit status: 0 if every case is done (or was already), 1 if any failed, 2 if nothing could be tried.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import attention_dmfnet
from attention_dmfnet.cli.cases import Found, find_cases
from attention_dmfnet.cli.progress import Progress, say
from attention_dmfnet.files.cases import EXTENSIONS, Case, InputError, output_of, printable
from attention_dmfnet.files.passed_over import as_sentence
from attention_dmfnet.files.whole_file import remove_leftovers
from attention_dmfnet.marks import TRACE_VARIABLE, TraceError, step, tracing

if TYPE_CHECKING:
    from attention_dmfnet.folder import CaseReport
    from attention_dmfnet.notes import Note
    from attention_dmfnet.segmenter import Segmenter

DONE, SOME_FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130


def run() -> None:
    """Be the command ``attention-dmfnet``; does not return."""
    _keep_output_to_ourselves()
    status = main()
    # Every file is complete. To take networks, threads and libraries down in order takes a fifth of a second.
    os._exit(status)


def _keep_output_to_ourselves() -> None:
    """Standard output is for our lines alone: what libraries print there goes to standard error.

    CUDA's loader does so, before the first line of JSON. Where a standard stream is closed, the first file that is
    opened would take its place and be written into.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    lines = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = open(lines, "w", encoding=getattr(sys.stdout, "encoding", None), newline="\n")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    # NumPy reads this when it is imported. The matrices of resampling are small: a second thread gains nothing on a
    # quiet machine and waits in a busy loop on one that is not (docs/decisions/0007-make-a-cold-start-cheap.md).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with tracing(os.environ.get(TRACE_VARIABLE)):
            return _predict(options)
    except TraceError as error:
        return _refuse(str(error))
    except ModuleNotFoundError as error:
        return _refuse(
            f"the Python package {error.name} is missing in {sys.prefix}; `make setup` in the clone brings what is "
            'needed, or `pip install "attention-dmfnet[cpu]"`'
        )
    except KeyboardInterrupt:
        say("\ninterrupted; the label maps that are there are complete", sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)


def _predict(options: argparse.Namespace) -> int:
    # Imported late, and not at the top: --help answers at once, and the networks load on their own thread while
    # SimpleITK is still being imported.
    with step("import"):
        from attention_dmfnet.model.manifest import ManifestError
        from attention_dmfnet.model.network import NetworkError

    try:
        found = find_cases(options.inputs, options.outputs, options.series or (), options.patient_names)
        cases = found.cases
        _prepare_outputs(options.outputs, cases)
        progress = Progress(len(cases), sys.stderr)
        if found.passed_over:
            progress.print_line(as_sentence(found.passed_over), sys.stderr)
        for series in found.series:
            progress.print_line(f"not labelled: {printable(f'{series.path}, {series.kind}')}", sys.stderr)
        failed = _report_all(_reports(found, progress, options), progress, options)
    except (InputError, ManifestError, NetworkError) as error:
        return _refuse(str(error))
    if failed:
        say(f"{len(failed)} of {len(cases)} cases failed: {', '.join(map(printable, failed))}", sys.stderr)
    return SOME_FAILED if failed else DONE


def _load(options: argparse.Namespace) -> "Segmenter":
    return attention_dmfnet.load(
        device=options.device,
        backend=options.backend,
        precision=options.precision,
        models=options.models,
        gpu_memory_mb=options.gpu_memory_mb,
    )


def _refuse(sentence: str) -> int:
    say(f"python -m attention_dmfnet: {printable(sentence)}", sys.stderr)
    return UNUSABLE


def _reports(found: Found, progress: Progress, options: argparse.Namespace) -> "Iterator[CaseReport]":
    """A report on everything that is not labelled, then on each of the other cases as it is done."""
    outputs: Path = options.outputs
    cases = found.cases
    there = [case for case in cases if not options.overwrite and os.path.lexists(output_of(case, outputs))]
    # the networks load while what is there is looked at
    segmenter = _load(options) if len(there) < len(cases) else None
    with step("import"):
        from attention_dmfnet import folder
        from attention_dmfnet.files.label_maps import fault_of_label_map
    if options.json:
        yield from map(folder.passed_over, [*found.passed_over, *found.series])
    again: dict[str, Note] = {}
    for case in there:
        fault = fault_of_label_map(output_of(case, outputs), case)
        if fault is None:
            yield folder.skipped(case, outputs)
        else:
            again[case.name] = folder.made_again(fault)
    kept = {case.name for case in there} - again.keys()
    missing = [case for case in cases if case.name not in kept]
    if missing:
        segmenter = segmenter or _load(options)
        segmenter.tell_runtime(lambda runtime: progress.print_line(runtime, sys.stderr))
        show = progress.show
        yield from folder.predict(
            missing,
            outputs,
            segmenter,
            lambda case, what: show(f"{printable(case)}: {what}"),
            again,
            options.case_timeout,
            options.strict,
        )


def _report_all(reports: "Iterator[CaseReport]", progress: Progress, options: argparse.Namespace) -> list[str]:
    """Print the reports as they come; returns the names of the cases that failed."""
    failed = []
    try:
        for report in reports:
            from attention_dmfnet.cli.report import as_json, as_line

            progress.case_done()
            progress.print_line(as_json(report) if options.json else as_line(report), sys.stdout)
            if report.status == "failed":
                failed.append(report.case)
    finally:
        progress.clear()
    return failed


def _prepare_outputs(outputs: Path, cases: Sequence[Case]) -> None:
    """Make the folder and see that it takes files, before any work. Raises ``InputError``."""
    for case in cases:
        output = output_of(case, outputs)
        if output.exists() and output.samefile(case.path):
            raise InputError(
                f"the labels of {case.path} would replace the scan itself; choose another folder for outputs"
            )
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=outputs):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {outputs}: {error.strerror}; choose another folder for outputs") from error
    remove_leftovers(outputs)


def _stop(number: int, frame: FrameType | None) -> None:
    """SIGTERM, as ``docker stop`` sends it, ends like Ctrl-C: unfinished files are removed on the way out."""
    raise KeyboardInterrupt


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m attention_dmfnet", description="Thirteen abdominal organs from CT scans."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "predict",
        help="label the organs in every scan of a folder",
        description=f"Label the organs in scans ({', '.join(EXTENSIONS)}). Each label map is written to OUTPUTS "
        "under the scan's name, less one trailing _0000, as .nii.gz on the scan's own grid.",
        epilog="Exit status: 0 all done, 1 some cases failed, 2 unusable arguments.",
    )
    command.add_argument(
        "inputs",
        metavar="INPUTS",
        type=Path,
        help="a folder of scans, or one scan; DICOM also in folders below, or a .zip",
    )
    command.add_argument("outputs", metavar="OUTPUTS", type=Path, help="the folder for the label maps")
    command.add_argument("--models", type=Path, help="the folder of manifest.json; default: this release's")
    command.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto")
    command.add_argument(
        "--backend",
        choices=["auto", "openvino", "onnxruntime", "tensorrt"],
        default="auto",
        help="the runtime; default: auto",
    )
    command.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "float16", "int8"],
        help="default: the fastest that was proven equal on this kind of machine",
    )
    command.add_argument(
        "--gpu-memory-mb",
        metavar="MB",
        type=int,
        default=2048,
        help="most memory to use on the GPU, CUDA's own included; default: 2048",
    )
    command.add_argument(
        "--case-timeout",
        metavar="SECONDS",
        type=_seconds,
        help="most seconds for a scan to be read and seen by the networks, and again for its labels to be written; "
        "then the case fails and the others go on; default: no limit",
    )
    command.add_argument(
        "--series",
        metavar="UID",
        action="append",
        help="label this series of DICOM and no other; may be repeated; default: of each study the axial CT with most "
        "coverage",
    )
    command.add_argument(
        "--patient-names", action="store_true", help="begin the names of DICOM's label maps with the patient's ID"
    )
    command.add_argument("--overwrite", action="store_true", help="label again what is in OUTPUTS already")
    command.add_argument(
        "--strict", action="store_true", help="refuse scans whose header or values are doubtful instead of noting it"
    )
    command.add_argument("--json", action="store_true", help="one JSON object per case on standard output")
    return parser
