"""A long scan made of a short one, to see how cost grows with length: the end slices go on, above and below."""

from __future__ import annotations

import numpy as np
from attention_dmfnet.geometry import Geometry, Volume, canonicalise

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
