"""A long scan made of a short one, to see how cost grows with length: the end slices are repeated above and below.

python -m evaluation.studies.long_scan CT --slices 1000 --to LONG.nii.gz
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attention_dmfnet.files.image_io import read_volume, write_volume
from attention_dmfnet.geometry import Geometry, Volume, canonicalise

from evaluation.command import DONE, run_command
from evaluation.errors import ArgumentsError


def lengthen(scan: Volume, slices: int) -> Volume:
    """``scan`` with its lowest and highest axial slices repeated until there are ``slices``, half at each end.

    The axes are made canonical; the old slices keep their place, their values and their type. Raises
    ``ArgumentsError`` if the scan has more slices already.
    """
    canonical = canonicalise(scan)
    count, *in_plane = canonical.geometry.shape_zyx
    if slices < count:
        raise ArgumentsError(f"the scan has {count} slices already, more than {slices}; ask for more")
    below = (slices - count) // 2
    array = np.pad(canonical.array, ((below, slices - count - below), (0, 0), (0, 0)), mode="edge")
    old = canonical.geometry
    y, x = in_plane
    origin_lps = old.point_lps((-below, 0, 0))
    return Volume(array, Geometry((slices, y, x), old.spacing_zyx, origin_lps, old.axes_lps))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the long scan; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.studies.long_scan", description="A long scan of a short one."
    )
    parser.add_argument("scan", type=Path, metavar="CT")
    parser.add_argument("--slices", type=int, default=1000, metavar="N", help="in all (default: 1000)")
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="the long scan, .nii.gz for example")
    options = parser.parse_args(arguments)

    def write() -> int:
        write_volume(lengthen(read_volume(options.scan), options.slices), options.to)
        return DONE

    return run_command("long_scan", write)


if __name__ == "__main__":
    sys.exit(main())
