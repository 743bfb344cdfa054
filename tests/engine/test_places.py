"""Where the organs are in the patient, whatever the scan's grid: told by nibabel and by ITK, not by our own reader.

The scans are written with nibabel, in RAS millimetres, so that a mistake in our reading of directions cannot cancel
itself. Positions in the comments and tables below are LPS: +x is the patient's left.
"""

import itertools
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
from attention_dmfnet.files.image_io import read_volume
from attention_dmfnet.geometry import Triple, canonicalise
from attention_dmfnet.model.manifest import Manifest
from attention_dmfnet.model.network import Scores, Tile
from attention_dmfnet.segmenter import segment
from attention_dmfnet.steps.stage import StageModel
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from evaluation.organs import ORGANS
from tests.engine.tiny import AIR_HU, FakeNetwork, manifest_json, organ_hu

sitk: Any = SimpleITK
nib: Any = nibabel
Matrix = npt.NDArray[np.float64]

RADIUS_MM = 16.0
CENTRES_LPS: dict[int, Triple] = {
    # the right half of the body, from the feet up
    2: (-48, 16, -16),
    9: (-48, -16, -16),
    12: (-16, -16, -16),
    1: (-48, -16, 16),
    7: (-48, 16, 16),
    6: (-16, 16, 16),
    # the left half
    13: (48, 16, -16),
    11: (48, -16, -16),
    4: (16, -16, -16),
    3: (48, -16, 16),
    8: (48, 16, 16),
    5: (16, 16, 16),
    10: (16, -16, 16),
}
"""Thirteen balls about the body's middle. They touch, because the coarse stage takes one component for the body."""

MIDDLE_LPS = np.array([-31.0, 17.0, 250.0])
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])
ORDERS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]
"""For each array axis the patient's axis that it is nearest to, and its sense."""

Order = tuple[tuple[int, ...], tuple[int, ...]]


def _turn(angles_deg: Triple) -> Matrix:
    """A rotation about x, then y, then z."""
    turn = np.eye(3)
    for axis, degrees in enumerate(angles_deg):
        a, b = [k for k in range(3) if k != axis]
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        about = np.eye(3)
        about[a, a], about[a, b], about[b, a], about[b, b] = cos, -sin, sin, cos
        turn = about @ turn
    return turn


def _affine_lps(order: Order, angles_deg: Triple, spacing: Triple, shape: tuple[int, ...]) -> Matrix:
    """From voxel (i, j, k) to LPS mm; the body's middle is the middle of the grid."""
    axes = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(zip(*order, strict=True)):
        axes[axis, column] = sign
    affine = np.eye(4)
    affine[:3, :3] = _turn(angles_deg) @ axes @ np.diag(spacing)
    affine[:3, 3] = MIDDLE_LPS - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _paint(affine_lps: Matrix, shape: tuple[int, ...], organs: dict[int, Triple]) -> npt.NDArray[np.uint8]:
    """Labels (i, j, k) of balls at ``organs``, by their voxels' centres."""
    index = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"), axis=-1)
    points = index @ affine_lps[:3, :3].T + affine_lps[:3, 3] - MIDDLE_LPS
    labels = np.zeros(shape, dtype=np.uint8)
    for label, centre in organs.items():
        labels[((points - np.array(centre)) ** 2).sum(-1) < RADIUS_MM**2] = label
    return labels


def _write(values: npt.NDArray[Any], affine_lps: Matrix, path: Path) -> None:
    ras = np.eye(4)
    ras[:3] = LPS_FROM_RAS @ affine_lps[:3]
    image = nib.Nifti1Image(values, ras)
    image.set_qform(ras, code=1)
    image.set_sform(ras, code=1)
    nib.save(image, path)


def _nearest(centres: list[float]) -> FakeNetwork:
    """The network of one voxel that ``tiny.nearest_class_onnx`` is, without a runtime."""

    def scores(tile: Tile) -> Scores:
        return np.stack([np.float32(2 * c) * tile - np.float32(c * c) for c in centres])

    return FakeNetwork(scores)


