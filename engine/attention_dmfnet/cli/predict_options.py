"""The options of ``predict``, by what they are about."""

import argparse
import threading
from pathlib import Path

from attention_dmfnet.cli.parser import examples
from attention_dmfnet.files.cases import EXTENSIONS

# argparse's own name for what `add_argument_group` returns
Group = argparse._ArgumentGroup


def add_options(command: argparse.ArgumentParser) -> None:
    """See ``commands.CommandModule``."""
    command.usage = "%(prog)s INPUTS OUTPUTS [options]"
    command.description = (
        f"Label the organs in scans ({', '.join(EXTENSIONS)}). Each label map is written to OUTPUTS under the scan's "
        "name, less one trailing _0000, as .nii.gz on the scan's own grid."
    )
    command.epilog = examples(
        ("label every scan of the folder scans", "attention-dmfnet predict scans labels"),
        ("liver and spleen of one scan alone", "attention-dmfnet predict scan.nii.gz labels --organs liver spleen"),
        ("label the axial CT of every study in a folder of DICOM", "attention-dmfnet predict studies labels"),
        (
            "refuse doubtful scans, give up on a case after ten minutes, one JSON object a case",
            "attention-dmfnet predict scans labels --strict --case-timeout 600 --json",
        ),
        after="exit status: 0 all done, 1 some cases failed, 2 nothing could be tried",
    )
    add_scan_options(command.add_argument_group("scans and outputs"))
    add_output_options(command.add_argument_group("further outputs, beside the label maps"))
    add_network_options(command.add_argument_group("networks"))
    add_fault_options(command.add_argument_group("doubt and faults"))
    add_reporting_options(command.add_argument_group("reporting"))


def add_scan_options(group: Group) -> None:
    """What is read, and what is written of it."""
    group.add_argument(
        "inputs",
        metavar="INPUTS",
        type=Path,
        help="a folder of scans, or one scan; DICOM also in folders below, or a .zip",
    )
    group.add_argument("outputs", metavar="OUTPUTS", type=Path, help="the folder for the label maps")
    group.add_argument(
        "--organs",
        metavar="ORGAN",
        nargs="+",
        help="keep only these in the outputs, with the numbers that they always have; default: all. "
        "Comes after INPUTS and OUTPUTS",
    )
    group.add_argument(
        "--series",
        metavar="UID",
        action="append",
        help="label this series of DICOM and no other, UID:2 of its volumes the second; may be repeated; default: of "
        "each study the axial CT with most coverage",
    )
    group.add_argument(
        "--patient-names", action="store_true", help="begin the names of DICOM's label maps with the patient's ID"
    )
    group.add_argument("--overwrite", action="store_true", help="label again what is in OUTPUTS already")


def add_output_options(group: Group) -> None:
    """What is written besides the label maps."""
    group.add_argument(
        "--seg-nrrd", action="store_true", help="NAME.seg.nrrd, 3D Slicer's segmentation with names, colours and terms"
    )
    group.add_argument(
        "--dicom-seg", action="store_true", help="NAME.seg.dcm, a DICOM SEG on the series; for scans that are DICOM"
    )
    group.add_argument(
        "--rtstruct", action="store_true", help="NAME.rtstruct.dcm, a DICOM RTSTRUCT; for scans that are DICOM"
    )
    group.add_argument(
        "--report",
        action="store_true",
        help="make OUTPUTS/report.html: a page for each case with pictures, numbers and an interactive view; needs the "
        "extra `report`",
    )
    group.add_argument(
        "--statistics",
        action=argparse.BooleanOptionalAction,
        help="write statistics.csv and .json: volume, HU, size and place of each organ; default: with --report",
    )


def add_models_option(group: Group) -> None:
    """Which networks."""
    group.add_argument(
        "--models", metavar="DIR", type=Path, help="the folder of manifest.json; default: this release's"
    )


def add_network_options(group: Group) -> None:
    """Which networks, and what computes them where."""
    add_models_option(group)
    group.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="what computes")
    group.add_argument(
        "--backend", choices=["auto", "openvino", "onnxruntime", "tensorrt"], default="auto", help="the runtime"
    )
    group.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "float16"],
        help="default: the fastest that was proven equal on this kind of machine",
    )
    group.add_argument(
        "--gpu-memory-mb",
        metavar="MB",
        type=int,
        default=2048,
        help="most memory to use on the GPU, CUDA's own included",
    )
    group.add_argument(
        "--cache",
        metavar="DIR",
        type=Path,
        help="keep compiled networks in this folder, for the next run on this machine to start sooner (OpenVINO); "
        "default: keep none",
    )


def add_fault_options(group: Group) -> None:
    """What becomes of scans that are not as they should be."""
    group.add_argument(
        "--strict", action="store_true", help="refuse scans whose header or values are doubtful instead of noting it"
    )
    group.add_argument(
        "--case-timeout",
        metavar="SECONDS",
        type=seconds,
        help="most seconds for a scan to be read and seen by the networks, and again for its labels to be written; "
        "then the case fails and the others go on; default: no limit",
    )


def add_reporting_options(group: Group) -> None:
    """What is told of the cases, and to whom."""
    group.add_argument("--json", action="store_true", help="one JSON object per case on standard output")
    group.add_argument(
        "--record",
        metavar="FILE",
        type=Path,
        help="where to keep what made the label maps: versions, models, options, each case's seconds, notes and hash; "
        "default: run.json in OUTPUTS",
    )
    group.add_argument(
        "--no-record",
        action="store_const",
        const=False,
        dest="record",
        help="keep no record: OUTPUTS gets label maps alone",
    )


def seconds(text: str) -> float:
    """A number of seconds that Python can wait."""
    number = float(text)
    if not 0 < number <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return number
