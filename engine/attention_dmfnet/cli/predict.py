"""``attention-dmfnet predict INPUTS OUTPUTS``: label the organs in every scan of a folder.

Exit status: 0 if every case is done (or was already), 1 if any failed, 2 if nothing could be tried.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attention_dmfnet
from attention_dmfnet.cli.predict_options import add_options
from attention_dmfnet.cli.progress import Progress, say
from attention_dmfnet.cli.status import DONE, SOME_FAILED, refuse
from attention_dmfnet.files.cases import InputError, list_cases, output_path, printable
from attention_dmfnet.files.passed_over import PassedOver, as_sentence, find_passed_over
from attention_dmfnet.files.whole_file import remove_leftovers
from attention_dmfnet.marks import step

if TYPE_CHECKING:
    from attention_dmfnet.folder import CaseReport
    from attention_dmfnet.notes import Note
    from attention_dmfnet.segmenter import Segmenter

__all__ = ["add_options", "run"]


def run(options: argparse.Namespace) -> int:
    """See ``commands.CommandModule``."""
    # Imported late, and not at the top: --help answers at once, and the networks load on their own thread while
    # the rest is still being imported.
    with step("import"):
        from attention_dmfnet.model.manifest import ManifestError
        from attention_dmfnet.model.network import NetworkError

    try:
        passed_over = find_passed_over(options.inputs, options.outputs)
        cases = _list_cases(options.inputs, passed_over)
        _prepare_outputs(options.outputs, cases)
        progress = Progress(len(cases), sys.stderr)
        if passed_over:
            progress.print_line(as_sentence(passed_over), sys.stderr)
        failed = _report_all(_reports(cases, passed_over, progress, options), progress, options)
    except (InputError, ManifestError, NetworkError) as error:
        return refuse(str(error))
    if failed:
        say(f"{len(failed)} of {len(cases)} cases failed: {', '.join(map(printable, failed))}", sys.stderr)
    return SOME_FAILED if failed else DONE


def _list_cases(inputs: Path, passed_over: Sequence[PassedOver]) -> list[Path]:
    try:
        return list_cases(inputs)
    except InputError as error:
        # where nothing can be read, what is there instead is half of the answer
        raise InputError(f"{error} ({as_sentence(passed_over)})" if passed_over else str(error)) from error


def _load(options: argparse.Namespace) -> "Segmenter":
    return attention_dmfnet.load(
        device=options.device,
        backend=options.backend,
        precision=options.precision,
        models=options.models,
        gpu_memory_mb=options.gpu_memory_mb,
        organs=options.organs,
        strict=options.strict,
    )


def _reports(
    cases: Sequence[Path], passed_over: Sequence[PassedOver], progress: Progress, options: argparse.Namespace
) -> "Iterator[CaseReport]":
    """A report on everything that is not labelled, then on each of the other cases as it is done."""
    outputs: Path = options.outputs
    there = [case for case in cases if not options.overwrite and os.path.lexists(output_path(case, outputs))]
    # the networks load while what is there is looked at
    segmenter = _load(options) if len(there) < len(cases) else None
    with step("import"):
        from attention_dmfnet import folder
        from attention_dmfnet.files.label_maps import fault_of_label_map
    if options.json:
        yield from map(folder.passed_over, passed_over)
    again: dict[Path, Note] = {}
    for case in there:
        fault = fault_of_label_map(output_path(case, outputs), case)
        if fault is None:
            yield folder.skipped(case, outputs)
        else:
            again[case] = folder.made_again(fault)
    kept = set(there) - again.keys()
    missing = [case for case in cases if case not in kept]
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
            from attention_dmfnet.cli.case_line import as_json, as_line

            progress.case_done()
            progress.print_line(as_json(report) if options.json else as_line(report), sys.stdout)
            if report.status == "failed":
                failed.append(report.case)
    finally:
        progress.clear()
    return failed


def _prepare_outputs(outputs: Path, cases: Sequence[Path]) -> None:
    """Make the folder and see that it takes files, before any work. Raises ``InputError``."""
    for case in cases:
        output = output_path(case, outputs)
        if output.exists() and output.samefile(case):
            raise InputError(f"the labels of {case} would replace the scan itself; choose another folder for outputs")
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=outputs):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {outputs}: {error.strerror}; choose another folder for outputs") from error
    remove_leftovers(outputs)