def _segment(
    scan: Path,
    output: Path,
    spacing_zyx: Triple | None,
    coarse: FakeNetwork,
    fine: FakeNetwork,
    margin_mm: Triple = (12.0, 12.0, 12.0),
) -> None:
    """Label a file; without ``spacing_zyx`` the fine stage works on the scan's own grid."""
    ct = read_volume(scan)
    own = canonicalise(ct).geometry.spacing_zyx
    content = manifest_json(
        spacings_zyx=((6.0, 6.0, 6.0), spacing_zyx or own),
        # smaller than any ROI here: a grid that fills up a tile is shifted by up to half a voxel
        tiles_zyx=((32, 32, 32), (16, 16, 16)),
        margin_mm=margin_mm,
    )
    manifest = msgspec.convert(content, Manifest)
    segment(ct, StageModel(manifest.coarse, coarse), StageModel(manifest.fine, fine), manifest).save(output)


def _told_by_nibabel(path: Path) -> tuple[npt.NDArray[np.uint8], dict[int, tuple[Matrix, float]]]:
    """The labels (i, j, k), and each one's centroid in LPS mm and volume in mm3."""
    image = nib.load(path)
    labels = np.asanyarray(image.dataobj)
    assert image.header["qform_code"] > 0
    np.testing.assert_allclose(image.get_qform(), image.affine, atol=1e-3)
    mm3 = abs(np.linalg.det(image.affine[:3, :3]))
    found = {}
    for label in np.unique(labels[labels > 0]):
        middle = np.argwhere(labels == label).mean(axis=0)
        ras = image.affine[:3, :3] @ middle + image.affine[:3, 3]
        found[int(label)] = (LPS_FROM_RAS @ ras, float(np.count_nonzero(labels == label) * mm3))
    return labels, found


def _told_by_itk(path: Path) -> dict[int, tuple[Matrix, float]]:
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(sitk.ReadImage(str(path)))
    return {label: (np.array(shape.GetCentroid(label)), shape.GetPhysicalSize(label)) for label in shape.GetLabels()}


def _both_readers(path: Path) -> Iterator[dict[int, tuple[Matrix, float]]]:
    yield _told_by_nibabel(path)[1]
    yield _told_by_itk(path)


def _assert_every_organ_is_where_it_was_painted(scan: Path, output: Path, spacing: Triple) -> None:
    for found in _both_readers(output):
        assert sorted(found) == list(range(1, 14))
        for label, centre in CENTRES_LPS.items():
            place, volume_mm3 = found[label]
            # the centre of a ball's voxels is the ball's, to less than a voxel
            assert np.linalg.norm(place - MIDDLE_LPS - np.array(centre)) < min(spacing), ORGANS[label - 1]
            assert abs(_radius_mm(volume_mm3) - RADIUS_MM) < min(spacing), ORGANS[label - 1]
            # left is left, and right is right
            assert np.sign(place[0] - MIDDLE_LPS[0]) == np.sign(centre[0])


def _radius_mm(volume_mm3: float) -> float:
    return math.cbrt(3 * volume_mm3 / (4 * math.pi))


def _check_thirteen_organs(order: Order, angles_deg: Triple, spacing: Triple, folder: Path) -> None:
    # enough for the body in any direction, its corner 53 mm + 16 mm from the middle, and a border
    shape = tuple(math.ceil(150 / mm) for mm in spacing)
    affine = _affine_lps(order, angles_deg, spacing, shape)
    labels = _paint(affine, shape, CENTRES_LPS)
    hu = np.where(labels > 0, organ_hu(0) + (organ_hu(1) - organ_hu(0)) * labels.astype(np.int16), AIR_HU)
    _write(hu.astype(np.int16), affine, folder / "scan.nii")
    organs = [organ_hu(label) / 100 for label in range(14)]
    # as in `tiny.write_models`: anything brighter than half of the first organ counts for the coarse stage
    _segment(folder / "scan.nii", folder / "labels.nii", None, _nearest([-2, -1.6]), _nearest(organs))
    np.testing.assert_array_equal(_told_by_nibabel(folder / "labels.nii")[0], labels)
    _assert_every_organ_is_where_it_was_painted(folder / "scan.nii", folder / "labels.nii", spacing)


