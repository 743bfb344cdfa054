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
from typing import TYPE_CHECKING, Protocol

import attention_dmfnet
from attention_dmfnet.cli.cases import Found, find_cases
from attention_dmfnet.cli.outputs import asked_for, refuse_what_is_missing
from attention_dmfnet.cli.predict_options import add_options
from attention_dmfnet.cli.progress import Progress, say
from attention_dmfnet.cli.status import DONE, SOME_FAILED, refuse
from attention_dmfnet.files.cases import Case, InputError, is_scan_name, output_of, printable
from attention_dmfnet.files.passed_over import as_sentence
from attention_dmfnet.files.read_ahead import ReadAhead
from attention_dmfnet.files.whole_file import remove_leftovers
from attention_dmfnet.marks import step

if TYPE_CHECKING:
    from attention_dmfnet.cli.record import RunRecorder
    from attention_dmfnet.cli.run_report import Earlier
    from attention_dmfnet.folder import CaseReport
    from attention_dmfnet.further_outputs import FileOutput
    from attention_dmfnet.notes import Note
    from attention_dmfnet.report.run_report import RunReport
    from attention_dmfnet.segmenter import Segmenter

__all__ = ["Elsewhere", "Work", "add_options", "load_segmenter", "run"]


class Elsewhere(Protocol):
    """Who labels the cases of a run where this process does not: many machines.

    ``options`` are the run's as they were typed: INPUTS and OUTPUTS may be places elsewhere, which folders of this
    machine stand for.
    """

    @property
    def options(self) -> argparse.Namespace: ...

    def __call__(self, work: "Work", earlier: "Earlier | None") -> "Iterator[CaseReport]":
        """A report on each of the cases that were found, as it ends, those included that need no work; with ``--json``
        also on what is not read.

        Numbers and pages are added to the report of ``earlier`` where they are asked for.
        """
        ...

    def hashes(self, case: str) -> Mapping[str, str]:
        """The SHA-256 of each file that was written for a case, by the file's name."""
        ...

    def told(self, text: str) -> str:
        """``text`` with the names of places elsewhere for the folders of this machine that stand for them."""
        ...


def run(options: argparse.Namespace, elsewhere: Elsewhere | None = None) -> int:
    """See ``commands.CommandModule``. The cases are labelled by this process, unless ``elsewhere`` is given."""
    tell = str if elsewhere is None else elsewhere.told
    try:
        refuse_what_is_missing(options)
        found = find_cases(options.inputs, options.outputs, options.series or (), options.patient_names)
        cases = found.cases
        _prepare_outputs(options.outputs, cases)
        progress = Progress(len(cases), sys.stderr)
        if found.passed_over:
            progress.print_line(as_sentence(found.passed_over), sys.stderr)
        for series in found.series:
            progress.print_line(f"not labelled: {printable(tell(f'{series.path}, {series.kind}'))}", sys.stderr)
    except InputError as error:
        return refuse(tell(str(error)))
    keeps = elsewhere is None and not options.overwrite
    there = [case for case in cases if keeps and os.path.lexists(output_of(case, options.outputs))]
    # The first scan is read while all else is imported: neither waits for the other. Where some label maps are there,
    # it is not known yet whether they are whole.
    ahead = None if there or elsewhere is not None else ReadAhead(cases, options.strict)
    # Imported late, and not at the top: --help answers at once, and the networks load on their own thread while
    # the rest is still being imported.
    with step("import"):
        from attention_dmfnet.model.manifest import ManifestError
        from attention_dmfnet.model.network import NetworkError

    try:
        extras = asked_for(options, cases)
        # the networks load while the record's place and what is there are looked at
        segmenter = load_segmenter(options) if elsewhere is None and len(there) < len(cases) else None
        further = {
            case.name: [path for extra in extras for path in extra.paths(case, options.outputs)] for case in cases
        }
        with _recorder(options, further, elsewhere) or contextlib.nullcontext() as recorder:
            work = Work(options, found, extras, further, there, segmenter, recorder, progress, ahead, elsewhere)
            failed = _report_all(_gathered(work), work)
    except (InputError, ManifestError, NetworkError) as error:
        return refuse(tell(str(error)))
    if failed:
        say(f"{len(failed)} of {len(cases)} cases failed: {', '.join(map(printable, failed))}", sys.stderr)
    return SOME_FAILED if failed else DONE


