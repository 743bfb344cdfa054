"""``python -m training synthesize``: complete the anatomy maps to bodies, and look at what is painted from them."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import canonicalise
from attention_dmfnet.steps.resample import resample_linear
from PIL import Image

from training.arrays import Hu, Labels, Rgb
from training.errors import TrainingError
from training.painting.bodies import is_held_out, load
from training.painting.body_building import build
from training.painting.painted_scans import ANATOMIES, FIELDS, write_painted_scans
from training.painting.painter import FINE_CANVAS, Painter
from training.pictures import column_of, fullest_slice, row_of, slice_with_labels

_log = logging.getLogger(__name__)

_GAP = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``synthesize``."""
    parser.add_argument("data", metavar="DATA", type=Path, help="a folder with anatomy/ (and ct/, for the sheet)")
    parser.add_argument("--to", metavar="BODIES", type=Path, required=True, help="the folder of completed bodies")
    parser.add_argument("--workers", type=int, default=2, help="processes; default: 2")
    parser.add_argument(
        "--scan-labels", metavar="DIR", type=Path,
        help="label maps of the scans in DATA/ct, as `predict` makes them: those scans lend their bodies and HU too",
    )  # fmt: skip
    parser.add_argument("--sheet", metavar="PNG", type=Path, help="a contact sheet: painted slices beside real ones")
    parser.add_argument("--scans", metavar="DIR", type=Path, help="whole scans painted from the bodies, with labels")
    parser.add_argument(
        "--anatomy", choices=ANATOMIES, default="held-out", help="that these scans are painted from; default: held-out"
    )
    parser.add_argument("--count", metavar="N", type=int, help="at most so many of these scans; default: every body")
    parser.add_argument(
        "--field", choices=FIELDS, default="abdomen", help="of view of these scans; default: the whole abdomen"
    )
    parser.add_argument("--rows", type=int, default=8, help="rows of the contact sheet; default: 8")
    parser.add_argument("--seed", type=int, default=1, help="of the contact sheet and the scans; default: 1")


def synthesize(options: argparse.Namespace) -> int:
    """Build what is missing of the bodies, then the sheet; returns the exit status."""
    if not (options.data / "anatomy").is_dir():
        raise TrainingError(f"{options.data} has no folder anatomy/; name the folder that holds the anatomy maps")
    made = build(options.data, options.to, options.workers, options.scan_labels)
    held_out = sum(is_held_out(path.stem) for path in made)
    _log.info("%s: %d bodies to train on, %d held out", options.to, len(made) - held_out, held_out)
    if options.sheet is not None:
        draw_sheet(options.to, options.data / "ct", options.sheet, options.rows, options.seed)
        _log.info("%s", options.sheet)
    if options.scans is not None:
        write_painted_scans(options.to, options.scans, options.seed, options.field, options.anatomy, options.count)
    return 0


def draw_sheet(bodies: Path, ct: Path, path: Path, rows: int, seed: int) -> None:
    """A PNG of ``rows`` rows: a painted axial slice, the same with its labels, a coronal one, and one of a real CT."""
    painter = Painter(load(bodies, seed=seed), FINE_CANVAS)
    scans = sorted(ct.glob("*.nii.gz")) if ct.is_dir() else []
    lines = []
    for number in range(rows):
        image, labels = painter.sample(np.random.default_rng((seed, number)))
        pictures = _painted(image, labels)
        if scans:
            pictures.append(_real(scans[number % len(scans)], number // len(scans)))
        lines.append(row_of(pictures, _GAP))
    sheet = Image.fromarray(column_of(lines, _GAP))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.BICUBIC).save(path)


def _painted(image: Hu, labels: Labels) -> list[Rgb]:
    z = fullest_slice(labels)
    y = image.shape[1] // 2
    # z grows upwards in the patient, rows downwards in a picture
    return [
        slice_with_labels(image[z], 0 * labels[z]),
        slice_with_labels(image[z], labels[z]),
        slice_with_labels(image[::-1, y], labels[::-1, y]),
    ]


def _real(path: Path, turn: int) -> Rgb:
    """An axial slice of a real scan at the canvas's spacing; each ``turn`` another one."""
    scan = canonicalise(read_volume(path))
    hu = resample_linear(scan, scan.geometry.with_spacing(FINE_CANVAS.spacing_zyx)).array
    z = min(int(len(hu) * (0.35 + 0.12 * turn)), len(hu) - 1)
    middle = [max(0, (size - side) // 2) for size, side in zip(hu.shape[1:], FINE_CANVAS.shape_zyx[1:], strict=True)]
    crop = hu[z, middle[0] : middle[0] + FINE_CANVAS.shape_zyx[1], middle[1] : middle[1] + FINE_CANVAS.shape_zyx[2]]
    return slice_with_labels(crop, np.zeros(crop.shape, np.uint8))
