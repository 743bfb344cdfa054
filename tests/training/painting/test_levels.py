"""Levels of fluid are horizontal in the image, as gravity makes them, however the body is turned and bent."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.training.painting.test_pathology import CANVAS, PLAIN_PHASE, patient
from training.painting import painter as painting
from training.painting.completion import BODY_SPACING_ZYX, Body
from training.painting.deformation import deformed_nodes
from training.painting.kernel import NODE_STEP
from training.painting.levels import image_row
from training.painting.look import Look
from training.painting.painter import Painter
from training.painting.pathology import HEALTHY
from training.painting.scan_setup import PLAIN_SETUP
from training.painting.tissue import Tissue


def turned(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of a patch of 64 x 96 x 128 voxels of 3 x 2 x 2 mm in a body turned in the axial plane, and the matrix."""
    axes = [np.arange(size // NODE_STEP + 2) * float(NODE_STEP) for size in (64, 96, 128)]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    turn = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    return (index @ turn.T).astype(np.float32), turn


@pytest.mark.parametrize("degrees", [0.0, 12.0, -30.0])
@pytest.mark.parametrize("at", [(20.0, 37.0, 51.0), (3.0, 90.0, 100.0), (30.0, -25.0, 160.0)])
def test_the_row_that_shows_a_place_is_found_in_a_turned_body_and_outside_of_the_patch(
    degrees: float, at: tuple[float, ...]
) -> None:
    nodes, turn = turned(degrees)
    # the body's index of the image's voxel ``at``
    row, rows = image_row(nodes, turn @ np.array(at))
    assert row == pytest.approx(at[1], abs=0.01)
    assert rows == pytest.approx(np.cos(np.deg2rad(degrees)), abs=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_the_row_that_shows_a_place_is_found_in_a_bent_body(seed: int) -> None:
    nodes = deformed_nodes((64, 96, 128), (3.0, 2.5, 2.5), np.array([40.0, 60.0, 80.0]), (0.0,) * 3, _rng(seed))
    # a node's own place, and one between two nodes
    assert image_row(nodes, nodes[3, 5, 7].astype(float))[0] == pytest.approx(40, abs=0.01)
    between = (nodes[3, 5, 7] + nodes[3, 6, 7]).astype(float) / 2
    assert image_row(nodes, between)[0] == pytest.approx(44, abs=1.0)


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


class Clear(Painter):
    """Even contents of 400 HU without folds or bubbles: what is left is the level."""

    def _draw_look(self, *arguments: Any) -> Look:
        look = super()._draw_look(*arguments)
        content = Tissue.STOMACH_CONTENT
        look.hu[content], look.rough[content], look.patchy[content], look.fold[content] = 400, 0, 0, 0
        look.gas[content] = 99
        return look


def full_stomach() -> Body:
    made = patient()
    tissues = made.tissues.copy()
    tissues[6:28, 12:44, 12:68] = Tissue.STOMACH
    tissues[7:27, 14:42, 14:66] = Tissue.STOMACH_CONTENT
    return replace(made, tissues=tissues)


def test_gas_lies_above_fluid_in_every_slice_and_column_and_no_voxel_is_amiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "expose", lambda *_: None)
    painter = Clear([full_stomach()], CANVAS, 0.0, PLAIN_PHASE, HEALTHY, PLAIN_SETUP)
    levels = []
    for seed in range(16):
        image, labels = painter.sample(_rng(seed))
        gas = np.flatnonzero(((labels == 11) & (image < -850)).any((0, 2)))
        fluid = np.flatnonzero(((labels == 11) & (image == 400)).any((0, 2)))
        if len(gas) and len(fluid):
            # one row of the image, over 66 mm along the body and 112 mm across it
            assert gas[-1] < fluid[0] <= gas[-1] + 1
            levels.append(fluid[0])
    assert len(levels) >= 5
    assert len(set(levels)) >= 4


def test_the_fluid_of_an_effusion_has_a_level_of_one_row_on_each_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "expose", lambda *_: None)

    class Marked(Painter):
        def _draw_look(self, *arguments: Any) -> Look:
            look = super()._draw_look(*arguments)
            return look._replace(chest=look.chest._replace(hu=np.array([1000.0, 50.0])))

    painter = Marked([patient()], CANVAS, 0.0, PLAIN_PHASE, replace(HEALTHY, effusion=1.0), PLAIN_SETUP)
    seen = 0
    for seed in range(10):
        image, labels = painter.sample(_rng(seed))
        fluid = image > 900
        # neither gas nor the air beside the body
        lung = (image < -500) & (image > -900) & (labels == 0)
        # what lies near the middle may be of the other side
        for half in (slice(0, 27), slice(37, 64)):
            wet = np.flatnonzero(fluid[:, :, half].any((0, 2)))
            # a level near the patch's edge is seen in its corner alone
            if fluid[:, :, half].sum() > 100 and lung[:, :, half].any() and wet[0] > 5:
                seen += 1
                # no aerated lung lies as far back as the fluid's level, on the same side
                assert np.flatnonzero(lung[:, :, half].any((0, 2)))[-1] < wet[0]
    assert seen >= 5


def test_a_level_stays_at_its_height_in_the_organ_where_the_body_is_not_turned() -> None:
    nodes, _ = turned(0.0)
    assert BODY_SPACING_ZYX == (3.0, 2.0, 2.0)
    assert image_row(nodes, np.array([20.0, 33.0, 40.0])) == pytest.approx((33.0, 1.0))
