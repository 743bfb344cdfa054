"""``attention-dmfnet predict INPUTS OUTPUTS``: label the organs in every scan of a folder.

Exit status: 0 if every case is done (or was already), 1 if any failed, 2 if nothing could be tried.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import attention_dmfnet
from attention_dmfnet.cli.cases import Found, find_cases
from attention_dmfnet.cli.outputs import asked_for
from attention_dmfnet.cli.predict_options import add_options
from attention_dmfnet.cli.progress import Progress, say
from attention_dmfnet.cli.status import DONE, SOME_FAILED, refuse
from attention_dmfnet.files.cases import Case, InputError, output_of, printable
from attention_dmfnet.files.passed_over import as_sentence
from attention_dmfnet.files.read_ahead import ReadAhead
from attention_dmfnet.files.whole_file import remove_leftovers
from attention_dmfnet.marks import step

if TYPE_CHECKING:
    from attention_dmfnet.cli.record import RunRecorder
    from attention_dmfnet.folder import CaseReport
    from attention_dmfnet.further_outputs import FileOutput
    from attention_dmfnet.notes import Note
    from attention_dmfnet.report.run_report import RunReport
    from attention_dmfnet.segmenter import Segmenter

__all__ = ["add_options", "run"]


def run(options: argparse.Namespace) -> int:
    """See ``commands.CommandModule``."""
    try:
        found = find_cases(options.inputs, options.outputs, options.series or (), options.patient_names)
        cases = found.cases
        _prepare_outputs(options.outputs, cases)
        progress = Progress(len(cases), sys.stderr)
        if found.passed_over:
            progress.print_line(as_sentence(found.passed_over), sys.stderr)
        for series in found.series:
            progress.print_line(f"not labelled: {printable(f'{series.path}, {series.kind}')}", sys.stderr)
        extras = asked_for(options, cases)
    except InputError as error:
        return refuse(str(error))
    there = [case for case in cases if not options.overwrite and os.path.lexists(output_of(case, options.outputs))]
    # The first scan is read while all else is imported: neither waits for the other. Where some label maps are there,
    # it is not known yet whether they are whole.
    ahead = None if there else ReadAhead(cases, options.strict)
    # Imported late, and not at the top: --help answers at once, and the networks load on their own thread while
    # the rest is still being imported.
    with step("import"):
        from attention_dmfnet.model.manifest import ManifestError
        from attention_dmfnet.model.network import NetworkError

    try:
        # the networks load while the record's place and what is there are looked at
        segmenter = _load(options) if len(there) < len(cases) else None
        further = {
            case.name: [path for extra in extras for path in extra.paths(case, options.outputs)] for case in cases
        }
        with _recorder(options, further) or contextlib.nullcontext() as recorder:
            work = _Work(options, found, extras, further, there, segmenter, recorder, progress, ahead)
            failed = _report_all(_gathered(work), work)
    except (InputError, ManifestError, NetworkError) as error:
        return refuse(str(error))
    if failed:
        say(f"{len(failed)} of {len(cases)} cases failed: {', '.join(map(printable, failed))}", sys.stderr)
    return SOME_FAILED if failed else DONE


@dataclass(frozen=True, slots=True)
class _Work:
    """What there is to do, and with what.

    ``further`` are the files beside each case's label map, by its name; ``there`` are the cases whose output exists.
    ``ahead`` reads the scans already, if it is there.
    """

    options: argparse.Namespace
    found: Found
    extras: "Sequence[FileOutput]"
    further: Mapping[str, Sequence[Path]]
    there: Sequence[Case]
    segmenter: "Segmenter | None"
    recorder: "RunRecorder | None"
    progress: Progress
    ahead: ReadAhead | None


def _recorder(options: argparse.Namespace, further: Mapping[str, Sequence[Path]]) -> "RunRecorder | None":
    # False: --no-record
    if options.record is False:
        return None
    with step("import"):
        from attention_dmfnet.cli.record import RECORD_NAME, RunRecorder
    said = {name: value for name, value in vars(options).items() if name not in ("command", "record")}
    return RunRecorder(options.record or options.outputs / RECORD_NAME, said, further)


def _load(options: argparse.Namespace) -> "Segmenter":
    return attention_dmfnet.load(
        device=options.device,
        backend=options.backend,
        precision=options.precision,
        models=options.models,
        gpu_memory_mb=options.gpu_memory_mb,
        organs=options.organs,
        strict=options.strict,
        cache=options.cache,
    )


def _gathered(work: _Work) -> "Iterator[CaseReport]":
    """``_reports``, with numbers and pages where they are asked for."""
    options = work.options
    if not (options.report or options.statistics):
        return _reports(work)
    from attention_dmfnet.cli.run_report import gathered, start_report

    report = start_report(options)
    return gathered(_reports(work, report), report, options.outputs)


def _reports(work: _Work, report: "RunReport | None" = None) -> "Iterator[CaseReport]":
    """A report on everything that is not labelled, then on each of the other cases as it is done."""
    options, found, progress = work.options, work.found, work.progress
    outputs: Path = options.outputs
    with step("import"):
        from attention_dmfnet import folder
        from attention_dmfnet.files.label_maps import fault_of_label_map
    if options.json:
        yield from map(folder.passed_over, [*found.passed_over, *found.series])
    again: dict[str, Note] = {}
    for case in work.there:
        fault = fault_of_label_map(output_of(case, outputs), case)
        if fault is None:
            said = folder.skipped(case, outputs, work.further[case.name])
            if report is not None:
                from attention_dmfnet.cli.run_report import skipped

                said = skipped(case, said, outputs, report)
            yield said
        else:
            again[case.name] = folder.made_again(fault)
    kept = {case.name for case in work.there} - again.keys()
    missing = [case for case in found.cases if case.name not in kept]
    if missing:
        segmenter = work.segmenter or _load(options)
        segmenter.tell_runtime(lambda runtime: progress.print_line(str(runtime), sys.stderr))
        if work.recorder is not None:
            record, manifest = work.recorder.set_runtime, segmenter.manifest
            segmenter.tell_runtime(lambda runtime: record(runtime, manifest))
        show = progress.show
        yield from folder.predict(
            missing,
            outputs,
            segmenter,
            lambda case, what: show(f"{printable(case)}: {what}"),
            again,
            options.case_timeout,
            options.strict,
            work.extras if report is None else (*work.extras, report),
            work.ahead,
        )


def _report_all(reports: "Iterator[CaseReport]", work: _Work) -> list[str]:
    """Print the reports as they come; returns the names of the cases that failed."""
    failed = []
    try:
        for report in reports:
            from attention_dmfnet.cli.case_line import as_json, as_line

            # before its line: who reads the line and stops the run finds the case in the record
            if work.recorder is not None:
                work.recorder.add(report)
            work.progress.case_done()
            work.progress.print_line(as_json(report) if work.options.json else as_line(report), sys.stdout)
            if report.status == "failed":
                failed.append(report.case)
    finally:
        work.progress.clear()
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