@pytest.mark.parametrize(
    "order", ORDERS, ids=lambda order: "".join(f"{s * (a + 1):+d}" for a, s in zip(*order, strict=True))
)
def test_in_every_axis_order_an_oblique_scan_has_its_organs_where_they_are(order: Order, tmp_path: Path) -> None:
    _check_thirteen_organs(order, (8.0, -5.0, 14.0), (3.0, 3.5, 4.0), tmp_path)


# no shrinking: every step of it labels a scan
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
SPACING_MM = st.floats(2.5, 4.5, allow_nan=False, width=32)
DEGREES = st.floats(-44.0, 44.0, allow_nan=False, width=32)


@settings(max_examples=15, phases=PHASES)
@given(st.sampled_from(ORDERS), st.tuples(DEGREES, DEGREES, DEGREES), st.tuples(SPACING_MM, SPACING_MM, SPACING_MM))
@example(ORDERS[0], (45.0, 0.0, 0.0), (3.0, 3.0, 3.0))
def test_in_any_geometry_the_labels_lie_on_the_scan_and_the_organs_where_they_are(
    order: Order, angles_deg: Triple, spacing: Triple
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _check_thirteen_organs(order, angles_deg, spacing, Path(folder))


@settings(max_examples=15, phases=PHASES)
@given(
    st.sampled_from(ORDERS),
    st.tuples(DEGREES, DEGREES, DEGREES),
    st.tuples(*[st.floats(1.5, 5.0, allow_nan=False, width=32)] * 3),
)
def test_through_a_working_grid_of_another_spacing_the_kidneys_keep_their_sides_places_and_sizes(
    order: Order, angles_deg: Triple, spacing: Triple
) -> None:
    """One kidney is darker than what lies between, the other brighter: no mixture of two of them is the third."""
    kidneys = {2: CENTRES_LPS[2], 13: CENTRES_LPS[13]}
    hu_of = {0: 200, 2: -200, 13: 600}
    working: Triple = (3.0, 2.5, 2.5)
    shape = tuple(math.ceil(150 / mm) for mm in spacing)
    affine = _affine_lps(order, angles_deg, spacing, shape)
    labels = _paint(affine, shape, kidneys)
    hu = np.vectorize(hu_of.get, otypes=[np.int16])(labels)

    def coarse(tile: Tile) -> Scores:
        return np.stack([np.zeros_like(tile), np.abs(tile - 2) - 1])

    def fine(tile: Tile) -> Scores:
        scores = np.full((14, *tile.shape), -100, dtype=np.float32)
        for label, value in hu_of.items():
            scores[label] = -((tile - value / 100) ** 2)
        return scores

    with tempfile.TemporaryDirectory() as folder:
        scan, output = Path(folder) / "scan.nii", Path(folder) / "labels.nii"
        _write(hu, affine, scan)
        # the two kidneys do not touch: the margin brings the other one in
        _segment(scan, output, working, FakeNetwork(coarse), FakeNetwork(fine), (150.0, 150.0, 150.0))
        voxel_mm = max(*spacing, *working)
        for found in _both_readers(output):
            assert sorted(found) == [2, 13]
            for label, centre in kidneys.items():
                place, volume_mm3 = found[label]
                assert np.linalg.norm(place - MIDDLE_LPS - np.array(centre)) < voxel_mm
                assert abs(_radius_mm(volume_mm3) - RADIUS_MM) < voxel_mm
                assert np.sign(place[0] - MIDDLE_LPS[0]) == np.sign(centre[0])
