"""The diaphragm's dome: muscle between the lungs and the organs below them.

Organ maps do not draw it, so that a completed body's lung touches its liver. In real CT (SPL-atlas: 4 to 6 mm between
the voxels of liver and lung, where a completed body has 3 mm, one voxel) a layer of muscle lies between, as bright as
the organs in most phases. A network that never saw it takes it for organ: liver and spleen come out too large.
Thickness: about 1.5 to 4.5 mm, a range chosen from ultrasound's 1.5 to 3 mm at rest and CT's thicker slips.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.painting.anatomy import TissueMap
from training.painting.tissue import Tissue

_BELOW = (
    Tissue.LIVER, Tissue.SPLEEN, Tissue.STOMACH, Tissue.STOMACH_CONTENT, Tissue.GALLBLADDER, Tissue.COLON,
    Tissue.COLON_CONTENT, Tissue.LEFT_KIDNEY, Tissue.RIGHT_KIDNEY, Tissue.LEFT_MEDULLA, Tissue.RIGHT_MEDULLA,
    Tissue.LEFT_ADRENAL, Tissue.RIGHT_ADRENAL, Tissue.PANCREAS, Tissue.SMALL_BOWEL, Tissue.BOWEL_CONTENT,
)  # fmt: skip
_ABOVE = (Tissue.LUNG, Tissue.HEART, Tissue.RIGHT_ATRIUM)

_THICKNESS_MM = (1.5, 4.5)
_UNEVEN = 0.35
_PATCH_MM = 25.0


def draw_diaphragm(tissues: TissueMap, spacing_zyx: tuple[float, float, float], rng: np.random.Generator) -> None:
    """Draw in place, in ``tissues`` (z, y, x, canonical axes), muscle where lung or heart touches an abdominal organ.

    The organs keep their voxels; lung and heart give way. How thick the layer is differs from body to body and slip to
    slip.
    """
    spacing = np.asarray(spacing_zyx)
    below = np.isin(tissues, _BELOW)
    above = np.isin(tissues, _ABOVE)
    thick = float(rng.uniform(*_THICKNESS_MM))
    most_mm = thick * (1 + 3 * _UNEVEN) + float(spacing.max())
    reach = ndimage.binary_dilation(below, iterations=int(np.ceil(most_mm / spacing.min()))) & above
    if not reach.any():
        return
    box = tuple(slice(max(int(index.min()) - 4, 0), int(index.max()) + 5) for index in np.nonzero(reach))
    part: npt.NDArray[np.uint8] = tissues[box]
    # from the organ's surface, half a voxel before the middle of its outermost one, to the middle of each voxel
    away_mm = ndimage.distance_transform_edt(~below[box], sampling=spacing_zyx) - spacing.min() / 2
    noise = ndimage.gaussian_filter(rng.standard_normal(part.shape), _PATCH_MM / spacing)
    noise /= max(float(noise.std()), 1e-6)
    layer_mm = thick * (1 + _UNEVEN * noise.clip(-2, 3))
    part[reach[box] & (away_mm <= layer_mm)] = Tissue.MUSCLE