@dataclass(frozen=True, slots=True)
class Work:
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
    ahead: ReadAhead | None = None
    elsewhere: Elsewhere | None = None


def _recorder(
    options: argparse.Namespace, further: Mapping[str, Sequence[Path]], elsewhere: Elsewhere | None
) -> "RunRecorder | None":
    # False: --no-record
    if options.record is False:
        return None
    with step("import"):
        from attention_dmfnet.cli.record import RECORD_NAME, RunRecorder
    typed = options if elsewhere is None else elsewhere.options
    tell = str if elsewhere is None else elsewhere.told
    said = {name: value for name, value in vars(typed).items() if name not in ("command", "record")}
    return RunRecorder(options.record or options.outputs / RECORD_NAME, said, further, tell)


def load_segmenter(options: argparse.Namespace) -> "Segmenter":
    """Start to load the networks that the options name. Raises ``ManifestError`` and ``NetworkError``."""
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


def _gathered(work: Work) -> "Iterator[CaseReport]":
    """``_reports``, with numbers and pages where they are asked for."""
    options = work.options
    if not (options.report or options.statistics):
        return _reports(work)
    from attention_dmfnet.cli.run_report import Earlier, gathered, start_report

    report = start_report(options)
    earlier = Earlier(options, report)
    return gathered(_reports(work, report, earlier), report, options.outputs, earlier)


def _reports(work: Work, report: "RunReport | None" = None, earlier: "Earlier | None" = None) -> "Iterator[CaseReport]":
    """A report on everything that is not labelled, then on each of the other cases as it is done."""
    options, found, progress = work.options, work.found, work.progress
    outputs: Path = options.outputs
    with step("import"):
        from attention_dmfnet import folder
        from attention_dmfnet.files.label_maps import fault_of_label_map
    if work.elsewhere is not None:
        yield from work.elsewhere(work, earlier)
        return
    if options.json:
        yield from map(folder.passed_over, [*found.passed_over, *found.series])
    again: dict[str, Note] = {}
    for case in work.there:
        fault = fault_of_label_map(output_of(case, outputs), case)
        if fault is None:
            said = folder.skipped(case, outputs, work.further[case.name])
            yield said if earlier is None else earlier.add(case, said)
        else:
            again[case.name] = folder.made_again(fault)
    kept = {case.name for case in work.there} - again.keys()
    missing = [case for case in found.cases if case.name not in kept]
    if missing:
        segmenter = work.segmenter or load_segmenter(options)
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


def _report_all(reports: "Iterator[CaseReport]", work: Work) -> list[str]:
    """Print the reports as they come; returns the names of the cases that failed."""
    failed = []
    try:
        for report in reports:
            from attention_dmfnet.cli.case_line import as_json, as_line

            # before its line: who reads the line and stops the run finds the case in the record
            if work.recorder is not None:
                work.recorder.add(report, None if work.elsewhere is None else work.elsewhere.hashes(report.case))
            work.progress.case_done()
            work.progress.print_line(as_json(report) if work.options.json else as_line(report), sys.stdout)
            if report.status == "failed":
                failed.append(report.case)
    finally:
        work.progress.clear()
    return failed


def _prepare_outputs(outputs: Path, cases: Sequence[Case]) -> None:
    """Make the folder and see that it takes files, before any work. Raises ``InputError``."""
    if is_scan_name(outputs) and not outputs.is_dir():
        raise InputError(f"{outputs} is no folder's name; give a folder: each label map in it is called NAME.nii.gz")
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
