"""How large a margin the ROI needs: for each margin, how many scans lose a part of an organ, and the ROI's volume.

The study behind docs/decisions/0008-choose-margin-and-settings.md:

    python -m evaluation.studies.roi_margins SCANS LABELS --margin 30 20 20 --margin 55 20 20
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from attention_dmfnet.geometry import Triple

from evaluation.accuracy.roi_coverage import RoiCoverage, measure_folder
from evaluation.command import DONE, run_command
from evaluation.errors import ArgumentsError
from evaluation.markdown import table

MODELS = Path(__file__).resolve().parents[2] / "models"

LOSS = 0.005
"""A scan counts as one with a loss if more than this share of any organ lies outside the ROI."""


def margin_row(margin_mm: Triple, coverages: Sequence[RoiCoverage]) -> list[str]:
    """Margin, scans with a loss, the worst loss of any organ, and the mean volume (see ``RoiCoverage``)."""
    losses = [1 - min(coverage.held.values()) for coverage in coverages]
    return [
        ", ".join(f"{mm:g}" for mm in margin_mm),
        f"{sum(loss > LOSS for loss in losses)} of {len(losses)}",
        f"{max(losses):.0%}",
        f"{statistics.mean(coverage.volume_ratio for coverage in coverages):.2f}",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.studies.roi_margins", description="What the ROI holds with one margin or another."
    )
    parser.add_argument("images", type=Path, metavar="IMAGES", help="a folder of scans, or one scan")
    parser.add_argument("references", type=Path, metavar="REFERENCES", help="a folder of label maps")
    parser.add_argument(
        "--margin", nargs=3, type=float, action="append", required=True, metavar=("Z", "Y", "X"),
        help="mm; may be repeated",
    )  # fmt: skip
    parser.add_argument("--models", type=Path, default=MODELS, metavar="DIR", help="default: the published ones")
    options = parser.parse_args(arguments)

    def study() -> int:
        margins: list[Triple] = [(z, y, x) for z, y, x in options.margin]
        if not all(0 <= mm < float("inf") for margin in margins for mm in margin):
            raise ArgumentsError("--margin takes three sizes in mm, none below 0")
        rows = [
            margin_row(margin, measure_folder(options.images, options.references, options.models, margin))
            for margin in margins
        ]
        print(table(["margin z, y, x (mm)", "scans with a loss", "worst loss", "mean volume"], rows))
        return DONE

    return run_command("roi_margins", study)


if __name__ == "__main__":
    sys.exit(main())
