"""The reference phantoms call all vessels of the trunk one organ; the aorta among them is told by the spine."""

import json
from pathlib import Path

import numpy as np
from attention_dmfnet.files.image_io import write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from training.painting.anatomy import Anatomy, read_icrp
from training.painting.tissue import Tissue

NAMES = {"1": "Liver", "2": "Lungs, left, tissue", "3": "Thoracic spine, spongiosa", "4": "Blood vessels, trunk"}
LIVER, LUNG, BONE, VESSELS = 1, 2, 3, 4
SPINE = (slice(44, 51), slice(27, 34))
AORTA = (slice(38, 43), slice(32, 37))


def phantom(folder: Path, sternum_from: int = 12, ribs_alone_at: int | None = None) -> Anatomy:
    """12 slices of 60 x 60 voxels of 5 mm: a spine with the aorta before it, a vessel as large behind the sternum."""
    ids = np.zeros((12, 60, 60), np.int16)
    ids[:, 5:55, 5:55] = LUNG
    ids[:6, 10:40, 8:26] = LIVER
    ids[:, *SPINE] = BONE
    ids[:, *AORTA] = VESSELS
    ids[:, 12:18, 27:34] = VESSELS
    # broader than the spine: most of the bone near the midline is far in front
    ids[sternum_from:, 6:9, 18:42] = BONE
    if ribs_alone_at is not None:
        ids[ribs_alone_at][ids[ribs_alone_at] == BONE] = LUNG
        ids[ribs_alone_at, 25:35, [6, 53]] = BONE
    write_volume(
        Volume(ids, Geometry((12, 60, 60), (5.0, 5.0, 5.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)),
        folder / "icrp110_am.nii.gz",
    )
    (folder / "icrp110.json").write_text(json.dumps(NAMES))
    return read_icrp(folder, "am", arms=True)


def aorta_slices(anatomy: Anatomy) -> list[int]:
    """Where the vessel before the spine is the aorta, and the one behind the sternum is not."""
    tissues = anatomy.tissues
    assert not (tissues[:, 12:18, 27:34] == Tissue.AORTA).any()
    return [z for z, slice_ in enumerate(tissues) if (slice_[AORTA] == Tissue.AORTA).all()]


def test_the_vessel_before_the_spine_is_the_aorta(tmp_path: Path) -> None:
    """From the liver's first slice to two thirds of the lungs."""
    assert aorta_slices(phantom(tmp_path)) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_the_sternum_is_no_spine(tmp_path: Path) -> None:
    """It was: the front of all bone near the midline was then 200 mm in front, and the aorta ended at the xiphoid."""
    assert aorta_slices(phantom(tmp_path, sternum_from=4)) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_slice_with_ribs_alone_has_no_aorta_and_costs_no_other(tmp_path: Path) -> None:
    assert aorta_slices(phantom(tmp_path, ribs_alone_at=2)) == [0, 1, 3, 4, 5, 6, 7]
