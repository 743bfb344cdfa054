import math
from pathlib import Path

import numpy as np
import pytest
from attention_dmfnet.geometry import Index, Triple

from training.data.facts import HU_EDGES, CaseFacts, ImageFacts, LabelFacts, OrganFacts
from training.data.fingerprint import as_table, read_fingerprint, take_fingerprint
from training.errors import TrainingError
from training.network.attention_dmfnet import TILE_MULTIPLE
from training.recipe import Grid, Intensity

MARGIN_MM = (30.0, 20.0, 20.0)


def organ(hu: float, volume_ml: float = 100.0) -> OrganFacts:
    histogram = np.zeros(len(HU_EDGES) - 1, int)
    histogram[int(np.searchsorted(HU_EDGES, hu, side="right")) - 1] = 1000
    return OrganFacts(volume_ml, (0.0, 0.0, 0.0), False, (hu, hu, hu), tuple(histogram.tolist()))


def case(
    organs: dict[int, OrganFacts] | None,
    shape_zyx: Index = (160, 512, 512),
    spacing_zyx: Triple = (2.5, 0.8, 0.8),
    box_mm_zyx: Triple = (250.0, 180.0, 300.0),
) -> CaseFacts:
    image = ImageFacts(shape_zyx, spacing_zyx, -1000.0, 1000.0, 0, "", b"")
    return CaseFacts(image, None if organs is None else LabelFacts("", organs, box_mm_zyx), "")


def test_spreads_are_over_all_scans_and_organs_over_the_labelled() -> None:
    cases = [
        case({1: organ(102.0, 1000.0)}, spacing_zyx=(5.0, 0.7, 0.7)),
        case({1: organ(102.0, 2000.0)}, spacing_zyx=(1.0, 0.9, 0.9)),
        case(None, spacing_zyx=(3.0, 0.8, 0.8)),
    ]
    fingerprint = take_fingerprint(cases, MARGIN_MM)
    assert (fingerprint.scans, fingerprint.labelled) == (3, 2)
    z = fingerprint.spacing_zyx[0]
    assert (z.least, z.median, z.most) == (1.0, 3.0, 5.0)
    assert fingerprint.volumes_ml() == {"liver": (1000.0, 2000.0)}
    assert fingerprint.organs["liver"].hu == (105.0, 105.0, 105.0)


def test_every_organ_counts_the_same_for_the_window_however_large_it_is() -> None:
    large = organ(62.0)
    large = OrganFacts(5000.0, large.centre_lps, False, large.hu, tuple(50 * count for count in large.histogram))
    fine = take_fingerprint([case({1: large, 7: organ(162.0)})], MARGIN_MM).fine
    assert fine.mean_hu == pytest.approx((62.5 + 162.5) / 2, abs=1)
    assert fine.std_hu == pytest.approx(50, abs=1)
    assert fine.window_hu[1] == 170.0


def test_the_window_holds_fat_and_leaves_out_the_gas_in_the_gut() -> None:
    fine = take_fingerprint([case({1: organ(100.0), 11: organ(-900.0)})], MARGIN_MM).fine
    assert fine.window_hu[0] == -150.0


def test_proposals_are_valid_in_a_recipe() -> None:
    fingerprint = take_fingerprint([case({1: organ(100.0)})], MARGIN_MM)
    for proposal in (fingerprint.coarse, fingerprint.fine):
        Grid(proposal.spacing_zyx, proposal.tile_zyx)
        Intensity(proposal.window_hu, proposal.mean_hu, proposal.std_hu)
        assert all(side % TILE_MULTIPLE == 0 for side in proposal.tile_zyx)
        assert f"spacing_zyx = {list(proposal.spacing_zyx)}" in as_table(fingerprint)


def test_the_coarse_tile_covers_a_large_scan_with_no_larger_voxels_than_it_must() -> None:
    coarse = take_fingerprint([case({1: organ(100.0)})], MARGIN_MM).coarse
    # 400 x 410 x 410 mm: at 6 mm 80 x 80 x 80 voxels would be too many, at 6.5 mm 64 x 64 x 64 are enough
    assert coarse.spacing_zyx == (6.5, 6.5, 6.5)
    assert coarse.tile_zyx == (64, 64, 64)


def test_the_fine_grid_fits_the_region_of_interest_into_two_tiles_or_is_as_coarse_as_it_may_be() -> None:
    fine = take_fingerprint([case({1: organ(100.0)})], MARGIN_MM).fine
    roi_mm = (310.0, 220.0, 340.0)
    voxels = math.prod(mm / step for mm, step in zip(roi_mm, fine.spacing_zyx, strict=True))
    assert voxels <= 2.2 * 80 * 192 * 160
    assert all(0.7 <= mm <= 3.0 for mm in fine.spacing_zyx)
    # slices of 2.5 mm are made no thinner
    assert fine.spacing_zyx[0] >= 2.5


def test_coarse_scans_are_not_made_finer_than_they_are() -> None:
    fine = take_fingerprint([case({1: organ(100.0)}, (40, 128, 128), (3.0, 3.0, 3.0))], MARGIN_MM).fine
    assert fine.spacing_zyx == (3.0, 3.0, 3.0)


def test_there_is_no_fingerprint_without_labels(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="none of the scans is labelled"):
        take_fingerprint([case(None)], MARGIN_MM)
    with pytest.raises(TrainingError, match="prepare the data set first"):
        read_fingerprint(tmp_path)
