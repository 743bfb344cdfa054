import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from attention_dmfnet.adult_volumes import ADULT_VOLUMES
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Axes, Geometry, GeometryError, Volume, with_axes
from attention_dmfnet.report.statistics import OrganStatistics, measure
from attention_dmfnet.report.tables import COLUMNS, as_csv, as_json

from evaluation.organs import ORGANS
from tests.engine.tiny import block_phantom, organ_hu

LABELS = {organ: label for label, organ in enumerate(ORGANS, start=1)}
LIVER = {"liver": 1}


def _one(ct: Volume, labels: Volume) -> OrganStatistics:
    (liver,) = measure(ct, labels, LIVER)
    return liver


def _empty(spacing: float = 10.0, size: int = 20) -> tuple[Volume, Volume]:
    grid = Geometry((size, size, size), (spacing, spacing, spacing), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    return Volume(np.zeros(grid.shape_zyx, np.int16), grid), Volume(np.zeros(grid.shape_zyx, np.uint8), grid)


def test_a_block_has_the_numbers_that_one_can_count() -> None:
    liver = measure(*block_phantom(), LABELS)[0]
    # the liver is voxels z 4 to 6, y 5 to 8, x 4 to 8, of 3 x 2 x 2 mm, from (-31, 17, 250) on
    assert (liver.organ, liver.label, liver.voxels) == ("liver", 1, 60)
    assert liver.volume_ml == pytest.approx(60 * 12 / 1000)
    assert (liver.hu_mean, liver.hu_std, liver.hu_median) == (organ_hu(1), 0, organ_hu(1))
    assert liver.extent_mm_xyz == pytest.approx((10, 8, 9))
    assert liver.centroid_lps_mm == pytest.approx((-31 + 6 * 2, 17 + 6.5 * 2, 250 + 5 * 3))
    assert (liver.parts, liver.edges, liver.mean_probability) == (1, (), None)


def test_mean_deviation_and_median_are_those_of_the_organs_voxels_alone() -> None:
    ct, labels = _empty()
    labels.array[5, 5, 5:10] = 1
    ct.array[5, 5, 5:10] = (0, 0, 10, 40, 100)
    ct.array[5, 5, 4] = 3000
    liver = _one(ct, labels)
    assert (liver.hu_mean, liver.hu_median) == (30, 10)
    # squares of -30 -30 -20 10 70 add up to 7200
    assert liver.hu_std == pytest.approx((7200 / 5) ** 0.5)


@pytest.mark.parametrize(
    "axes",
    [
        ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)),
        ((0.0, -1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    ],
)
def test_the_numbers_do_not_depend_on_how_the_scan_is_stored(axes: Axes) -> None:
    ct, labels = block_phantom()
    stored = measure(with_axes(ct, axes), with_axes(labels, axes), LABELS)
    for one, other in zip(measure(ct, labels, LABELS), stored, strict=True):
        assert other.centroid_lps_mm == pytest.approx(one.centroid_lps_mm)
        assert other.extent_mm_xyz == pytest.approx(one.extent_mm_xyz)
        assert (other.voxels, other.hu_mean, other.edges) == (one.voxels, one.hu_mean, one.edges)


def test_the_centroid_of_a_tilted_scan_is_where_it_is_in_the_patient() -> None:
    ct, labels = _empty()
    labels.array[2, 3, 4] = 1
    turned = replace(labels.geometry, axes_lps=((0.0, -0.6, 0.8), (0.0, 0.8, 0.6), (1.0, 0.0, 0.0)))
    liver = _one(Volume(ct.array, turned), Volume(labels.array, turned))
    # 20 mm along (0, -0.6, 0.8), 30 along (0, 0.8, 0.6), 40 along x
    assert liver.centroid_lps_mm == pytest.approx((40, 12, 34))


def test_parts_are_counted_and_a_corner_joins() -> None:
    ct, labels = _empty()
    labels.array[5, 5, 5] = labels.array[6, 6, 6] = 1
    assert _one(ct, labels).parts == 1
    labels.array[15, 15, 15] = 1
    assert _one(ct, labels).parts == 2


def test_an_organ_that_the_scan_cuts_is_marked_and_left_out_of_the_range() -> None:
    ct, labels = _empty()
    labels.array[5:15, 5:15, 5:15] = 1
    whole = _one(ct, labels)
    assert (whole.volume_ml, whole.cut, whole.against_reference) == (1000, False, "within")
    assert whole.reference_ml == ADULT_VOLUMES["liver"].healthy_ml == (824.5, 1700)
    labels.array[0:5, 5:15, 5:15] = 1
    cut = _one(ct, labels)
    assert (cut.volume_ml, cut.cut, cut.edges) == (1500, True, ("inferior",))
    assert (cut.reference_ml, cut.against_reference, cut.reference_source) == (None, None, None)


@pytest.mark.parametrize(("side", "voxels"), [(9, "below"), (10, "within"), (12, "above")])
def test_a_volume_outside_of_the_range_is_flagged(side: int, voxels: str) -> None:
    ct, labels = _empty()
    labels.array[1 : 1 + side, 1 : 1 + side, 1 : 1 + side] = 1
    # 729, 1000 and 1728 mL; healthy livers have 824.5 to 1700
    assert _one(ct, labels).against_reference == voxels


def test_an_organ_that_was_not_found_has_a_volume_of_0_and_nothing_else() -> None:
    assert _one(*_empty()) == OrganStatistics("liver", 1, 0, 0.0)


def test_labels_on_another_grid_are_refused() -> None:
    ct, labels = _empty()
    moved = replace(labels.geometry, origin_lps=(1.0, 0.0, 0.0))
    with pytest.raises(GeometryError, match="another grid"):
        measure(ct, Volume(labels.array, moved), LIVER)


def test_every_organ_has_a_range_with_a_source_or_a_reason_why_not() -> None:
    assert list(ADULT_VOLUMES) == list(ORGANS)
    for known in ADULT_VOLUMES.values():
        low, high = known.possible_ml
        if known.healthy_ml is None:
            assert known.source.startswith("depends on ")
            assert known.compare(1.0) is None
        else:
            # what is found in healthy people must not be called impossible
            assert low < known.healthy_ml[0] < known.healthy_ml[1] < high
            assert re.search(r"(20\d\d|article \d+)", known.source)


def test_the_tables_have_a_row_for_each_organ_of_each_case() -> None:
    organs = measure(*block_phantom(), LABELS, {"liver": 0.98765})
    rows = list(csv.DictReader(io.StringIO(as_csv({"a, b": organs, "ü": organs}))))
    assert len(rows) == 2 * 13
    assert tuple(rows[0]) == COLUMNS
    assert (rows[0]["case"], rows[13]["case"]) == ("a, b", "ü")
    assert (rows[0]["volume_ml"], rows[0]["mean_probability"], rows[0]["touches_edge"]) == ("0.72", "0.9877", "no")
    assert rows[0]["centroid_lps_z_mm"] == "265.0"
    whole = json.loads(as_json({"a": organs}))
    assert whole["schema_version"] == 1
    assert whole["cases"][0]["organs"][0]["centroid_lps_mm"] == list(organs[0].centroid_lps_mm or ())
