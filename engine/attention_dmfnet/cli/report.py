"""``attention-dmfnet report OUTPUTS --scans INPUTS``: numbers and pages of label maps that are there already.

Exit status: 0 if every case is in the report, 1 if any is not, 2 if nothing could be tried.
"""

import argparse
import sys
from pathlib import Path

from attention_dmfnet.cli.cases import find_cases
from attention_dmfnet.cli.parser import examples
from attention_dmfnet.cli.progress import Progress, say
from attention_dmfnet.cli.status import DONE, SOME_FAILED, refuse
from attention_dmfnet.files.cases import InputError, printable


def add_options(command: argparse.ArgumentParser) -> None:
    """See ``commands.CommandModule``."""
    command.usage = "%(prog)s OUTPUTS --scans INPUTS [options]"
    command.description = (
        "Measure the organs in label maps, and make a page for each case with pictures and an interactive view: "
        "OUTPUTS/report.html lists them, statistics.csv and statistics.json have the numbers. Needs the extra `report`."
    )
    command.epilog = examples(
        ("report on label maps that predict made", "attention-dmfnet report labels --scans scans"),
        ("the numbers alone", "attention-dmfnet report labels --scans scans --no-pages"),
        after="exit status: 0 all are in the report, 1 some are not, 2 nothing could be tried",
    )
    group = command.add_argument_group("scans and labels")
    group.add_argument("outputs", metavar="OUTPUTS", type=Path, help="the folder of the label maps, and of the report")
    group.add_argument(
        "--scans",
        metavar="INPUTS",
        type=Path,
        required=True,
        help="the folder of scans that they were made of, or one scan",
    )
    group.add_argument(
        "--series", metavar="UID", action="append", help="as it was given to predict; may be repeated; default: none"
    )
    group.add_argument("--patient-names", action="store_true", help="as it was given to predict")
    group.add_argument(
        "--models", metavar="DIR", type=Path, help="whose manifest.json names the labels; default: this release's"
    )
    group.add_argument(
        "--record",
        metavar="FILE",
        type=Path,
        help="what predict kept of seconds, ROI and notes, as it was given there; default: run.json in OUTPUTS",
    )
    group.add_argument("--no-pages", dest="pages", action="store_false", help="write the numbers alone")


def run(options: argparse.Namespace) -> int:
    """See ``commands.CommandModule``."""
    from attention_dmfnet.cli.case_line import failed_line
    from attention_dmfnet.model.loading import default_models
    from attention_dmfnet.model.manifest import ManifestError, load_manifest
    from attention_dmfnet.report.afterwards import report_cases
    from attention_dmfnet.report.run_report import INDEX_NAME, RunReport

    outputs: Path = options.outputs
    try:
        if not outputs.is_dir():
            raise InputError(f"no such folder: {outputs}; `attention-dmfnet predict` makes it")
        if options.record is not None and not options.record.is_file():
            raise InputError(f"no such record: {options.record}; `attention-dmfnet predict` keeps it")
        manifest = load_manifest(options.models or default_models())
        report = RunReport(manifest.labels, manifest.release, options.pages)
        cases = find_cases(options.scans, outputs, options.series or (), options.patient_names).cases
        progress = Progress(len(cases), sys.stderr)
        seen = []
        try:
            show = progress.show
            for one in report_cases(
                cases, outputs, report, lambda case: show(f"{printable(case)}: report"), options.record
            ):
                progress.case_done()
                done = f"{printable(one.case)}  in the report"
                line = done if one.error is None else failed_line(one.case, one.error)
                progress.print_line(line, sys.stdout)
                seen.append(one)
        finally:
            progress.clear()
            report.finish(seen, outputs)
    except (InputError, ManifestError) as error:
        return refuse(str(error))
    if options.pages:
        say(f"open {outputs / INDEX_NAME}", sys.stderr)
    failed = [one.case for one in seen if one.status == "failed"]
    if failed:
        say(f"{len(failed)} of {len(cases)} cases failed: {', '.join(map(printable, failed))}", sys.stderr)
    return SOME_FAILED if failed else DONE
